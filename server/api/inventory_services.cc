#include "server/api/inventory_services.h"

#include "server/api/convert.h"
#include "server/api/labels.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/policies/expression.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using VmPage = catalog::Page<catalog::Vm, catalog::VmKey>;

// Leaves those in the page that `filter` matches, as a policy would select them.
absl::Status Keep(const catalog::Stores& stores, const policies::Expression& filter, VmPage& page) {
  std::vector<catalog::Subject> subjects;
  catalog::Host host;
  for (const catalog::Vm& vm : page.items) {
    if (host.id != vm.key.host) {
      ASSIGN_OR_RETURN(host, stores.hosts.Get(vm.key.host));
    }
    subjects.push_back({vm.key, vm.display_name, host.display_name, {}});
  }
  RETURN_IF_ERROR(stores.labels.Fill(subjects));
  std::vector<catalog::Vm> kept;
  for (size_t i = 0; i < subjects.size(); ++i) {
    if (filter.Matches(subjects[i])) kept.push_back(std::move(page.items[i]));
  }
  page.items = std::move(kept);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* VirtualMachineService::ListVirtualMachines(grpc::CallbackServerContext* context,
                                                                     const v1::ListVirtualMachinesRequest* request,
                                                                     v1::ListVirtualMachinesResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status VirtualMachineService::List(const v1::ListVirtualMachinesRequest& request,
                                         v1::ListVirtualMachinesResponse& response) {
  ASSIGN_OR_RETURN(const auto host, ParseHostNameOrAll(request.parent(), "parent"));
  std::string list = request.parent() + "/virtualMachines";
  if (!request.filter().empty()) list += " with " + request.filter();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::VmKey>(request, list));
  ASSIGN_OR_RETURN(const policies::Expression filter, policies::Expression::Parse(request.filter()));
  ASSIGN_OR_RETURN(const VmPage page, catalog_.Read([&](const catalog::Stores& s) -> absl::StatusOr<VmPage> {
    if (host) RETURN_IF_ERROR(s.hosts.Get(*host).status());
    ASSIGN_OR_RETURN(VmPage found, s.vms.List(host, options));
    if (!filter.empty()) RETURN_IF_ERROR(Keep(s, filter, found));
    return found;
  }));
  for (const catalog::Vm& vm : page.items) ToProto(vm, response.add_virtual_machines());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* VirtualMachineService::GetVirtualMachine(grpc::CallbackServerContext* context,
                                                                   const v1::GetVirtualMachineRequest* request,
                                                                   v1::VirtualMachine* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::VmKey key, ParseVmName(request->name(), "name"));
    return Get(key, *response);
  });
}

absl::Status VirtualMachineService::Get(const catalog::VmKey& key, v1::VirtualMachine& response) {
  const absl::StatusOr<catalog::Vm> vm = catalog_.Read([&](const catalog::Stores& s) { return s.vms.Get(key); });
  if (absl::IsNotFound(vm.status())) agents_.RefreshInventory(key.host);
  RETURN_IF_ERROR(vm.status());
  ASSIGN_OR_RETURN(const auto figures, catalog_.Read([&](const catalog::Stores& s) { return s.figures.OfVm(key); }));
  ToProto(*vm, &response);
  ToProto(figures, response.mutable_figures());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* VirtualMachineService::SetVirtualMachineLabels(
    grpc::CallbackServerContext* context, const v1::SetVirtualMachineLabelsRequest* request,
    v1::VirtualMachine* response) {
  return door_.Unary(context, request, response, [=, this] { return SetLabels(*request, *response); });
}

absl::Status VirtualMachineService::SetLabels(const v1::SetVirtualMachineLabelsRequest& request,
                                              v1::VirtualMachine& response) {
  ASSIGN_OR_RETURN(const catalog::VmKey key, ParseVmName(request.name(), "name"));
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::Vm vm, stores.vms.Get(key));
    ASSIGN_OR_RETURN(const catalog::Labels labels, ChangedLabels(vm.labels, request.set(), request.remove()));
    if (labels == vm.labels) return absl::OkStatus();
    RETURN_IF_ERROR(stores.labels.Set(key, labels));
    return stores.events.Append(LabelsEvent(NameOf(key), vm.display_name, labels, clock_.Now())).status();
  }));
  return Get(key, response);
}

grpc::ServerUnaryReactor* WriterService::ListWriters(grpc::CallbackServerContext* context,
                                                     const v1::ListWritersRequest* request,
                                                     v1::ListWritersResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status WriterService::List(const v1::ListWritersRequest& request, v1::ListWritersResponse& response) {
  ASSIGN_OR_RETURN(const catalog::HostId host, ParseHostName(request.parent(), "parent"));
  const std::string list = request.parent() + "/writers";
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<std::string>(request, list));
  using WriterPage = catalog::Page<catalog::Writer, std::string>;
  ASSIGN_OR_RETURN(const WriterPage page, catalog_.Read([&](const catalog::Stores& s) -> absl::StatusOr<WriterPage> {
    RETURN_IF_ERROR(s.hosts.Get(host).status());
    return s.vms.ListWriters(host, options);
  }));
  for (const catalog::Writer& writer : page.items) ToProto(host, writer, response.add_writers());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

}  // namespace umbra::api
