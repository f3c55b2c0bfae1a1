#include "agent/runner/restore_ledger.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// Lines of an entry: "folder PATH" at most once, "file PATH" for each file; every path is absolute.
constexpr std::string_view kFolder = "folder ";
constexpr std::string_view kFile = "file ";
// Of an entry whose writing was never finished (Filesystem::WriteFileAtomic): nothing of its restore had begun.
constexpr std::string_view kUnfinished = ".tmp";

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

RestoreLedger::RestoreLedger(base::Filesystem& files, std::string folder, const std::string& name)
    : files_(files), folder_(std::move(folder)), path_(fmt::format("{}/{}", folder_, name)) {}

absl::Status RestoreLedger::Record(const std::vector<std::string>& paths, const std::string& new_folder) {
  paths_ = paths;
  new_folder_ = new_folder;
  std::string text;
  if (!new_folder.empty()) text += fmt::format("{}{}\n", kFolder, new_folder);
  for (const std::string& path : paths) text += fmt::format("{}{}\n", kFile, path);
  if (static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) != paths.size() + (new_folder.empty() ? 0 : 1)) {
    return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "a path holds a line feed");
  }
  RETURN_IF_ERROR(files_.MakeDirectories(folder_));
  return base::Annotate(files_.WriteFileAtomic(path_, text), "write down what the restore makes");
}

void RestoreLedger::Clear() {
  paths_.clear();
  new_folder_.clear();
  if (absl::Status status = files_.Remove(path_); !Gone(status)) {
    base::Log("runner")->warn("ledger not removed path={} error=\"{}\"", path_, base::Describe(status));
  }
}

std::vector<std::string> RestoreLedger::RemoveFiles() {
  std::vector<std::string> left = RemoveEntry(files_, {paths_, new_folder_});
  if (left.empty()) Clear();
  return left;
}

absl::StatusOr<std::vector<std::string>> RestoreLedger::Heal(base::Filesystem& files, const std::string& folder,
                                                             hypervisor::Hypervisor& hypervisor) {
  ASSIGN_OR_RETURN(const bool exists, files.Exists(folder));
  std::vector<std::string> removed;
  if (!exists) return removed;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(folder));
  if (names.empty()) return removed;
  ASSIGN_OR_RETURN(const std::set<std::string> in_use, PathsInUse(hypervisor));
  for (const std::string& name : names) {
    const std::string path = fmt::format("{}/{}", folder, name);
    if (name.ends_with(kUnfinished)) {
      files.Remove(path).IgnoreError();
      continue;
    }
    const absl::StatusOr<std::string> text = files.ReadFile(path);
    std::optional<Entry> entry = text.ok() ? Parse(*text) : std::nullopt;
    if (!entry.has_value()) {
      base::Log("runner")->warn("no whole ledger of a restore, left alone path={} error=\"{}\"", path,
                                base::Describe(text.status()));
      continue;
    }
    std::erase_if(entry->paths, [&](const std::string& p) { return in_use.contains(p); });
    if (RemoveEntry(files, *entry).empty()) files.Remove(path).IgnoreError();
    removed.insert(removed.end(), entry->paths.begin(), entry->paths.end());
  }
  return removed;
}

}  // namespace umbra::runner
