#include "storage/base/folder_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "storage/base/descriptor.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"

namespace umbra::base {
namespace {

constexpr size_t kPathMax = 4095;
constexpr size_t kPartMax = 255;
constexpr int kDepthMax = 200;
// Linux's own limit of a value is 64 KiB.
constexpr size_t kAttributeBytesMax = 64 * kKiB;
constexpr size_t kAttributeNamesMax = 64 * kKiB;
constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

absl::Status TooLarge(std::string what) {
  return MakeError(absl::StatusCode::kResourceExhausted, "FILE_SET_TOO_LARGE", std::move(what));
}

std::vector<TreeAttribute> AttributesOf(int fd) {
  std::vector<TreeAttribute> attributes;
  if (flistxattr(fd, nullptr, 0) <= 0) return attributes;  // as most files: without 128 KiB of buffers
  std::string names(kAttributeNamesMax, '\0');
  const ssize_t size = flistxattr(fd, names.data(), names.size());
  if (size <= 0) return attributes;
  std::string value(kAttributeBytesMax, '\0');
  for (const char* name = names.data(); name < names.data() + size; name += std::strlen(name) + 1) {
    const ssize_t length = fgetxattr(fd, name, value.data(), value.size());
    if (length >= 0) attributes.push_back({name, value.substr(0, static_cast<size_t>(length))});
  }
  std::sort(attributes.begin(), attributes.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return attributes;
}

TreeMetadata MetadataOf(const struct stat& info) {
  TreeMetadata metadata;
  metadata.mode = info.st_mode & 07777;
  metadata.uid = info.st_uid;
  metadata.gid = info.st_gid;
  metadata.modify_time_ns = info.st_mtim.tv_sec * kNanosecondsPerSecond + info.st_mtim.tv_nsec;
  return metadata;
}

class Scan {
 public:
  Scan(const std::string& folder, uint64_t entries_max) : folder_(folder), entries_max_(entries_max) {}

  absl::StatusOr<std::vector<TreeEntry>> Go() {
    const Descriptor root(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root.ok()) return ErrnoError(errno, folder_);
    RETURN_IF_ERROR(Folder(root.get(), "", 0));
    return std::move(entries_);
  }

 private:
  std::string Shown(const std::string& path) const { return path.empty() ? folder_ : folder_ + "/" + path; }

  absl::StatusOr<TreeEntry*> Add(const std::string& path, TreeEntryType type, const struct stat& info) {
    if (entries_.size() >= entries_max_) {
      return TooLarge(fmt::format("{} holds more than {} files", folder_, entries_max_));
    }
    TreeEntry& entry = entries_.emplace_back();
    entry.path = path;
    entry.type = type;
    entry.metadata = MetadataOf(info);
    return &entry;
  }

  absl::Status Folder(int fd, const std::string& path, int depth) {
    if (depth > kDepthMax) return TooLarge(fmt::format("{}: folders are nested too deeply", folder_));
    struct stat info {};
    if (fstat(fd, &info) != 0) return ErrnoError(errno, Shown(path));
    ASSIGN_OR_RETURN(TreeEntry * entry, Add(path, TreeEntryType::kFolder, info));
    entry->metadata.attributes = AttributesOf(fd);
    ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(fd, Shown(path)));
    for (const std::string& name : names) {
      RETURN_IF_ERROR(Entry(fd, name, path.empty() ? name : path + "/" + name, depth));
    }
    return absl::OkStatus();
  }

  absl::Status Entry(int in, const std::string& name, const std::string& path, int depth) {
    struct stat info {};
    if (fstatat(in, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, Shown(path));
    if (path.size() > kPathMax) return TooLarge(fmt::format("{}: a path is too long", Shown(path)));
    if (S_ISDIR(info.st_mode)) {
      const Descriptor folder(openat(in, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!folder.ok()) return ErrnoError(errno, Shown(path));
      return Folder(folder.get(), path, depth + 1);
    }
    if (S_ISREG(info.st_mode)) return File(in, name, path);
    return S_ISLNK(info.st_mode) ? Link(in, name, path, info) : absl::OkStatus();
  }

  absl::Status Link(int in, const std::string& name, const std::string& path, const struct stat& info) {
    std::string target(kPathMax + 1, '\0');
    const ssize_t size = readlinkat(in, name.c_str(), target.data(), target.size());
    if (size < 0) return ErrnoError(errno, Shown(path));
    target.resize(static_cast<size_t>(size));
    ASSIGN_OR_RETURN(TreeEntry * entry, Add(path, TreeEntryType::kSymlink, info));
    entry->link_target = std::move(target);
    return absl::OkStatus();
  }

  absl::Status File(int in, const std::string& name, const std::string& path) {
    const Descriptor file(openat(in, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file.ok()) return ErrnoError(errno, Shown(path));
    struct stat info {};
    if (fstat(file.get(), &info) != 0) return ErrnoError(errno, Shown(path));
    if (info.st_nlink > 1) {
      const auto [first, is_new] = linked_.try_emplace({info.st_dev, info.st_ino}, path);
      if (!is_new) {
        ASSIGN_OR_RETURN(TreeEntry * entry, Add(path, TreeEntryType::kHardLink, info));
        entry->link_target = first->second;
        return absl::OkStatus();
      }
    }
    ASSIGN_OR_RETURN(TreeEntry * entry, Add(path, TreeEntryType::kFile, info));
    entry->metadata.attributes = AttributesOf(file.get());
    entry->size_bytes = static_cast<uint64_t>(info.st_size);
    return FindData(file.get(), info, *entry);
  }

  absl::Status FindData(int file, const struct stat& info, TreeEntry& entry) {
    if (info.st_size == 0) return absl::OkStatus();
    if (info.st_blocks * 512 >= info.st_size) {  // no hole, and nothing to ask
      entry.data.push_back({0, entry.size_bytes});
      return absl::OkStatus();
    }
    for (off_t at = 0; at < info.st_size;) {
      const off_t data = lseek(file, at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // a hole up to the end
      if (data < 0) return ErrnoError(errno, Shown(entry.path));
      const off_t hole = lseek(file, data, SEEK_HOLE);
      if (hole < 0) return ErrnoError(errno, Shown(entry.path));
      const off_t end = std::min(hole, info.st_size);
      if (data < end) entry.data.push_back({static_cast<uint64_t>(data), static_cast<uint64_t>(end - data)});
      at = hole;
    }
    return absl::OkStatus();
  }

  const std::string& folder_;
  const uint64_t entries_max_;
  std::vector<TreeEntry> entries_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // files with several names -> the first of them
};

absl::Status BadPath(std::string_view path) {
  return Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "'{}' is no path within a folder", path);
}

struct Place {
  Descriptor folder;  // that holds it
  std::string name;
};

// Goes down part by part; a part that is no folder, or a link, ends it.
absl::StatusOr<Place> PlaceOf(int root, const std::string& path, const std::string& shown) {
  if (!IsTreePath(path)) return BadPath(path);
  int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  size_t begin = 0;
  for (size_t slash = path.find('/'); fd >= 0 && slash != std::string::npos; slash = path.find('/', begin)) {
    const Descriptor above(fd);
    fd = openat(above.get(), path.substr(begin, slash - begin).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    begin = slash + 1;
  }
  if (fd < 0) return ErrnoError(errno, shown);
  return Place{Descriptor(fd), path.substr(begin)};
}

// Of a file or folder: owner first, since giving it away takes bits of the mode; attributes after the mode, since access
// control lists are stronger.
absl::StatusOr<bool> Apply(int fd, const TreeMetadata& metadata, const std::string& shown) {
  bool whole = true;
  if (fchown(fd, metadata.uid, metadata.gid) != 0) {
    if (errno != EPERM && errno != EINVAL) return ErrnoError(errno, shown);
    whole = false;
  }
  if (fchmod(fd, metadata.mode & 07777) != 0) return ErrnoError(errno, shown);
  for (const TreeAttribute& attribute : metadata.attributes) {
    if (fsetxattr(fd, attribute.name.c_str(), attribute.value.data(), attribute.value.size(), 0) == 0) continue;
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return ErrnoError(errno, shown);
    whole = false;
  }
  return whole;
}

void ToTimes(int64_t ns, struct timespec (&times)[2]) {
  int64_t seconds = ns / kNanosecondsPerSecond;
  int64_t rest = ns % kNanosecondsPerSecond;
  if (rest < 0) {
    rest += kNanosecondsPerSecond;
    --seconds;
  }
  times[0] = times[1] = {seconds, rest};
}

}  // namespace

absl::StatusOr<std::vector<std::string>> NamesIn(int fd, const std::string& shown) {
  const int own = dup(fd);  // closedir closes it
  if (own < 0) return ErrnoError(errno, shown);
  DIR* folder = fdopendir(own);
  if (folder == nullptr) {
    const int error = errno;
    close(own);
    return ErrnoError(error, shown);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  const int error = errno;
  closedir(folder);
  if (error != 0) return ErrnoError(error, shown);
  std::sort(names.begin(), names.end());
  return names;
}

bool IsTreePath(std::string_view path) {
  if (path.empty() || path.size() > kPathMax || path.find('\0') != std::string_view::npos) return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part.size() > kPartMax || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool TreePathLess(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(std::min(a.size(), b.size())), b.begin());
  if (in_b == b.end()) return false;
  if (in_a == a.end()) return true;
  if (*in_a == '/') return true;  // the part of `a` ends here
  if (*in_b == '/') return false;
  return static_cast<unsigned char>(*in_a) < static_cast<unsigned char>(*in_b);
}

bool IsAtOrBelow(std::string_view path, std::string_view folder) {
  if (folder.empty() || path == folder) return true;
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

std::string_view TreeParentOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

absl::StatusOr<std::vector<TreeEntry>> ScanFolder(const std::string& folder, uint64_t entries_max) {
  return Scan(folder, entries_max).Go();
}

absl::StatusOr<std::unique_ptr<FolderTreeWriter>> FolderTreeWriter::Create(const std::string& folder) {
  if (mkdir(folder.c_str(), 0700) != 0) return ErrnoError(errno, folder);
  const int root = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (root < 0) return ErrnoError(errno, folder);
  return std::unique_ptr<FolderTreeWriter>(new FolderTreeWriter(folder, root));
}

FolderTreeWriter::~FolderTreeWriter() {
  close(root_);
}

absl::Status FolderTreeWriter::MakeFolder(const std::string& path) {
  ASSIGN_OR_RETURN(const Place place, PlaceOf(root_, path, Shown(path)));
  return mkdirat(place.folder.get(), place.name.c_str(), 0700) == 0 ? absl::OkStatus() : ErrnoError(errno, Shown(path));
}

absl::Status FolderTreeWriter::MakeFile(const std::string& path, uint64_t size_bytes) {
  ASSIGN_OR_RETURN(const Place place, PlaceOf(root_, path, Shown(path)));
  const Descriptor file(
      openat(place.folder.get(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.ok()) return ErrnoError(errno, Shown(path));
  if (size_bytes == 0) return absl::OkStatus();
  return ftruncate(file.get(), static_cast<off_t>(size_bytes)) == 0 ? absl::OkStatus() : ErrnoError(errno, Shown(path));
}

absl::Status FolderTreeWriter::MakeSymlink(const std::string& path, const std::string& target) {
  ASSIGN_OR_RETURN(const Place place, PlaceOf(root_, path, Shown(path)));
  return symlinkat(target.c_str(), place.folder.get(), place.name.c_str()) == 0 ? absl::OkStatus()
                                                                                : ErrnoError(errno, Shown(path));
}

absl::Status FolderTreeWriter::MakeHardLink(const std::string& path, const std::string& existing) {
  ASSIGN_OR_RETURN(const Place from, PlaceOf(root_, existing, Shown(existing)));
  ASSIGN_OR_RETURN(const Place to, PlaceOf(root_, path, Shown(path)));
  struct stat info {};
  if (fstatat(from.folder.get(), from.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoError(errno, Shown(existing));
  }
  if (!S_ISREG(info.st_mode)) return BadPath(existing);
  return linkat(from.folder.get(), from.name.c_str(), to.folder.get(), to.name.c_str(), 0) == 0
             ? absl::OkStatus()
             : ErrnoError(errno, Shown(path));
}

absl::Status FolderTreeWriter::WriteAt(const std::string& path, uint64_t offset_bytes, Bytes data) {
  ASSIGN_OR_RETURN(const Place place, PlaceOf(root_, path, Shown(path)));
  const Descriptor file(openat(place.folder.get(), place.name.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.ok()) return ErrnoError(errno, Shown(path));
  while (!data.empty()) {
    const ssize_t put = pwrite(file.get(), data.data(), data.size(), static_cast<off_t>(offset_bytes));
    if (put < 0) return ErrnoError(errno, Shown(path));
    offset_bytes += static_cast<uint64_t>(put);
    data = data.subspan(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> FolderTreeWriter::SetMetadata(const std::string& path, TreeEntryType type,
                                                   const TreeMetadata& metadata) {
  struct timespec times[2];
  ToTimes(metadata.modify_time_ns, times);
  if (path.empty()) {
    ASSIGN_OR_RETURN(const bool whole, Apply(root_, metadata, folder_));
    return futimens(root_, times) == 0 ? absl::StatusOr<bool>(whole) : ErrnoError(errno, folder_);
  }
  ASSIGN_OR_RETURN(const Place place, PlaceOf(root_, path, Shown(path)));
  const int in = place.folder.get();
  bool whole = true;
  if (type == TreeEntryType::kSymlink) {
    whole = fchownat(in, place.name.c_str(), metadata.uid, metadata.gid, AT_SYMLINK_NOFOLLOW) == 0;
    if (!whole && errno != EPERM && errno != EINVAL) return ErrnoError(errno, Shown(path));
  } else {
    const Descriptor entry(openat(in, place.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!entry.ok()) return ErrnoError(errno, Shown(path));
    ASSIGN_OR_RETURN(whole, Apply(entry.get(), metadata, Shown(path)));
  }
  if (utimensat(in, place.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, Shown(path));
  return whole;
}

absl::Status FolderTreeWriter::OpenFolder(const std::string& path, uint32_t mode) {
  ASSIGN_OR_RETURN(const Place place, PlaceOf(root_, path, Shown(path)));
  const Descriptor folder(
      openat(place.folder.get(), place.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.ok()) return ErrnoError(errno, Shown(path));
  return fchmod(folder.get(), mode & 07777) == 0 ? absl::OkStatus() : ErrnoError(errno, Shown(path));
}

absl::Status FolderTreeWriter::Sync() {
  return syncfs(root_) == 0 ? absl::OkStatus() : ErrnoError(errno, folder_);
}

absl::StatusOr<bool> OthersMayWrite(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoError(errno, path);
  const bool foreign = info.st_uid != 0 && info.st_uid != geteuid();
  const bool group = (info.st_mode & S_IWGRP) != 0 && info.st_gid != 0;
  return foreign || group || (info.st_mode & S_IWOTH) != 0;
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return error ? ErrnoError(error.value(), path) : absl::OkStatus();
}

absl::StatusOr<bool> TakeFolderName(const std::string& from, const std::string& to, bool replace) {
  struct stat info {};
  const bool there = lstat(to.c_str(), &info) == 0;
  if (there && replace) {
    if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) return ErrnoError(errno, to);
  } else if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno != EEXIST) return ErrnoError(errno, to);
    return Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS", "{} exists already; choose another folder", to);
  }
  const Descriptor folder(open(DirectoryOf(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.ok() || fsync(folder.get()) != 0) return ErrnoError(errno, DirectoryOf(to));
  return there && replace;
}

}  // namespace umbra::base
