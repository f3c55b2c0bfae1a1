// Programs of this host around a backup: a job names them, the host's administrator has put them into a folder that
// nobody else writes to. So nothing that comes over the network is a path, an argument or a command line.
//
// A hook runs without a shell, as this process's user, in the folder "/", with nothing in its environment but PATH,
// LC_ALL=C and
//   UMBRA_HOOK      "pre" or "post"
//   UMBRA_JOB       id of the job
//   UMBRA_ATTEMPT   which attempt of it
//   UMBRA_VMS       uuids of the virtual machines, with a blank between
//   UMBRA_VM_NAMES  their names, one a line, in the same order
//   UMBRA_FILE_SETS names of the file sets, with a blank between
// and, for post,
//   UMBRA_RESULT    "succeeded", "failed" or "cancelled"
//   UMBRA_REASON    stable reason; empty after a success
// It is ended with its process group after its time (SIGTERM, and SIGKILL five seconds later); a pre hook also when the
// job is cancelled. What it prints, up to a limit, becomes a note of the job.
//
// An intent is durable before the pre hook begins, and goes when the post hook has ended: if the agent dies in between,
// the next one runs the post hook (result failed, AGENT_RESTARTED), after machines were healed. So a post hook may run
// twice, and without its pre hook having got far; it must do no harm then.
#ifndef UMBRA_AGENT_RUNNER_BACKUP_HOOKS_H_
#define UMBRA_AGENT_RUNNER_BACKUP_HOOKS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/transfer/cancellation.h"
#include "storage/base/command.h"
#include "storage/base/durable_entries.h"
#include "storage/base/filesystem.h"

namespace umbra::runner {

struct HookSettings {
  std::string folder = "/etc/umbra/hooks";  // absolute
  absl::Duration timeout = absl::Minutes(1);
};

// What a job says of its hooks, and what they are told of it.
struct HookedJob {
  std::string job_id;
  int32_t attempt = 0;
  std::string pre, post;  // names; empty: none
  std::vector<std::string> vm_uuids, vm_names, file_sets;

  friend bool operator==(const HookedJob&, const HookedJob&) = default;
};

struct HookOutcome {
  absl::Status status;
  std::string note;  // for the job's events: what ran, and what it printed; empty: nothing ran
  bool began = false;  // of a pre hook: it was begun, or there is none and the backup may begin; After must be called
};

// Thread-safe; the calls for one attempt come one after another.
class BackupHooks {
 public:
  // All outlive it. `intents_folder`: nobody else's; made by Open.
  BackupHooks(HookSettings settings, base::CommandRunner& commands, base::Filesystem& files,
              std::string intents_folder);

  // Once, before everything else. Errors: those of base::Filesystem.
  absl::Status Open() { return intents_.Open(); }

  // Both hooks are looked for, the intent is made durable, the pre hook is run; blocks for it. A cancellation ends it
  // as its time limit does.
  // OK, ABORTED / HOOK_FAILED (the pre hook failed, or took too long), and why it was cancelled: After must be called.
  // NOT_FOUND / HOOK_NOT_FOUND, FAILED_PRECONDITION / HOOK_NOT_TRUSTED, those of base::Filesystem: nothing ran, nothing
  // is owed.
  HookOutcome Before(const HookedJob& job, const transfer::Cancellation& cancellation);
  // The attempt has ended with `result` and everything is put back: runs the post hook, forgets the intent. Nothing but
  // its time limit ends it: what the pre hook did must be undone. Errors: as Before; the post hook isn't tried again.
  HookOutcome After(const HookedJob& job, const absl::Status& result);

  // What a predecessor owed: its post hooks. Gives what was done, for the log. Errors: the intents can't be read.
  absl::StatusOr<std::vector<std::string>> Heal();

 private:
  using Environment = std::vector<std::pair<std::string, std::string>>;

  absl::StatusOr<std::string> Find(const std::string& name) const;
  // `check` as that of base::Command.
  HookOutcome Run(const HookedJob& job, const std::string& name, std::string_view kind, const Environment& more,
                  std::function<absl::Status()> check = nullptr);

  const HookSettings settings_;
  base::CommandRunner& commands_;
  base::Filesystem& files_;
  base::DurableEntries intents_;  // live ones are being worked on
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_BACKUP_HOOKS_H_
