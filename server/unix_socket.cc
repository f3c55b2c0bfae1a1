#include "server/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "storage/base/status.h"

namespace umbra::server {
namespace {

absl::Status Refuse(const std::string& path, std::string_view why) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "LISTEN_FAILED", "api.socket: {} {}", path, why);
}

// 0 when somebody answers at `path`, otherwise errno.
int TryConnect(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const absl::Cleanup close_fd = [fd] { close(fd); };
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
}

}  // namespace

absl::Status PrepareUnixSocket(base::Filesystem& filesystem, const std::string& path) {
  RETURN_IF_ERROR(filesystem.MakeDirectories(base::DirectoryOf(path)));
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) {
    return errno == ENOENT ? absl::OkStatus() : base::ErrnoError(errno, "api.socket: " + path);
  }
  if (!S_ISSOCK(st.st_mode)) return Refuse(path, "is there already and is no socket");
  switch (const int error = TryConnect(path)) {
    case 0:
      return Refuse(path, "is in use by another process");
    case ECONNREFUSED:
      return filesystem.Remove(path);
    default:
      return base::ErrnoError(error, "api.socket: " + path);
  }
}

absl::Status ProtectUnixSocket(const std::string& path) {
  if (chmod(path.c_str(), 0660) != 0) return base::ErrnoError(errno, "api.socket: " + path);
  return absl::OkStatus();
}

}  // namespace umbra::server
