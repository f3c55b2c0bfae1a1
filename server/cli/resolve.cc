#include "server/cli/resolve.h"

#include <fmt/format.h>

#include <vector>

#include "server/cli/output.h"

namespace umbra::cli {
namespace {

bool IdStartsWith(const std::string& name, const std::string& text) {
  return text.size() >= 4 && LastSegment(name).compare(0, text.size(), text) == 0;
}

// Exactly one of `found`, or the error that says what to do.
template <typename Resource>
Resource Only(const std::vector<Resource>& found, const std::string& kind, const std::string& text,
              const std::string& reason) {
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    throw ExitError{kExitNotFound, fmt::format("no {} fits \"{}\"; list them with: umbra {} list", kind, text, kind),
                    reason};
  }
  std::vector<std::string> names;
  for (const auto& resource : found) names.push_back(resource.name());
  throw ExitError{kExitUsage, fmt::format("\"{}\" fits {} {}s, name one: {}", text, found.size(), kind, JoinText(names, ", ")),
                  "INVALID_REQUEST"};
}

}  // namespace

v1::VirtualMachine ResolveVm(Client& client, const std::string& text) {
  v1::ListVirtualMachinesRequest request;
  request.set_parent("hosts/-");
  request.set_page_size(1000);
  std::vector<v1::VirtualMachine> found;
  ForEach(*client.vms, &v1::VirtualMachineService::Stub::ListVirtualMachines, request,
          &v1::ListVirtualMachinesResponse::virtual_machines, 0, [&](const v1::VirtualMachine& vm) {
            if (vm.name() == text || vm.uuid() == text || vm.display_name() == text || IdStartsWith(vm.name(), text)) {
              found.push_back(vm);
            }
          });
  return Only(found, "vm", text, "VM_NOT_FOUND");
}

v1::Host ResolveHost(Client& client, const std::string& text) {
  v1::ListHostsRequest request;
  request.set_page_size(1000);
  std::vector<v1::Host> found;
  ForEach(*client.hosts, &v1::HostService::Stub::ListHosts, request, &v1::ListHostsResponse::hosts, 0,
          [&](const v1::Host& host) {
            if (host.name() == text || host.display_name() == text || IdStartsWith(host.name(), text)) {
              found.push_back(host);
            }
          });
  return Only(found, "host", text, "HOST_NOT_FOUND");
}

v1::Job ResolveJob(Client& client, const std::string& text) {
  if (text.rfind("jobs/", 0) == 0) {
    v1::GetJobRequest request;
    request.set_name(text);
    return Call(*client.jobs, &v1::JobService::Stub::GetJob, request);
  }
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  std::vector<v1::Job> found;
  ForEach(*client.jobs, &v1::JobService::Stub::ListJobs, request, &v1::ListJobsResponse::jobs, 0, [&](const v1::Job& job) {
    if (LastSegment(job.name()) == text || IdStartsWith(job.name(), text)) found.push_back(job);
  });
  return Only(found, "job", text, "JOB_NOT_FOUND");
}

v1::FileSet ResolveFileSet(Client& client, const std::string& text, const std::string& host) {
  v1::ListFileSetsRequest request;
  request.set_parent(host.empty() ? "hosts/-" : host);
  request.set_page_size(1000);
  std::vector<v1::FileSet> found;
  ForEach(*client.file_sets, &v1::FileSetService::Stub::ListFileSets, request, &v1::ListFileSetsResponse::file_sets, 0,
          [&](const v1::FileSet& set) {
            if (set.name() == text || LastSegment(set.name()) == text) found.push_back(set);
          });
  return Only(found, "file-set", text, "FILE_SET_NOT_FOUND");
}

v1::RecoveryPoint ResolveRecoveryPoint(Client& client, const std::string& text, const std::string& vm,
                                       const std::string& file_set, bool removed_too) {
  v1::ListRecoveryPointsRequest request;
  request.set_show_deleted(removed_too);
  request.set_page_size(1000);
  if (!vm.empty()) request.set_virtual_machine(ResolveVm(client, vm).name());
  if (!file_set.empty()) request.set_file_set(ResolveFileSet(client, file_set, "").name());
  std::vector<v1::RecoveryPoint> found;
  ForEach(*client.points, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request,
          &v1::ListRecoveryPointsResponse::recovery_points, text == "latest" ? 1 : 0, [&](const v1::RecoveryPoint& point) {
            if (text == "latest" || point.name() == text || LastSegment(point.name()) == text ||
                IdStartsWith(point.name(), text)) {
              found.push_back(point);
            }
          });
  const v1::RecoveryPoint only = Only(found, "recovery-point", text, "RECOVERY_POINT_NOT_FOUND");
  v1::GetRecoveryPointRequest get;
  get.set_name(only.name());
  return Call(*client.points, &v1::RecoveryPointService::Stub::GetRecoveryPoint, get);
}

}  // namespace umbra::cli
