#include "agent/journal/intent_journal.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::journal {
namespace {

constexpr std::string_view kHeader = "umbra intent 1";
constexpr std::string_view kSuffix = ".intent";
// An intent has a few short lines, and that of a restore two configurations; a larger file isn't one.
constexpr uint64_t kIntentBytesMax = 4 * base::kMiB;

constexpr std::pair<IntentKind, std::string_view> kKinds[] = {
    {IntentKind::kPointInTime, "point_in_time"},
    {IntentKind::kFrozenPointInTime, "frozen_point_in_time"},
    {IntentKind::kSave, "save"},
    {IntentKind::kRestore, "restore"},
};

// Any text in one line.
std::string Hex(std::string_view text) { return base::ToHex(base::AsBytes(text)); }

std::optional<std::string> FromHex(const std::optional<std::string>& hex) {
  if (!hex.has_value()) return std::nullopt;
  return base::FromHex(*hex);
}

std::string PrintRestore(const RestoreIntent& restore) {
  std::string text = fmt::format("renaming={}\nformer={}\nconfiguration={}\n", restore.renaming ? "yes" : "no",
                                 Hex(restore.former_configuration), Hex(restore.configuration));
  for (const RestoredDisk& disk : restore.disks) {
    text += fmt::format("disk={}\nwritten={}\npath={}\n", Hex(disk.name), Hex(disk.written_path), Hex(disk.path));
  }
  return text;
}

std::string Print(const Intent& intent) {
  std::string_view kind;
  for (const auto& [value, name] : kKinds) {
    if (value == intent.kind) kind = name;
  }
  std::string text = fmt::format("{}\nkind={}\nvm={}\nowner_tag={}\nscratch_folder={}\n", kHeader, kind, intent.vm_uuid,
                                 intent.owner_tag, intent.scratch_folder);
  if (intent.kind == IntentKind::kSave) text += fmt::format("resume={}\n", intent.resume ? "yes" : "no");
  if (intent.kind == IntentKind::kRestore) text += PrintRestore(intent.restore);
  if (!intent.checkpoint.empty()) {
    text += fmt::format("checkpoint={}\nbase_checkpoint={}\ncommitting={}\n", intent.checkpoint, intent.base_checkpoint,
                        intent.committing ? "yes" : "no");
  }
  return text;
}

// Takes "`prefix`value\n" off the front of `text`.
std::optional<std::string> TakeLine(std::string_view prefix, std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos || text->substr(0, prefix.size()) != prefix) return std::nullopt;
  std::string value(text->substr(prefix.size(), end - prefix.size()));
  text->remove_prefix(end + 1);
  return value;
}

std::optional<RestoreIntent> ParseRestore(std::string_view* text) {
  const auto renaming = TakeLine("renaming=", text);
  const auto former = FromHex(TakeLine("former=", text));
  const auto configuration = FromHex(TakeLine("configuration=", text));
  if ((renaming != "yes" && renaming != "no") || !former || !configuration) return std::nullopt;
  RestoreIntent restore{*former, *configuration, {}, renaming == "yes"};
  while (!text->empty()) {
    const auto name = FromHex(TakeLine("disk=", text));
    const auto written = FromHex(TakeLine("written=", text));
    const auto path = FromHex(TakeLine("path=", text));
    if (!name || !written || !path) return std::nullopt;
    restore.disks.push_back({*name, *written, *path});
  }
  return restore;
}

std::optional<Intent> Parse(std::string_view text) {
  if (TakeLine(kHeader, &text) != "") return std::nullopt;
  const auto kind = TakeLine("kind=", &text);
  const auto vm = TakeLine("vm=", &text);
  const auto owner_tag = TakeLine("owner_tag=", &text);
  const auto scratch_folder = TakeLine("scratch_folder=", &text);
  if (!kind || !vm || !owner_tag || !scratch_folder) return std::nullopt;
  Intent intent{IntentKind::kPointInTime, *vm, *owner_tag, *scratch_folder};
  bool known = false;
  for (const auto& [value, name] : kKinds) {
    if (*kind != name) continue;
    intent.kind = value;
    known = true;
  }
  if (intent.kind == IntentKind::kSave) {
    const auto resume = TakeLine("resume=", &text);
    if (resume != "yes" && resume != "no") return std::nullopt;
    intent.resume = resume == "yes";
  }
  if (intent.kind == IntentKind::kRestore) {
    auto restore = ParseRestore(&text);
    if (!restore.has_value()) return std::nullopt;
    intent.restore = *std::move(restore);
  }
  if (intent.kind != IntentKind::kRestore && !text.empty()) {
    const auto checkpoint = TakeLine("checkpoint=", &text);
    const auto base = TakeLine("base_checkpoint=", &text);
    const auto committing = TakeLine("committing=", &text);
    if (!checkpoint || !base || (committing != "yes" && committing != "no")) return std::nullopt;
    intent.checkpoint = *checkpoint;
    intent.base_checkpoint = *base;
    intent.committing = committing == "yes";
  }
  return known && text.empty() ? std::optional(intent) : std::nullopt;
}

bool IsPlain(std::string_view text) {
  return text.find_first_of("\n/") == std::string_view::npos && !text.empty();
}

}  // namespace

IntentJournal::IntentJournal(base::Filesystem& filesystem, std::string folder)
    : filesystem_(filesystem), folder_(std::move(folder)) {}

std::string IntentJournal::NameOf(const Intent& intent) {
  std::string_view kind;
  if (intent.kind == IntentKind::kSave) kind = ".save";
  if (intent.kind == IntentKind::kRestore) kind = ".restore";
  return fmt::format("{}.{}{}{}", intent.owner_tag, intent.vm_uuid, kind, kSuffix);
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
