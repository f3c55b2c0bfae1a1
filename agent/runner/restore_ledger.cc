#include "agent/runner/restore_ledger.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "storage/base/bytes.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// Lines of an entry: "folder PATH" at most once, "file PATH" for each file; every path is absolute.
constexpr std::string_view kFolder = "folder ";
constexpr std::string_view kFile = "file ";
constexpr char kMachineSuffix[] = ".restore";
constexpr char kFolderSuffix[] = ".files";
// A path for each disk of a virtual machine; the paths' own limit leaves room for hundreds.
constexpr uint64_t kEntryBytesMax = base::kMiB;

struct Entry {
  std::vector<std::string> paths;
  std::string new_folder;
};

// The path in a line that begins with `word`; empty when the line is another one.
std::string PathAfter(std::string_view word, std::string_view line) {
  if (!line.starts_with(word) || !line.substr(word.size()).starts_with('/')) return {};
  return std::string(line.substr(word.size()));
}

// None when this is no entry of ours, or only a part of one.
std::optional<Entry> Parse(std::string_view text) {
  Entry entry;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (std::string path = PathAfter(kFile, line); !path.empty()) {
      entry.paths.push_back(std::move(path));
    } else if (std::string folder = PathAfter(kFolder, line); !folder.empty() && entry.new_folder.empty()) {
      entry.new_folder = std::move(folder);
    } else {
      return std::nullopt;
    }
  }
  return entry.paths.empty() ? std::nullopt : std::optional(std::move(entry));
}

bool Gone(const absl::Status& status) { return status.ok() || absl::IsNotFound(status); }

std::vector<std::string> RemoveEntry(base::Filesystem& files, const Entry& entry) {
  std::vector<std::string> left;
  for (const std::string& path : entry.paths) {
    if (!Gone(files.Remove(path))) left.push_back(path);
  }
  if (!entry.new_folder.empty() && left.empty()) {
    // Somebody else's file in it keeps it alive.
    files.Remove(entry.new_folder).IgnoreError();
  }
  return left;
}

absl::StatusOr<std::set<std::string>> PathsInUse(hypervisor::Hypervisor& hypervisor) {
  ASSIGN_OR_RETURN(const std::vector<hypervisor::VmInfo> vms, hypervisor.ListVms());
  std::set<std::string> paths;
  for (const auto& vm : vms) {
    for (const auto& disk : vm.disks) paths.insert(disk.path);
  }
  return paths;
}

}  // namespace

RestoreLedgers::RestoreLedgers(base::Filesystem& files, const std::string& data_folder)
    : machines_(files, data_folder + "/restores", kMachineSuffix, kEntryBytesMax),
      folders_(files, data_folder + "/file-restores", kFolderSuffix, kEntryBytesMax) {}

absl::Status RestoreLedgers::Open() {
  RETURN_IF_ERROR(machines_.Open());
  return folders_.Open();
}

RestoreLedger::RestoreLedger(base::DurableEntries& entries, std::string name)
    : entries_(entries), name_(std::move(name)) {}

absl::Status RestoreLedger::Record(const std::vector<std::string>& paths, const std::string& new_folder) {
  paths_ = paths;
  new_folder_ = new_folder;
  std::string text;
  if (!new_folder.empty()) text += fmt::format("{}{}\n", kFolder, new_folder);
  for (const std::string& path : paths) text += fmt::format("{}{}\n", kFile, path);
  if (static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) != paths.size() + (new_folder.empty() ? 0 : 1)) {
    return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "a path holds a line feed");
  }
  return base::Annotate(entries_.Record(name_, text), "write down what the restore makes");
}

void RestoreLedger::Clear() {
  paths_.clear();
  new_folder_.clear();
  if (absl::Status status = entries_.Remove(name_); !status.ok()) {
    base::Log("runner")->warn("ledger not removed path={} error=\"{}\"", entries_.PathOf(name_),
                              base::Describe(status));
  }
}

std::vector<std::string> RestoreLedger::RemoveFiles() {
  std::vector<std::string> left = RemoveEntry(entries_.filesystem(), {paths_, new_folder_});
  if (left.empty()) {
    Clear();
  } else {
    entries_.Abandon(name_);
  }
  return left;
}

absl::StatusOr<std::vector<std::string>> RestoreLedger::Heal(base::DurableEntries& entries,
                                                             hypervisor::Hypervisor& hypervisor) {
  ASSIGN_OR_RETURN(const base::DurableEntries::Listing listing, entries.List());
  std::vector<std::string> damaged = listing.unreadable;
  std::vector<std::string> removed;
  std::set<std::string> in_use;
  if (!listing.entries.empty()) {
    ASSIGN_OR_RETURN(in_use, PathsInUse(hypervisor));
  }
  for (const auto& [name, text] : listing.entries) {
    if (entries.IsLive(name)) continue;
    std::optional<Entry> entry = Parse(text);
    if (!entry.has_value()) {
      damaged.push_back(entries.PathOf(name));
      continue;
    }
    std::erase_if(entry->paths, [&](const std::string& p) { return in_use.contains(p); });
    if (RemoveEntry(entries.filesystem(), *entry).empty()) RETURN_IF_ERROR(entries.Remove(name));
    removed.insert(removed.end(), entry->paths.begin(), entry->paths.end());
  }
  for (const std::string& path : damaged) {
    base::Log("runner")->warn("no whole ledger of a restore, left alone path={}", path);
  }
  return removed;
}

}  // namespace umbra::runner
