// Applications inside a guest that quiesce their own data and take part in the guest's own backup.
#ifndef UMBRA_AGENT_GUEST_GUEST_WRITERS_H_
#define UMBRA_AGENT_GUEST_GUEST_WRITERS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vss/writer.h"

namespace umbra::guest {

// A hypervisor whose guests have writers of their own brings them through this. The volumes of their components are the
// guest's disks (VolumeOf in child_provider.h); a component on a disk that isn't in the backup is left out.
//
// Threads: thread-safe. The handlers of what it returns run in parallel, each writer's one after another (vss::Writer).
class GuestWriters {
 public:
  virtual ~GuestWriters() = default;

  // The writers that run in this guest now; made anew for every backup, which owns them and ends them when no handler
  // runs any more. So a handler must return within bounded time, also when its guest hangs or is gone: with an error.
  // Called before anything of the guest is touched. An error fails the backup of this virtual machine.
  virtual absl::StatusOr<std::vector<std::unique_ptr<vss::Writer>>> WritersOf(const std::string& vm_uuid) = 0;
};

}  // namespace umbra::guest

#endif  // UMBRA_AGENT_GUEST_GUEST_WRITERS_H_
