// umbra.v1.VirtualMachineService and WriterService: inventories as the agents last reported them. A virtual machine that is
// asked for and isn't in one may be new: its host's agent is asked for another, so that who asks again finds it.
#ifndef UMBRA_SERVER_API_INVENTORY_SERVICES_H_
#define UMBRA_SERVER_API_INVENTORY_SERVICES_H_

#include "absl/status/status.h"
#include "server/api/door.h"
#include "server/dispatch/agent_registry.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/virtual_machine.grpc.pb.h"
#include "umbra/v1/writer.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class VirtualMachineService final : public v1::VirtualMachineService::CallbackService {
 public:
  VirtualMachineService(Door& door, catalog::Catalog& catalog, base::Clock& clock,
                        dispatch::AgentRegistry& agents)
      : door_(door), catalog_(catalog), clock_(clock), agents_(agents) {}

 private:
  grpc::ServerUnaryReactor* ListVirtualMachines(grpc::CallbackServerContext* context,
                                                const v1::ListVirtualMachinesRequest* request,
                                                v1::ListVirtualMachinesResponse* response) override;
  grpc::ServerUnaryReactor* GetVirtualMachine(grpc::CallbackServerContext* context,
                                              const v1::GetVirtualMachineRequest* request,
                                              v1::VirtualMachine* response) override;
  grpc::ServerUnaryReactor* SetVirtualMachineLabels(grpc::CallbackServerContext* context,
                                                    const v1::SetVirtualMachineLabelsRequest* request,
                                                    v1::VirtualMachine* response) override;
  absl::Status List(const v1::ListVirtualMachinesRequest& request, v1::ListVirtualMachinesResponse& response);
  absl::Status Get(const catalog::VmKey& key, v1::VirtualMachine& response);
  absl::Status SetLabels(const v1::SetVirtualMachineLabelsRequest& request, v1::VirtualMachine& response);

  Door& door_;
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  dispatch::AgentRegistry& agents_;
};

// Thread-safe. What it is given outlives it.
class WriterService final : public v1::WriterService::CallbackService {
 public:
  WriterService(Door& door, catalog::Catalog& catalog) : door_(door), catalog_(catalog) {}

 private:
  grpc::ServerUnaryReactor* ListWriters(grpc::CallbackServerContext* context, const v1::ListWritersRequest* request,
                                        v1::ListWritersResponse* response) override;
  absl::Status List(const v1::ListWritersRequest& request, v1::ListWritersResponse& response);

  Door& door_;
  catalog::Catalog& catalog_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_INVENTORY_SERVICES_H_
