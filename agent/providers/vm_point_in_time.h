// A point in time of one virtual machine, with the journal's intent around it.
#ifndef UMBRA_AGENT_PROVIDERS_VM_POINT_IN_TIME_H_
#define UMBRA_AGENT_PROVIDERS_VM_POINT_IN_TIME_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/journal/intent_journal.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"

namespace umbra::providers {

// What a point in time works with; outlives it.
struct PointInTimeTools {
  hypervisor::Hypervisor& hypervisor;
  journal::IntentJournal& journal;
  base::Clock& clock;
  base::Threads& threads = base::SystemThreads();  // for coordinators inside guests
};

struct VmPointInTimeRequest {
  std::string vm_uuid;
  hypervisor::PointInTimeOptions options;
  bool freeze = false;  // the guest will be frozen for the cut: healing must thaw it
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

  // Cuts the view. Call it once; nothing else happens in it, since a guest may be frozen meanwhile.
  absl::Status Take();

  const std::string& vm_uuid() const { return request_.vm_uuid; }
  // Null before Take succeeded and after Close.
  hypervisor::PointInTime* view() const { return view_.get(); }

  // A thaw of the guest is owed: the intent will outlive Close, for healing.
  void KeepIntent() { keep_intent_ = true; }

  // The checkpoint that began with the view replaces its base from now on, should the agent die; call it right before
  // the commit is asked for. Nothing to do when nothing is tracked.
  absl::Status CommitFollows();
  // The recovery point is durable: Close keeps its checkpoint, and not that of the one before. Without this Close keeps
  // the latter.
  void Committed() { committed_ = true; }

  // Ends the view; the intent goes when that worked, and stays for healing when not. Idempotent.
  absl::Status Close();

 private:
  VmPointInTime(const PointInTimeTools& tools, const VmPointInTimeRequest& request);
  journal::Intent intent() const;
  absl::Status KeepOneCheckpoint(const std::string& began);

  const PointInTimeTools tools_;
  const VmPointInTimeRequest request_;
  std::unique_ptr<hypervisor::PreparedPointInTime> prepared_;
  std::unique_ptr<hypervisor::PointInTime> view_;
  bool keep_intent_ = false;
  bool committing_ = false;
  bool committed_ = false;
  bool closed_ = false;
};

}  // namespace umbra::providers

#endif  // UMBRA_AGENT_PROVIDERS_VM_POINT_IN_TIME_H_
