#include "storage/base/cloning.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "storage/base/status.h"

namespace umbra::base {
namespace {

class PosixCloning final : public Cloning {
 public:
  absl::StatusOr<bool> Clone(const std::string& from, const std::string& to) override {
    const int source = open(from.c_str(), O_RDONLY | O_CLOEXEC);
    if (source < 0) return ErrnoError(errno, "open " + from);
    const absl::Cleanup close_source = [source] { close(source); };
    const int target = open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (target < 0) return ErrnoError(errno, "open " + to);
    const absl::Cleanup close_target = [target] { close(target); };
    if (ioctl(target, FICLONE, source) == 0) return true;
    const int error = errno;
    if (unlink(to.c_str()) != 0) return ErrnoError(errno, "remove " + to);
    // Another file system, one that shares nothing, no plain file, or two files that are kept in different ways.
    if (error == EXDEV || error == EOPNOTSUPP || error == ENOTTY || error == EINVAL || error == EISDIR) return false;
    return ErrnoError(error, "clone " + from + " as " + to);
  }

  absl::Status MakeHole(const std::string& path, uint64_t offset, uint64_t length) override {
    if (length == 0) return absl::OkStatus();
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) return ErrnoError(errno, "open " + path);
    const absl::Cleanup close_file = [file] { close(file); };
    constexpr int kHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    while (fallocate(file, kHole, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
      if (errno != EINTR) return ErrnoError(errno, "make a hole in " + path);
    }
    return absl::OkStatus();
  }
};

}  // namespace

Cloning* CloningOf(Filesystem& files) {
  static PosixCloning posix;
  if (dynamic_cast<PosixFilesystem*>(&files) != nullptr) return &posix;
  return dynamic_cast<Cloning*>(&files);
}

}  // namespace umbra::base
