#include "agent/journal/intent_journal.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "storage/base/status.h"

namespace umbra::journal {
namespace {

constexpr std::string_view kHeader = "umbra intent 1";
constexpr std::string_view kSuffix = ".intent";
// An intent has four short lines; a larger file isn't one.
constexpr uint64_t kIntentBytesMax = 4096;

constexpr std::pair<IntentKind, std::string_view> kKinds[] = {
    {IntentKind::kPointInTime, "point_in_time"},
    {IntentKind::kFrozenPointInTime, "frozen_point_in_time"},
};

std::string Print(const Intent& intent) {
  std::string_view kind;
  for (const auto& [value, name] : kKinds) {
    if (value == intent.kind) kind = name;
  }
  return fmt::format("{}\nkind={}\nvm={}\nowner_tag={}\nscratch_folder={}\n", kHeader, kind, intent.vm_uuid,
                     intent.owner_tag, intent.scratch_folder);
}

// Takes "`prefix`value\n" off the front of `text`.
std::optional<std::string> TakeLine(std::string_view prefix, std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos || text->substr(0, prefix.size()) != prefix) return std::nullopt;
  std::string value(text->substr(prefix.size(), end - prefix.size()));
  text->remove_prefix(end + 1);
  return value;
}

std::optional<Intent> Parse(std::string_view text) {
  if (TakeLine(kHeader, &text) != "") return std::nullopt;
  const auto kind = TakeLine("kind=", &text);
  const auto vm = TakeLine("vm=", &text);
  const auto owner_tag = TakeLine("owner_tag=", &text);
  const auto scratch_folder = TakeLine("scratch_folder=", &text);
  if (!kind || !vm || !owner_tag || !scratch_folder || !text.empty()) return std::nullopt;
  for (const auto& [value, name] : kKinds) {
    if (*kind == name) return Intent{value, *vm, *owner_tag, *scratch_folder};
  }
  return std::nullopt;
}

bool IsPlain(std::string_view text) {
  return text.find_first_of("\n/") == std::string_view::npos && !text.empty();
}

}  // namespace

IntentJournal::IntentJournal(base::Filesystem& filesystem, std::string folder)
    : filesystem_(filesystem), folder_(std::move(folder)) {}

std::string IntentJournal::NameOf(const Intent& intent) {
  return fmt::format("{}.{}{}", intent.owner_tag, intent.vm_uuid, kSuffix);
}

absl::Status IntentJournal::Open() {
  return filesystem_.MakeDirectories(folder_);
}

absl::Status IntentJournal::Record(const Intent& intent) {
  if (!IsPlain(intent.owner_tag) || !IsPlain(intent.vm_uuid) || intent.scratch_folder.find('\n') != std::string::npos) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "intent of {} for {}", intent.owner_tag,
                       intent.vm_uuid);
  }
  {
    absl::MutexLock lock(&mu_);
    live_.insert(NameOf(intent));
  }
  const absl::Status written = filesystem_.WriteFileAtomic(folder_ + "/" + NameOf(intent), Print(intent));
  if (!written.ok()) Abandon(intent);
  return base::Annotate(written, "record the intent");
}

absl::Status IntentJournal::Remove(const Intent& intent) {
  Abandon(intent);
  const std::string path = folder_ + "/" + NameOf(intent);
  const absl::Status removed = filesystem_.Remove(path);
  if (absl::IsNotFound(removed)) return absl::OkStatus();
  RETURN_IF_ERROR(base::Annotate(removed, "remove the intent"));
  return base::Annotate(filesystem_.SyncDirectory(folder_), "remove the intent");
}

void IntentJournal::Abandon(const Intent& intent) {
  absl::MutexLock lock(&mu_);
  live_.erase(NameOf(intent));
}

bool IntentJournal::IsLive(const Intent& intent) const {
  absl::MutexLock lock(&mu_);
  return live_.contains(NameOf(intent));
}

absl::StatusOr<IntentList> IntentJournal::List() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, filesystem_.List(folder_));
  IntentList list;
  for (const std::string& name : names) {
    if (!std::string_view(name).ends_with(kSuffix)) continue;  // a write that was never finished has begun nothing
    const std::string path = folder_ + "/" + name;
    const auto text = filesystem_.ReadFile(path, kIntentBytesMax);
    if (absl::IsNotFound(text.status())) continue;  // removed meanwhile
    const auto intent = text.ok() ? Parse(*text) : std::nullopt;
    if (intent.has_value() && NameOf(*intent) == name) {
      list.intents.push_back(*intent);
    } else {
      list.damaged.push_back(path);
    }
  }
  return list;
}

}  // namespace umbra::journal
