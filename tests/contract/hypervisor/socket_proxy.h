// Stands between a client and a server on unix sockets, and cuts their connections on demand: a daemon's restart, as its
// clients see it, without restarting it.
#ifndef UMBRA_TESTS_CONTRACT_HYPERVISOR_SOCKET_PROXY_H_
#define UMBRA_TESTS_CONTRACT_HYPERVISOR_SOCKET_PROXY_H_

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace umbra::hypervisor {

class SocketProxy {
 public:
  SocketProxy(const std::string& listen_path, std::string server_path);
  ~SocketProxy();

  // Ends every connection there is; returns when that is done.
  void CutAll();
  int accepted() const { return accepted_; }

 private:
  struct Pair {
    int client;
    int server;
  };

  void Run();
  void Accept();
  void Forward(int from, int to);

  const std::string server_path_;
  int listener_ = -1;
  std::vector<Pair> pairs_;  // of the thread
  std::atomic<int> accepted_ = 0;
  std::atomic<bool> cut_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace umbra::hypervisor

#endif  // UMBRA_TESTS_CONTRACT_HYPERVISOR_SOCKET_PROXY_H_
