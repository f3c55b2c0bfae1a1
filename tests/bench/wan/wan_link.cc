// A long line between two network namespaces: a rate, a delay, a queue, and cuts, in user space.
//
//   wan_link NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B RATE_MBIT DELAY_MS QUEUE_MS
//
// Makes a TUN device in each namespace (ip netns names, addresses of one /24) and carries packets between them as
// netem's "rate" and "delay" would, without the kernel module, which many kernels lack. DELAY_MS is for one way. A
// packet that would wait longer than QUEUE_MS for the line is dropped. Large segments pass as they are (the kernel's
// offloads stay on), so that the emulator takes little of the processors that are being measured.
//
// Prints "ready". Then it takes lines from its input: "cut" drops every packet until "mend"; "bytes" prints what was
// carried so far, as "A_TO_B B_TO_A DROPPED"; the end of the input ends it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPacketMax = 70'000;
constexpr int kMtu = 1500;
constexpr size_t kHeaderOnTheLine = 38;  // of each Ethernet frame: addresses, preamble, gap
constexpr size_t kVnetHeader = 10;       // struct virtio_net_hdr, which TUN devices put first

[[noreturn]] void Die(const std::string& what) {
  std::perror(("wan_link: " + what).c_str());
  std::exit(1);
}

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void SleepUntil(int64_t ns) {
  const timespec at{ns / 1'000'000'000, ns % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) != 0) {
  }
}

// A device with this address in the namespace. Changes the namespace of the calling thread.
int MakeDevice(const std::string& space, const std::string& address) {
  const int ns = open(("/run/netns/" + space).c_str(), O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNET) != 0) Die("namespace " + space);
  close(ns);
  const int device = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (device < 0) Die("/dev/net/tun");
  ifreq request{};
  std::strcpy(request.ifr_name, "wan0");
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(device, TUNSETIFF, &request) != 0) Die("TUNSETIFF");
  if (ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0) Die("TUNSETOFFLOAD");
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  auto* const in = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  *in = {};
  in->sin_family = AF_INET;
  if (inet_pton(AF_INET, address.c_str(), &in->sin_addr) != 1 || ioctl(control, SIOCSIFADDR, &request) != 0)
    Die("address");
  inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
  if (ioctl(control, SIOCSIFNETMASK, &request) != 0) Die("mask");
  request.ifr_mtu = kMtu;
  if (ioctl(control, SIOCSIFMTU, &request) != 0) Die("MTU");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(control, SIOCSIFFLAGS, &request) != 0) Die("up");
  close(control);
  return device;
}

// One direction of the line.
class Way {
 public:
  Way(int from, int to, int64_t bits_per_s, int64_t delay_ns, int64_t queue_ns)
      : from_(from), to_(to), bits_per_s_(bits_per_s), delay_ns_(delay_ns), queue_ns_(queue_ns) {
    std::thread([this] { Take(); }).detach();  // until the program ends
    std::thread([this] { Give(); }).detach();
  }

  std::atomic<bool> cut{false};
  std::atomic<int64_t> bytes{0};
  std::atomic<int64_t> dropped{0};

 private:
  struct Packet {
    int64_t due_ns;
    std::vector<char> bytes;
  };

  void Take() {
    std::vector<char> buffer(kPacketMax);
    int64_t line_free_ns = 0;
    while (true) {
      const ssize_t size = read(from_, buffer.data(), buffer.size());
      if (size <= static_cast<ssize_t>(kVnetHeader)) continue;
      const int64_t now = Now();
      const int64_t begin = std::max(now, line_free_ns);
      if (cut || begin - now > queue_ns_) {
        ++dropped;
        continue;
      }
      const size_t payload = static_cast<size_t>(size) - kVnetHeader;
      const size_t frames = (payload + kMtu - 1) / kMtu;
      const auto bits = static_cast<int64_t>((payload + frames * kHeaderOnTheLine) * 8);
      line_free_ns = begin + bits * 1'000'000'000 / bits_per_s_;
      bytes += static_cast<int64_t>(payload);
      {
        const std::lock_guard lock(mu_);
        queue_.push_back({line_free_ns + delay_ns_, {buffer.begin(), buffer.begin() + size}});
      }
      filled_.notify_one();
    }
  }

  void Give() {
    while (true) {
      Packet packet;
      {
        std::unique_lock lock(mu_);
        filled_.wait(lock, [this] { return !queue_.empty(); });
        packet = std::move(queue_.front());
        queue_.pop_front();
      }
      if (packet.due_ns > Now()) SleepUntil(packet.due_ns);
      if (cut) continue;
      if (write(to_, packet.bytes.data(), packet.bytes.size()) < 0) ++dropped;
    }
  }

  const int from_, to_;
  const int64_t bits_per_s_, delay_ns_, queue_ns_;
  std::mutex mu_;
  std::condition_variable filled_;
  std::deque<Packet> queue_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "wan_link NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B RATE_MBIT DELAY_MS QUEUE_MS\n");
    return 2;
  }
  const int a = MakeDevice(argv[1], argv[2]);
  const int b = MakeDevice(argv[3], argv[4]);
  const int64_t rate = std::atoll(argv[5]) * 1'000'000, delay = std::atoll(argv[6]) * 1'000'000;
  const int64_t queue = std::atoll(argv[7]) * 1'000'000;
  Way there(a, b, rate, delay, queue), back(b, a, rate, delay, queue);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "cut" || line == "mend") there.cut = back.cut = line == "cut";
    if (line == "bytes")
      std::cout << there.bytes << " " << back.bytes << " " << there.dropped + back.dropped << std::endl;
  }
  std::_Exit(0);  // the carriers are in the middle of their reads
}
