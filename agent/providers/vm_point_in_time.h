// A point in time of one virtual machine, with everything around it: the journal's intent, the guest's freeze, the end.
#ifndef UMBRA_AGENT_PROVIDERS_VM_POINT_IN_TIME_H_
#define UMBRA_AGENT_PROVIDERS_VM_POINT_IN_TIME_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/journal/intent_journal.h"
#include "agent/providers/guest_freeze.h"
#include "storage/base/clock.h"

namespace umbra::providers {

// What a point in time works with; outlives it.
struct PointInTimeTools {
  hypervisor::Hypervisor& hypervisor;
  journal::IntentJournal& journal;
  base::Clock& clock;
};

struct VmPointInTimeRequest {
  std::string vm_uuid;
  hypervisor::PointInTimeOptions options;
  bool freeze = false;  // TakeFrozen will be called, not Take
  FreezeLimits limits;  // for TakeFrozen and what comes after it
};

// One thread at a time.
class VmPointInTime {
 public:
  // Everything slow: refuses a virtual machine with a foreign job, records the intent, gets the view ready.
  static absl::StatusOr<std::unique_ptr<VmPointInTime>> Prepare(const PointInTimeTools& tools,
                                                                const VmPointInTimeRequest& request);
  ~VmPointInTime();  // Close()
  VmPointInTime(const VmPointInTime&) = delete;
  VmPointInTime& operator=(const VmPointInTime&) = delete;

  // Cuts the view, without the guest's help. Call one of the two, once.
  absl::Status Take();
  // Freezes the guest, cuts the view, thaws. The guest runs when this returns, unless the error is
  // DEADLINE_EXCEEDED / GUEST_FREEZE_TIMEOUT and says otherwise: then the intent stays for healing.
  absl::Status TakeFrozen();

  const std::string& vm_uuid() const { return request_.vm_uuid; }
  absl::Duration freeze_duration() const { return freeze_duration_; }
  // Null before Take or TakeFrozen succeeded and after Close.
  hypervisor::PointInTime* view() const { return view_.get(); }

  // Ends the view; the intent goes when that worked, and stays for healing when not. Idempotent.
  absl::Status Close();

 private:
  VmPointInTime(const PointInTimeTools& tools, const VmPointInTimeRequest& request);
  journal::Intent intent() const;

  const PointInTimeTools tools_;
  const VmPointInTimeRequest request_;
  std::unique_ptr<hypervisor::PreparedPointInTime> prepared_;
  std::unique_ptr<hypervisor::PointInTime> view_;
  absl::Duration freeze_duration_;
  bool thaw_owed_ = false;
  bool closed_ = false;
};

}  // namespace umbra::providers

#endif  // UMBRA_AGENT_PROVIDERS_VM_POINT_IN_TIME_H_
