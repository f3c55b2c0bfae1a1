// A write-ahead list of what the agent is about to do to virtual machines, so that a restarted agent can put it back.
//
// An intent is durable before the deed begins, and goes when the deed has been undone or ended cleanly; while this process
// works on it, it is live, and healing leaves it alone (storage/base/durable_entries.h).
//
// Threads: thread-safe. Errors: those of base::Filesystem.
#ifndef UMBRA_AGENT_JOURNAL_INTENT_JOURNAL_H_
#define UMBRA_AGENT_JOURNAL_INTENT_JOURNAL_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/durable_entries.h"
#include "storage/base/filesystem.h"

namespace umbra::journal {

// Written into the file by name; never renamed.
enum class IntentKind {
  kPointInTime,        // "point_in_time": a view of the disks; nothing in the guest
  kFrozenPointInTime,  // "frozen_point_in_time": the same, taken while the guest is frozen
  kSave,               // "save": the virtual machine is stopped while its memory is saved
  kRestore,            // "restore": it is deleted, and registered again when its files are in place
};

// One disk of a restore in place.
struct RestoredDisk {
  std::string name;          // target
  std::string written_path;  // where its bytes are written
  std::string path;          // what the file is called in the end

  friend bool operator==(const RestoredDisk&, const RestoredDisk&) = default;
};

// What a restore in place is about; for kRestore.
struct RestoreIntent {
  std::string former_configuration;  // of the virtual machine before it was deleted; empty: there was none
  std::string configuration;         // that of the recovery point
  std::vector<RestoredDisk> disks;
  // Every byte of every disk is verified and durable, and files take their names: from here on a restore is finished, not
  // undone.
  bool renaming = false;
  // It ran when it was deleted, so it runs again when the restore is undone.
  bool ran = false;

  friend bool operator==(const RestoreIntent&, const RestoreIntent&) = default;
};

struct Intent {
  IntentKind kind = IntentKind::kPointInTime;
  std::string vm_uuid;
  std::string owner_tag;       // [a-z0-9-]; names what the hypervisor leaves on the host
  std::string scratch_folder;  // absolute
  // kSave: it ran before, so it must run again. A person who paused it meanwhile is overruled.
  bool resume = false;
  RestoreIntent restore;
  // Of a point in time that tracks changes: the checkpoint that may begin with it, and the one (may be empty) that the
  // last recovery point knows. Until the commit is asked for the latter is to be kept, from then on the former: then
  // one remains, and it is most likely the one that the newest recovery point knows. The wrong one costs a full read,
  // never a wrong one.
  std::string checkpoint = "";
  std::string base_checkpoint = "";
  bool committing = false;

  friend bool operator==(const Intent&, const Intent&) = default;
};

struct IntentList {
  std::vector<Intent> intents;
  std::vector<std::string> damaged;  // files that can't be read as an intent; they stay where they are
};

class IntentJournal {
 public:
  // `folder` is made by Open.
  IntentJournal(base::Filesystem& filesystem, std::string folder);

  absl::Status Open() { return entries_.Open(); }
  // Durable on OK, and live. An intent of the same owner tag and virtual machine is replaced
  // (kSave and kRestore stand beside the others).
  absl::Status Record(const Intent& intent);
  // Durable on OK. OK when it isn't there. No longer live, also on an error.
  absl::Status Remove(const Intent& intent);
  // Leaves the file for healing: what the intent names couldn't be put back. No longer live.
  void Abandon(const Intent& intent) { entries_.Abandon(NameOf(intent)); }

  absl::StatusOr<IntentList> List();
  base::Filesystem& filesystem() { return entries_.filesystem(); }
  bool IsLive(const Intent& intent) const { return entries_.IsLive(NameOf(intent)); }

 private:
  static std::string NameOf(const Intent& intent);

  base::DurableEntries entries_;
};

}  // namespace umbra::journal

#endif  // UMBRA_AGENT_JOURNAL_INTENT_JOURNAL_H_
