// What the writers of a guest were asked during its backup, how long each took and what it answered.
#ifndef UMBRA_AGENT_GUEST_CHILD_EVENTS_H_
#define UMBRA_AGENT_GUEST_CHILD_EVENTS_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/vss/writer.h"
#include "storage/base/clock.h"

namespace umbra::guest {

struct ChildEvent {
  std::string writer;  // its name
  vss::WriterEvent event = vss::WriterEvent::kIdentify;
  absl::Duration begin;                    // monotonic
  std::optional<absl::Duration> duration;  // nullopt: no answer yet
  absl::Status result;
};

// "Freeze 61.2 ms, Thaw 3.0 ms (GUEST_FREEZE_TIMEOUT)" for the log: the events of one writer, in order.
std::string Describe(const std::vector<ChildEvent>& events);

// Thread-safe.
class ChildEvents {
 public:
  explicit ChildEvents(base::Clock& clock) : clock_(clock) {}

  // Returns what End wants.
  size_t Begin(const std::string& writer, vss::WriterEvent event);
  void End(size_t index, const absl::Status& result);

  // In the order in which they began.
  std::vector<ChildEvent> List() const;
  // The first event that failed or has not been answered, as an error; OK when there is none. Identify doesn't count:
  // a writer that fails there takes no part.
  absl::Status Trouble() const;

 private:
  base::Clock& clock_;
  mutable absl::Mutex mu_;
  std::vector<ChildEvent> events_ ABSL_GUARDED_BY(mu_);
};

// A writer in front of another one that notes every event. Both references outlive it.
class ObservedWriter final : public vss::Writer {
 public:
  ObservedWriter(vss::Writer& writer, ChildEvents& events) : writer_(writer), events_(events) {}

  const vss::WriterIdentity& identity() const override { return writer_.identity(); }
  vss::WriterLimits limits() const override { return writer_.limits(); }
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext& context) override;
  absl::Status OnPrepareBackup(vss::EventContext& context) override;
  absl::Status OnPrepareSnapshot(vss::EventContext& context) override;
  absl::Status OnFreeze(vss::EventContext& context) override;
  absl::Status OnThaw(vss::EventContext& context) override;
  absl::Status OnPostSnapshot(vss::EventContext& context) override;
  absl::Status OnBackupComplete(vss::EventContext& context) override;
  absl::Status OnBackupShutdown(vss::EventContext& context) override;
  absl::Status OnAbort(vss::EventContext& context) override;

 private:
  using Handler = absl::Status (vss::Writer::*)(vss::EventContext&);
  absl::Status Note(vss::WriterEvent event, Handler handler, vss::EventContext& context);

  vss::Writer& writer_;
  ChildEvents& events_;
};

}  // namespace umbra::guest

#endif  // UMBRA_AGENT_GUEST_CHILD_EVENTS_H_
