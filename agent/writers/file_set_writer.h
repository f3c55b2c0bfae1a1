// An application writer for Linux hosts: quiesces a service with commands, so that its folders join a snapshot set.
//
// Each configured file set is a component. Its hooks are programs with arguments, run without a shell as this process's
// user, with nothing in their environment but PATH, LC_ALL, UMBRA_FILE_SET (the set's name) and UMBRA_EVENT. They come
// from the host's own configuration and from nowhere else: no job brings one, or an argument for one. Each has a time
// limit; what it prints goes into the log and, its last line, into the failure. When they run:
//   prepare    PrepareSnapshot, after it is certain that the copy can be made; the service runs
//   freeze     Freeze: when it returns 0, nothing in the set's folders may change until thaw
//   thaw       Thaw, or Abort, or at once when freeze fails or takes too long: always, when freeze was tried. Also at
//   the
//              agent's next start when it died in between, so it must do no harm when nothing is frozen
//   complete   BackupComplete: the backup is stored; the place to truncate logs
//   pre_restore, post_restore
//              PreRestore and PostRestore, before the first file of a restore is written and when all are in their
//              place; UMBRA_TARGET_FOLDER has the folder. post_restore also comes when the files failed, with
//              UMBRA_RESTORED=no
// A thaw that fails is tried again by Heal, and the set's backup fails.
//
// Before prepare, an intent is made durable in the intents folder (storage/base/durable_entries.h); it goes when the
// service is thawed and the copy is gone.
//
// Threads: the events come from the coordinator (writer.h); Heal is thread-safe beside them.
#ifndef UMBRA_AGENT_WRITERS_FILE_SET_WRITER_H_
#define UMBRA_AGENT_WRITERS_FILE_SET_WRITER_H_

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/providers/folder_provider.h"
#include "agent/vss/writer.h"
#include "storage/base/clock.h"
#include "storage/base/command.h"
#include "storage/base/durable_entries.h"
#include "storage/base/filesystem.h"

namespace umbra::writers {

inline constexpr std::string_view kFileSetWriterName = "Umbra File Set Writer";
inline constexpr vss::Guid kFileSetWriterId = vss::Guid::Literal("7c1d5e90-3f6b-4a28-b1e4-9a0c6d72f845");

struct Hook {
  std::vector<std::string> arguments;  // the program and what it is given; empty: there is no such hook
  absl::Duration timeout = absl::Seconds(20);
};

// A service of this host and its folders.
struct FileSet {
  std::string name;     // [a-z0-9-], at most 40 characters; unique
  std::string caption;  // for people
  std::vector<base::FolderSelection> folders;
  Hook prepare, freeze, thaw, complete, pre_restore, post_restore;
  uint64_t copy_bytes_max = 4 * base::kGiB;  // where blocks can't be shared
  // Of the copy, while the service stands still. Below the ten seconds of the hold (vss::ProviderLimits).
  absl::Duration copy_time_max = absl::Seconds(8);
};

// INVALID_ARGUMENT / CONFIG_INVALID: a name, a folder or a limit that can't be, folders of a set that lie in each other, or
// two sets with one name.
absl::Status CheckFileSets(const std::vector<FileSet>& sets);

struct FileSetHealReport {
  std::vector<std::string> actions;  // for the log
  std::vector<std::string> open;     // what couldn't be put back yet, and why
};

class FileSetWriter final : public vss::Writer {
 public:
  // All outlive the writer. `sets` passed CheckFileSets. `intents_folder`: absolute, nobody else's; made by Open.
  FileSetWriter(std::vector<FileSet> sets, base::CommandRunner& commands, providers::FolderProvider& provider,
                base::Filesystem& files, base::Clock& clock, std::string intents_folder, vss::Guid instance_id);

  // Once, before everything else. Errors: those of base::Filesystem.
  absl::Status Open() { return intents_.Open(); }

  static vss::ComponentId ComponentOf(const std::string& set_name);

  // As they were given.
  const std::vector<FileSet>& sets() const { return sets_; }

  // After a crash, and from time to time: runs the thaw hook of every set whose intent is not of this process's running
  // work, removes copies without a set. Errors: the intents folder can't be read.
  absl::StatusOr<FileSetHealReport> Heal();

  // --- vss::Writer ---
  const vss::WriterIdentity& identity() const override { return identity_; }
  vss::WriterLimits limits() const override;
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext& context) override;
  absl::Status OnPrepareBackup(vss::EventContext& context) override;
  absl::Status OnPrepareSnapshot(vss::EventContext& context) override;
  absl::Status OnFreeze(vss::EventContext& context) override;
  absl::Status OnThaw(vss::EventContext& context) override;
  absl::Status OnPostSnapshot(vss::EventContext& context) override;
  absl::Status OnBackupComplete(vss::EventContext& context) override;
  absl::Status OnBackupShutdown(vss::EventContext& context) override;
  absl::Status OnAbort(vss::EventContext& context) override;
  // The component's restore options are the absolute path of the target folder.
  absl::Status OnPreRestore(vss::EventContext& context) override;
  absl::Status OnPostRestore(vss::EventContext& context) override;

 private:
  // A set in a session. The events of a session come one after another, on one thread.
  struct Part {
    const FileSet* set = nullptr;
    bool thaw_owed = false;
    absl::Duration frozen_at;  // monotonic; with thaw_owed
  };
  struct Work {
    vss::Guid set_id;
    std::vector<Part> parts;
  };

  const FileSet* Find(std::string_view name) const;
  absl::StatusOr<Work*> WorkOf(const vss::EventContext& context);
  using Environment = std::vector<std::pair<std::string, std::string>>;
  absl::Status Run(const FileSet& set, const Hook& hook, std::string_view event, const Environment& more = {});
  absl::Status RunRestoreHook(const vss::BackupComponent& component, Hook FileSet::*hook, std::string_view event,
                              Environment more);
  absl::Status PreparePart(const vss::EventContext& context, const FileSet& set);
  absl::Status ThawAll(Work& work);
  static std::string IntentName(const vss::Guid& set_id, const FileSet& set);
  absl::Status HealIntent(const std::string& name, FileSetHealReport& report);

  const std::vector<FileSet> sets_;
  base::CommandRunner& commands_;
  providers::FolderProvider& provider_;
  base::Clock& clock_;
  base::DurableEntries intents_;  // live ones are being worked on
  const vss::WriterIdentity identity_;

  absl::Mutex mu_;
  std::map<vss::Guid, Work> work_ ABSL_GUARDED_BY(mu_);  // by session; what is in one belongs to its events
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_FILE_SET_WRITER_H_
