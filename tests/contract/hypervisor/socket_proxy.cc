#include "tests/contract/hypervisor/socket_proxy.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

constexpr int kPollMs = 10;

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  UMBRA_CHECK(path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

SocketProxy::SocketProxy(const std::string& listen_path, std::string server_path) : server_path_(std::move(server_path)) {
  const sockaddr_un address = AddressOf(listen_path);
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  UMBRA_CHECK(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  UMBRA_CHECK(listen(listener_, 16) == 0);
  thread_ = std::thread([this] { Run(); });
}

SocketProxy::~SocketProxy() {
  stop_ = true;
  thread_.join();
  close(listener_);
}

void SocketProxy::CutAll() {
  cut_ = true;
  while (cut_) usleep(1000);
}

void SocketProxy::Run() {
  while (true) {
    if (stop_ || cut_) {
      for (const Pair& pair : pairs_) {
        close(pair.client);
        close(pair.server);
      }
      pairs_.clear();
      if (stop_) return;
      cut_ = false;
    }
    std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
    for (const Pair& pair : pairs_) {
      fds.push_back({pair.client, POLLIN, 0});
      fds.push_back({pair.server, POLLIN, 0});
    }
    poll(fds.data(), fds.size(), kPollMs);
    for (size_t i = 0; i < pairs_.size(); ++i) {
      if (fds[1 + 2 * i].revents != 0) Forward(pairs_[i].client, pairs_[i].server);
      if (fds[2 + 2 * i].revents != 0) Forward(pairs_[i].server, pairs_[i].client);
    }
    if (fds[0].revents != 0) Accept();
  }
}

void SocketProxy::Accept() {
  const sockaddr_un address = AddressOf(server_path_);
  const Pair pair{accept(listener_, nullptr, nullptr), socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  UMBRA_CHECK(connect(pair.server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  pairs_.push_back(pair);
  ++accepted_;
}

void SocketProxy::Forward(int from, int to) {
  char buffer[65536];
  const ssize_t n = read(from, buffer, sizeof(buffer));
  if (n <= 0 || send(to, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) != n) shutdown(to, SHUT_WR);
}

}  // namespace umbra::hypervisor
