#include "agent/guest/child_backup.h"

#include <algorithm>
#include <utility>

#include "agent/vss/component_tree.h"
#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::guest {
namespace {

vss::Guid NewGuid(base::Random& random) {
  return vss::Guid::Literal(random.Uuid());
}

// What a provider's error means is in its Status; the code of VSS only says that it is one.
bool MayWorkLater(const absl::Status& error) {
  const bool of_provider = vss::CodeOf(error) == vss::Code::kUnexpectedProviderError;
  return vss::IsRetryable(of_provider ? vss::AsWriterError(vss::WithCode(error, vss::Code::kOk)) : error);
}

}  // namespace

ChildBackup::ChildBackup(const providers::PointInTimeTools& tools, base::Random& random,
                         std::vector<std::unique_ptr<vss::Writer>> writers, ChildBackupRequest request)
    : request_(std::move(request)),
      events_(tools.clock),
      freeze_(tools.hypervisor, tools.clock, request_.point.vm_uuid, request_.freeze),
      filesystems_(freeze_, request_.freeze, NewGuid(random), request_.filesystems, request_.point.options.disks),
      guest_writers_(std::move(writers)),
      provider_(tools, request_.point, events_, freeze_),
      coordinator_(std::make_unique<vss::Coordinator>(tools.clock, random, vss::ProviderLimits{}, tools.threads)) {
  const auto add = [this](vss::Writer& writer) {
    observed_.push_back(std::make_unique<ObservedWriter>(writer, events_));
    coordinator_->AddWriter(*observed_.back());
  };
  add(filesystems_);
  for (const auto& writer : guest_writers_) add(*writer);
  coordinator_->AddProvider(provider_);
  session_ = coordinator_->NewSession();
}

ChildBackup::~ChildBackup() {
  Close().IgnoreError();
}

std::vector<vss::WriterStatus> ChildBackup::WriterStatuses() const {
  if (coordinator_ == nullptr) return last_writers_;
  std::vector<vss::WriterStatus> statuses = coordinator_->LastWriterStatus();
  const auto now = session_->GatherWriterStatus();
  if (!now.ok()) return statuses;
  for (const vss::WriterStatus& status : *now) {
    const auto known = std::find_if(statuses.begin(), statuses.end(), [&](const vss::WriterStatus& s) {
      return s.identity.instance_id == status.identity.instance_id;
    });
    if (known != statuses.end()) *known = status;
  }
  return statuses;
}

std::vector<ChildWriter> ChildBackup::Writers() const {
  const std::vector<ChildEvent> events = events_.List();
  std::vector<ChildWriter> writers;
  for (const vss::WriterStatus& status : WriterStatuses()) {
    ChildWriter& writer = writers.emplace_back();
    writer.name = status.identity.name;
    writer.state = status.state;
    writer.failure = status.failure;
    std::copy_if(events.begin(), events.end(), std::back_inserter(writer.events),
                 [&](const ChildEvent& event) { return event.writer == writer.name; });
  }
  return writers;
}

absl::Status ChildBackup::CheckWriters(const absl::Status& otherwise) {
  const auto statuses = session_->GatherWriterStatus();
  if (!statuses.ok()) return otherwise.ok() ? statuses.status() : otherwise;
  for (const vss::WriterStatus& status : *statuses) {
    if (!status.failure.ok()) return status.failure;
  }
  return otherwise;
}

absl::Status ChildBackup::Fail(const absl::Status& error) {
  Close().IgnoreError();  // the cause is the error to be told
  const auto code = MayWorkLater(error) ? vss::Code::kWriterErrorRetryable : vss::Code::kWriterErrorNonRetryable;
  return vss::WithCode(base::Annotate(error, "backup in the guest"), code);
}

// Every component whose volumes are all in the backup, with all that comes with it.
absl::Status ChildBackup::Gather() {
  RETURN_IF_ERROR(session_->InitializeForBackup());
  RETURN_IF_ERROR(session_->SetBackupState({}));
  RETURN_IF_ERROR(session_->GatherWriterMetadata());
  const auto in_backup = [&](const std::string& volume) {
    const auto& disks = request_.point.options.disks;
    return std::any_of(disks.begin(), disks.end(), [&](const std::string& disk) { return VolumeOf(disk) == volume; });
  };
  for (const vss::WriterMetadata& metadata : session_->writer_metadata()) {
    const vss::ComponentTree tree(metadata);
    const auto chosen = tree.AutoSelect([&](const vss::Component& component) {
      return std::all_of(component.volumes.begin(), component.volumes.end(), in_backup);
    });
    for (const vss::Component* component : chosen) {
      components_.push_back({metadata.writer_id, component->logical_path, component->name});
      RETURN_IF_ERROR(session_->AddComponent(components_.back()));
    }
  }
  return absl::OkStatus();
}

absl::Status ChildBackup::StartSet() {
  RETURN_IF_ERROR(session_->StartSnapshotSet().status());
  for (const std::string& disk : request_.point.options.disks) {
    RETURN_IF_ERROR(session_->AddToSnapshotSet(VolumeOf(disk), vss::Guid()).status());
  }
  return CheckWriters(session_->PrepareForBackup());
}

absl::Status ChildBackup::Prepare() {
  UMBRA_CHECK(session_ != nullptr);
  if (const absl::Status gathered = Gather(); !gathered.ok()) return Fail(gathered);
  const absl::Status started = StartSet();
  return started.ok() ? started : Fail(started);
}

absl::Status ChildBackup::Take() {
  UMBRA_CHECK(session_ != nullptr);
  if (const absl::Status made = CheckWriters(session_->DoSnapshotSet()); !made.ok()) return Fail(made);
  for (const vss::WriterMetadata& metadata : session_->writer_metadata()) {
    documents_.writer_metadata.push_back(vss::PrintWriterMetadata(metadata));
  }
  auto document = session_->SaveAsXml();
  if (!document.ok()) return Fail(document.status());
  documents_.backup_components = *std::move(document);
  return absl::OkStatus();
}

std::unique_ptr<providers::VmPointInTime> ChildBackup::TakePoint() {
  return provider_.TakePoint();
}

absl::Status ChildBackup::Complete(bool succeeded) {
  UMBRA_CHECK(session_ != nullptr);
  for (const vss::ComponentId& component : components_) {
    RETURN_IF_ERROR(session_->SetBackupSucceeded(component, succeeded));
  }
  return CheckWriters(session_->BackupComplete());
}

absl::Status ChildBackup::Close() {
  if (session_ == nullptr) return absl::OkStatus();
  absl::Status closed = session_->AbortBackup();
  closed.Update(session_->Release());
  last_writers_ = coordinator_->LastWriterStatus();
  session_.reset();
  coordinator_.reset();                                   // waits for handlers that nobody waited for any more
  closed.Update(provider_.DeleteSnapshots(vss::Guid()));  // a set that died before EndPrepareSnapshots isn't aborted
  return closed;
}

}  // namespace umbra::guest
