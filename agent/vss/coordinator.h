// The VSS coordinator of this host: delivers events to writers, drives providers, keeps the time limits.
//
// Making a set (DoSnapshotSet), in this order; E is an event to the writers, P a call to the providers of the set:
//   E PrepareSnapshot · P EndPrepareSnapshots · E Freeze (front end, back end, system) · P PreCommit · P Commit (hold
//   window) · P PostCommit · E Thaw (reverse order) · P PreFinalCommit · E PostSnapshot · P PostFinalCommit
// Writers of one level run at the same time, each on its own thread; never two events at once on one writer.
//
// Who is told about a failure:
//   - A provider's error, or its time running out, fails the set: P AbortSnapshots (from EndPrepareSnapshots on), E
//   Abort
//     to every writer that is before PostSnapshot, frozen ones first.
//   - A writer's failure does NOT fail the set; it shows in GatherWriterStatus. At Freeze and Thaw, the writer alone
//   gets
//     Abort. At PrepareSnapshot and PostSnapshot it gets none.
//   - A frozen writer gets Thaw or Abort on every path, also when a provider hangs: that is what a guard object owns.
// One set is made at a time on a host, from StartSnapshotSet to the end of DoSnapshotSet.
//
// Threads: thread-safe; sessions may run at the same time. Writers and providers are added before the first session.
// Source: vss.md 1.2 to 1.6 of the reference, that is Microsoft's "Overview of processing a backup under VSS", "Shadow
// copy creation details" and "Writer errors and vetoes".
#ifndef UMBRA_AGENT_VSS_COORDINATOR_H_
#define UMBRA_AGENT_VSS_COORDINATOR_H_

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

// Time limits of the providers' calls; those of the writers are their own (Writer::limits).
struct ProviderLimits {
  absl::Duration prepare = absl::Minutes(10);  // BeginPrepareSnapshot, EndPrepareSnapshots, IsVolumeSupported
  // PreCommit and PostCommit should take a second or two. Longer eats the writers' freeze limit, which ends them
  // anyway.
  absl::Duration around_commit = absl::Seconds(10);
  absl::Duration hold = absl::Seconds(10);      // Commit; Windows' kernel lets writes go after this
  absl::Duration finish = absl::Minutes(10);    // PreFinalCommit, PostFinalCommit
  absl::Duration clean_up = absl::Minutes(10);  // AbortSnapshots, DeleteSnapshots
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

  // False when another session has it.
  bool TakeCreation(const Guid& session_id);
  void EndCreation(const Guid& session_id);
  void RememberStatus(const WriterStatus& status);

  base::Clock& clock_;
  base::Random& random_;
  base::Threads& threads_;
  const ProviderLimits limits_;
  // Constant after set-up.
  std::vector<WriterSlot> writers_;
  std::vector<ProviderSlot> providers_;  // in the order in which they are asked

  mutable absl::Mutex mu_;
  Guid creating_ ABSL_GUARDED_BY(mu_);  // session that makes a set; null when none
  std::vector<WriterStatus> last_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_COORDINATOR_H_
