// Proves the HTTP server over real TLS on a clock that the test moves: deadlines against whoever is slow, heartbeats,
// back-pressure, and that a client that goes is noticed. tests/rest has the rest of its manners.
#include "server/rest/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::rest {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Real time that a test waits before it gives up.
constexpr absl::Duration kPatience = absl::Seconds(20);

class Client {
 public:
  explicit Client(const std::string& address, bool tls = true) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    const int size = 16 * 1024;  // so that a reader who doesn't read is noticed soon
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    const timeval limit{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    if (!tls) return;
    context_ = SSL_CTX_new(TLS_client_method());
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, fd_);
    EXPECT_EQ(SSL_connect(ssl_), 1);
  }
  ~Client() { Close(); }
  Client(const Client&) = delete;

  void Close() {
    if (ssl_ != nullptr) SSL_free(ssl_);
    if (context_ != nullptr) SSL_CTX_free(context_);
    if (fd_ >= 0) close(fd_);
    ssl_ = nullptr;
    context_ = nullptr;
    fd_ = -1;
  }
  void Send(const std::string& bytes) { SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())); }
  // What comes until `end`; less when the connection ends before.
  std::string ReadUntil(const std::string& end) {
    std::string text;
    char c = 0;
    while (!text.ends_with(end) && SSL_read(ssl_, &c, 1) == 1) text.push_back(c);
    return text;
  }
  // True when the server closes; false when it says something, or nothing for 20 s.
  bool IsClosed() {
    char c = 0;
    const ssize_t got = ssl_ != nullptr ? SSL_read(ssl_, &c, 1) : recv(fd_, &c, 1, 0);
    if (ssl_ == nullptr) return got == 0;
    const int error = SSL_get_error(ssl_, static_cast<int>(got));
    return got <= 0 && error != SSL_ERROR_WANT_READ;
  }

 private:
  int fd_ = -1;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
};

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    auto authority = tls::CertificateAuthority::Open(files_, clock_, random_, dir_.path());
    certificate_ = *(*authority)->IssueServerCertificate({"localhost"});
    limits_.thread_count = 1;
  }
  ~HttpServerTest() override {
    if (server_ != nullptr) server_->StopAccepting();
    if (server_ != nullptr) server_->CloseAll();
    absl::MutexLock lock(&mu_);
    held_.clear();
  }

  void Start(HttpServer::Handler handler) {
    auto started = HttpServer::Start("127.0.0.1:0", *TlsContext::Make(certificate_.chain_pem, certificate_.key_pem),
                                     limits_, clock_, std::move(handler), [](int status, std::string_view) {
                                       return Response{status, {}, "no"};
                                     });
    ASSERT_TRUE(started.ok()) << base::Describe(started.status());
    server_ = *std::move(started);
  }
  // Keeps exchanges for the test to answer.
  void StartHolding() {
    Start([this](std::shared_ptr<Exchange> exchange) {
      absl::MutexLock lock(&mu_);
      held_.push_back(std::move(exchange));
    });
  }
  std::shared_ptr<Exchange> Held(size_t index) {
    absl::MutexLock lock(&mu_);
    const auto there = [this, index]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return held_.size() > index; };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&there), kPatience));
    return held_.at(index);
  }
  // Moves the clock once the server has seen what was sent, and gives its real timer time to see that.
  void Pass(absl::Duration time) {
    absl::SleepFor(absl::Milliseconds(200));
    clock_.Advance(time);
    absl::SleepFor(absl::Milliseconds(600));
  }

  static constexpr char kGet[] = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::ManualClock clock_;
  base::SystemRandom random_;
  tls::ServerCertificate certificate_;
  HttpLimits limits_;
  std::unique_ptr<HttpServer> server_;
  absl::Mutex mu_;
  std::vector<std::shared_ptr<Exchange>> held_ ABSL_GUARDED_BY(mu_);
};

void AnswerOk(const std::shared_ptr<Exchange>& exchange) {
  exchange->Answer({200, {}, "fine"});
}

TEST_F(HttpServerTest, SilentHandShakesEnd) {
  Start(AnswerOk);
  Client silent(server_->address(), false);
  while (server_->connection_count() == 0) absl::SleepFor(absl::Milliseconds(1));
  Pass(absl::Seconds(9));
  EXPECT_EQ(server_->connection_count(), 1);
  Pass(absl::Seconds(2));
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_EQ(server_->connection_count(), 0);
}

TEST_F(HttpServerTest, SlowRequestsEndHoweverOftenTheySend) {
  Start(AnswerOk);
  Client slow(server_->address());
  for (int i = 0; i < 4; ++i) {
    slow.Send(std::string(1, "GET "[i]));
    Pass(absl::Seconds(4));
  }
  EXPECT_TRUE(slow.IsClosed());
}

TEST_F(HttpServerTest, IdleConnectionsEndLater) {
  Start(AnswerOk);
  Client client(server_->address());
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
  Pass(absl::Seconds(50));
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
  Pass(absl::Seconds(61));
  EXPECT_TRUE(client.IsClosed());
}

TEST_F(HttpServerTest, WorkMayTakeLong) {
  StartHolding();
  Client client(server_->address());
  client.Send(kGet);
  const auto exchange = Held(0);
  Pass(absl::Minutes(10));
  AnswerOk(exchange);
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
}

TEST_F(HttpServerTest, StreamsHaveHeartbeats) {
  StartHolding();
  Client client(server_->address());
  client.Send(kGet);
  const auto exchange = Held(0);
  exchange->Begin({200, {}, "first"}, "beat", absl::Seconds(15));
  EXPECT_THAT(client.ReadUntil("first\r\n"), HasSubstr("Transfer-Encoding: chunked"));
  Pass(absl::Seconds(14));
  absl::Notification written;
  exchange->Write("piece", [&] { written.Notify(); });
  EXPECT_EQ(client.ReadUntil("piece\r\n"), "5\r\npiece\r\n");  // no beat before it
  written.WaitForNotification();
  Pass(absl::Seconds(14));
  Pass(absl::Seconds(2));
  EXPECT_EQ(client.ReadUntil("beat\r\n"), "4\r\nbeat\r\n");
  exchange->End();
  EXPECT_EQ(client.ReadUntil("0\r\n\r\n"), "0\r\n\r\n");
  client.Send(kGet);  // in step
  AnswerOk(Held(1));
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
}

TEST_F(HttpServerTest, SlowReadersHoldTheirSourceUpAndEnd) {
  StartHolding();
  Client client(server_->address());
  client.Send(kGet);
  const auto exchange = Held(0);
  absl::Notification gone;
  exchange->WhenGone([&] { gone.Notify(); });
  exchange->Begin({200, {}, ""}, "", absl::InfiniteDuration());
  std::atomic<int> written{0};
  // 16 MiB: more than the kernel takes for somebody who doesn't read.
  exchange->Write(std::string(16 << 20, 'x'), [&] { ++written; });
  Pass(absl::Seconds(1));
  EXPECT_EQ(written, 0);
  Pass(absl::Seconds(10));
  EXPECT_TRUE(gone.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(written, 0);
}

TEST_F(HttpServerTest, ClientsThatGoAreNoticed) {
  StartHolding();
  for (const bool begun : {false, true}) {
    Client client(server_->address());
    client.Send(kGet);
    const auto exchange = Held(begun ? 1 : 0);
    absl::Notification gone;
    exchange->WhenGone([&] { gone.Notify(); });
    if (begun) exchange->Begin({200, {}, "first"}, "", absl::InfiniteDuration());
    client.Close();
    EXPECT_TRUE(gone.WaitForNotificationWithTimeout(kPatience));
    absl::Notification late;
    exchange->WhenGone([&] { late.Notify(); });
    EXPECT_TRUE(late.WaitForNotificationWithTimeout(kPatience));
  }
}

TEST_F(HttpServerTest, ForgottenExchangesAnswer500) {
  Start([](const std::shared_ptr<Exchange>&) {});
  Client client(server_->address());
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("500 Internal Server Error"));
}

TEST_F(HttpServerTest, SizedPiecesAreNoChunks) {
  StartHolding();
  Client client(server_->address());
  client.Send(kGet);
  const auto exchange = Held(0);
  exchange->Begin({206, {{"Content-Length", "8"}}, "1234"}, "", absl::InfiniteDuration());
  exchange->Write("5678", nullptr);
  exchange->End();
  const std::string answer = client.ReadUntil("5678");
  EXPECT_THAT(answer, HasSubstr("\r\n\r\n12345678"));
  EXPECT_THAT(answer, Not(HasSubstr("chunked")));
  client.Send(kGet);
  AnswerOk(Held(1));
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
}

TEST_F(HttpServerTest, OldClientsGetTheWholeUntilTheEnd) {
  StartHolding();
  Client client(server_->address());
  client.Send("GET /x HTTP/1.0\r\n\r\n");
  const auto exchange = Held(0);
  exchange->Begin({200, {}, "a"}, "", absl::InfiniteDuration());
  exchange->Write("b", nullptr);
  exchange->End();
  EXPECT_THAT(client.ReadUntil("ab"), HasSubstr("Connection: close\r\n\r\nab"));
  EXPECT_TRUE(client.IsClosed());
}

TEST_F(HttpServerTest, LateAnswersChangeNothing) {
  StartHolding();
  Client client(server_->address());
  client.Send(kGet);
  const auto first = Held(0);
  AnswerOk(first);
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
  client.Send(kGet);
  const auto second = Held(1);
  first->Answer({404, {}, "late"});
  first->Begin({404, {}, "late"}, "", absl::InfiniteDuration());
  first->End();
  AnswerOk(second);
  EXPECT_THAT(client.ReadUntil("fine"), HasSubstr("200 OK"));
}

TEST(TlsContext, RefusesWhatIsNoPair) {
  umbra::testing::TempDir dir;
  base::PosixFilesystem files;
  base::SystemClock clock;
  base::SystemRandom random;
  const auto authority = tls::CertificateAuthority::Open(files, clock, random, dir.path());
  const auto one = *(*authority)->IssueServerCertificate({"a"});
  const auto other = *(*authority)->IssueServerCertificate({"a"});
  EXPECT_TRUE(TlsContext::Make(one.chain_pem, one.key_pem).ok());
  for (const auto& [chain, key] : std::vector<std::pair<std::string, std::string>>{{one.chain_pem, other.key_pem},
                                                                                   {one.chain_pem, ""},
                                                                                   {"", one.key_pem},
                                                                                   {"x", "y"},
                                                                                   {one.key_pem, one.chain_pem}}) {
    EXPECT_EQ(base::ReasonOf(TlsContext::Make(chain, key).status()), "CERTIFICATE_INVALID");
  }
}

}  // namespace
}  // namespace umbra::rest
