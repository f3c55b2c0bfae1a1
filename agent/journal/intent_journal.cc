#include "agent/journal/intent_journal.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::journal {
namespace {

constexpr std::string_view kHeader = "umbra intent 1";
constexpr char kSuffix[] = ".intent";
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
  std::string text =
      fmt::format("renaming={}\nran={}\nformer={}\nconfiguration={}\n", restore.renaming ? "yes" : "no",
                  restore.ran ? "yes" : "no", Hex(restore.former_configuration), Hex(restore.configuration));
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

std::optional<RestoreIntent> ParseRestore(std::string_view* text) {
  const auto renaming = base::TakeLine("renaming=", text);
  const auto ran = base::TakeLine("ran=", text);  // older agents didn't write it
  const auto former = FromHex(base::TakeLine("former=", text));
  const auto configuration = FromHex(base::TakeLine("configuration=", text));
  if ((renaming != "yes" && renaming != "no") || !former || !configuration) return std::nullopt;
  RestoreIntent restore{*former, *configuration, {}, renaming == "yes", ran == "yes"};
  while (!text->empty()) {
    const auto name = FromHex(base::TakeLine("disk=", text));
    const auto written = FromHex(base::TakeLine("written=", text));
    const auto path = FromHex(base::TakeLine("path=", text));
    if (!name || !written || !path) return std::nullopt;
    restore.disks.push_back({*name, *written, *path});
  }
  return restore;
}

std::optional<Intent> Parse(std::string_view text) {
  if (base::TakeLine(kHeader, &text) != "") return std::nullopt;
  const auto kind = base::TakeLine("kind=", &text);
  const auto vm = base::TakeLine("vm=", &text);
  const auto owner_tag = base::TakeLine("owner_tag=", &text);
  const auto scratch_folder = base::TakeLine("scratch_folder=", &text);
  if (!kind || !vm || !owner_tag || !scratch_folder) return std::nullopt;
  Intent intent{IntentKind::kPointInTime, *vm, *owner_tag, *scratch_folder};
  bool known = false;
  for (const auto& [value, name] : kKinds) {
    if (*kind != name) continue;
    intent.kind = value;
    known = true;
  }
  if (intent.kind == IntentKind::kSave) {
    const auto resume = base::TakeLine("resume=", &text);
    if (resume != "yes" && resume != "no") return std::nullopt;
    intent.resume = resume == "yes";
  }
  if (intent.kind == IntentKind::kRestore) {
    auto restore = ParseRestore(&text);
    if (!restore.has_value()) return std::nullopt;
    intent.restore = *std::move(restore);
  }
  if (intent.kind != IntentKind::kRestore && !text.empty()) {
    const auto checkpoint = base::TakeLine("checkpoint=", &text);
    const auto base_checkpoint = base::TakeLine("base_checkpoint=", &text);
    const auto committing = base::TakeLine("committing=", &text);
    if (!checkpoint || !base_checkpoint || (committing != "yes" && committing != "no")) return std::nullopt;
    intent.checkpoint = *checkpoint;
    intent.base_checkpoint = *base_checkpoint;
    intent.committing = committing == "yes";
  }
  return known && text.empty() ? std::optional(intent) : std::nullopt;
}

}  // namespace

IntentJournal::IntentJournal(base::Filesystem& filesystem, std::string folder)
    : entries_(filesystem, std::move(folder), kSuffix, kIntentBytesMax) {}

std::string IntentJournal::NameOf(const Intent& intent) {
  std::string_view kind;
  if (intent.kind == IntentKind::kSave) kind = ".save";
  if (intent.kind == IntentKind::kRestore) kind = ".restore";
  return fmt::format("{}.{}{}", intent.owner_tag, intent.vm_uuid, kind);
}

absl::Status IntentJournal::Record(const Intent& intent) {
  if (intent.owner_tag.empty() || intent.vm_uuid.empty() || intent.scratch_folder.find('\n') != std::string::npos) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "intent of {} for {}", intent.owner_tag,
                       intent.vm_uuid);
  }
  return base::Annotate(entries_.Record(NameOf(intent), Print(intent)), "record the intent");
}

absl::Status IntentJournal::Remove(const Intent& intent) {
  return base::Annotate(entries_.Remove(NameOf(intent)), "remove the intent");
}

absl::StatusOr<IntentList> IntentJournal::List() {
  ASSIGN_OR_RETURN(base::DurableEntries::Listing listing, entries_.List());
  IntentList list{{}, std::move(listing.unreadable)};
  for (const auto& [name, text] : listing.entries) {
    const auto intent = Parse(text);
    if (intent.has_value() && NameOf(*intent) == name) {
      list.intents.push_back(*intent);
    } else {
      list.damaged.push_back(entries_.PathOf(name));
    }
  }
  return list;
}

}  // namespace umbra::journal
