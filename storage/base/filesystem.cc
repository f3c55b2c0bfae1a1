#include "storage/base/filesystem.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "storage/base/aligned_buffer.h"
#include "storage/base/status.h"

namespace umbra::base {
namespace {

class PosixFile final : public File {
 public:
  PosixFile(int fd, bool writable, std::string path) : fd_(fd), writable_(writable), path_(std::move(path)) {}
  ~PosixFile() override {
    close(fd_);
    if (direct_fd_ >= 0) close(direct_fd_);
  }

  absl::Status ReadAt(uint64_t offset, MutableBytes out) override {
    while (!out.empty()) {
      const bool direct = direct_fd_ >= 0 && IsDirectAligned(offset, out);
      ssize_t n = pread(direct ? direct_fd_ : fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINVAL && direct) n = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read " + path_);
      if (n == 0) {
        return Error(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT", "read {}: file ends before byte {}", path_,
                     offset + out.size());
      }
      out = out.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status WriteAt(uint64_t offset, Bytes data) override {
    while (!data.empty()) {
      const bool direct = direct_fd_ >= 0 && IsDirectAligned(offset, data);
      ssize_t n = pwrite(direct ? direct_fd_ : fd_, data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINVAL && direct) {  // a file system with larger blocks than pages
        n = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
      }
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "write " + path_);
      data = data.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t size_bytes) override {
    if (ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0) return ErrnoError(errno, "truncate " + path_);
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat st;
    if (fstat(fd_, &st) != 0) return ErrnoError(errno, "stat " + path_);
    return static_cast<uint64_t>(st.st_size);
  }

  absl::StatusOr<std::vector<FileRange>> DataRanges() override {
    std::vector<FileRange> ranges;
    for (off_t at = 0;;) {
      const off_t begin = lseek(fd_, at, SEEK_DATA);
      if (begin < 0 && errno == ENXIO) return ranges;  // nothing but a hole up to the end
      if (begin < 0) return ErrnoError(errno, "look for data in " + path_);
      at = lseek(fd_, begin, SEEK_HOLE);
      if (at < 0) return ErrnoError(errno, "look for holes in " + path_);
      ranges.push_back({static_cast<uint64_t>(begin), static_cast<uint64_t>(at - begin)});
    }
  }

  absl::Status Sync() override {
    if (fdatasync(fd_) != 0) return ErrnoError(errno, "sync " + path_);
    return absl::OkStatus();
  }

  // A second descriptor, since the last bytes of a file are rarely aligned. -1 where it can't be had (tmpfs).
  void SkipCache() override { direct_fd_ = open(path_.c_str(), (writable_ ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC); }

  void Allocate(uint64_t offset, uint64_t length) override {
    if (direct_fd_ < 0) return;  // the page cache finds places itself, for more at a time
    (void)fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length));
  }

 private:
  const int fd_;
  const bool writable_;
  int direct_fd_ = -1;
  const std::string path_;
};

int OpenFlags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT | O_EXCL;
    case OpenMode::kTruncate:
      return O_RDWR | O_CREAT | O_TRUNC;
  }
  return O_RDONLY;
}

}  // namespace

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<std::vector<FileRange>> File::DataRanges() {
  ASSIGN_OR_RETURN(const uint64_t size, Size());
  return size == 0 ? std::vector<FileRange>() : std::vector<FileRange>{{0, size}};
}

absl::StatusOr<std::string> Filesystem::ReadFile(const std::string& path, uint64_t limit_bytes) {
  ASSIGN_OR_RETURN(auto file, Open(path, OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  if (size > limit_bytes) {
    return Error(absl::StatusCode::kResourceExhausted, "FILE_TOO_LARGE", "{} has {} bytes, the limit is {}", path, size,
                 limit_bytes);
  }
  std::string content(size, '\0');
  RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(content.data(), content.size()))));
  return content;
}

absl::Status Filesystem::WriteFileAtomic(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".tmp";
  {
    ASSIGN_OR_RETURN(auto file, Open(temporary, OpenMode::kTruncate));
    RETURN_IF_ERROR(file->WriteAt(0, AsBytes(content)));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(Rename(temporary, path));
  return SyncDirectory(DirectoryOf(path));
}

absl::Status Filesystem::Symlink(const std::string&, const std::string& link) {
  return Error(absl::StatusCode::kUnimplemented, "IO_ERROR", "link {}: this file system makes no links", link);
}

absl::Status Filesystem::RemoveLink(const std::string& link) {
  struct stat st {};
  if (lstat(link.c_str(), &st) != 0) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "stat " + link);
  return S_ISLNK(st.st_mode) ? Remove(link) : absl::OkStatus();
}

absl::StatusOr<std::string> Filesystem::StampOf(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return ErrnoError(errno, "stat " + path);
  return fmt::format("{}-{}-{}-{}.{:09}", st.st_dev, st.st_ino, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

absl::StatusOr<std::string> Filesystem::IdentityOf(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return ErrnoError(errno, "stat " + path);
  // Without the device: its number may be another one after a reboot.
  return fmt::format("{}", st.st_ino);
}

absl::StatusOr<std::string> Filesystem::VolumeOf(const std::string& path) {
  return Error(absl::StatusCode::kUnimplemented, "IO_ERROR", "{}: this file system names no volumes", path);
}

absl::StatusOr<std::vector<FolderEntry>> Filesystem::ListEntries(const std::string& path) {
  return Error(absl::StatusCode::kUnimplemented, "IO_ERROR", "{}: this file system tells no kinds", path);
}

absl::Status Filesystem::AllowTraversal(const std::string& folder) {
  return Error(absl::StatusCode::kUnimplemented, "IO_ERROR", "{}: this file system has no modes", folder);
}

absl::StatusOr<std::unique_ptr<File>> PosixFilesystem::Open(const std::string& path, OpenMode mode) {
  const int fd = open(path.c_str(), OpenFlags(mode) | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError(errno, "open " + path);
  return std::make_unique<PosixFile>(fd, mode != OpenMode::kRead, path);
}

absl::Status PosixFilesystem::Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return ErrnoError(errno, "rename " + from + " to " + to);
  return absl::OkStatus();
}

absl::Status PosixFilesystem::Remove(const std::string& path) {
  if (remove(path.c_str()) != 0) return ErrnoError(errno, "remove " + path);
  return absl::OkStatus();
}

absl::Status PosixFilesystem::MakeDirectories(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, "make folder " + part);
    if (slash == std::string::npos) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PosixFilesystem::List(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return ErrnoError(errno, "list " + path);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::vector<FolderEntry>> PosixFilesystem::ListEntries(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, List(path));
  std::vector<FolderEntry> entries;
  for (const std::string& name : names) {
    const std::string full = path + "/" + name;
    struct stat st;
    if (lstat(full.c_str(), &st) != 0) {
      if (errno == ENOENT) continue;  // removed since
      return ErrnoError(errno, "stat " + full);
    }
    const EntryKind kind = S_ISDIR(st.st_mode)   ? EntryKind::kFolder
                           : S_ISREG(st.st_mode) ? EntryKind::kFile
                                                 : EntryKind::kOther;
    entries.push_back({name, kind});
  }
  return entries;
}

absl::StatusOr<bool> PosixFilesystem::Exists(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return ErrnoError(errno, "stat " + path);
}

absl::Status PosixFilesystem::SyncDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, "open folder " + path);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : ErrnoError(error, "sync folder " + path);
}

absl::StatusOr<std::unique_ptr<File>> PosixFilesystem::Lock(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError(errno, "open " + path);
  auto file = std::make_unique<PosixFile>(fd, true, path);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return file;
  if (errno == EWOULDBLOCK) {
    return Error(absl::StatusCode::kFailedPrecondition, "FILE_LOCKED", "{} is locked by somebody else", path);
  }
  return ErrnoError(errno, "lock " + path);
}

absl::StatusOr<uint64_t> PosixFilesystem::FreeSpace(const std::string& path) {
  struct statvfs st;
  if (statvfs(path.c_str(), &st) != 0) return ErrnoError(errno, "statvfs " + path);
  return static_cast<uint64_t>(st.f_bavail) * st.f_frsize;
}

absl::Status PosixFilesystem::Symlink(const std::string& target, const std::string& link) {
  struct stat st;
  if (lstat(link.c_str(), &st) == 0 && !S_ISLNK(st.st_mode)) return ErrnoError(EEXIST, "link " + link);
  const std::string temporary = link + ".tmp";
  if (unlink(temporary.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, "remove " + temporary);
  if (symlink(target.c_str(), temporary.c_str()) != 0) return ErrnoError(errno, "link " + link + " to " + target);
  return Rename(temporary, link);
}

absl::Status PosixFilesystem::AllowTraversal(const std::string& folder) {
  if (chmod(folder.c_str(), 0711) != 0) return ErrnoError(errno, "change the mode of " + folder);
  return absl::OkStatus();
}

absl::StatusOr<std::string> PosixFilesystem::VolumeOf(const std::string& path) {
  struct stat st;
  for (std::string at = path;; at = DirectoryOf(at)) {
    if (stat(at.c_str(), &st) == 0) return fmt::format("dev{}", st.st_dev);
    if (errno != ENOENT || at == "/" || at == ".") return ErrnoError(errno, "stat " + at);
  }
}

}  // namespace umbra::base
