#include "agent/cluster/deed_journal.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "storage/base/status.h"

namespace umbra::cluster {
namespace {

constexpr std::string_view kHeader = "umbra cluster deed 1";
constexpr char kSuffix[] = ".deed";
// An entry has six short lines; a larger file isn't one.
constexpr uint64_t kEntryBytesMax = 4096;

std::string Print(const JournalEntry& entry) {
  return fmt::format("{}\nkind={}\nvm={}\nowner_tag={}\nresource={}\nformer={}\nvm_deleted={}\n", kHeader,
                     NameOf(entry.deed.kind), entry.vm_uuid, entry.owner_tag, entry.deed.resource, entry.deed.former,
                     entry.vm_deleted ? 1 : 0);
}

std::optional<JournalEntry> Parse(std::string_view text) {
  if (base::TakeLine(kHeader, &text) != "") return std::nullopt;
  const auto kind = base::TakeLine("kind=", &text);
  const auto vm = base::TakeLine("vm=", &text);
  const auto owner_tag = base::TakeLine("owner_tag=", &text);
  const auto resource = base::TakeLine("resource=", &text);
  const auto former = base::TakeLine("former=", &text);
  const auto vm_deleted = base::TakeLine("vm_deleted=", &text);
  if (!kind || !vm || !owner_tag || !resource || !former || !vm_deleted || !text.empty()) return std::nullopt;
  if (*vm_deleted != "0" && *vm_deleted != "1") return std::nullopt;
  for (const DeedKind value : {DeedKind::kPlannedSave, DeedKind::kOffline}) {
    if (*kind == NameOf(value)) {
      return JournalEntry{{value, *resource, *former}, *vm, *owner_tag, *vm_deleted == "1"};
    }
  }
  return std::nullopt;
}

bool IsLine(std::string_view text) {
  return text.find('\n') == std::string_view::npos;
}

}  // namespace

DeedJournal::DeedJournal(base::Filesystem& filesystem, std::string folder)
    : entries_(filesystem, std::move(folder), kSuffix, kEntryBytesMax) {}

std::string DeedJournal::NameOf(const JournalEntry& entry) {
  return fmt::format("{}.{}.{}", entry.owner_tag, entry.vm_uuid, cluster::NameOf(entry.deed.kind));
}

absl::Status DeedJournal::Record(const JournalEntry& entry) {
  if (entry.owner_tag.empty() || entry.vm_uuid.empty() || !IsLine(entry.deed.resource) || !IsLine(entry.deed.former)) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "deed of {} for {}", entry.owner_tag,
                       entry.vm_uuid);
  }
  return base::Annotate(entries_.Record(NameOf(entry), Print(entry)), "record what the cluster is asked for");
}

absl::Status DeedJournal::Remove(const JournalEntry& entry) {
  return base::Annotate(entries_.Remove(NameOf(entry)), "remove what the cluster was asked for");
}

absl::StatusOr<JournalList> DeedJournal::ListLeft() {
  ASSIGN_OR_RETURN(JournalList list, List());
  std::erase_if(list.entries, [this](const JournalEntry& entry) { return IsLive(entry); });
  return list;
}

absl::StatusOr<JournalList> DeedJournal::List() {
  ASSIGN_OR_RETURN(base::DurableEntries::Listing listing, entries_.List());
  JournalList list{{}, std::move(listing.unreadable)};
  for (const auto& [name, text] : listing.entries) {
    const auto entry = Parse(text);
    if (entry.has_value() && NameOf(*entry) == name) {
      list.entries.push_back(*entry);
    } else {
      list.damaged.push_back(entries_.PathOf(name));
    }
  }
  return list;
}

}  // namespace umbra::cluster
