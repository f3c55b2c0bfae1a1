// What the agent has to say, while the link comes and goes.
//
// Results are kept until the daemon has acknowledged them and are said again on every stream; news that only the newest
// of counts (progress of an assignment, the inventory) replaces what was not said yet. So the queue is bounded by the
// number of assignments and kWarningsMax, however long the link is down.
#ifndef UMBRA_AGENT_LINK_OUTBOX_H_
#define UMBRA_AGENT_LINK_OUTBOX_H_

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::link {

// Warnings and notes that wait. A host whose link is down for long enough to collect more has other worries; the rest is dropped.
inline constexpr size_t kWarningsMax = 256;

struct AssignmentKey {
  std::string job_id;
  int32_t attempt = 0;

  auto operator<=>(const AssignmentKey&) const = default;
  static AssignmentKey Of(const agent::v1::AssignmentId& id) { return {id.job_id(), id.attempt()}; }
};

// Thread-safe. The order of messages of one assignment is kept, its result comes last.
class Outbox {
 public:
  explicit Outbox(base::Clock& clock) : clock_(clock) {}

  // --- the runner's side ---

  void Accepted(const agent::v1::AssignmentId& id);
  void Progress(agent::v1::AssignmentProgress progress);
  void Warning(agent::v1::AssignmentWarning warning);
  void Note(agent::v1::AssignmentNote note);
  void Result(agent::v1::AssignmentResult result);
  void SetInventory(agent::v1::Inventory inventory);

  // Results that the daemon hasn't acknowledged: they belong in Hello.
  std::vector<agent::v1::AssignmentId> Unacknowledged();
  // Waits until every result is acknowledged; false after `timeout`.
  bool AwaitAcknowledged(absl::Duration timeout);

  // --- the link's side ---

  // The daemon has recorded the result.
  void Acknowledge(const agent::v1::AssignmentId& id);
  // A new stream: every unacknowledged result is said again.
  void Rewind();
  // The next message; waits up to `timeout`, empty then or when interrupted.
  std::optional<agent::v1::AgentMessage> Next(absl::Duration timeout);
  // Ends a wait in Next, now or the next one, once.
  void Interrupt();

 private:
  struct KeptResult {
    agent::v1::AssignmentResult result;
    bool said = false;
  };

  void Queue(const std::string& job, agent::v1::AgentMessage message);
  bool HasNextLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  std::optional<agent::v1::AgentMessage> TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Clock& clock_;
  absl::Mutex mu_;
  std::deque<agent::v1::AgentMessage> queue_ ABSL_GUARDED_BY(mu_);  // accepted, warnings and notes, in order
  std::map<AssignmentKey, agent::v1::AssignmentProgress> progress_ ABSL_GUARDED_BY(mu_);
  std::map<AssignmentKey, KeptResult> results_ ABSL_GUARDED_BY(mu_);
  std::optional<agent::v1::Inventory> inventory_ ABSL_GUARDED_BY(mu_);
  bool interrupted_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_OUTBOX_H_
