#include "agent/cluster/deed_journal.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "storage/base/status.h"

namespace umbra::cluster {
namespace {

constexpr std::string_view kHeader = "umbra cluster deed 1";
constexpr std::string_view kSuffix = ".deed";
// An entry has six short lines; a larger file isn't one.
constexpr uint64_t kEntryBytesMax = 4096;

std::string Print(const JournalEntry& entry) {
  return fmt::format("{}\nkind={}\nvm={}\nowner_tag={}\nresource={}\nformer={}\nvm_deleted={}\n", kHeader,
                     NameOf(entry.deed.kind), entry.vm_uuid, entry.owner_tag, entry.deed.resource, entry.deed.former,
                     entry.vm_deleted ? 1 : 0);
}

// Takes "`prefix`value\n" off the front of `text`.
std::optional<std::string> TakeLine(std::string_view prefix, std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos || text->substr(0, prefix.size()) != prefix) return std::nullopt;
  std::string value(text->substr(prefix.size(), end - prefix.size()));
  text->remove_prefix(end + 1);
  return value;
}

std::optional<JournalEntry> Parse(std::string_view text) {
  if (TakeLine(kHeader, &text) != "") return std::nullopt;
  const auto kind = TakeLine("kind=", &text);
  const auto vm = TakeLine("vm=", &text);
  const auto owner_tag = TakeLine("owner_tag=", &text);
  const auto resource = TakeLine("resource=", &text);
  const auto former = TakeLine("former=", &text);
  const auto vm_deleted = TakeLine("vm_deleted=", &text);
  if (!kind || !vm || !owner_tag || !resource || !former || !vm_deleted || !text.empty()) return std::nullopt;
  if (*vm_deleted != "0" && *vm_deleted != "1") return std::nullopt;
  for (const DeedKind value : {DeedKind::kPlannedSave, DeedKind::kOffline}) {
    if (*kind == NameOf(value)) {
      return JournalEntry{{value, *resource, *former}, *vm, *owner_tag, *vm_deleted == "1"};
    }
  }
  return std::nullopt;
}

bool IsPlain(std::string_view text) {
  return text.find_first_of("\n/") == std::string_view::npos && !text.empty();
}

bool IsLine(std::string_view text) {
  return text.find('\n') == std::string_view::npos;
}

}  // namespace

DeedJournal::DeedJournal(base::Filesystem& filesystem, std::string folder)
    : filesystem_(filesystem), folder_(std::move(folder)) {}

std::string DeedJournal::NameOf(const JournalEntry& entry) {
  return fmt::format("{}.{}.{}{}", entry.owner_tag, entry.vm_uuid, cluster::NameOf(entry.deed.kind), kSuffix);
}

absl::Status DeedJournal::Open() {
  return filesystem_.MakeDirectories(folder_);
}

absl::Status DeedJournal::Record(const JournalEntry& entry) {
  if (!IsPlain(entry.owner_tag) || !IsPlain(entry.vm_uuid) || !IsLine(entry.deed.resource) ||
      !IsLine(entry.deed.former)) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "deed of {} for {}", entry.owner_tag,
                       entry.vm_uuid);
  }
  {
    absl::MutexLock lock(&mu_);
    live_.insert(NameOf(entry));
  }
  const absl::Status written = filesystem_.WriteFileAtomic(folder_ + "/" + NameOf(entry), Print(entry));
  if (!written.ok()) Abandon(entry);
  return base::Annotate(written, "record what the cluster is asked for");
}

absl::Status DeedJournal::Remove(const JournalEntry& entry) {
  Abandon(entry);
  const absl::Status removed = filesystem_.Remove(folder_ + "/" + NameOf(entry));
  if (absl::IsNotFound(removed)) return absl::OkStatus();
  RETURN_IF_ERROR(base::Annotate(removed, "remove what the cluster was asked for"));
  return base::Annotate(filesystem_.SyncDirectory(folder_), "remove what the cluster was asked for");
}

void DeedJournal::Abandon(const JournalEntry& entry) {
  absl::MutexLock lock(&mu_);
  live_.erase(NameOf(entry));
}

bool DeedJournal::IsLive(const JournalEntry& entry) const {
  absl::MutexLock lock(&mu_);
  return live_.contains(NameOf(entry));
}

absl::StatusOr<JournalList> DeedJournal::ListLeft() {
  ASSIGN_OR_RETURN(JournalList list, List());
  std::erase_if(list.entries, [this](const JournalEntry& entry) { return IsLive(entry); });
  return list;
}

absl::StatusOr<JournalList> DeedJournal::List() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, filesystem_.List(folder_));
  JournalList list;
  for (const std::string& name : names) {
    if (!std::string_view(name).ends_with(kSuffix)) continue;  // a write that was never finished has begun nothing
    const std::string path = folder_ + "/" + name;
    const auto text = filesystem_.ReadFile(path, kEntryBytesMax);
    if (absl::IsNotFound(text.status())) continue;  // removed meanwhile
    const auto entry = text.ok() ? Parse(*text) : std::nullopt;
    if (entry.has_value() && NameOf(*entry) == name) {
      list.entries.push_back(*entry);
    } else {
      list.damaged.push_back(path);
    }
  }
  return list;
}

}  // namespace umbra::cluster
