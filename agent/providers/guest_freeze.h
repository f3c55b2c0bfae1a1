// Freezes a guest's file systems for the length of a C++ scope. Nobody else in the agent calls Hypervisor::Freeze.
#ifndef UMBRA_AGENT_PROVIDERS_GUEST_FREEZE_H_
#define UMBRA_AGENT_PROVIDERS_GUEST_FREEZE_H_

#include <atomic>
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

// Thaws until the guest answers; returns how many file systems were frozen. A guest that isn't frozen answers at once.
// DEADLINE_EXCEEDED / GUEST_FREEZE_TIMEOUT after `limits.patience`: the guest may still be frozen.
// NOT_FOUND, FAILED_PRECONDITION at once: there is nothing that could be frozen.
absl::StatusOr<int> ThawUntilAnswered(hypervisor::Hypervisor& hypervisor, base::Clock& clock,
                                      const std::string& vm_uuid, const FreezeLimits& limits);

// One freeze of one guest. The destructor thaws what is still owed. One thread at a time, but for thaw_owed().
class GuestFreeze {
 public:
  // The references outlive the object.
  GuestFreeze(hypervisor::Hypervisor& hypervisor, base::Clock& clock, std::string vm_uuid, const FreezeLimits& limits);
  ~GuestFreeze();
  GuestFreeze(const GuestFreeze&) = delete;
  GuestFreeze& operator=(const GuestFreeze&) = delete;

  // Call once. On an error the guest runs: a freeze that timed out and may land later is thawed until the guest answers
  // (DEADLINE_EXCEEDED / GUEST_FREEZE_TIMEOUT; when no thaw was answered either, thaw_owed() stays true and the text
  // says so). Others: Hypervisor::Freeze.
  absl::Status Freeze();

  // Call once after Freeze returned OK. DEADLINE_EXCEEDED / GUEST_FREEZE_TIMEOUT nobody answered: thaw_owed() stays
  // true. ABORTED / GUEST_FREEZE_FAILED the guest had thawed by itself: what was done in between isn't consistent.
  absl::Status Thaw();

  // For whoever gives up in between: thaws until the guest answers, when a thaw is owed. Errors: ThawUntilAnswered.
  absl::Status ThawIfOwed();

  // The guest is or may be frozen. Any thread.
  bool thaw_owed() const { return thaw_owed_; }
  // From the call of the freeze to the answer of the thaw; zero before.
  absl::Duration duration() const { return duration_; }

 private:
  absl::StatusOr<int> ThawOwed();

  hypervisor::Hypervisor& hypervisor_;
  base::Clock& clock_;
  const std::string vm_uuid_;
  const FreezeLimits limits_;
  std::atomic<bool> thaw_owed_ = false;
  int frozen_count_ = 0;
  absl::Duration begin_;  // monotonic
  absl::Duration duration_;
};

}  // namespace umbra::providers

#endif  // UMBRA_AGENT_PROVIDERS_GUEST_FREEZE_H_
