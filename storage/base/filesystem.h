// The only way to durable bytes. PosixFilesystem is the real one; tests wrap it with faults.
//
// Durability: written bytes survive power loss only after Sync() returned OK; a created, renamed, linked or removed
// name only after SyncDirectory() of its folder returned OK.
// Errors are those of base::ErrnoError (STORAGE_FULL, FILE_NOT_FOUND, FILE_EXISTS, IO_ERROR ...).
#ifndef UMBRA_STORAGE_BASE_FILESYSTEM_H_
#define UMBRA_STORAGE_BASE_FILESYSTEM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/bytes.h"

namespace umbra::base {

// An open file. One thread at a time, but for ReadAt and WriteAt, which may run from several threads at once.
// A stretch of a file's bytes.
struct FileRange {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;

  friend bool operator==(const FileRange&, const FileRange&) = default;
};

class File {
 public:
  virtual ~File() = default;

  // Reads exactly `out.size()` bytes at `offset`; OUT_OF_RANGE / FILE_TOO_SHORT when the file ends before.
  virtual absl::Status ReadAt(uint64_t offset, MutableBytes out) = 0;
  // Writes all of `data` at `offset`; the file grows as needed.
  virtual absl::Status WriteAt(uint64_t offset, Bytes data) = 0;
  // Sets the size; growing leaves a hole that reads as zero.
  virtual absl::Status Truncate(uint64_t size_bytes) = 0;
  virtual absl::StatusOr<uint64_t> Size() = 0;
  // The stretches that hold data, ordered and apart; between them are holes, which read as zero. What doesn't know its
  // holes is all data.
  virtual absl::StatusOr<std::vector<FileRange>> DataRanges();
  // The data, and the size, are durable when this returns OK.
  virtual absl::Status Sync() = 0;

  // A hint, before the first read or write: what is written isn't read again soon, and what is read is wanted from the disk
  // itself, so neither need push other things out of the page cache. Aligned transfers (IsDirectAligned) then go to and from
  // the disk at once where the file system can do that, which for bulk data is a multiple faster than to write it back
  // later; others stay as they are. No promise about durability.
  virtual void SkipCache() {}
  // A hint: these bytes will be written soon, all of them. Where the file system can, it finds their place on the disk at
  // once, without changing the size: transfers past the page cache into a hole wait for each other (ext4), into what has
  // its place they don't. What lies there stays; a disk that is full shows when it is written to.
  virtual void Allocate(uint64_t /*offset*/, uint64_t /*length*/) {}
};

enum class OpenMode {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // must not exist (ALREADY_EXISTS / FILE_EXISTS)
  kTruncate,   // created or emptied
};

enum class EntryKind {
  kFile,
  kFolder,
  kOther,  // a symbolic link (whatever it points at), a socket, a device ...
};

// What a folder holds under one name.
struct FolderEntry {
  std::string name;  // not a path
  EntryKind kind = EntryKind::kFile;

  friend bool operator==(const FolderEntry&, const FolderEntry&) = default;
};

// Thread-safe.
class Filesystem {
 public:
  virtual ~Filesystem() = default;

  // New files get mode 0600 (our files hold other people's disks).
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) = 0;
  // Replaces `to` atomically.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  // Makes the folder and its parents (mode 0700); OK when it exists.
  virtual absl::Status MakeDirectories(const std::string& path) = 0;
  // Names (not paths) in the folder, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;
  // The same names with what they are; links aren't followed.
  virtual absl::StatusOr<std::vector<FolderEntry>> ListEntries(const std::string& path);
  virtual absl::StatusOr<bool> Exists(const std::string& path) = 0;
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  // Takes the exclusive lock on the file `path`, made when absent, without waiting. It is held until the File is destroyed
  // and gone when the process dies. FAILED_PRECONDITION / FILE_LOCKED while somebody else holds it.
  virtual absl::StatusOr<std::unique_ptr<File>> Lock(const std::string& path) = 0;
  // Free bytes for this process on the file system that holds `path`.
  virtual absl::StatusOr<uint64_t> FreeSpace(const std::string& path) = 0;

  // Makes the symbolic link `link`, or replaces the link that is there (by a rename, so it never disappears).
  // ALREADY_EXISTS / FILE_EXISTS when `link` is there and no link.
  virtual absl::Status Symlink(const std::string& target, const std::string& link);
  // Removes the symbolic link `link`; OK when it isn't there, or is no link and stays.
  absl::Status RemoveLink(const std::string& link);
  // Names the mounted file system that holds `path` (or its nearest existing parent); equal names, same file system.
  virtual absl::StatusOr<std::string> VolumeOf(const std::string& path);

  // Tells whether a file was written between two looks: equal stamps, the same untouched file. NOT_FOUND when it isn't there.
  virtual absl::StatusOr<std::string> StampOf(const std::string& path);

  // Names the file behind `path`, as long as it exists: another name, another file. NOT_FOUND when it isn't there.
  virtual absl::StatusOr<std::string> IdentityOf(const std::string& path);

  // Lets other users pass through the folder, without listing it (mode 0711): a hypervisor's process may run as one.
  virtual absl::Status AllowTraversal(const std::string& folder);

  // Whole file, at most `limit_bytes` (RESOURCE_EXHAUSTED / FILE_TOO_LARGE beyond).
  absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t limit_bytes = 64 * kMiB);
  // Durable all-or-nothing replacement: write `path`.tmp, sync, rename, sync the folder.
  absl::Status WriteFileAtomic(const std::string& path, std::string_view content);
};

class PosixFilesystem final : public Filesystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status MakeDirectories(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<std::vector<FolderEntry>> ListEntries(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> Lock(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override;
  absl::Status Symlink(const std::string& target, const std::string& link) override;
  absl::StatusOr<std::string> VolumeOf(const std::string& path) override;
  absl::Status AllowTraversal(const std::string& folder) override;
};

// The folder part of `path` ("." when it has none).
std::string DirectoryOf(const std::string& path);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_FILESYSTEM_H_
