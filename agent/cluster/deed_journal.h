// A write-ahead list of what the agent has asked of the cluster, so that a restarted agent can take it back. The sister
// of journal::IntentJournal, which holds what is done to virtual machines: those are healed first, since the cluster
// may look again only when they are as they were.
//
// An entry is durable before the cluster is asked, and gone when the deed has ended; while this process works on it, it is
// live, and healing leaves it alone (storage/base/durable_entries.h).
//
// Threads: thread-safe. Errors: those of base::Filesystem.
#ifndef UMBRA_AGENT_CLUSTER_DEED_JOURNAL_H_
#define UMBRA_AGENT_CLUSTER_DEED_JOURNAL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cluster/cluster_service.h"
#include "storage/base/durable_entries.h"
#include "storage/base/filesystem.h"

namespace umbra::cluster {

struct JournalEntry {
  Deed deed;
  std::string vm_uuid;
  std::string owner_tag;  // [a-z0-9-]; unique to the job's attempt
  // The virtual machine's registration is about to be deleted, or was: the resource goes back online only when there is
  // a virtual machine again.
  bool vm_deleted = false;

  friend bool operator==(const JournalEntry&, const JournalEntry&) = default;
};

struct JournalList {
  std::vector<JournalEntry> entries;
  std::vector<std::string> damaged;  // files that can't be read as an entry; they stay where they are
};

class DeedJournal {
 public:
  // `folder` is made by Open.
  DeedJournal(base::Filesystem& filesystem, std::string folder);

  absl::Status Open() { return entries_.Open(); }
  // Durable on OK, and live. Replaces the entry of the same owner tag, virtual machine and kind of deed.
  // INVALID_ARGUMENT / INVALID_REQUEST: a part that can't be kept in a line, or a name that is none.
  absl::Status Record(const JournalEntry& entry);
  // Durable on OK. OK when it isn't there. No longer live, also on an error.
  absl::Status Remove(const JournalEntry& entry);
  // Leaves the file for healing. No longer live.
  void Abandon(const JournalEntry& entry) { entries_.Abandon(NameOf(entry)); }

  absl::StatusOr<JournalList> List();
  // Without those that are live.
  absl::StatusOr<JournalList> ListLeft();
  bool IsLive(const JournalEntry& entry) const { return entries_.IsLive(NameOf(entry)); }

 private:
  static std::string NameOf(const JournalEntry& entry);

  base::DurableEntries entries_;
};

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_DEED_JOURNAL_H_
