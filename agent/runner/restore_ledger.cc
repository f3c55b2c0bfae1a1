#include "agent/runner/restore_ledger.h"

#include <algorithm>
#include <set>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// Lines of an entry: "folder PATH" at most once, "file PATH" for each file.
constexpr std::string_view kFolder = "folder ";
constexpr std::string_view kFile = "file ";

struct Entry {
  std::vector<std::string> paths;
  std::string new_folder;
};

Entry Parse(std::string_view text) {
  Entry entry;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (line.starts_with(kFolder)) entry.new_folder = line.substr(kFolder.size());
    if (line.starts_with(kFile)) entry.paths.emplace_back(line.substr(kFile.size()));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return entry;
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
    ASSIGN_OR_RETURN(const std::string text, files.ReadFile(path));
    Entry entry = Parse(text);
    std::erase_if(entry.paths, [&](const std::string& p) { return in_use.contains(p); });
    if (RemoveEntry(files, entry).empty()) files.Remove(path).IgnoreError();
    removed.insert(removed.end(), entry.paths.begin(), entry.paths.end());
  }
  return removed;
}

}  // namespace umbra::runner
