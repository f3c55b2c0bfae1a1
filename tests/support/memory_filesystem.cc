#include "tests/support/memory_filesystem.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "storage/base/status.h"

namespace umbra::testing {

struct MemoryFilesystem::Node {
  bool folder = false;
  bool locked = false;
  std::string bytes;
  std::string durable;
};

class MemoryFile final : public base::File {
 public:
  MemoryFile(absl::Mutex& mu, std::shared_ptr<MemoryFilesystem::Node> node, bool owns_lock)
      : mu_(mu), node_(std::move(node)), owns_lock_(owns_lock) {}
  ~MemoryFile() override {
    absl::MutexLock lock(&mu_);
    if (owns_lock_) node_->locked = false;
  }

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
    absl::MutexLock lock(&mu_);
    if (offset + out.size() > node_->bytes.size()) {
      return base::Error(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT", "file ends before byte {}", offset + out.size());
    }
    if (!out.empty()) std::memcpy(out.data(), node_->bytes.data() + offset, out.size());
    return absl::OkStatus();
  }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    absl::MutexLock lock(&mu_);
    if (node_->bytes.size() < offset + data.size()) node_->bytes.resize(offset + data.size());
    if (!data.empty()) std::memcpy(node_->bytes.data() + offset, data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    absl::MutexLock lock(&mu_);
    node_->bytes.resize(size_bytes);
    return absl::OkStatus();
  }
  absl::StatusOr<uint64_t> Size() override {
    absl::MutexLock lock(&mu_);
    return node_->bytes.size();
  }
  absl::Status Sync() override {
    absl::MutexLock lock(&mu_);
    node_->durable = node_->bytes;
    return absl::OkStatus();
  }

 private:
  absl::Mutex& mu_;
  const std::shared_ptr<MemoryFilesystem::Node> node_;
  const bool owns_lock_;
};

MemoryFilesystem::MemoryFilesystem() {
  auto root = std::make_shared<Node>();
  root->folder = true;
  names_["/"] = durable_["/"] = root;
}

MemoryFilesystem::~MemoryFilesystem() = default;

void MemoryFilesystem::CutPower(base::Random* luck) {
  const auto lucky = [&] { return luck != nullptr && luck->Fraction() < 0.5; };
  absl::MutexLock lock(&mu_);
  std::set<std::string> changed;
  for (const auto& names : {names_, durable_}) {
    for (const auto& [path, node] : names) changed.insert(path);
  }
  Names after;
  for (const std::string& path : changed) {
    const Names& source = lucky() ? names_ : durable_;
    const auto at = source.find(path);
    if (at == source.end() || (path != "/" && !after.contains(base::DirectoryOf(path)))) continue;
    // A copy: what is open from before must not reach it.
    auto node = after[path] = std::make_shared<Node>(*at->second);
    node->locked = false;
    if (!lucky()) {
      node->bytes = node->durable;
    } else if (lucky() && node->bytes.size() > node->durable.size()) {
      const auto grown = static_cast<double>(node->bytes.size() - node->durable.size());
      node->bytes.resize(node->durable.size() + static_cast<size_t>(grown * luck->Fraction()));
    }
    node->durable = node->bytes;
  }
  names_ = durable_ = after;
}

void MemoryFilesystem::FlipBit(const std::string& path, uint64_t bit) {
  absl::MutexLock lock(&mu_);
  names_.at(path)->bytes.at(bit / 8) ^= static_cast<char>(1 << bit % 8);
}

std::vector<std::string> MemoryFilesystem::AllFiles(const std::string& folder) {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> paths;
  for (const auto& [path, node] : names_) {
    if (!node->folder && path.starts_with(folder + "/")) paths.push_back(path);
  }
  return paths;
}

absl::StatusOr<std::shared_ptr<MemoryFilesystem::Node>> MemoryFilesystem::FindLocked(const std::string& path) const {
  const auto at = names_.find(path);
  if (at == names_.end()) return base::ErrnoError(ENOENT, path);
  return at->second;
}

absl::Status MemoryFilesystem::RequireFolderLocked(const std::string& path) const {
  ASSIGN_OR_RETURN(const auto node, FindLocked(path));
  return node->folder ? absl::OkStatus() : base::ErrnoError(ENOTDIR, path);
}

absl::StatusOr<std::unique_ptr<base::File>> MemoryFilesystem::Open(const std::string& path, base::OpenMode mode) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(RequireFolderLocked(base::DirectoryOf(path)));
  const bool exists = names_.contains(path);
  if (exists && mode == base::OpenMode::kCreate) return base::ErrnoError(EEXIST, path);
  if (!exists && (mode == base::OpenMode::kCreate || mode == base::OpenMode::kTruncate)) {
    names_[path] = std::make_shared<Node>();
  }
  ASSIGN_OR_RETURN(auto node, FindLocked(path));
  if (mode == base::OpenMode::kTruncate) node->bytes.clear();
  return std::make_unique<MemoryFile>(mu_, std::move(node), false);
}

absl::Status MemoryFilesystem::Rename(const std::string& from, const std::string& to) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(RequireFolderLocked(base::DirectoryOf(to)));
  ASSIGN_OR_RETURN(auto node, FindLocked(from));
  names_.erase(from);
  names_[to] = std::move(node);
  return absl::OkStatus();
}

absl::Status MemoryFilesystem::Remove(const std::string& path) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(FindLocked(path).status());
  names_.erase(path);
  return absl::OkStatus();
}

absl::Status MemoryFilesystem::MakeDirectories(const std::string& path) {
  absl::MutexLock lock(&mu_);
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    auto& node = names_[path.substr(0, slash)];
    if (node == nullptr) {
      node = std::make_shared<Node>();
      node->folder = true;
    }
    if (!node->folder) return base::ErrnoError(ENOTDIR, path);
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

absl::StatusOr<std::vector<std::string>> MemoryFilesystem::List(const std::string& path) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(RequireFolderLocked(path));
  std::vector<std::string> found;
  for (const auto& [name, node] : names_) {
    if (name != "/" && base::DirectoryOf(name) == path) found.push_back(name.substr(name.rfind('/') + 1));
  }
  std::sort(found.begin(), found.end());
  return found;
}

absl::StatusOr<std::vector<base::FolderEntry>> MemoryFilesystem::ListEntries(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, List(path));
  absl::MutexLock lock(&mu_);
  std::vector<base::FolderEntry> entries;
  for (const std::string& name : names) {
    const auto found = names_.find(path == "/" ? "/" + name : path + "/" + name);
    if (found == names_.end()) continue;  // removed since
    entries.push_back({name, found->second->folder ? base::EntryKind::kFolder : base::EntryKind::kFile});
  }
  return entries;
}

absl::StatusOr<bool> MemoryFilesystem::Exists(const std::string& path) {
  absl::MutexLock lock(&mu_);
  return names_.contains(path);
}

absl::Status MemoryFilesystem::SyncDirectory(const std::string& path) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(RequireFolderLocked(path));
  const auto inside = [&](const auto& entry) { return entry.first != "/" && base::DirectoryOf(entry.first) == path; };
  std::erase_if(durable_, inside);
  for (const auto& entry : names_) {
    if (inside(entry)) durable_.insert(entry);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<base::File>> MemoryFilesystem::Lock(const std::string& path) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(RequireFolderLocked(base::DirectoryOf(path)));
  auto& node = names_[path];
  if (node == nullptr) node = std::make_shared<Node>();
  if (node->locked) return base::Error(absl::StatusCode::kFailedPrecondition, "FILE_LOCKED", "{} is locked", path);
  node->locked = true;
  return std::make_unique<MemoryFile>(mu_, node, true);
}

absl::StatusOr<uint64_t> MemoryFilesystem::FreeSpace(const std::string&) { return base::kGiB; }

}  // namespace umbra::testing
