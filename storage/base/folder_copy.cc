#include "storage/base/folder_copy.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "storage/base/descriptor.h"
#include "storage/base/folder_tree.h"
#include "storage/base/status.h"

namespace umbra::base {
namespace {

// How much is copied between two looks at the clock.
constexpr size_t kPieceBytes = 8 * kMiB;
constexpr int kDepthMax = 200;
// Linux's own limits are 64 KiB for all names and for a value.
constexpr size_t kAttributeBytesMax = 64 * kKiB;

absl::Status TooLarge(std::string what) {
  return MakeError(absl::StatusCode::kResourceExhausted, "FILE_SET_TOO_LARGE", std::move(what));
}

bool Matches(const std::string& pattern, const std::string& text) {
  return fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0;
}

bool IsExcluded(const FolderSelection& selection, const std::string& path, const std::string& name) {
  return std::any_of(selection.excludes.begin(), selection.excludes.end(), [&](const std::string& pattern) {
    return Matches(pattern, pattern.find('/') == std::string::npos ? name : path);
  });
}

// Walks the selected entries of a folder. Every step goes through the folder's descriptor and follows no link, so that
// nobody who may write in there can lead the walk elsewhere.
class Walk {
 public:
  Walk(const FolderSelection& selection, const FolderCopyLimits& limits) : selection_(selection), limits_(limits) {}
  virtual ~Walk() = default;

 protected:
  // `path` is below the selection's folder; `in` is the folder that holds the entry `name`.
  virtual absl::Status File(int in, const std::string& name, const std::string& path, const struct stat& info) = 0;
  virtual absl::Status Link(int in, const std::string& name, const std::string& path, const struct stat& info) = 0;
  virtual absl::Status EnterFolder(const std::string& path) = 0;
  virtual absl::Status LeaveFolder(int fd, const std::string& path, const struct stat& info) = 0;

  absl::Status Run() {
    const Descriptor root(open(selection_.folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root.ok()) return ErrnoError(errno, selection_.folder);
    struct stat info {};
    if (fstat(root.get(), &info) != 0) return ErrnoError(errno, selection_.folder);
    return Folder(root.get(), "", info, 0);
  }

  uint64_t entry_count() const { return entry_count_; }

 private:
  absl::Status Folder(int fd, const std::string& path, const struct stat& info, int depth) {
    if (depth > kDepthMax) return TooLarge(fmt::format("{}: folders are nested too deeply", selection_.folder));
    RETURN_IF_ERROR(Count());
    RETURN_IF_ERROR(EnterFolder(path));
    ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(fd, selection_.folder));
    for (const std::string& name : names)
      RETURN_IF_ERROR(Entry(fd, name, path.empty() ? name : path + "/" + name, depth));
    return LeaveFolder(fd, path, info);
  }

  absl::Status Entry(int in, const std::string& name, const std::string& path, int depth) {
    if (IsExcluded(selection_, path, name)) return absl::OkStatus();
    struct stat info {};
    if (fstatat(in, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, Full(path));
    }
    if (S_ISDIR(info.st_mode)) {
      if (!selection_.recursive) return absl::OkStatus();
      const Descriptor folder(openat(in, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!folder.ok()) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, Full(path));
      return Folder(folder.get(), path, info, depth + 1);
    }
    const bool wanted = S_ISREG(info.st_mode) || S_ISLNK(info.st_mode);
    if (!wanted || !Matches(selection_.filespec, name)) return absl::OkStatus();
    RETURN_IF_ERROR(Count());
    return S_ISREG(info.st_mode) ? File(in, name, path, info) : Link(in, name, path, info);
  }

  absl::Status Count() {
    if (++entry_count_ <= limits_.entries_max) return absl::OkStatus();
    return TooLarge(fmt::format("{} holds more than {} files", selection_.folder, limits_.entries_max));
  }

 protected:
  std::string Full(const std::string& path) const {
    return path.empty() ? selection_.folder : selection_.folder + "/" + path;
  }

  const FolderSelection& selection_;
  const FolderCopyLimits& limits_;

 private:
  uint64_t entry_count_ = 0;
};

// Whether a file's blocks can be shared with a file in the folder `to`.
bool CanShare(int file, const std::string& to) {
  const std::string probe = to + "/.umbra-share-probe";
  const Descriptor target(open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!target.ok()) return false;
  const bool shared = ioctl(target.get(), FICLONE, file) == 0;
  unlink(probe.c_str());
  return shared;
}

class MeasureWalk final : private Walk {
 public:
  MeasureWalk(const FolderSelection& selection, const FolderCopyLimits& limits, const std::string& to)
      : Walk(selection, limits), to_(to) {}

  absl::StatusOr<FolderSize> Go() {
    RETURN_IF_ERROR(Run());
    size_.entry_count = entry_count();
    return size_;
  }

 private:
  absl::Status File(int in, const std::string& name, const std::string&, const struct stat& info) override {
    size_.bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    if (asked_ || info.st_size == 0) return absl::OkStatus();
    const Descriptor file(openat(in, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file.ok()) return absl::OkStatus();  // the copy says so, if it still matters then
    asked_ = true;
    size_.can_share = CanShare(file.get(), to_);
    return absl::OkStatus();
  }
  absl::Status Link(int, const std::string&, const std::string&, const struct stat&) override {
    return absl::OkStatus();
  }
  absl::Status EnterFolder(const std::string&) override { return absl::OkStatus(); }
  absl::Status LeaveFolder(int, const std::string&, const struct stat&) override { return absl::OkStatus(); }

  const std::string& to_;
  bool asked_ = false;
  FolderSize size_;
};

class CopyWalk final : private Walk {
 public:
  CopyWalk(const FolderSelection& selection, const FolderCopyLimits& limits, std::string to, Clock& clock)
      : Walk(selection, limits), to_(std::move(to)), clock_(clock), deadline_(clock.Monotonic() + limits.time_max) {}

  absl::StatusOr<FolderCopyReport> Go() {
    RETURN_IF_ERROR(Run());
    report_.entry_count = entry_count();
    return report_;
  }

 private:
  std::string Target(const std::string& path) const { return path.empty() ? to_ : to_ + "/" + path; }

  absl::Status CheckTime() {
    if (clock_.Monotonic() <= deadline_) return absl::OkStatus();
    return TooLarge(
        fmt::format("{} can't be copied within {}", selection_.folder, absl::FormatDuration(limits_.time_max)));
  }

  absl::Status EnterFolder(const std::string& path) override {
    RETURN_IF_ERROR(CheckTime());
    if (mkdir(Target(path).c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, Target(path));
    return absl::OkStatus();
  }

  absl::Status LeaveFolder(int fd, const std::string& path, const struct stat& info) override {
    const Descriptor folder(open(Target(path).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder.ok()) return ErrnoError(errno, Target(path));
    return Adopt(fd, folder.get(), path, info);
  }

  absl::Status Link(int in, const std::string& name, const std::string& path, const struct stat& info) override {
    std::string target(static_cast<size_t>(std::max<off_t>(info.st_size, 4096)) + 1, '\0');
    const ssize_t size = readlinkat(in, name.c_str(), target.data(), target.size());
    if (size < 0) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, Full(path));
    target.resize(static_cast<size_t>(size));
    if (symlink(target.c_str(), Target(path).c_str()) != 0) return ErrnoError(errno, Target(path));
    if (lchown(Target(path).c_str(), info.st_uid, info.st_gid) != 0) {
      if (errno != EPERM) return ErrnoError(errno, Target(path));
      ++report_.entries_changed;
    }
    const struct timespec times[2] = {info.st_atim, info.st_mtim};
    return utimensat(AT_FDCWD, Target(path).c_str(), times, AT_SYMLINK_NOFOLLOW) == 0 ? absl::OkStatus()
                                                                                      : ErrnoError(errno, Target(path));
  }

  absl::Status File(int in, const std::string& name, const std::string& path, const struct stat&) override {
    RETURN_IF_ERROR(CheckTime());
    // Not blocking: whoever can write here may put a pipe in the file's place.
    const Descriptor from(openat(in, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!from.ok()) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, Full(path));
    struct stat info {};
    if (fstat(from.get(), &info) != 0) return ErrnoError(errno, Full(path));
    if (!S_ISREG(info.st_mode)) return absl::OkStatus();
    if (info.st_nlink > 1) {
      const auto [first, is_new] = linked_.try_emplace({info.st_dev, info.st_ino}, path);
      if (!is_new) {
        return link(Target(first->second).c_str(), Target(path).c_str()) == 0 ? absl::OkStatus()
                                                                              : ErrnoError(errno, Target(path));
      }
    }
    const Descriptor to(open(Target(path).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!to.ok()) return ErrnoError(errno, Target(path));
    if (may_share_ && ioctl(to.get(), FICLONE, from.get()) == 0) {
      report_.bytes_shared += static_cast<uint64_t>(info.st_size);
    } else {
      may_share_ = may_share_ && errno != EXDEV && errno != EOPNOTSUPP && errno != ENOTTY;
      RETURN_IF_ERROR(CopyBytes(from.get(), to.get(), path, info.st_size));
    }
    return Adopt(from.get(), to.get(), path, info);
  }

  // Data only; holes stay holes.
  absl::Status CopyBytes(int from, int to, const std::string& path, off_t size) {
    off_t at = 0;
    while (at < size) {
      const off_t data = lseek(from, at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // a hole up to the end
      if (data < 0) return ErrnoError(errno, Full(path));
      const off_t hole = lseek(from, data, SEEK_HOLE);
      if (hole < 0) return ErrnoError(errno, Full(path));
      RETURN_IF_ERROR(CopyRange(from, to, path, data, std::min(hole, size)));
      at = hole;
    }
    return ftruncate(to, size) == 0 ? absl::OkStatus() : ErrnoError(errno, Target(path));
  }

  absl::Status CopyRange(int from, int to, const std::string& path, off_t begin, off_t end) {
    report_.bytes_copied += static_cast<uint64_t>(std::max<off_t>(0, end - begin));
    if (report_.bytes_copied > limits_.bytes_max) {
      return TooLarge(fmt::format("{} has more than {} MiB to copy, and its blocks can't be shared", selection_.folder,
                                  limits_.bytes_max / kMiB));
    }
    while (begin < end) {
      RETURN_IF_ERROR(CheckTime());
      const size_t piece = std::min<size_t>(kPieceBytes, static_cast<size_t>(end - begin));
      off_t begin_to = begin;
      const ssize_t copied = in_kernel_ ? copy_file_range(from, &begin, to, &begin_to, piece, 0) : -1;
      if (copied > 0) continue;                  // `begin` has moved on
      if (copied == 0) return absl::OkStatus();  // it became shorter
      in_kernel_ = false;
      ASSIGN_OR_RETURN(const size_t written, CopyPiece(from, to, path, begin, piece));
      if (written == 0) return absl::OkStatus();
      begin += static_cast<off_t>(written);
    }
    return absl::OkStatus();
  }

  // Returns how much; 0 at the end of the file.
  absl::StatusOr<size_t> CopyPiece(int from, int to, const std::string& path, off_t at, size_t size) {
    buffer_.resize(std::min<size_t>(size, kMiB));
    const ssize_t got = pread(from, buffer_.data(), buffer_.size(), at);
    if (got < 0) return ErrnoError(errno, Full(path));
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = pwrite(to, buffer_.data() + done, static_cast<size_t>(got - done), at + done);
      if (put < 0) return ErrnoError(errno, Target(path));
      done += put;
    }
    return static_cast<size_t>(got);
  }

  // Owner before mode: changing the owner takes the set-user-id bits away. Without the right to give files away they
  // stay the agent's. Attributes after the mode: access control lists are stronger.
  absl::Status Adopt(int from, int to, const std::string& path, const struct stat& info) {
    bool whole = true;
    if (fchown(to, info.st_uid, info.st_gid) != 0) {
      if (errno != EPERM) return ErrnoError(errno, Target(path));
      whole = false;
    }
    if (fchmod(to, info.st_mode & 07777) != 0) return ErrnoError(errno, Target(path));
    ASSIGN_OR_RETURN(const bool attributes, CopyAttributes(from, to, path));
    if (!whole || !attributes) ++report_.entries_changed;
    const struct timespec times[2] = {info.st_atim, info.st_mtim};
    return futimens(to, times) == 0 ? absl::OkStatus() : ErrnoError(errno, Target(path));
  }

  // False when some can't be kept there.
  absl::StatusOr<bool> CopyAttributes(int from, int to, const std::string& path) {
    names_.resize(kAttributeBytesMax);
    const ssize_t size = flistxattr(from, names_.data(), names_.size());
    if (size <= 0) return true;
    buffer_.resize(std::max(buffer_.size(), kAttributeBytesMax));
    bool whole = true;
    for (const char* name = names_.data(); name < names_.data() + size; name += std::strlen(name) + 1) {
      const ssize_t length = fgetxattr(from, name, buffer_.data(), kAttributeBytesMax);
      if (length < 0) continue;  // it went, or isn't for this process
      if (fsetxattr(to, name, buffer_.data(), static_cast<size_t>(length), 0) == 0) continue;
      if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return ErrnoError(errno, Target(path));
      whole = false;
    }
    return whole;
  }

  const std::string to_;
  Clock& clock_;
  const absl::Duration deadline_;
  FolderCopyReport report_;
  bool may_share_ = true;  // until the file system says no
  bool in_kernel_ = true;  // copy_file_range works
  std::vector<char> buffer_;
  std::vector<char> names_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // files with several names -> the first of them
};

absl::Status MakeFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return ErrnoError(error.value(), folder);
  return chmod(folder.c_str(), 0700) == 0 ? absl::OkStatus() : ErrnoError(errno, folder);
}

}  // namespace

absl::StatusOr<FolderSize> SystemFolderCopier::Measure(const FolderSelection& from, const std::string& to,
                                                       const FolderCopyLimits& limits) {
  RETURN_IF_ERROR(MakeFolder(to));
  return MeasureWalk(from, limits, to).Go();
}

absl::StatusOr<FolderCopyReport> SystemFolderCopier::Copy(const FolderSelection& from, const std::string& to,
                                                          const FolderCopyLimits& limits) {
  RETURN_IF_ERROR(MakeFolder(to));
  return CopyWalk(from, limits, to, clock_).Go();
}

absl::Status SystemFolderCopier::RemoveTree(const std::string& folder) {
  return base::RemoveTree(folder);
}

}  // namespace umbra::base
