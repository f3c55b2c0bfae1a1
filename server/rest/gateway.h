// What becomes of a request: pages of its own, files, or a call of a service by way of the in-process channel.
//
// Whoever calls is authenticated behind the gateway, where every other caller is too; the gateway hands over what it
// knows as metadata, with the id of the request; nothing else of it becomes metadata:
//   umbra-edge       a secret of this process: what follows comes from here
//   umbra-peer       address of the client
//   umbra-client     the User-Agent, for the log of who did what
//   authorization    the header, as it came
//   umbra-session    the cookie __Host-umbra-session
#ifndef UMBRA_SERVER_REST_GATEWAY_H_
#define UMBRA_SERVER_REST_GATEWAY_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "server/rest/calls.h"
#include "server/rest/event_frames.h"
#include "server/rest/http.h"
#include "server/rest/problem.h"
#include "server/rest/rate_limit.h"
#include "server/rest/routes.h"
#include "server/rest/static_files.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"

namespace umbra::rest {

inline constexpr char kSessionCookie[] = "__Host-umbra-session";

struct GatewayOptions {
  std::string edge_secret;
  // Origins ("https://dash.example") whose pages may call; others get no answer that a browser shows them.
  std::vector<std::string> cors_origins;
  // Of one credential, and of one address; 0: as many as they like. Bursts hold two seconds' worth.
  double requests_per_second = 1000;
  double requests_per_second_of_address = 4000;
  // At the same time; more get 503.
  size_t calls_max = 512;
  size_t event_streams_max = 4096;
  absl::Duration call_timeout = absl::Seconds(60);
  absl::Duration heartbeat = absl::Seconds(15);
};

// Thread-safe.
class Gateway {
 public:
  // `clock` and `random` outlive the gateway; `channel` leads to the services of `routes`.
  Gateway(std::shared_ptr<grpc::Channel> channel, RouteTable routes, StaticFiles files, base::Clock& clock,
          base::Random& random, GatewayOptions options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Answers, now or later. Doesn't block.
  void Handle(std::shared_ptr<Exchange> exchange);
  // The answer to what is no request.
  Response Refusal(int status, std::string_view detail);
  // Every call ends, event streams with an event that says so. Returns when no exchange is held any more.
  void Stop();

 private:
  struct Job;
  // A page of the daemon's own: anybody gets it, so it is neither made nor copied for whoever asks.
  struct Page {
    std::string_view path;
    std::string_view type;
    std::shared_ptr<const std::string> plain;
    std::shared_ptr<const std::string> packed;
    std::string tag;
  };
  class EventStream;
  class Download;

  void AnswerPage(Job& job, std::string_view path);
  void AnswerPreflight(Job& job);
  bool CheckOrigin(Job& job);
  bool CheckRate(Job& job);
  void StartCall(std::shared_ptr<Job> job, FoundRoute found, std::string_view query);
  void StartUnary(std::shared_ptr<Job> job, CallRequest request);
  CallRequest MakeCall(const Job& job, const google::protobuf::Message& message) const;
  void Finish(Job& job, Response response);
  void Complain(Job& job, const Problem& problem);
  void AddCommonHeaders(const Job& job, Response& response) const;
  bool IsOurOrigin(const Request& request, const std::string& origin) const;
  bool IsCorsOrigin(const std::string& origin) const;

  const RouteTable routes_;
  const StaticFiles files_;
  base::Clock& clock_;
  base::Random& random_;
  const GatewayOptions options_;
  RateLimiter by_credential_;
  RateLimiter by_address_;
  std::atomic<size_t> calls_now_{0};
  std::atomic<size_t> streams_now_{0};
  EventFrames frames_;
  std::vector<Page> pages_;  // constant once made
  Calls calls_;
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_GATEWAY_H_
