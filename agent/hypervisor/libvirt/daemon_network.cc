#include "agent/hypervisor/libvirt/daemon_network.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

constexpr const char* kDefaultSockets[] = {"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"};
constexpr size_t kDeviceListBytesMax = 1 * base::kMiB;  // 8000 devices

// Who listens there; 0 when unknown.
pid_t PeerOf(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) return 0;
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  const absl::Cleanup close_fd = [fd] { close(fd); };
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return 0;
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

}  // namespace

std::string DaemonSocket(std::string_view uri, base::Filesystem& files) {
  const size_t scheme_end = uri.find("://");
  if (scheme_end == std::string_view::npos) return "";
  const std::string_view scheme = uri.substr(0, scheme_end);
  if (scheme != "qemu" && scheme != "qemu+unix") return "";
  if (uri.substr(scheme_end + 3, 1) != "/") return "";  // a host: not here
  constexpr std::string_view kParameter = "socket=";
  if (const size_t at = uri.find(kParameter); at != std::string_view::npos) {
    const std::string_view rest = uri.substr(at + kParameter.size());
    return std::string(rest.substr(0, rest.find('&')));
  }
  if (uri.find("/system") == std::string_view::npos) return "";
  for (const char* path : kDefaultSockets) {
    if (files.Exists(path).value_or(false)) return path;
  }
  return "";
}

std::string DaemonRoot(const std::string& socket) {
  const pid_t pid = socket.empty() ? 0 : PeerOf(socket);
  return pid == 0 ? "" : fmt::format("/proc/{}/root", pid);
}

std::optional<bool> DaemonSeesDevice(const std::string& socket, const std::string& name, base::Filesystem& files) {
  const pid_t pid = socket.empty() ? 0 : PeerOf(socket);
  if (pid == 0) return std::nullopt;
  auto file = files.Open(fmt::format("/proc/{}/net/dev", pid), base::OpenMode::kRead);
  if (!file.ok()) return std::nullopt;
  // Files of /proc have no size: what there is, is read, and the end comes as FILE_TOO_SHORT.
  std::string list(kDeviceListBytesMax, '\0');
  const absl::Status read = (*file)->ReadAt(0, std::as_writable_bytes(std::span(list.data(), list.size())));
  if (!read.ok() && base::ReasonOf(read) != "FILE_TOO_SHORT") return std::nullopt;
  // A line is "  name: counters".
  return list.find(fmt::format(" {}:", name)) != std::string::npos || list.find(fmt::format("\n{}:", name)) != std::string::npos;
}

}  // namespace umbra::hypervisor
