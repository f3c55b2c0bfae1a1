// Proves what the gateway does between a request and a call, with real services over the in-process channel and
// exchanges that the test holds: what becomes metadata and what never does, limits, streams with their resume and end,
// downloads, cancellation.
#include "server/rest/gateway.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/synchronization/notification.h"
#include "server/rest/api_description.h"
#include "server/rest/calls.h"
#include "storage/base/status.h"
#include "tests/support/manual_clock.h"
#include "umbra/v1/disk_content.grpc.pb.h"
#include "umbra/v1/event.grpc.pb.h"
#include "umbra/v1/identity.grpc.pb.h"
#include "umbra/v1/job.grpc.pb.h"

namespace umbra::rest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kPatience = absl::Seconds(20);

// An exchange whose answer the test waits for.
class TestExchange final : public Exchange {
 public:
  explicit TestExchange(Request request) : request_(std::move(request)) {}

  const Request& request() const override { return request_; }
  void Answer(Response response) override {
    Change([&] { answer = std::move(response), ended = true; });
  }
  void Begin(Response head, std::string, absl::Duration) override {
    Change([&] { answer = std::move(head), begun = true; });
  }
  void Write(std::string bytes, std::function<void()> written) override {
    Change([&] { pieces.push_back(std::move(bytes)); });
    if (written != nullptr && !hold_writes) written();
  }
  void End() override {
    Change([&] { ended = true; });
  }
  void Abort() override {
    Change([&] { ended = aborted = true; });
  }
  void WhenGone(std::function<void()> gone) override {
    Change([&] { gone_ = std::move(gone); });
  }
  void After(absl::Duration, std::function<void()> then) override {
    Change([&] { then_ = std::move(then); });
  }

  void Leave() { Take(gone_)(); }
  void PassDelay() { Take(then_)(); }
  template <typename Predicate>
  bool Await(Predicate predicate) {
    absl::MutexLock lock(&mu);
    return mu.AwaitWithTimeout(absl::Condition(&predicate), kPatience);
  }
  const Response& WaitForEnd() {
    EXPECT_TRUE(Await([this] { return ended; }));
    return answer;
  }

  absl::Mutex mu;
  Response answer;
  std::vector<std::string> pieces;
  bool begun = false;
  bool ended = false;
  bool aborted = false;
  std::atomic<bool> hold_writes{false};

 private:
  template <typename Function>
  void Change(Function function) {
    absl::MutexLock lock(&mu);
    function();
  }
  std::function<void()> Take(std::function<void()>& from) {
    EXPECT_TRUE(Await([&] { return from != nullptr; }));
    absl::MutexLock lock(&mu);
    return std::exchange(from, nullptr);
  }

  const Request request_;
  std::function<void()> gone_;
  std::function<void()> then_;
};

using Metadata = std::multimap<std::string, std::string>;

class Jobs final : public v1::JobService::Service {
 public:
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request, v1::Job* job) override {
    {
      absl::MutexLock lock(&mu);
      metadata.clear();
      for (const auto& [name, value] : context->client_metadata()) {
        metadata.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
      }
      deadline = absl::FromChrono(context->deadline()) - absl::Now();
    }
    if (request->name() == "jobs/slow") {
      started.Notify();
      while (!context->IsCancelled()) std::this_thread::yield();
      cancelled.Notify();
    }
    job->set_name(request->name());
    job->set_etag("7");
    return grpc::Status::OK;
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::Job>* writer) override {
    if (request->name() == "jobs/none") return {grpc::StatusCode::NOT_FOUND, "no such job"};
    writer->Write(v1::Job());
    return grpc::Status::OK;
  }

  absl::Mutex mu;
  Metadata metadata;
  absl::Duration deadline;
  absl::Notification started;
  absl::Notification cancelled;
};

class Events final : public v1::EventService::Service {
 public:
  grpc::Status WatchEvents(grpc::ServerContext* context, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::Event>* writer) override {
    v1::Event event;
    for (int64_t number = request->after_sequence() + 1; number <= 1000; ++number) {
      event.set_sequence(number);
      event.set_message(std::string(10'000, 'x'));
      if (!writer->Write(event)) break;
      sent = number;
    }
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    over.Notify();
    return grpc::Status::OK;
  }
  std::atomic<int64_t> sent{0};
  absl::Notification over;
};

class Disks final : public v1::DiskContentService::Service {
 public:
  grpc::Status DownloadDisk(grpc::ServerContext*, const v1::DownloadDiskRequest* request,
                            grpc::ServerWriter<v1::DiskContent>* writer) override {
    if (request->offset_bytes() > 100) return {grpc::StatusCode::OUT_OF_RANGE, "too far"};
    v1::DiskContent content;
    content.set_disk_size_bytes(100);
    content.set_offset_bytes(request->offset_bytes() < 0 ? 100 + request->offset_bytes() : request->offset_bytes());
    content.set_length_bytes(8);
    writer->Write(content);
    content.Clear();
    content.set_data("1234");
    writer->Write(content);
    if (request->name() == "recoveryPoints/bad/disks/a") return {grpc::StatusCode::DATA_LOSS, "damaged"};
    content.set_data("5678");
    writer->Write(content);
    return grpc::Status::OK;
  }
};

class Sessions final : public v1::SessionService::Service {
 public:
  grpc::Status CreateSession(grpc::ServerContext*, const v1::CreateSessionRequest*,
                             v1::CreateSessionResponse* response) override {
    response->mutable_session()->set_name("users/u/sessions/s");
    response->set_session_secret(secret);
    return grpc::Status::OK;
  }
  grpc::Status DeleteSession(grpc::ServerContext*, const v1::DeleteSessionRequest*, google::protobuf::Empty*) override {
    return grpc::Status::OK;
  }
  std::string secret = "s3cret.x_y-z";
};

class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&jobs_);
    builder.RegisterService(&events_);
    builder.RegisterService(&disks_);
    builder.RegisterService(&sessions_);
    server_ = builder.BuildAndStart();
    options_.edge_secret = "edge-secret";
    options_.cors_origins = {"https://dash.example"};
  }
  ~GatewayTest() override {
    if (gateway_ != nullptr) gateway_->Stop();
    server_->Shutdown();
  }

  Gateway& TheGateway() {
    if (gateway_ == nullptr) {
      gateway_ = std::make_unique<Gateway>(
          server_->InProcessChannel({}),
          *RouteTable::Make(*google::protobuf::DescriptorPool::generated_pool(), ServiceNames()), StaticFiles(), clock_,
          random_, options_);
    }
    return *gateway_;
  }
  std::shared_ptr<TestExchange> Ask(const std::string& method, const std::string& target,
                                    std::vector<Header> headers = {}) {
    headers.push_back({"Host", "umbra.example"});
    auto exchange = std::make_shared<TestExchange>(Request{method, target, std::move(headers), "", "192.0.2.7"});
    TheGateway().Handle(exchange);
    return exchange;
  }
  std::shared_ptr<TestExchange> Post(const std::string& target, std::vector<Header> headers = {}) {
    headers.push_back({"Host", "umbra.example"});
    headers.push_back({"Content-Type", "application/json; charset=utf-8"});
    auto exchange = std::make_shared<TestExchange>(Request{"POST", target, std::move(headers), "{}", "192.0.2.7"});
    TheGateway().Handle(exchange);
    return exchange;
  }
  static nlohmann::json Json(const std::shared_ptr<TestExchange>& exchange) {
    return nlohmann::json::parse(exchange->WaitForEnd().body, nullptr, false);
  }

  umbra::testing::ManualClock clock_;
  base::SystemRandom random_;
  GatewayOptions options_;
  Jobs jobs_;
  Events events_;
  Disks disks_;
  Sessions sessions_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(GatewayTest, OnlyFewThingsBecomeMetadata) {
  const auto exchange = Ask("GET", "/v1/jobs/j",
                            {{"Authorization", "Bearer t0ken"},
                             {"Cookie", "x=1; __Host-umbra-session=s3cret"},
                             {"Umbra-Edge", "guessed"},
                             {"Umbra-Peer", "127.0.0.1"},
                             {"Umbra-Session", "other"},
                             {"Grpc-Metadata-X", "1"},
                             {"X-Forwarded-For", "127.0.0.1"},
                             {"User-Agent", "curl/7"},
                             {"X-Request-Id", "id-1"}});
  EXPECT_EQ(exchange->WaitForEnd().status, 200);
  absl::MutexLock lock(&jobs_.mu);
  std::erase_if(jobs_.metadata, [](const auto& entry) {
    return entry.first == "user-agent" || entry.first == "grpc-accept-encoding" || entry.first == "te" ||
           entry.first.starts_with(":");
  });
  EXPECT_THAT(jobs_.metadata,
              UnorderedElementsAre(Pair("umbra-edge", "edge-secret"), Pair("umbra-peer", "192.0.2.7"),
                                   Pair("umbra-session", "s3cret"), Pair("umbra-client", "curl/7"),
                                   Pair("authorization", "Bearer t0ken"), Pair("x-request-id", "id-1")));
}

TEST_F(GatewayTest, TextThatGrpcCantCarryNeverGetsThere) {
  EXPECT_EQ(Ask("GET", "/v1/jobs/j", {{"Authorization", "Bearer \xff"}})->WaitForEnd().status, 400);
  EXPECT_EQ(Ask("GET", "/v1/jobs/j", {{"Authorization", "Bearer a\tb"}})->WaitForEnd().status, 400);
  EXPECT_EQ(Ask("GET", "/v1/jobs/j", {{"User-Agent", "a\tb"}})->WaitForEnd().status, 200);
  EXPECT_EQ(Ask("GET", "/v1/jobs/j", {{"Authorization", std::string("a\0b", 3)}})->WaitForEnd().status, 400);
  EXPECT_EQ(Ask("GET", "/v1/jobs/j", {{"Cookie", "__Host-umbra-session=\xff"}})->WaitForEnd().status, 200);
  absl::MutexLock lock(&jobs_.mu);
  EXPECT_EQ(jobs_.metadata.count("umbra-session"), 0);
}

TEST_F(GatewayTest, CallsHaveDeadlines) {
  Ask("GET", "/v1/jobs/j")->WaitForEnd();
  const auto about = [this](absl::Duration time) {
    absl::MutexLock lock(&jobs_.mu);
    return jobs_.deadline > time - absl::Seconds(10) && jobs_.deadline <= time + absl::Seconds(1);
  };
  EXPECT_TRUE(about(absl::Seconds(60)));
  Ask("GET", "/v1/jobs/j", {{"Request-Timeout", "300"}})->WaitForEnd();
  EXPECT_TRUE(about(absl::Seconds(300)));
}

TEST_F(GatewayTest, ClientsThatGoCancelTheirCall) {
  const auto exchange = Ask("GET", "/v1/jobs/slow");
  jobs_.started.WaitForNotification();
  exchange->Leave();
  EXPECT_TRUE(jobs_.cancelled.WaitForNotificationWithTimeout(kPatience));
}

TEST_F(GatewayTest, StoppingEndsCallsAndRefusesOthers) {
  const auto slow = Ask("GET", "/v1/jobs/slow");
  jobs_.started.WaitForNotification();
  std::thread stopper([this] { TheGateway().Stop(); });
  for (bool ended = false; !ended; absl::SleepFor(absl::Milliseconds(5))) {
    clock_.Advance(absl::Seconds(1));
    absl::MutexLock lock(&slow->mu);
    ended = slow->ended;
  }
  stopper.join();
  EXPECT_EQ(Ask("GET", "/v1/jobs/j")->WaitForEnd().status, 503);
}

// Were a call still there, gRPC's own thread could be the one that deletes the channel, which ends the program.
TEST_F(GatewayTest, StoppedCallsLeaveNothingThatHoldsTheChannel) {
  for (int i = 0; i < 300; ++i) {
    std::shared_ptr<grpc::Channel> channel = server_->InProcessChannel({});
    const std::weak_ptr<grpc::Channel> last = channel;
    auto calls = std::make_unique<Calls>(std::move(channel));
    absl::Notification done;
    calls->StartUnary({.rpc = "/umbra.v1.JobService/GetJob"}, [&done](absl::Status, std::string) { done.Notify(); });
    done.WaitForNotification();
    calls->Stop(clock_, absl::Seconds(1));
    calls = nullptr;
    ASSERT_TRUE(last.expired()) << i;
  }
}

TEST_F(GatewayTest, TooManyCallsAtATimeGet503) {
  options_.calls_max = 1;
  const auto slow = Ask("GET", "/v1/jobs/slow");
  jobs_.started.WaitForNotification();
  const auto refused = Ask("GET", "/v1/jobs/j");
  EXPECT_EQ(refused->WaitForEnd().status, 503);
  EXPECT_NE(FindHeader(refused->answer.headers, "Retry-After"), nullptr);
  EXPECT_EQ(Json(refused)["reason"], "OVERLOADED");
  slow->Leave();
  slow->WaitForEnd();
}

TEST_F(GatewayTest, TooManyASecondGet429) {
  options_.requests_per_second = 1;
  const auto ask = [this](const char* token) {
    return Ask("GET", "/v1/jobs/j", {{"Authorization", token}})->WaitForEnd().status;
  };
  EXPECT_EQ(ask("Bearer a"), 200);
  EXPECT_EQ(ask("Bearer a"), 200);
  EXPECT_EQ(ask("Bearer a"), 429);
  EXPECT_EQ(ask("Bearer b"), 200);  // another caller
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(ask("Bearer a"), 200);
}

TEST_F(GatewayTest, EventsHaveNumbersAndResume) {
  const auto exchange = Ask("GET", "/v1/events:watch", {{"Last-Event-ID", "996"}});
  ASSERT_TRUE(exchange->Await([&] { return exchange->pieces.size() == 4; }));
  EXPECT_EQ(*FindHeader(exchange->answer.headers, "Content-Type"), "text/event-stream");
  EXPECT_THAT(exchange->pieces.front(), StartsWith("id: 997\ndata: {\"sequence\":\"997\""));
  EXPECT_THAT(exchange->pieces.back(), StartsWith("id: 1000\n"));
  exchange->Leave();
  EXPECT_TRUE(events_.over.WaitForNotificationWithTimeout(kPatience));
}

TEST_F(GatewayTest, SlowClientsHoldTheirServiceUp) {
  auto exchange = std::make_shared<TestExchange>(Request{"GET", "/v1/events:watch", {{"Host", "h"}}, "", "192.0.2.7"});
  exchange->hold_writes = true;
  TheGateway().Handle(exchange);
  ASSERT_TRUE(exchange->Await([&] { return exchange->pieces.size() == 1; }));
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(exchange->pieces.size(), 1);
  EXPECT_LT(events_.sent, 500);  // what fits into the channel, no more
  exchange->Leave();
  EXPECT_TRUE(events_.over.WaitForNotificationWithTimeout(kPatience));
}

TEST_F(GatewayTest, SilentStreamsBeginSoon) {
  const auto exchange = Ask("GET", "/v1/events:watch?afterSequence=1000");
  exchange->PassDelay();
  EXPECT_TRUE(exchange->Await([&] { return exchange->begun; }));
  EXPECT_EQ(exchange->answer.body, ": still here\n\n");
  exchange->Leave();
  EXPECT_TRUE(exchange->Await([&] { return exchange->ended; }));
  EXPECT_THAT(exchange->pieces.back(), HasSubstr("event: end\n"));
}

TEST_F(GatewayTest, StreamsEndWithTheirStatus) {
  const auto good = Ask("GET", "/v1/jobs/j:watch");
  good->WaitForEnd();
  EXPECT_EQ(good->pieces.back(), "event: end\ndata: {}\n\n");
  const auto none = Ask("GET", "/v1/jobs/none:watch");
  EXPECT_EQ(none->WaitForEnd().status, 404);
  EXPECT_FALSE(none->begun);
  EXPECT_EQ(Ask("HEAD", "/v1/jobs/j:watch")->WaitForEnd().status, 405);
}

TEST_F(GatewayTest, TooManyStreamsGet503) {
  options_.event_streams_max = 1;
  const auto first = Ask("GET", "/v1/events:watch?afterSequence=999");
  ASSERT_TRUE(first->Await([&] { return first->begun; }));
  EXPECT_EQ(Ask("GET", "/v1/events:watch")->WaitForEnd().status, 503);
  EXPECT_EQ(Ask("GET", "/v1/jobs/j")->WaitForEnd().status, 200);
  first->Leave();
  first->WaitForEnd();
}

TEST_F(GatewayTest, DownloadsAreTheBytes) {
  const std::string target = "/v1/recoveryPoints/p/disks/vda:download";
  const auto whole = Ask("GET", target);
  EXPECT_EQ(whole->WaitForEnd().status, 200);
  EXPECT_EQ(*FindHeader(whole->answer.headers, "Content-Length"), "8");
  EXPECT_THAT(whole->pieces, ElementsAre("1234", "5678"));
  EXPECT_FALSE(whole->aborted);
  const auto part = Ask("GET", target, {{"Range", "bytes=-20"}});
  EXPECT_EQ(part->WaitForEnd().status, 206);
  EXPECT_EQ(*FindHeader(part->answer.headers, "Content-Range"), "bytes 80-87/100");
  const auto beyond = Ask("GET", target, {{"Range", "bytes=101-"}});
  EXPECT_EQ(beyond->WaitForEnd().status, 416);
  const std::string tag = *FindHeader(whole->answer.headers, "ETag");
  EXPECT_EQ(Ask("GET", target, {{"Range", "bytes=5-"}, {"If-Range", tag}})->WaitForEnd().status, 206);
  EXPECT_EQ(Ask("GET", target, {{"Range", "bytes=5-"}, {"If-Range", "\"other\""}})->WaitForEnd().status, 200);
  const auto head = Ask("HEAD", target);
  EXPECT_EQ(head->WaitForEnd().status, 200);
  EXPECT_TRUE(head->pieces.empty());
}

TEST_F(GatewayTest, DownloadsThatBreakAreNoWholeAnswers) {
  const auto bad = Ask("GET", "/v1/recoveryPoints/bad/disks/a:download");
  EXPECT_EQ(bad->WaitForEnd().status, 200);
  EXPECT_TRUE(bad->aborted);
}

TEST_F(GatewayTest, SecretsOfSessionsGoIntoTheCookieOfBrowsers) {
  const auto browser = Post("/v1/sessions", {{"X-Umbra-Request", "1"}});
  EXPECT_EQ(browser->WaitForEnd().status, 200);
  EXPECT_EQ(*FindHeader(browser->answer.headers, "Set-Cookie"),
            "__Host-umbra-session=s3cret.x_y-z; Path=/; Secure; HttpOnly; SameSite=Strict");
  EXPECT_EQ(Json(browser)["sessionSecret"], "");
  EXPECT_EQ(*FindHeader(browser->answer.headers, "Cache-Control"), "no-store");
  const auto program = Post("/v1/sessions");
  EXPECT_EQ(Json(program)["sessionSecret"], "s3cret.x_y-z");
  EXPECT_EQ(FindHeader(program->answer.headers, "Set-Cookie"), nullptr);
  sessions_.secret = "a; Domain=evil";  // never made so; and if it were
  EXPECT_EQ(FindHeader(Post("/v1/sessions", {{"X-Umbra-Request", "1"}})->WaitForEnd().headers, "Set-Cookie"), nullptr);
}

TEST_F(GatewayTest, SigningOutTakesTheCookieBack) {
  const std::vector<Header> from_page = {
      {"Cookie", "__Host-umbra-session=s"}, {"X-Umbra-Request", "1"}, {"Origin", "https://umbra.example"}};
  const auto own = Ask("DELETE", "/v1/users/me/sessions/current", from_page);
  EXPECT_THAT(*FindHeader(own->WaitForEnd().headers, "Set-Cookie"), HasSubstr("__Host-umbra-session=; "));
  EXPECT_THAT(*FindHeader(own->answer.headers, "Set-Cookie"), HasSubstr("Max-Age=0"));
  const auto other = Ask("DELETE", "/v1/users/u/sessions/s2", from_page);
  EXPECT_EQ(FindHeader(other->WaitForEnd().headers, "Set-Cookie"), nullptr);
}

TEST_F(GatewayTest, CookiesAloneChangeNothing) {
  const Header cookie{"Cookie", "__Host-umbra-session=s"};
  const Header mark{"X-Umbra-Request", "1"};
  const auto ask = [&](std::vector<Header> headers) {
    return Ask("DELETE", "/v1/users/u/sessions/s", headers)->WaitForEnd().status;
  };
  EXPECT_EQ(ask({cookie}), 403);
  EXPECT_EQ(ask({cookie, mark}), 403);
  EXPECT_EQ(ask({cookie, {"Origin", "https://umbra.example"}}), 403);
  EXPECT_EQ(ask({cookie, mark, {"Origin", "https://evil.example"}}), 403);
  EXPECT_EQ(ask({cookie, mark, {"Origin", "http://umbra.example"}}), 403);
  EXPECT_EQ(ask({cookie, mark, {"Origin", "null"}}), 403);
  EXPECT_EQ(ask({cookie, mark, {"Origin", "https://umbra.example"}}), 200);
  EXPECT_EQ(ask({cookie, mark, {"Origin", "https://dash.example"}}), 200);
  EXPECT_EQ(ask({}), 200);  // no cookie, nothing that a page could borrow
  EXPECT_EQ(Ask("GET", "/v1/jobs/j", {cookie})->WaitForEnd().status, 200);
}

TEST_F(GatewayTest, ServicesThatAreNotThereSaySo) {
  EXPECT_EQ(Ask("GET", "/v1/policies")->WaitForEnd().status, 501);
}

}  // namespace
}  // namespace umbra::rest
