#include "agent/writers/file_set_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent/vss/coordinator.h"
#include "storage/base/crash_point.h"
#include "storage/base/folder_tree.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {
namespace {

constexpr size_t kNameLengthMax = 40;
constexpr char kIntentSuffix[] = ".fileset";
constexpr std::string_view kIntent = "umbra file set intent 1\n";
constexpr uint64_t kIntentBytesMax = 4096;  // one line
constexpr absl::Duration kKillGrace = absl::Seconds(5);
constexpr absl::Duration kCopyTimeMax = absl::Seconds(9);  // the provider's hold is ten seconds
constexpr absl::Duration kFreezeMin = absl::Seconds(60);

absl::Status Invalid(std::string text) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_INVALID", std::move(text));
}

absl::Status CheckHook(const FileSet& set, const Hook& hook, std::string_view event) {
  if (hook.arguments.empty()) return absl::OkStatus();
  if (hook.arguments.front().empty()) return Invalid(fmt::format("file_set {}: {} has no program", set.name, event));
  if (hook.timeout >= absl::Seconds(1) && hook.timeout <= absl::Minutes(10)) return absl::OkStatus();
  return Invalid(fmt::format("file_set {}: the time limit of {} is not from 1 to 600 seconds", set.name, event));
}

// A file would be in the set twice.
absl::Status CheckApart(const FileSet& set) {
  for (const base::FolderSelection& outer : set.folders) {
    for (const base::FolderSelection& inner : set.folders) {
      const bool below = inner.folder.starts_with(outer.folder + "/") && outer.recursive;
      if (!below && (&outer == &inner || outer.folder != inner.folder)) continue;
      return Invalid(fmt::format("file_set {}: '{}' lies in '{}', which is in the set already", set.name, inner.folder, outer.folder));
    }
  }
  return absl::OkStatus();
}

// Parts that a file tree can't hold would be found out only in the middle of a backup.
bool IsPlainPath(const std::string& path) {
  return path.size() > 1 && path.front() == '/' && base::IsTreePath(path.substr(1));
}

absl::Status CheckFileSet(const FileSet& set) {
  const bool plain = set.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
  if (set.name.empty() || set.name.size() > kNameLengthMax || !plain) {
    return Invalid(fmt::format("file_set: the name '{}' is not 1 to {} of a-z, 0-9 and -", set.name, kNameLengthMax));
  }
  if (set.folders.empty()) return Invalid(fmt::format("file_set {}: no paths", set.name));
  for (const base::FolderSelection& folder : set.folders) {
    if (!IsPlainPath(folder.folder)) {
      return Invalid(fmt::format("file_set {}: '{}' is not an absolute path, without '.', '..' and a '/' at its end", set.name, folder.folder));
    }
    if (folder.filespec.empty() || folder.filespec.find('/') != std::string::npos) {
      return Invalid(fmt::format("file_set {}: '{}' is not a pattern of file names", set.name, folder.filespec));
    }
  }
  if (!set.freeze.arguments.empty() && set.thaw.arguments.empty()) {
    return Invalid(fmt::format("file_set {}: it has a freeze, and no thaw", set.name));
  }
  if (set.copy_time_max < absl::Seconds(1) || set.copy_time_max > kCopyTimeMax) {
    return Invalid(fmt::format("file_set {}: the copy's time limit is not from 1 to 9 seconds", set.name));
  }
  RETURN_IF_ERROR(CheckHook(set, set.prepare, "prepare"));
  RETURN_IF_ERROR(CheckHook(set, set.freeze, "freeze"));
  RETURN_IF_ERROR(CheckHook(set, set.thaw, "thaw"));
  RETURN_IF_ERROR(CheckHook(set, set.complete, "complete"));
  RETURN_IF_ERROR(CheckHook(set, set.pre_restore, "pre_restore"));
  RETURN_IF_ERROR(CheckHook(set, set.post_restore, "post_restore"));
  return CheckApart(set);
}

// The document knows a folder and a pattern of names; the copy, which is what counts, knows more.
vss::FileSet AsVss(const base::FolderSelection& folder, const std::string& exclude) {
  const size_t slash = exclude.rfind('/');
  if (slash == std::string::npos) return {folder.folder, exclude, folder.recursive};
  return {folder.folder + "/" + exclude.substr(0, slash), exclude.substr(slash + 1), folder.recursive};
}

}  // namespace

absl::Status CheckFileSets(const std::vector<FileSet>& sets) {
  for (auto set = sets.begin(); set != sets.end(); ++set) {
    RETURN_IF_ERROR(CheckFileSet(*set));
    const bool twice = std::any_of(sets.begin(), set, [&](const FileSet& other) { return other.name == set->name; });
    if (twice) return Invalid(fmt::format("file_set {}: there are two of this name", set->name));
  }
  return absl::OkStatus();
}

FileSetWriter::FileSetWriter(std::vector<FileSet> sets, base::CommandRunner& commands,
                             providers::FolderProvider& provider, base::Filesystem& files, base::Clock& clock,
                             std::string intents_folder, vss::Guid instance_id)
    : sets_(std::move(sets)),
      commands_(commands),
      provider_(provider),
      clock_(clock),
      intents_(files, std::move(intents_folder), kIntentSuffix, kIntentBytesMax),
      // Back end: frozen after, and thawed before, what may use the service.
      identity_{kFileSetWriterId, instance_id, std::string(kFileSetWriterName), "", vss::ApplicationLevel::kBackEnd} {}

vss::ComponentId FileSetWriter::ComponentOf(const std::string& set_name) {
  return {kFileSetWriterId, "", set_name};
}

vss::WriterLimits FileSetWriter::limits() const {
  vss::WriterLimits limits;
  // Sets are frozen one after another; each hook may take its time and that of being ended.
  absl::Duration freeze = vss::ProviderLimits{}.hold;
  for (const FileSet& set : sets_) freeze += set.freeze.timeout + set.thaw.timeout + 2 * kKillGrace;
  limits.freeze = std::max(kFreezeMin, freeze);
  return limits;
}

const FileSet* FileSetWriter::Find(std::string_view name) const {
  const auto found = std::find_if(sets_.begin(), sets_.end(), [&](const FileSet& set) { return set.name == name; });
  return found == sets_.end() ? nullptr : &*found;
}

absl::Status FileSetWriter::Run(const FileSet& set, const Hook& hook, std::string_view event, const Environment& more) {
  if (hook.arguments.empty()) return absl::OkStatus();
  base::Command command;
  command.arguments = hook.arguments;
  command.environment = {{"UMBRA_FILE_SET", set.name}, {"UMBRA_EVENT", std::string(event)}};
  command.environment.insert(command.environment.end(), more.begin(), more.end());
  command.timeout = hook.timeout;
  command.kill_grace = kKillGrace;
  const auto ran = commands_.RunToSuccess(command);
  const auto log = base::Log("writers");
  if (!ran.ok()) {
    log->warn("hook failed file_set={} event={} error=\"{}\"", set.name, event, base::Describe(ran.status()));
    return base::Annotate(ran.status(), "file set {}: {}", set.name, event);
  }
  log->info("hook ran file_set={} event={} ms={} output=\"{}\"", set.name, event,
            absl::ToInt64Milliseconds(ran->duration), base::LastLineOf(ran->output));
  return absl::OkStatus();
}

// --- intents ---

std::string FileSetWriter::IntentName(const vss::Guid& set_id, const FileSet& set) {
  return fmt::format("{}.{}", set_id.ToString(), set.name);
}

absl::Status FileSetWriter::HealIntent(const std::string& name, FileSetHealReport& report) {
  const std::string set_name = name.substr(name.find('.') + 1);
  const FileSet* set = Find(set_name);
  if (set != nullptr) {
    RETURN_IF_ERROR(Run(*set, set->thaw, "thaw"));
    report.actions.push_back(fmt::format("thawed file set {}", set_name));
  } else {
    report.actions.push_back(
        fmt::format("file set {} is no longer configured: whether it is frozen isn't known", set_name));
  }
  return base::Annotate(intents_.Remove(name), "remove the intent");
}

absl::StatusOr<FileSetHealReport> FileSetWriter::Heal() {
  FileSetHealReport report;
  ASSIGN_OR_RETURN(const base::DurableEntries::Listing listing, intents_.List());
  // Whoever wrote it: the name says all, and a thaw too many does no harm.
  for (const auto& [name, text] : listing.entries) {
    if (intents_.IsLive(name)) continue;
    const absl::Status healed = HealIntent(name, report);
    if (!healed.ok()) report.open.push_back(fmt::format("{}: {}", name, base::Describe(healed)));
  }
  for (const std::string& path : listing.unreadable) report.open.push_back(fmt::format("{} can't be read", path));
  const auto orphans = provider_.RemoveOrphans();
  if (!orphans.ok()) report.open.push_back(base::Describe(orphans.status()));
  if (orphans.ok()) {
    for (const std::string& orphan : *orphans) report.actions.push_back(fmt::format("removed the copy {}", orphan));
  }
  return report;
}

// --- events ---

absl::StatusOr<vss::WriterMetadata> FileSetWriter::OnIdentify(const vss::EventContext&) {
  vss::WriterMetadata metadata;
  metadata.writer_id = identity_.writer_id;
  metadata.instance_id = identity_.instance_id;
  metadata.writer_name = identity_.name;
  metadata.usage = vss::UsageType::kUserData;
  metadata.source = vss::SourceType::kOther;
  metadata.restore_method.method = vss::RestoreMethod::kRestoreIfCanReplace;
  // Without hooks for it the files are all there is to a restore.
  const bool takes_part = std::any_of(sets_.begin(), sets_.end(), [](const FileSet& set) {
    return !set.pre_restore.arguments.empty() || !set.post_restore.arguments.empty();
  });
  metadata.restore_method.writer_restore = takes_part ? vss::WriterRestore::kAlways : vss::WriterRestore::kNever;
  for (const FileSet& set : sets_) {
    vss::Component component;
    component.name = set.name;
    component.caption = set.caption;
    component.notify_on_backup_complete = !set.complete.arguments.empty();
    component.volumes = {providers::FolderProvider::VolumeOf(set.name)};
    for (const base::FolderSelection& folder : set.folders) {
      component.files.push_back({folder.folder, folder.filespec, folder.recursive});
      for (const std::string& exclude : folder.excludes) metadata.exclude_files.push_back(AsVss(folder, exclude));
    }
    metadata.components.push_back(std::move(component));
  }
  return metadata;
}

absl::StatusOr<FileSetWriter::Work*> FileSetWriter::WorkOf(const vss::EventContext& context) {
  absl::MutexLock lock(&mu_);
  const auto found = work_.find(context.session_id);
  if (found == work_.end()) return vss::Error(vss::Code::kBadState, "an event without PrepareBackup");
  return &found->second;
}

absl::Status FileSetWriter::OnPrepareBackup(vss::EventContext& context) {
  Work work;
  for (const vss::BackupComponent& component : context.components) {
    const FileSet* set = Find(component.name);
    if (set == nullptr) return vss::Error(vss::Code::kObjectNotFound, "no file set {} is configured", component.name);
    work.parts.push_back({set, false});
  }
  absl::MutexLock lock(&mu_);
  work_[context.session_id] = std::move(work);
  return absl::OkStatus();
}

absl::Status FileSetWriter::PreparePart(const vss::EventContext& context, const FileSet& set) {
  providers::FolderCopyRequest request;
  request.folders = set.folders;
  request.limits.bytes_max = set.copy_bytes_max;
  request.limits.time_max = set.copy_time_max;
  RETURN_IF_ERROR(base::Annotate(
      provider_.CopyAtCommit(context.snapshot_set_id, providers::FolderProvider::VolumeOf(set.name), request),
      "file set {}", set.name));
  RETURN_IF_ERROR(base::Annotate(intents_.Record(IntentName(context.snapshot_set_id, set), kIntent),
                                 "record the intent of file set {}", set.name));
  return Run(set, set.prepare, "prepare");
}

absl::Status FileSetWriter::OnPrepareSnapshot(vss::EventContext& context) {
  ASSIGN_OR_RETURN(Work * work, WorkOf(context));
  work->set_id = context.snapshot_set_id;
  for (const Part& part : work->parts) RETURN_IF_ERROR(PreparePart(context, *part.set));
  return absl::OkStatus();
}

absl::Status FileSetWriter::OnFreeze(vss::EventContext& context) {
  ASSIGN_OR_RETURN(Work * work, WorkOf(context));
  for (Part& part : work->parts) {
    if (part.set->freeze.arguments.empty()) continue;
    part.thaw_owed = true;
    part.frozen_at = clock_.Monotonic();
    const absl::Status frozen = Run(*part.set, part.set->freeze, "freeze");
    base::CrashPoint("agent.file_set.frozen");
    if (frozen.ok()) continue;
    ThawAll(*work).IgnoreError();  // the error to be told is the freeze's; what is still owed is tried again
    return frozen;
  }
  return absl::OkStatus();
}

// The other way round than they were frozen. All are tried, also when one fails; the first error.
absl::Status FileSetWriter::ThawAll(Work& work) {
  absl::Status first;
  for (auto part = work.parts.rbegin(); part != work.parts.rend(); ++part) {
    if (!part->thaw_owed) continue;
    const absl::Status thawed = Run(*part->set, part->set->thaw, "thaw");
    part->thaw_owed = !thawed.ok();
    first.Update(thawed);
    provider_.SetFrozen(work.set_id, providers::FolderProvider::VolumeOf(part->set->name),
                        clock_.Monotonic() - part->frozen_at);
  }
  return first;
}

absl::Status FileSetWriter::OnThaw(vss::EventContext& context) {
  ASSIGN_OR_RETURN(Work * work, WorkOf(context));
  return ThawAll(*work);
}

absl::Status FileSetWriter::OnPostSnapshot(vss::EventContext& context) {
  for (vss::BackupComponent& component : context.components) {
    ASSIGN_OR_RETURN(const auto copy,
                     provider_.CopyOf(context.snapshot_set_id, providers::FolderProvider::VolumeOf(component.name)));
    component.backup_metadata =
        fmt::format("entries={};copied={};shared={};time={}", copy.report.entry_count, copy.report.bytes_copied,
                    copy.report.bytes_shared, absl::FormatTime(copy.time, absl::UTCTimeZone()));
  }
  return absl::OkStatus();
}

absl::Status FileSetWriter::OnBackupComplete(vss::EventContext& context) {
  ASSIGN_OR_RETURN(Work * work, WorkOf(context));
  absl::Status first;
  for (const vss::BackupComponent& component : context.components) {
    const FileSet* set = Find(component.name);
    const bool stored = component.succeeded.value_or(false);
    if (set != nullptr && stored && !work->parts.empty()) first.Update(Run(*set, set->complete, "complete"));
  }
  return first;
}

absl::Status FileSetWriter::OnAbort(vss::EventContext& context) {
  const auto work = WorkOf(context);
  return work.ok() ? ThawAll(**work) : absl::OkStatus();  // without PrepareBackup nothing was done
}

absl::Status FileSetWriter::OnBackupShutdown(vss::EventContext& context) {
  const auto found = WorkOf(context);
  if (!found.ok()) return absl::OkStatus();
  Work& work = **found;
  absl::Status first = ThawAll(work);
  for (const Part& part : work.parts) {
    const std::string name = IntentName(work.set_id, *part.set);
    // What is still frozen keeps its intent, for healing.
    if (part.thaw_owed) {
      intents_.Abandon(name);
    } else {
      first.Update(base::Annotate(intents_.Remove(name), "remove the intent"));
    }
  }
  absl::MutexLock lock(&mu_);
  work_.erase(context.session_id);
  return first;
}

// --- restore ---

absl::Status FileSetWriter::RunRestoreHook(const vss::BackupComponent& component, Hook FileSet::*hook,
                                           std::string_view event, Environment more) {
  const FileSet* set = Find(component.name);
  if (set == nullptr) return absl::OkStatus();  // no longer configured here: the files are all there is
  more.emplace_back("UMBRA_TARGET_FOLDER", component.restore_options);
  return Run(*set, set->*hook, event, more);
}

absl::Status FileSetWriter::OnPreRestore(vss::EventContext& context) {
  for (const vss::BackupComponent& component : context.components) {
    if (!component.selected_for_restore) continue;  // another set of the same backup
    RETURN_IF_ERROR(RunRestoreHook(component, &FileSet::pre_restore, "pre_restore", {}));
  }
  return absl::OkStatus();
}

absl::Status FileSetWriter::OnPostRestore(vss::EventContext& context) {
  absl::Status first;
  for (const vss::BackupComponent& component : context.components) {
    if (!component.selected_for_restore) continue;
    const bool restored = component.file_restore_status == vss::FileRestoreStatus::kAll;
    first.Update(RunRestoreHook(component, &FileSet::post_restore, "post_restore", {{"UMBRA_RESTORED", restored ? "yes" : "no"}}));
  }
  return first;
}

}  // namespace umbra::writers
