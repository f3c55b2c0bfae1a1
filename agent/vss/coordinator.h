// The VSS coordinator of this host: delivers events to writers, drives providers, keeps the time limits.
//
// Making a set (DoSnapshotSet), in this order; E is an event to the writers, P a call to the providers of the set:
//   E PrepareSnapshot · P EndPrepareSnapshots · E Freeze (front end, back end, system) · P PreCommit · P Commit (hold
//   window) · P PostCommit · E Thaw (reverse order) · P PreFinalCommit · E PostSnapshot · P PostFinalCommit
// Writers of one level run at the same time, each on its own thread; never two events at once on one writer.
//
// Who is told about a failure:
//   - A provider's error, or its time running out, fails the set: E Abort to every writer that is before
//     PostSnapshot, then, when all ran again or their time is over, P AbortSnapshots (from EndPrepareSnapshots on).
//   - A writer's failure does NOT fail the set; it shows in GatherWriterStatus. At Freeze and Thaw, the writer alone
//     gets Abort. At PrepareSnapshot and PostSnapshot it gets none.
//   - A writer that has been frozen for as long as its limit allows has failed (VSS_WS_FAILED_AT_FREEZE,
//     VSS_E_WRITERERROR_TIMEOUT) and gets Abort then, whoever the others wait for. When it is a provider that they wait
//     for, the set fails.
//   - A frozen writer gets Thaw or Abort on every path, also when a provider hangs: that is what a guard object owns.
//     Nobody waits for an Abort while others are frozen.
//   - Cancelling ends the making before the next event or call, as a provider's error does.
// One set is made at a time on a host, from StartSnapshotSet to the end of DoSnapshotSet; those that wait get their
// turn in the order in which they came.
//
// Threads: thread-safe; sessions may run at the same time. Writers and providers are added before the first session.
// Source: vss.md 1.2 to 1.6 of the reference, that is Microsoft's "Overview of processing a backup under VSS", "Shadow
// copy creation details" and "Writer errors and vetoes".
#ifndef UMBRA_AGENT_VSS_COORDINATOR_H_
#define UMBRA_AGENT_VSS_COORDINATOR_H_

#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/vss/lane.h"
#include "agent/vss/provider.h"
#include "agent/vss/session.h"
#include "agent/vss/writer.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"

namespace umbra::vss {

// Time limits of the providers' calls; those of the writers are their own (Writer::limits). What happens when one runs
// out: the set fails with kUnexpectedProviderError (kHoldWritesTimeout for Commit), and the error names provider, call
// and time. A call that still runs then goes on; AbortSnapshots and DeleteSnapshots follow it when it ends.
struct ProviderLimits {
  absl::Duration prepare = absl::Minutes(10);  // IsVolumeSupported with BeginPrepareSnapshot; EndPrepareSnapshots
  // PreCommit and PostCommit should take a second or two. Longer eats the writers' freeze limit, which ends them
  // anyway.
  absl::Duration around_commit = absl::Seconds(10);
  absl::Duration hold = absl::Seconds(10);      // Commit; Windows' kernel lets writes go after this
  absl::Duration finish = absl::Minutes(10);    // PreFinalCommit, PostFinalCommit, GetSnapshotProperties
  absl::Duration clean_up = absl::Minutes(10);  // AbortSnapshots, DeleteSnapshots
  // How long the writers of one level are waited for in Thaw before the next level is thawed beside them.
  absl::Duration thaw_turn = absl::Seconds(1);
};

class Coordinator {
 public:
  // All references outlive the coordinator. Writers and providers are called on `threads`, one for each.
  Coordinator(base::Clock& clock, base::Random& random, ProviderLimits limits = {},
              base::Threads& threads = base::SystemThreads());
  ~Coordinator();  // sessions are gone; waits for handlers that still run
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  void AddWriter(Writer& writer);
  void AddProvider(Provider& provider);

  // The session must end before the coordinator does.
  std::unique_ptr<Session> NewSession();

  // Every writer as its last session left it; kStable before the first.
  std::vector<WriterStatus> LastWriterStatus() const;

 private:
  friend class EngineSession;

  struct WriterSlot {
    Writer* writer;
    std::unique_ptr<Lane> lane;
  };
  struct ProviderSlot {
    Provider* provider;
    std::unique_ptr<Lane> lane;
  };

  // Waits its turn for at most `wait`. False when that isn't enough, or `cancelled` is set before.
  bool TakeCreation(const Guid& session_id, absl::Duration wait, const std::atomic<bool>& cancelled);
  void EndCreation(const Guid& session_id);
  // `cancelled` of somebody who may be waiting was set.
  void WakeWaiting();
  void RememberStatus(const WriterStatus& status);

  base::Clock& clock_;
  base::Random& random_;
  base::Threads& threads_;
  const ProviderLimits limits_;
  // Constant after set-up.
  std::vector<WriterSlot> writers_;
  std::vector<ProviderSlot> providers_;  // in the order in which they are asked

  mutable absl::Mutex mu_;
  Guid creating_ ABSL_GUARDED_BY(mu_);             // session that makes a set; null when none
  std::deque<Guid> waiting_ ABSL_GUARDED_BY(mu_);  // sessions that want to, the next one first
  std::vector<WriterStatus> last_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_COORDINATOR_H_
