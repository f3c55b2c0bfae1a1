#include "tests/support/memory_filesystem.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::testing {
namespace {

std::string NameOf(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

struct MemoryFilesystem::Node {
  // What a name stood for, from the change of that number on.
  struct Meaning {
    uint64_t change = 0;
    std::shared_ptr<Node> node;  // null: nothing
  };

  bool folder = false;
  bool locked = false;

  // Of a file.
  std::string bytes;
  std::vector<uint64_t> sizes = {0};  // since the last Sync, which made the first of them durable
  // For each sector that was changed since the last Sync, what it held before each change; the first is durable.
  std::map<uint64_t, std::vector<std::string>> before;

  // Of a folder.
  std::map<std::string, std::shared_ptr<Node>> names;
  // For each name that was changed since the last SyncDirectory, what it stood for; the first is durable.
  std::map<std::string, std::vector<Meaning>> meanings;

  // Call it before bytes from `begin` to `end` are changed.
  void Remember(uint64_t begin, uint64_t end) {
    for (uint64_t at = begin / kSectorBytes * kSectorBytes; at < end; at += kSectorBytes) {
      std::string& old = before[at].emplace_back();
      if (at < bytes.size()) old = bytes.substr(at, kSectorBytes);
    }
  }
  void Resize(uint64_t size) {
    Remember(std::min<uint64_t>(size, bytes.size()), std::max<uint64_t>(size, bytes.size()));
    bytes.resize(size);
    sizes.push_back(size);
  }
  void Write(uint64_t offset, base::Bytes data) {
    if (data.empty()) return;
    if (bytes.size() < offset + data.size()) {
      // The hole before the data, and the data, in one change: the size grows once.
      Remember(std::min<uint64_t>(offset, bytes.size()), offset + data.size());
      bytes.resize(offset + data.size());
      sizes.push_back(bytes.size());
    } else {
      Remember(offset, offset + data.size());
    }
    std::memcpy(bytes.data() + offset, data.data(), data.size());
  }
  void Sync() {
    sizes = {bytes.size()};
    before.clear();
  }
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
    if (out.empty()) return absl::OkStatus();
    if (offset + out.size() > node_->bytes.size()) {
      return base::Error(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT", "file ends before byte {}",
                         offset + out.size());
    }
    std::memcpy(out.data(), node_->bytes.data() + offset, out.size());
    return absl::OkStatus();
  }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    absl::MutexLock lock(&mu_);
    node_->Write(offset, data);
    return absl::OkStatus();
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    absl::MutexLock lock(&mu_);
    node_->Resize(size_bytes);
    return absl::OkStatus();
  }
  absl::StatusOr<uint64_t> Size() override {
    absl::MutexLock lock(&mu_);
    return node_->bytes.size();
  }
  absl::Status Sync() override {
    absl::MutexLock lock(&mu_);
    node_->Sync();
    return absl::OkStatus();
  }

 private:
  absl::Mutex& mu_;
  const std::shared_ptr<MemoryFilesystem::Node> node_;
  const bool owns_lock_;
};

MemoryFilesystem::MemoryFilesystem() : root_(std::make_shared<Node>()) {
  root_->folder = true;
}

MemoryFilesystem::~MemoryFilesystem() = default;

// Makes, of everything that may be on the disk, what is on it.
class MemoryFilesystem::PowerCut {
 public:
  PowerCut(base::Random* luck, uint64_t journaled_change, uint64_t last_change) : luck_(luck) {
    if (luck_ == nullptr) return;
    in_order_ = Below(2) == 0;
    keep_until_ = journaled_change + Below(last_change - journaled_change + 1);
  }

  // A copy: what is open from before must not reach it.
  std::shared_ptr<Node> After(const std::shared_ptr<Node>& node) {
    auto& copy = copies_[node.get()];
    if (copy != nullptr) return copy;
    copy = std::make_shared<Node>();
    copy->folder = node->folder;
    if (node->folder) {
      Names(*node, *copy);
    } else {
      copy->bytes = Content(*node);
      copy->Sync();
    }
    return copy;
  }

 private:
  uint64_t Below(uint64_t limit) {
    return std::min(limit - 1, static_cast<uint64_t>(luck_->Fraction() * static_cast<double>(limit)));
  }

  std::shared_ptr<Node> Meant(const std::vector<Node::Meaning>& meanings) {
    if (luck_ == nullptr) return meanings.front().node;
    if (!in_order_) return meanings[Below(meanings.size())].node;
    const auto later =
        std::find_if(meanings.begin() + 1, meanings.end(), [&](const auto& m) { return m.change > keep_until_; });
    return std::prev(later)->node;
  }

  void Names(const Node& node, Node& after) {
    auto names = node.names;
    for (const auto& [name, meanings] : node.meanings) names[name] = Meant(meanings);
    for (const auto& [name, child] : names) {
      if (child != nullptr) after.names[name] = After(child);
    }
  }

  uint64_t SizeOf(const std::vector<uint64_t>& sizes) {
    const uint64_t one = sizes[Below(sizes.size())], other = sizes[Below(sizes.size())];
    return std::min(one, other) + Below(std::max(one, other) - std::min(one, other) + 1);
  }

  std::string Content(const Node& node) {
    enum Fate { kLost, kKept, kTorn, kReordered };
    const Fate fate = luck_ == nullptr ? kLost : static_cast<Fate>(Below(4));
    if (fate == kKept) return node.bytes;
    uint64_t size = node.sizes.front();
    for (const uint64_t other : node.sizes) size = std::max(size, other);
    std::string content = node.bytes;
    content.resize(size);
    // Where a torn file changes from new to old.
    const uint64_t torn_at = fate == kTorn ? Below(size + 1) : 0;
    for (const auto& [at, versions] : node.before) {
      if (fate == kTorn && at + kSectorBytes <= torn_at) continue;
      const size_t version = fate == kReordered ? Below(versions.size() + 1) : 0;
      if (version == versions.size() || at >= size) continue;
      std::string sector = versions[version];
      sector.resize(std::min(kSectorBytes, size - at));
      content.replace(at, sector.size(), sector);
    }
    content.resize(fate == kLost ? node.sizes.front() : SizeOf(node.sizes));
    return content;
  }

  base::Random* const luck_;
  bool in_order_ = true;
  uint64_t keep_until_ = 0;
  std::map<const Node*, std::shared_ptr<Node>> copies_;  // a file that is found under two names is one file
};

void MemoryFilesystem::CutPower(base::Random* luck) {
  absl::MutexLock lock(&mu_);
  root_ = PowerCut(luck, journaled_change_, last_change_).After(root_);
  last_change_ = journaled_change_ = 0;
}

std::unique_ptr<MemoryFilesystem> MemoryFilesystem::AfterPowerCut(base::Random* luck) const {
  auto after = std::make_unique<MemoryFilesystem>();
  absl::MutexLock lock(&mu_);
  absl::MutexLock other(&after->mu_);
  after->root_ = PowerCut(luck, journaled_change_, last_change_).After(root_);
  return after;
}

void MemoryFilesystem::FlipBit(const std::string& path, uint64_t bit) {
  absl::MutexLock lock(&mu_);
  FindLocked(path)->bytes.at(bit / 8) ^= static_cast<char>(1 << bit % 8);
}

void MemoryFilesystem::CollectFilesLocked(const Node& folder, const std::string& path,
                                          std::vector<std::string>& paths) const {
  for (const auto& [name, node] : folder.names) {
    if (node->folder) {
      CollectFilesLocked(*node, path + "/" + name, paths);
    } else {
      paths.push_back(path + "/" + name);
    }
  }
}

std::vector<std::string> MemoryFilesystem::AllFiles(const std::string& folder) {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> paths;
  if (const auto node = FindLocked(folder); node != nullptr && node->folder) CollectFilesLocked(*node, folder, paths);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::shared_ptr<MemoryFilesystem::Node> MemoryFilesystem::FindLocked(const std::string& path) const {
  std::shared_ptr<Node> node = root_;
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const auto at = node->names.find(path.substr(begin, end - begin));
    if (at == node->names.end()) return nullptr;
    node = at->second;
    begin = end + 1;
  }
  return node;
}

absl::StatusOr<std::shared_ptr<MemoryFilesystem::Node>> MemoryFilesystem::FolderLocked(const std::string& path) const {
  auto node = FindLocked(path);
  if (node == nullptr) return base::ErrnoError(ENOENT, path);
  if (!node->folder) return base::ErrnoError(ENOTDIR, path);
  return node;
}

void MemoryFilesystem::SetNameLocked(Node& folder, const std::string& name, std::shared_ptr<Node> node) {
  const auto now = folder.names.find(name);
  auto& meanings = folder.meanings[name];
  if (meanings.empty()) meanings.push_back({0, now == folder.names.end() ? nullptr : now->second});
  meanings.push_back({++last_change_, node});
  if (node == nullptr) {
    folder.names.erase(name);
  } else {
    folder.names[name] = std::move(node);
  }
}

absl::StatusOr<std::unique_ptr<base::File>> MemoryFilesystem::Open(const std::string& path, base::OpenMode mode) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const auto folder, FolderLocked(base::DirectoryOf(path)));
  auto node = FindLocked(path);
  if (node != nullptr && mode == base::OpenMode::kCreate) return base::ErrnoError(EEXIST, path);
  if (node != nullptr && node->folder) return base::ErrnoError(EISDIR, path);
  if (node == nullptr && (mode == base::OpenMode::kRead || mode == base::OpenMode::kReadWrite))
    return base::ErrnoError(ENOENT, path);
  if (node == nullptr) {
    node = std::make_shared<Node>();
    SetNameLocked(*folder, NameOf(path), node);
  }
  if (mode == base::OpenMode::kTruncate && !node->bytes.empty()) node->Resize(0);
  return std::make_unique<MemoryFile>(mu_, std::move(node), false);
}

// What is durable of the original isn't of the clone: until its Sync it may be empty after a power cut, or torn.
absl::StatusOr<bool> MemoryFilesystem::Clone(const std::string& from, const std::string& to) {
  absl::MutexLock lock(&mu_);
  const auto original = FindLocked(from);
  if (original == nullptr) return base::ErrnoError(ENOENT, from);
  if (original->folder) return false;
  ASSIGN_OR_RETURN(const auto folder, FolderLocked(base::DirectoryOf(to)));
  if (FindLocked(to) != nullptr) return base::ErrnoError(EEXIST, to);
  auto node = std::make_shared<Node>();
  node->Write(0, base::AsBytes(original->bytes));
  SetNameLocked(*folder, NameOf(to), std::move(node));
  return true;
}

absl::Status MemoryFilesystem::MakeHole(const std::string& path, uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&mu_);
  const auto node = FindLocked(path);
  if (node == nullptr) return base::ErrnoError(ENOENT, path);
  node->Write(offset, base::AsBytes(std::string(length, '\0')));
  return absl::OkStatus();
}

absl::Status MemoryFilesystem::Rename(const std::string& from, const std::string& to) {
  absl::MutexLock lock(&mu_);
  const auto node = FindLocked(from);
  if (node == nullptr) return base::ErrnoError(ENOENT, from);
  ASSIGN_OR_RETURN(const auto source, FolderLocked(base::DirectoryOf(from)));
  ASSIGN_OR_RETURN(const auto target, FolderLocked(base::DirectoryOf(to)));
  const auto replaced = FindLocked(to);
  if (replaced == node) return absl::OkStatus();
  if (replaced != nullptr && replaced->folder && !node->folder) return base::ErrnoError(EISDIR, to);
  if (replaced != nullptr && !replaced->folder && node->folder) return base::ErrnoError(ENOTDIR, to);
  if (replaced != nullptr && !replaced->names.empty()) return base::ErrnoError(ENOTEMPTY, to);
  SetNameLocked(*target, NameOf(to), node);
  SetNameLocked(*source, NameOf(from), nullptr);
  return absl::OkStatus();
}

absl::Status MemoryFilesystem::Remove(const std::string& path) {
  absl::MutexLock lock(&mu_);
  const auto node = FindLocked(path);
  if (node == nullptr) return base::ErrnoError(ENOENT, path);
  if (!node->names.empty()) return base::ErrnoError(ENOTEMPTY, path);
  ASSIGN_OR_RETURN(const auto folder, FolderLocked(base::DirectoryOf(path)));
  SetNameLocked(*folder, NameOf(path), nullptr);
  return absl::OkStatus();
}

absl::Status MemoryFilesystem::MakeDirectories(const std::string& path) {
  absl::MutexLock lock(&mu_);
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    ASSIGN_OR_RETURN(const auto parent, FolderLocked(base::DirectoryOf(part)));
    const auto node = FindLocked(part);
    if (node != nullptr && !node->folder) return base::ErrnoError(ENOTDIR, part);
    if (node == nullptr) {
      auto made = std::make_shared<Node>();
      made->folder = true;
      SetNameLocked(*parent, NameOf(part), std::move(made));
    }
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

absl::StatusOr<std::vector<std::string>> MemoryFilesystem::List(const std::string& path) {
  ASSIGN_OR_RETURN(const auto entries, ListEntries(path));
  std::vector<std::string> names;
  for (const base::FolderEntry& entry : entries) names.push_back(entry.name);
  return names;
}

absl::StatusOr<std::vector<base::FolderEntry>> MemoryFilesystem::ListEntries(const std::string& path) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const auto folder, FolderLocked(path));
  std::vector<base::FolderEntry> entries;
  for (const auto& [name, node] : folder->names) {
    entries.push_back({name, node->folder ? base::EntryKind::kFolder : base::EntryKind::kFile});
  }
  return entries;
}

absl::StatusOr<bool> MemoryFilesystem::Exists(const std::string& path) {
  absl::MutexLock lock(&mu_);
  return FindLocked(path) != nullptr;
}

absl::Status MemoryFilesystem::SyncDirectory(const std::string& path) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const auto folder, FolderLocked(path));
  folder->meanings.clear();
  journaled_change_ = last_change_;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<base::File>> MemoryFilesystem::Lock(const std::string& path) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const auto folder, FolderLocked(base::DirectoryOf(path)));
  auto node = FindLocked(path);
  if (node == nullptr) {
    node = std::make_shared<Node>();
    SetNameLocked(*folder, NameOf(path), node);
  }
  if (node->locked) return base::Error(absl::StatusCode::kFailedPrecondition, "FILE_LOCKED", "{} is locked", path);
  node->locked = true;
  return std::make_unique<MemoryFile>(mu_, node, true);
}

absl::StatusOr<uint64_t> MemoryFilesystem::FreeSpace(const std::string&) {
  return base::kGiB;
}

}  // namespace umbra::testing
