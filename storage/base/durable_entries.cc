#include "storage/base/durable_entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::base {
namespace {

constexpr std::string_view kUnfinished = ".tmp";  // of Filesystem::WriteFileAtomic

bool IsFileName(std::string_view name) {
  return !name.empty() && name.find_first_of(std::string_view("\0\n/", 3)) == std::string_view::npos;
}

}  // namespace

DurableEntries::DurableEntries(Filesystem& filesystem, std::string folder, std::string suffix, uint64_t text_bytes_max)
    : filesystem_(filesystem),
      folder_(std::move(folder)),
      suffix_(std::move(suffix)),
      text_bytes_max_(text_bytes_max) {}

std::string DurableEntries::PathOf(const std::string& name) const {
  return fmt::format("{}/{}{}", folder_, name, suffix_);
}

absl::Status DurableEntries::Open() {
  RETURN_IF_ERROR(filesystem_.MakeDirectories(folder_));
  RETURN_IF_ERROR(filesystem_.SyncDirectory(DirectoryOf(folder_)));  // entries are as durable as the folder's own name
  ASSIGN_OR_RETURN(const std::vector<std::string> files, filesystem_.List(folder_));
  const std::string unfinished = fmt::format("{}{}", suffix_, kUnfinished);
  for (const std::string& file : files) {
    if (!file.ends_with(unfinished)) continue;
    const absl::Status removed = filesystem_.Remove(fmt::format("{}/{}", folder_, file));
    if (!absl::IsNotFound(removed)) RETURN_IF_ERROR(Annotate(removed, "remove an unfinished entry"));
  }
  return absl::OkStatus();
}

absl::Status DurableEntries::Record(const std::string& name, std::string_view text) {
  if (!IsFileName(name))
    return Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "an entry named \"{}\"", name);
  {
    absl::MutexLock lock(&mu_);
    live_.insert(name);
  }
  const absl::Status written = filesystem_.WriteFileAtomic(PathOf(name), text);
  if (!written.ok()) Abandon(name);
  return written;
}

absl::Status DurableEntries::Remove(const std::string& name) {
  Abandon(name);
  const absl::Status removed = filesystem_.Remove(PathOf(name));
  if (absl::IsNotFound(removed)) return absl::OkStatus();
  RETURN_IF_ERROR(removed);
  return filesystem_.SyncDirectory(folder_);
}

void DurableEntries::Abandon(const std::string& name) {
  absl::MutexLock lock(&mu_);
  live_.erase(name);
}

bool DurableEntries::IsLive(const std::string& name) const {
  absl::MutexLock lock(&mu_);
  return live_.contains(name);
}

absl::StatusOr<DurableEntries::Listing> DurableEntries::List() {
  ASSIGN_OR_RETURN(std::vector<std::string> files, filesystem_.List(folder_));
  std::sort(files.begin(), files.end());
  Listing listing;
  for (const std::string& file : files) {
    if (!file.ends_with(suffix_) || file.size() == suffix_.size()) continue;
    const std::string path = fmt::format("{}/{}", folder_, file);
    auto text = filesystem_.ReadFile(path, text_bytes_max_);
    if (absl::IsNotFound(text.status())) continue;  // removed meanwhile
    if (text.ok()) {
      listing.entries.push_back({file.substr(0, file.size() - suffix_.size()), *std::move(text)});
    } else {
      listing.unreadable.push_back(path);
    }
  }
  return listing;
}

std::optional<std::string> TakeLine(std::string_view prefix, std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos || !text->starts_with(prefix)) return std::nullopt;
  if (end < prefix.size()) return std::nullopt;
  std::string value(text->substr(prefix.size(), end - prefix.size()));
  text->remove_prefix(end + 1);
  return value;
}

}  // namespace umbra::base
