// Freezes a guest's file systems for the length of a C++ scope. Nobody else in the agent calls Hypervisor::Freeze.
#ifndef UMBRA_AGENT_PROVIDERS_GUEST_FREEZE_H_
#define UMBRA_AGENT_PROVIDERS_GUEST_FREEZE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/clock.h"

namespace umbra::providers {

struct FreezeLimits {
  // Longest wait for the guest to say that it is frozen. Freeze hooks of databases take their time; the guest's
  // applications stand still meanwhile.
  absl::Duration freeze_timeout = absl::Seconds(10);
  absl::Duration thaw_timeout = absl::Seconds(5);  // of one try
  // Between tries of a thaw nobody answers; doubles from the first to the longest.
  absl::Duration first_wait = absl::Milliseconds(100);
  absl::Duration longest_wait = absl::Seconds(2);
  // After this long without an answer the caller gets GUEST_FREEZE_TIMEOUT; the journal's intent stays, so that healing
  // goes on trying.
  absl::Duration patience = absl::Minutes(2);
};

// Thaws until the guest answers; a guest that isn't frozen answers at once.
// DEADLINE_EXCEEDED / GUEST_FREEZE_TIMEOUT after `limits.patience`: the guest may still be frozen. NOT_FOUND,
// FAILED_PRECONDITION (the guest doesn't run any more) at once: there is nothing left to thaw.
absl::Status ThawUntilAnswered(hypervisor::Hypervisor& hypervisor, base::Clock& clock, const std::string& vm_uuid,
                               const FreezeLimits& limits);

// A frozen guest. The destructor thaws, in the manner of ThawUntilAnswered.
class GuestFreeze {
 public:
  // Freezes. On an error the guest runs: a freeze that timed out and may land later has been thawed (DEADLINE_EXCEEDED
  // / GUEST_FREEZE_TIMEOUT; its text says so when no thaw was answered). Others: Hypervisor::Freeze.
  static absl::StatusOr<std::unique_ptr<GuestFreeze>> Freeze(hypervisor::Hypervisor& hypervisor, base::Clock& clock,
                                                             const std::string& vm_uuid, const FreezeLimits& limits);
  ~GuestFreeze();
  GuestFreeze(const GuestFreeze&) = delete;
  GuestFreeze& operator=(const GuestFreeze&) = delete;

  // Thaws now. ABORTED / GUEST_FREEZE_FAILED when the guest had thawed by itself meanwhile: what was done in between
  // isn't consistent.
  absl::Status Thaw();

  // From the call of the freeze to the answer of the thaw; to now while frozen.
  absl::Duration duration() const;

 private:
  GuestFreeze(hypervisor::Hypervisor& hypervisor, base::Clock& clock, std::string vm_uuid, const FreezeLimits& limits,
              absl::Duration begin);

  hypervisor::Hypervisor& hypervisor_;
  base::Clock& clock_;
  const std::string vm_uuid_;
  const FreezeLimits limits_;
  const absl::Duration begin_;  // monotonic
  absl::Duration end_ = absl::InfiniteDuration();
};

}  // namespace umbra::providers

#endif  // UMBRA_AGENT_PROVIDERS_GUEST_FREEZE_H_
