#include "agent/guest/child_events.h"

#include <fmt/format.h>

#include <utility>

#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::guest {

std::string Describe(const std::vector<ChildEvent>& events) {
  std::string text;
  for (const ChildEvent& e : events) {
    if (!text.empty()) text += ", ";
    text += vss::NameOf(e.event);
    text += e.duration.has_value() ? fmt::format(" {:.1f} ms", absl::ToDoubleMilliseconds(*e.duration)) : " no answer";
    if (!e.result.ok()) text += fmt::format(" ({})", base::ReasonOf(e.result));
  }
  return text;
}

size_t ChildEvents::Begin(const std::string& writer, vss::WriterEvent event) {
  absl::MutexLock lock(&mu_);
  events_.push_back({writer, event, clock_.Monotonic(), std::nullopt, absl::OkStatus()});
  return events_.size() - 1;
}

void ChildEvents::End(size_t index, const absl::Status& result) {
  absl::MutexLock lock(&mu_);
  ChildEvent& event = events_[index];
  event.duration = clock_.Monotonic() - event.begin;
  event.result = result;
}

std::vector<ChildEvent> ChildEvents::List() const {
  absl::MutexLock lock(&mu_);
  return events_;
}

absl::Status ChildEvents::Trouble() const {
  absl::MutexLock lock(&mu_);
  for (const ChildEvent& event : events_) {
    if (event.event == vss::WriterEvent::kIdentify) continue;
    if (!event.duration.has_value()) {
      return vss::Error(vss::Code::kWriterNotResponding, "writer \"{}\" has not answered {}", event.writer,
                        vss::NameOf(event.event));
    }
    if (!event.result.ok()) {
      return base::Annotate(event.result, "writer \"{}\" failed at {}", event.writer, vss::NameOf(event.event));
    }
  }
  return absl::OkStatus();
}

// --- the observed writer ---

absl::Status ObservedWriter::Note(vss::WriterEvent event, Handler handler, vss::EventContext& context) {
  const size_t index = events_.Begin(identity().name, event);
  absl::Status result = (writer_.*handler)(context);
  events_.End(index, result);
  return result;
}

absl::StatusOr<vss::WriterMetadata> ObservedWriter::OnIdentify(const vss::EventContext& context) {
  const size_t index = events_.Begin(identity().name, vss::WriterEvent::kIdentify);
  absl::StatusOr<vss::WriterMetadata> metadata = writer_.OnIdentify(context);
  events_.End(index, metadata.status());
  return metadata;
}

absl::Status ObservedWriter::OnPrepareBackup(vss::EventContext& context) {
  return Note(vss::WriterEvent::kPrepareBackup, &vss::Writer::OnPrepareBackup, context);
}
absl::Status ObservedWriter::OnPrepareSnapshot(vss::EventContext& context) {
  return Note(vss::WriterEvent::kPrepareSnapshot, &vss::Writer::OnPrepareSnapshot, context);
}
absl::Status ObservedWriter::OnFreeze(vss::EventContext& context) {
  return Note(vss::WriterEvent::kFreeze, &vss::Writer::OnFreeze, context);
}
absl::Status ObservedWriter::OnThaw(vss::EventContext& context) {
  return Note(vss::WriterEvent::kThaw, &vss::Writer::OnThaw, context);
}
absl::Status ObservedWriter::OnPostSnapshot(vss::EventContext& context) {
  return Note(vss::WriterEvent::kPostSnapshot, &vss::Writer::OnPostSnapshot, context);
}
absl::Status ObservedWriter::OnBackupComplete(vss::EventContext& context) {
  return Note(vss::WriterEvent::kBackupComplete, &vss::Writer::OnBackupComplete, context);
}
absl::Status ObservedWriter::OnBackupShutdown(vss::EventContext& context) {
  return Note(vss::WriterEvent::kBackupShutdown, &vss::Writer::OnBackupShutdown, context);
}
absl::Status ObservedWriter::OnAbort(vss::EventContext& context) {
  return Note(vss::WriterEvent::kAbort, &vss::Writer::OnAbort, context);
}

}  // namespace umbra::guest
