#include "agent/providers/guest_freeze.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::providers {
namespace {

constexpr char kTimeout[] = "GUEST_FREEZE_TIMEOUT";

// No virtual machine, or one without an agent: nothing can be frozen.
bool NothingToThaw(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}

// The freeze was refused before or by the guest. After any other error it may land later.
bool CertainlyNotFrozen(const absl::Status& status) {
  return NothingToThaw(status) || absl::IsAborted(status);
}

}  // namespace

absl::StatusOr<int> ThawUntilAnswered(hypervisor::Hypervisor& hypervisor, base::Clock& clock,
                                      const std::string& vm_uuid, const FreezeLimits& limits) {
  const absl::Duration deadline = clock.Monotonic() + limits.patience;
  absl::Duration wait = limits.first_wait;
  while (true) {
    absl::StatusOr<int> thawed = hypervisor.Thaw(vm_uuid, limits.thaw_timeout);
    if (thawed.ok() || NothingToThaw(thawed.status())) return thawed;
    if (clock.Monotonic() + wait > deadline) {
      return base::Error(absl::StatusCode::kDeadlineExceeded, kTimeout,
                         "no thaw was answered within {}, the guest may still be frozen: {}",
                         absl::FormatDuration(limits.patience), base::MessageOf(thawed.status()));
    }
    clock.Sleep(wait);
    wait = std::min(wait * 2, limits.longest_wait);
  }
}

GuestFreeze::GuestFreeze(hypervisor::Hypervisor& hypervisor, base::Clock& clock, std::string vm_uuid,
                         const FreezeLimits& limits)
    : hypervisor_(hypervisor), clock_(clock), vm_uuid_(std::move(vm_uuid)), limits_(limits) {}

GuestFreeze::~GuestFreeze() {
  if (thaw_owed_) ThawOwed().IgnoreError();
}

absl::StatusOr<int> GuestFreeze::ThawOwed() {
  absl::StatusOr<int> thawed = ThawUntilAnswered(hypervisor_, clock_, vm_uuid_, limits_);
  thaw_owed_ = !thawed.ok() && !NothingToThaw(thawed.status());
  return thawed;
}

absl::Status GuestFreeze::Freeze() {
  thaw_owed_ = true;
  begin_ = clock_.Monotonic();
  const absl::StatusOr<int> frozen = hypervisor_.Freeze(vm_uuid_, limits_.freeze_timeout);
  if (frozen.ok()) {
    frozen_count_ = *frozen;
    return absl::OkStatus();
  }
  if (CertainlyNotFrozen(frozen.status())) {
    thaw_owed_ = false;
    return frozen.status();
  }
  const absl::StatusOr<int> thawed = ThawOwed();
  duration_ = clock_.Monotonic() - begin_;
  if (!thaw_owed_) return base::Annotate(frozen.status(), "the guest was thawed again");
  return thawed.status();
}

absl::Status GuestFreeze::ThawIfOwed() {
  if (!thaw_owed_) return absl::OkStatus();
  const absl::StatusOr<int> thawed = ThawOwed();
  duration_ = clock_.Monotonic() - begin_;
  return thaw_owed_ ? thawed.status() : absl::OkStatus();
}

absl::Status GuestFreeze::Thaw() {
  const absl::StatusOr<int> first = hypervisor_.Thaw(vm_uuid_, limits_.thaw_timeout);
  duration_ = clock_.Monotonic() - begin_;
  thaw_owed_ = !first.ok() && !NothingToThaw(first.status());
  if (!thaw_owed_) {
    if (first.ok() && *first == 0 && frozen_count_ > 0) {
      return base::Error(absl::StatusCode::kAborted, "GUEST_FREEZE_FAILED",
                         "the guest had thawed by itself before the snapshot was taken");
    }
    return first.status();
  }
  // A later answer of 0 means nothing: the first thaw may have worked although its answer was lost.
  const absl::StatusOr<int> thawed = ThawOwed();
  duration_ = clock_.Monotonic() - begin_;
  return thawed.status();
}

}  // namespace umbra::providers
