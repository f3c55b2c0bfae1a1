// api_bench streams ADDRESS COUNT ROUNDS: holds COUNT event streams, makes ROUNDS events one after the other, and
// prints, as one JSON object, what the median and the slowest hundredth of the streams waited for each. Waits for a
// line on standard input before the rounds, so that whoever started it can look at the daemon while everything is idle.
//
// api_bench rest ADDRESS NAME CONNECTIONS SECONDS, api_bench grpc SOCKET NAME CALLS SECONDS: asks for the job NAME,
// so many at a time, as fast as it goes; prints calls a second and how long the slowest hundredth took.
//
// api_bench echo SOCKET: a server that answers GetJob with the name that was asked for, and does nothing else; until its
// standard input ends. What it reaches is what gRPC itself costs on this machine.
//
// UMBRA_TOKEN of the environment is the API token for what goes over HTTPS.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "umbra/v1/job.grpc.pb.h"

namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void Die(const std::string& what) {
  fmt::print(stderr, "api_bench: {}\n", what);
  exit(1);
}

// A TLS connection; blocking until told otherwise. The certificate isn't looked at: it is the benchmark's own daemon.
class Connection {
 public:
  Connection(SSL_CTX* context, const std::string& address) {
    fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    const size_t colon = address.rfind(':');
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
    inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) Die("can't connect");
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd);
    if (SSL_connect(ssl_) != 1) Die("no hand-shake");
  }
  void Send(const std::string& text) {
    if (SSL_write(ssl_, text.data(), static_cast<int>(text.size())) <= 0) Die("can't send");
  }
  // More bytes, or none when there are none now.
  std::string Receive() {
    char bytes[16 * 1024];
    const int got = SSL_read(ssl_, bytes, sizeof(bytes));
    if (got > 0) return std::string(bytes, static_cast<size_t>(got));
    if (SSL_get_error(ssl_, got) != SSL_ERROR_WANT_READ) Die("the daemon closed a connection");
    return {};
  }
  // One whole answer with a Content-Length.
  void ReadAnswer() {
    std::string text;
    size_t end = std::string::npos;
    while ((end = text.find("\r\n\r\n")) == std::string::npos) text += Receive();
    if (text.compare(9, 3, "200") != 0) Die(text);
    const size_t length = std::stoul(text.substr(text.find("Content-Length: ") + 16));
    while (text.size() < end + 4 + length) text += Receive();
  }
  void DontBlock() const { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

  int fd = -1;

 private:
  SSL* ssl_ = nullptr;
};

SSL_CTX* Context() {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  return context;
}

double Quantile(std::vector<double>& values, double share) {
  if (values.empty()) return -1;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(static_cast<double>(values.size()) * share))];
}

// The header with the API token of the environment.
std::string Credential() {
  const char* const token = std::getenv("UMBRA_TOKEN");
  return token == nullptr ? "" : fmt::format("Authorization: Bearer {}\r\n", token);
}

std::string Get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: bench\r\n" + Credential() + "\r\n";
}

int Streams(const std::string& address, size_t count, int rounds) {
  SSL_CTX* const context = Context();
  const int poll = epoll_create1(0);
  const auto opened = Clock::now();
  std::vector<std::unique_ptr<Connection>> streams;
  for (size_t i = 0; i < count; ++i) {
    streams.push_back(std::make_unique<Connection>(context, address));
    streams[i]->Send(Get("/v1/events:watch?afterSequence=-1"));
  }
  for (size_t i = 0; i < count; ++i) {
    while (streams[i]->Receive().find("here") == std::string::npos) continue;  // the first comment
    streams[i]->DontBlock();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    epoll_ctl(poll, EPOLL_CTL_ADD, streams[i]->fd, &event);
  }
  fmt::print("{{\"open_s\": {:.3f}}}\n", SecondsSince(opened));
  std::cout.flush();
  std::string line;
  std::getline(std::cin, line);
  Connection maker(context, address);
  std::vector<double> waits;
  for (int round = 0; round < rounds; ++round) {
    const std::string body = "{\"verify\":{}}";
    const auto start = Clock::now();
    maker.Send(fmt::format(
        "POST /v1/jobs HTTP/1.1\r\nHost: bench\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        Credential(), body.size(), body));
    std::vector<bool> seen(count);
    size_t missing = count;
    while (missing > 0 && SecondsSince(start) < 10) {
      epoll_event ready[256];
      const int found = epoll_wait(poll, ready, 256, 100);
      for (int i = 0; i < found; ++i) {
        const size_t index = ready[i].data.u64;
        bool event = false;
        for (std::string text; !(text = streams[index]->Receive()).empty();)
          event |= text.find("data: ") != std::string::npos;
        if (!event || seen[index]) continue;
        seen[index] = true;
        --missing;
        waits.push_back(SecondsSince(start));
      }
    }
    if (missing > 0) Die(fmt::format("{} streams saw no event", missing));
    maker.ReadAnswer();
    // The job's other events come and go before the next round.
    const auto pause = Clock::now();
    while (SecondsSince(pause) < 2) {
      epoll_event ready[256];
      const int found = epoll_wait(poll, ready, 256, 100);
      for (int i = 0; i < found; ++i) {
        while (!streams[ready[i].data.u64]->Receive().empty()) continue;
      }
    }
  }
  fmt::print("{{\"p50_ms\": {:.2f}, \"p99_ms\": {:.2f}}}\n", 1000 * Quantile(waits, 0.5), 1000 * Quantile(waits, 0.99));
  return 0;
}

// Runs `call` on `threads` threads until the time is over.
template <typename Make>
int Rate(int threads, double seconds, Make make) {
  std::mutex mu;
  std::vector<double> all;
  std::vector<std::thread> running;
  const auto start = Clock::now();
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      auto call = make();
      std::vector<double> times;
      while (SecondsSince(start) < seconds) {
        const auto begin = Clock::now();
        call();
        times.push_back(SecondsSince(begin));
      }
      const std::lock_guard lock(mu);
      all.insert(all.end(), times.begin(), times.end());
    });
  }
  for (std::thread& thread : running) thread.join();
  const double rate = static_cast<double>(all.size()) / SecondsSince(start);
  fmt::print("{{\"per_s\": {:.0f}, \"p99_ms\": {:.2f}}}\n", rate, 1000 * Quantile(all, 0.99));
  return 0;
}

int Rest(const std::string& address, const std::string& name, int connections, double seconds) {
  SSL_CTX* const context = Context();
  return Rate(connections, seconds, [&] {
    auto connection = std::make_shared<Connection>(context, address);
    return [connection, request = Get("/v1/" + name)] {
      connection->Send(request);
      connection->ReadAnswer();
    };
  });
}

int Grpc(const std::string& socket, const std::string& name, int calls, double seconds) {
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials());
  return Rate(calls, seconds, [&] {
    std::shared_ptr<umbra::v1::JobService::Stub> stub = umbra::v1::JobService::NewStub(channel);
    return [stub, name] {
      grpc::ClientContext context;
      umbra::v1::GetJobRequest request;
      request.set_name(name);
      umbra::v1::Job job;
      if (!stub->GetJob(&context, request, &job).ok()) Die("GetJob failed");
    };
  });
}

class EchoService final : public umbra::v1::JobService::Service {
  grpc::Status GetJob(grpc::ServerContext*, const umbra::v1::GetJobRequest* request, umbra::v1::Job* job) override {
    job->set_name(request->name());
    return grpc::Status::OK;
  }
};

int Echo(const std::string& socket) {
  EchoService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) Die("can't serve");
  fmt::print("ready\n");
  fflush(stdout);
  std::string line;
  while (std::getline(std::cin, line)) {
  }
  server->Shutdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.size() == 4 && args[0] == "streams") return Streams(args[1], std::stoul(args[2]), std::stoi(args[3]));
  if (args.size() == 5 && args[0] == "rest") return Rest(args[1], args[2], std::stoi(args[3]), std::stod(args[4]));
  if (args.size() == 5 && args[0] == "grpc") return Grpc(args[1], args[2], std::stoi(args[3]), std::stod(args[4]));
  if (args.size() == 2 && args[0] == "echo") return Echo(args[1]);
  Die("wrong arguments");
}
