#include "server/api/inventory_services.h"

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/unary.h"
#include "storage/base/status.h"

namespace umbra::api {

grpc::ServerUnaryReactor* VirtualMachineService::ListVirtualMachines(grpc::CallbackServerContext* context,
                                                                     const v1::ListVirtualMachinesRequest* request,
                                                                     v1::ListVirtualMachinesResponse* response) {
  return RunUnary(context, executor_, [=, this] { return List(*request, *response); });
}

absl::Status VirtualMachineService::List(const v1::ListVirtualMachinesRequest& request,
                                         v1::ListVirtualMachinesResponse& response) {
  ASSIGN_OR_RETURN(const auto host, ParseHostNameOrAll(request.parent(), "parent"));
  const std::string list = request.parent() + "/virtualMachines";
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::VmKey>(request, list));
  using VmPage = catalog::Page<catalog::Vm, catalog::VmKey>;
  ASSIGN_OR_RETURN(const VmPage page, catalog_.Read([&](const catalog::Stores& s) -> absl::StatusOr<VmPage> {
    if (host) RETURN_IF_ERROR(s.hosts.Get(*host).status());
    return s.vms.List(host, options);
  }));
  for (const catalog::Vm& vm : page.items) ToProto(vm, response.add_virtual_machines());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* VirtualMachineService::GetVirtualMachine(grpc::CallbackServerContext* context,
                                                                   const v1::GetVirtualMachineRequest* request,
                                                                   v1::VirtualMachine* response) {
  return RunUnary(context, executor_, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::VmKey key, ParseVmName(request->name(), "name"));
    const absl::StatusOr<catalog::Vm> vm = catalog_.Read([&](const catalog::Stores& s) { return s.vms.Get(key); });
    if (absl::IsNotFound(vm.status())) agents_.RefreshInventory(key.host);
    RETURN_IF_ERROR(vm.status());
    ASSIGN_OR_RETURN(const auto figures,
                     catalog_.Read([&](const catalog::Stores& s) { return s.figures.OfVm(key); }));
    ToProto(*vm, response);
    ToProto(figures, response->mutable_figures());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WriterService::ListWriters(grpc::CallbackServerContext* context,
                                                     const v1::ListWritersRequest* request,
                                                     v1::ListWritersResponse* response) {
  return RunUnary(context, executor_, [=, this] { return List(*request, *response); });
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
