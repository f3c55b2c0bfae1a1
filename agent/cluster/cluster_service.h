// What the agent needs from a failover cluster: which virtual machines are resources of it, and the two deeds that keep
// the cluster from taking our work for a failure (C1): a planned save, and a resource taken offline.
//
// A cluster watches its resources. One that it finds saved, off or gone is a failure to it: it starts the virtual
// machine again, here or on another node. So it is told first:
//   planned save (C2)   until the end, the cluster does nothing about the resource, whatever state it is found in;
//   offline (C3)        the cluster has stopped the resource, and doesn't start it until the end.
// A deed is three calls: Plan looks and writes down what was before, Begin does it, End undoes it, only ours: a setting
// that somebody else has changed meanwhile stays as it is. Begin and End may be repeated. What Plan gave is kept in a
// journal before Begin (ClusterHold does that), so that a restarted agent can call End.
//
// Threads: thread-safe; calls block as long as the driver's limits say (a stop: minutes).
// Errors, on every call: UNAVAILABLE / CLUSTER_UNAVAILABLE the cluster doesn't answer, or has no leader (retry later);
// ABORTED / CLUSTER_REFUSED it said no, the text has its words; DEADLINE_EXCEEDED / CLUSTER_TIMEOUT it did not do in
// time what it was asked for; NOT_FOUND / CLUSTER_RESOURCE_NOT_FOUND. Others are named below.
#ifndef UMBRA_AGENT_CLUSTER_CLUSTER_SERVICE_H_
#define UMBRA_AGENT_CLUSTER_CLUSTER_SERVICE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umbra::cluster {

enum class ResourceState {
  kOnline,    // the virtual machine runs on `node`, for all the cluster knows
  kOffline,   // it doesn't run, and the cluster was told to keep it so
  kDown,      // it doesn't run, and the cluster may start it at any moment
  kChanging,  // starting, stopping or moving
};

std::string_view NameOf(ResourceState state);

// A virtual machine as the cluster knows it.
struct ClusterResource {
  std::string id;       // its name in the cluster
  std::string vm_name;  // empty when not known
  std::string vm_uuid;  // lower case; empty when the cluster knows only the name
  ResourceState state = ResourceState::kDown;
  std::string node;     // where it is online; empty otherwise
  bool managed = true;  // false: somebody told the cluster to leave it alone

  // Whether it is that virtual machine: by its uuid, or by its name when the cluster knows no uuid.
  bool Is(const std::string& uuid, const std::string& name) const;
};

// Written into the journal by name; never renamed.
enum class DeedKind {
  kPlannedSave,  // "planned_save"
  kOffline,      // "offline"
};

std::string_view NameOf(DeedKind kind);

// What Begin is going to do, and all that End needs. No part has a line feed.
struct Deed {
  DeedKind kind = DeedKind::kPlannedSave;
  std::string resource;  // ClusterResource::id
  std::string former;    // how it was before, in the driver's words

  friend bool operator==(const Deed&, const Deed&) = default;
};

class ClusterService {
 public:
  virtual ~ClusterService() = default;

  // For people: "pacemaker 2.1.5, node1".
  virtual absl::StatusOr<std::string> Describe() = 0;

  // Every resource that is a virtual machine, on whatever node.
  virtual absl::StatusOr<std::vector<ClusterResource>> ListResources() = 0;

  // Looks only. Errors: FAILED_PRECONDITION / CLUSTER_RESOURCE_CHANGING it is starting, stopping or moving (retry
  // later); FAILED_PRECONDITION / CLUSTER_RESOURCE_UNMANAGED it can't be taken offline, because the cluster leaves it
  // alone.
  virtual absl::StatusOr<Deed> Plan(DeedKind kind, const std::string& resource) = 0;

  // OK: it is as the deed says, and nothing that the cluster began before is still under way for this resource.
  // After an error call End: the cluster may have got half of it.
  virtual absl::Status Begin(const Deed& deed) = 0;

  // Puts back how it was. A resource that was online before kOffline is online again when this returns OK;
  // CLUSTER_TIMEOUT: the setting is back, but the virtual machine has not started. OK when the resource is gone.
  virtual absl::Status End(const Deed& deed) = 0;

  // The resource that is this virtual machine. Nothing when it is not clustered.
  absl::StatusOr<std::optional<ClusterResource>> FindVm(const std::string& vm_uuid, const std::string& vm_name);
};

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_CLUSTER_SERVICE_H_
