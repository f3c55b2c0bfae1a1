#include "tests/fleet/list_probe.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <utility>

#include "storage/base/clock.h"
#include "umbra/v1/event.grpc.pb.h"
#include "umbra/v1/file_set.grpc.pb.h"
#include "umbra/v1/host.grpc.pb.h"
#include "umbra/v1/job.grpc.pb.h"
#include "umbra/v1/policy.grpc.pb.h"
#include "umbra/v1/recovery_point.grpc.pb.h"
#include "umbra/v1/repository.grpc.pb.h"
#include "umbra/v1/virtual_machine.grpc.pb.h"
#include "umbra/v1/writer.grpc.pb.h"

namespace umbra::fleet {
namespace {

namespace v1 = umbra::v1;

constexpr int kPagesMax = 20;  // of one walk
constexpr int kMessageSizeMax = 16 * 1024 * 1024;

// A list with its filters. `call` takes the token of a page and gives that of the next, empty after the last.
struct List {
  std::string name;
  std::function<grpc::Status(std::string& token)> call;
  std::string token = {};
  int page = 0;
};

template <typename Stub, typename Request, typename Response>
List Make(std::string name, std::shared_ptr<Stub> stub,
          grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Request request) {
  return {std::move(name), [stub = std::move(stub), method, request = std::move(request)](std::string& token) mutable {
            grpc::ClientContext context;
            Response response;
            request.set_page_token(token);
            const grpc::Status status = ((*stub).*method)(&context, request, &response);
            token = response.next_page_token();
            return status;
          }};
}

// An answer without pages.
template <typename Stub, typename Request, typename Response>
List MakeOnce(std::string name, std::shared_ptr<Stub> stub,
              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Request request) {
  return {std::move(name), [stub = std::move(stub), method, request = std::move(request)](std::string& token) {
            grpc::ClientContext context;
            Response response;
            token.clear();
            return ((*stub).*method)(&context, request, &response);
          }};
}

template <typename Request>
Request With(void (Request::*set)(std::string&&), std::string value) {
  Request request;
  (request.*set)(std::move(value));
  return request;
}

template <typename Service>
std::shared_ptr<typename Service::Stub> StubOf(const std::shared_ptr<grpc::Channel>& channel) {
  return Service::NewStub(channel);
}

// The first answer of a list, for names to filter by.
template <typename Response, typename Stub, typename Request>
Response First(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
               const Request& request = {}) {
  grpc::ClientContext context;
  Response response;
  (void)(stub.*method)(&context, request, &response);
  return response;
}

std::vector<List> AllLists(const std::string& api_socket) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageSizeMax);
  const auto channel = grpc::CreateCustomChannel("unix:" + api_socket, grpc::InsecureChannelCredentials(), arguments);
  const auto hosts = StubOf<v1::HostService>(channel);
  const auto vms = StubOf<v1::VirtualMachineService>(channel);
  const auto writers = StubOf<v1::WriterService>(channel);
  const auto file_sets = StubOf<v1::FileSetService>(channel);
  const auto jobs = StubOf<v1::JobService>(channel);
  const auto points = StubOf<v1::RecoveryPointService>(channel);
  const auto repositories = StubOf<v1::RepositoryService>(channel);
  const auto events = StubOf<v1::EventService>(channel);
  const auto policies = StubOf<v1::PolicyService>(channel);

  v1::ListVirtualMachinesRequest all_vms;
  all_vms.set_parent("hosts/-");
  const auto some_vms =
      First<v1::ListVirtualMachinesResponse>(*vms, &v1::VirtualMachineService::Stub::ListVirtualMachines, all_vms);
  const auto some_points =
      First<v1::ListRecoveryPointsResponse>(*points, &v1::RecoveryPointService::Stub::ListRecoveryPoints);
  const auto some_policies = First<v1::ListPoliciesResponse>(*policies, &v1::PolicyService::Stub::ListPolicies);
  const std::string vm = some_vms.virtual_machines_size() > 0 ? some_vms.virtual_machines(0).name() : "";
  const std::string host = vm.substr(0, vm.find("/virtualMachines"));
  const std::string point = some_points.recovery_points_size() > 0 ? some_points.recovery_points(0).name() : "";
  const std::string point_vm =
      some_points.recovery_points_size() > 0 ? some_points.recovery_points(0).virtual_machine() : vm;
  const std::string policy = some_policies.policies_size() > 0 ? some_policies.policies(0).name() : "";

  std::vector<List> lists;
  lists.push_back(Make("hosts", hosts, &v1::HostService::Stub::ListHosts, v1::ListHostsRequest()));
  lists.push_back(Make("vms", vms, &v1::VirtualMachineService::Stub::ListVirtualMachines, all_vms));
  v1::ListVirtualMachinesRequest vms_of_host;
  vms_of_host.set_parent(host);
  lists.push_back(Make("vms of a host", vms, &v1::VirtualMachineService::Stub::ListVirtualMachines, vms_of_host));
  v1::ListWritersRequest writers_of_host;
  writers_of_host.set_parent(host);
  lists.push_back(Make("writers", writers, &v1::WriterService::Stub::ListWriters, writers_of_host));
  v1::ListFileSetsRequest sets_of_host;
  sets_of_host.set_parent(host);
  lists.push_back(Make("file sets", file_sets, &v1::FileSetService::Stub::ListFileSets, sets_of_host));
  lists.push_back(Make("repositories", repositories, &v1::RepositoryService::Stub::ListRepositories,
                       v1::ListRepositoriesRequest()));
  lists.push_back(Make("policies", policies, &v1::PolicyService::Stub::ListPolicies, v1::ListPoliciesRequest()));
  lists.push_back(Make("jobs", jobs, &v1::JobService::Stub::ListJobs, v1::ListJobsRequest()));
  v1::ListJobsRequest active;
  active.set_active_only(true);
  lists.push_back(Make("jobs, active", jobs, &v1::JobService::Stub::ListJobs, active));
  v1::ListJobsRequest of_policy;
  of_policy.set_policy(policy);
  lists.push_back(Make("jobs of a policy", jobs, &v1::JobService::Stub::ListJobs, of_policy));
  v1::SummarizeBackupsRequest week;
  week.mutable_start_time()->set_seconds(absl::ToUnixSeconds(base::SystemClock().Now() - absl::Hours(7 * 24)));
  lists.push_back(MakeOnce("backups of a week, sums", jobs, &v1::JobService::Stub::SummarizeBackups, week));
  lists.push_back(MakeOnce("coverage, sums", policies, &v1::PolicyService::Stub::GetCoverageSummary,
                           v1::GetCoverageSummaryRequest()));
  v1::ListJobsRequest prunes;
  prunes.set_kind("prune");
  lists.push_back(Make("jobs, prunes", jobs, &v1::JobService::Stub::ListJobs, prunes));
  lists.push_back(
      Make("points", points, &v1::RecoveryPointService::Stub::ListRecoveryPoints, v1::ListRecoveryPointsRequest()));
  v1::ListRecoveryPointsRequest of_vm;
  of_vm.set_virtual_machine(point_vm);
  lists.push_back(Make("points of a vm", points, &v1::RecoveryPointService::Stub::ListRecoveryPoints, of_vm));
  lists.push_back(Make("events", events, &v1::EventService::Stub::ListEvents, v1::ListEventsRequest()));
  v1::ListEventsRequest of_resource;
  of_resource.set_resource(point);
  lists.push_back(Make("events of a point", events, &v1::EventService::Stub::ListEvents, of_resource));
  of_resource.set_resource(host);
  lists.push_back(Make("events of a host", events, &v1::EventService::Stub::ListEvents, of_resource));
  lists.push_back(Make("coverage", policies, &v1::PolicyService::Stub::ListCoverage, v1::ListCoverageRequest()));
  v1::ListCoverageRequest at_risk;
  at_risk.set_filter(v1::ListCoverageRequest::FILTER_AT_RISK);
  lists.push_back(Make("coverage, at risk", policies, &v1::PolicyService::Stub::ListCoverage, at_risk));
  return lists;
}

}  // namespace

std::map<std::string, std::vector<absl::Duration>> ProbeLists(const std::string& api_socket, base::Clock& clock,
                                                              absl::Duration time, absl::Duration pause) {
  std::map<std::string, std::vector<absl::Duration>> times;
  std::vector<List> lists = AllLists(api_socket);
  const absl::Duration end = clock.Monotonic() + time;
  for (size_t i = 0; clock.Monotonic() < end; i = (i + 1) % lists.size()) {
    List& list = lists[i];
    const absl::Duration begin = clock.Monotonic();
    const grpc::Status status = list.call(list.token);
    const absl::Duration took = clock.Monotonic() - begin;
    times[status.ok() ? list.name : "failed: " + list.name + ": " + status.error_message()].push_back(took);
    if (!status.ok() || ++list.page >= kPagesMax) list.token.clear();
    if (list.token.empty()) list.page = 0;
    clock.Sleep(pause);
  }
  return times;
}

}  // namespace umbra::fleet
