// Proves mail and webhooks against real servers on the loopback: the SMTP conversation with STARTTLS, TLS and
// passwords, the signature as a receiver checks it, and every way in which the other side can fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "absl/strings/escaping.h"
#include "server/notifications/secrets.h"
#include "server/notifications/smtp_channel.h"
#include "server/notifications/webhook_channel.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/server/notifications/small_server.h"

namespace umbra::notifications {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const char kKey[] = "0123456789abcdef0123456789abcdef";

class ChannelsTest : public ::testing::Test {
 protected:
  ChannelsTest() {
    authority_ = *tls::CertificateAuthority::Open(files_, clock_, random_, dir_.path());
    certificate_ = *authority_->IssueServerCertificate({"127.0.0.1", "localhost"});
  }

  static Outgoing Message() {
    return {.id = "6f1d",
            .create_time = absl::FromUnixSeconds(1'800'000'000),
            .now = absl::FromUnixSeconds(1'800'000'060),
            .title = "Umbra: 1 failure",
            .text = "mail01 failed\n",
            .json = R"({"kind":"notices"})"};
  }
  void Note(const std::string& line) {
    std::lock_guard lock(mu_);
    lines_.push_back(line);
  }
  std::vector<std::string> Lines() {
    std::lock_guard lock(mu_);
    return lines_;
  }
  std::string AllLines() {
    std::string all;
    for (const std::string& line : Lines()) all += line + "\n";
    return all;
  }

  // ---- SMTP ----

  struct SmtpServer {
    bool start_tls = true;
    bool tls = false;
    std::string rcpt_answer = "250 ok";
    std::string auth_answer = "235 welcome";
  };
  std::function<void(Connection&)> Smtp(SmtpServer options) {
    return [this, options](Connection& c) {
      if (options.tls && !c.BeginTls()) return;
      c.Send("220 small server\r\n");
      for (std::string line = c.Line(); !line.empty(); line = c.Line()) {
        Note((c.is_tls() ? "tls " : "plain ") + line);
        if (!AnswerSmtp(c, options, line)) return;
      }
    };
  }
  bool AnswerSmtp(Connection& c, const SmtpServer& options, const std::string& line) {
    if (line.starts_with("EHLO")) {
      c.Send("250-small\r\n");
      if (options.start_tls && !c.is_tls()) c.Send("250-STARTTLS\r\n");
      c.Send("250 AUTH PLAIN\r\n");
    } else if (line == "STARTTLS") {
      c.Send("220 go\r\n");
      return c.BeginTls();
    } else if (line.starts_with("AUTH")) {
      if (line == "AUTH PLAIN") {
        c.Send("334 \r\n");
        Note("credentials " + c.Line());
      }
      c.Send(options.auth_answer + "\r\n");
    } else if (line.starts_with("RCPT")) {
      c.Send(options.rcpt_answer + "\r\n");
    } else if (line == "DATA") {
      c.Send("354 go\r\n");
      for (std::string text = c.Line(); text != "."; text = c.Line()) Note("data " + text);
      c.Send("250 taken\r\n");
    } else {
      c.Send(line == "QUIT" ? "221 bye\r\n" : "250 ok\r\n");
      return line != "QUIT";
    }
    return true;
  }
  SmtpOptions MailTo(const SmallServer& server, catalog::SmtpSecurity security) {
    return {.host = "127.0.0.1",
            .port = server.port(),
            .security = security,
            .sender = "umbra@example.org",
            .recipients = {"ops@example.org", "night@example.org"},
            .certificates = authority_->certificate_pem(),
            .machine = "backup1"};
  }

  // ---- HTTP ----

  std::function<void(Connection&)> Http(const std::string& answer, bool tls = false) {
    return [this, answer, tls](Connection& c) {
      if (tls && !c.BeginTls()) return;
      size_t length = 0;
      for (std::string line = c.Line(); !line.empty(); line = c.Line()) {
        Note(line);
        if (line.starts_with("Content-Length: ")) length = std::stoul(line.substr(16));
      }
      Note("body " + c.Bytes(length));
      c.Send(answer);
    };
  }
  std::string HeaderOf(const std::string& name) {
    for (const std::string& line : Lines()) {
      if (line.starts_with(name + ": ")) return line.substr(name.size() + 2);
    }
    return "";
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<tls::CertificateAuthority> authority_;
  tls::ServerCertificate certificate_;
  std::mutex mu_;
  std::vector<std::string> lines_;
};

TEST_F(ChannelsTest, MailGoesOverStartTlsWithAPassword) {
  SmallServer server(certificate_, Smtp({}));
  SmtpOptions options = MailTo(server, catalog::SmtpSecurity::kStartTls);
  options.username = "umbra";
  options.password = "s3cret";
  const absl::Status sent = SmtpChannel(options).Deliver(Message(), {});
  ASSERT_TRUE(sent.ok()) << sent;
  const std::string all = AllLines();
  EXPECT_THAT(all, HasSubstr("plain STARTTLS"));
  EXPECT_THAT(all, Not(HasSubstr("plain AUTH"))) << "a password never goes in the clear";
  std::string plain;
  for (const std::string& line : Lines()) {
    if (line.starts_with("credentials ")) absl::Base64Unescape(line.substr(12), &plain);
    if (line.starts_with("tls AUTH PLAIN ")) absl::Base64Unescape(line.substr(15), &plain);
  }
  EXPECT_EQ(plain, std::string("\0umbra\0s3cret", 13));
  EXPECT_THAT(all, HasSubstr("tls MAIL FROM:<umbra@example.org>"));
  EXPECT_THAT(all, HasSubstr("tls RCPT TO:<night@example.org>"));
  EXPECT_THAT(all, HasSubstr("data Subject: Umbra: 1 failure\n"));
  EXPECT_THAT(all, HasSubstr("data Message-ID: <6f1d@backup1>\n"));
  EXPECT_THAT(all, HasSubstr("data " + absl::Base64Escape("mail01 failed\n")));
}

TEST_F(ChannelsTest, MailGoesOverTlsFromTheFirstByte) {
  SmallServer server(certificate_, Smtp({.tls = true}));
  const absl::Status sent = SmtpChannel(MailTo(server, catalog::SmtpSecurity::kTls)).Deliver(Message(), {});
  EXPECT_TRUE(sent.ok()) << sent;
  EXPECT_THAT(AllLines(), HasSubstr("tls DATA"));
}

TEST_F(ChannelsTest, MailGoesInTheClearOnlyWhenSaidSo) {
  SmallServer server(certificate_, Smtp({.start_tls = false}));
  const absl::Status strict = SmtpChannel(MailTo(server, catalog::SmtpSecurity::kStartTls)).Deliver(Message(), {});
  EXPECT_FALSE(strict.ok()) << "a server, or somebody between, that hides STARTTLS gets nothing";
  EXPECT_THAT(AllLines(), Not(HasSubstr("MAIL FROM")));
  const absl::Status open = SmtpChannel(MailTo(server, catalog::SmtpSecurity::kNone)).Deliver(Message(), {});
  EXPECT_TRUE(open.ok()) << open;
}

TEST_F(ChannelsTest, AMailServerThatIsNotTrustedGetsNothing) {
  SmallServer server(certificate_, Smtp({}));
  SmtpOptions options = MailTo(server, catalog::SmtpSecurity::kStartTls);
  options.certificates.clear();
  const absl::Status sent = SmtpChannel(options).Deliver(Message(), {});
  EXPECT_EQ(base::ReasonOf(sent), "NOTIFICATION_UNREACHABLE") << sent;
  EXPECT_THAT(AllLines(), Not(HasSubstr("MAIL FROM")));
}

TEST_F(ChannelsTest, ARefusalOfTheMailServerIsTold) {
  SmallServer server(certificate_, Smtp({.rcpt_answer = "550 no such user", .auth_answer = "535 wrong"}));
  SmtpOptions options = MailTo(server, catalog::SmtpSecurity::kStartTls);
  const absl::Status unknown = SmtpChannel(options).Deliver(Message(), {});
  EXPECT_EQ(base::ReasonOf(unknown), "NOTIFICATION_REFUSED") << unknown;
  options.username = "umbra";
  options.password = "s3cret";
  const absl::Status wrong = SmtpChannel(options).Deliver(Message(), {});
  EXPECT_EQ(base::ReasonOf(wrong), "NOTIFICATION_REFUSED") << wrong;
  EXPECT_THAT(base::MessageOf(wrong), Not(HasSubstr("s3cret")));
}

TEST_F(ChannelsTest, AWebhookIsSignedAsItsReceiverChecksIt) {
  SmallServer server(certificate_, Http("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true));
  WebhookChannel channel(
      {fmt::format("https://localhost:{}/hook", server.port()), kKey, authority_->certificate_pem(), "umbrad/1"});
  const absl::Status sent = channel.Deliver(Message(), {});
  ASSERT_TRUE(sent.ok()) << sent;
  const auto lines = Lines();
  EXPECT_EQ(lines.front(), "POST /hook HTTP/1.1");
  EXPECT_EQ(lines.back(), R"(body {"kind":"notices"})");
  EXPECT_EQ(HeaderOf("Umbra-Delivery"), "6f1d");
  EXPECT_EQ(HeaderOf("Content-Type"), "application/json");
  // By the receiver's own means.
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const std::string text = R"(1800000060.{"kind":"notices"})";
  HMAC(EVP_sha256(), kKey, sizeof(kKey) - 1, reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest,
       &size);
  EXPECT_EQ(HeaderOf("Umbra-Signature"), "t=1800000060,v1=" + base::ToHex(std::as_bytes(std::span(digest, size))));
}

TEST_F(ChannelsTest, AWebhookOfAnotherNameOrCertificateGetsNothing) {
  SmallServer server(certificate_, Http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true));
  WebhookChannel untrusted({fmt::format("https://localhost:{}/", server.port()), kKey, "", "u"});
  EXPECT_EQ(base::ReasonOf(untrusted.Deliver(Message(), {})), "NOTIFICATION_UNREACHABLE");
  // The certificate is of 127.0.0.1.
  SmallServer other(certificate_, Http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true), "127.0.0.2");
  WebhookChannel named({fmt::format("https://127.0.0.2:{}/", other.port()), kKey, authority_->certificate_pem(), "u"});
  EXPECT_EQ(base::ReasonOf(named.Deliver(Message(), {})), "NOTIFICATION_UNREACHABLE");
  // To the server the handshake may look done before the client says that it isn't.
  EXPECT_THAT(AllLines(), Not(HasSubstr("POST")));
}

TEST_F(ChannelsTest, RedirectsErrorsAndEndlessAnswersAreRefusals) {
  const std::string endless = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + std::string(200'000, 'x');
  for (const std::string& answer :
       {std::string("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        std::string("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        std::string("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), endless}) {
    SmallServer server(certificate_, Http(answer));
    WebhookChannel channel({fmt::format("http://127.0.0.1:{}/", server.port()), kKey, "", "u"});
    const absl::Status sent = channel.Deliver(Message(), {});
    EXPECT_EQ(base::ReasonOf(sent), "NOTIFICATION_REFUSED") << answer.substr(0, 20) << sent;
  }
}

TEST_F(ChannelsTest, AStopEndsAnAttemptThatHangs) {
  std::stop_source stop;
  SmallServer server(certificate_, [&](Connection& c) {
    stop.request_stop();
    while (!c.Line().empty()) {
    }
    c.Line();  // until the other side gives up
  });
  WebhookChannel channel({fmt::format("http://127.0.0.1:{}/", server.port()), kKey, "", "u"});
  const absl::Duration begin = clock_.Monotonic();
  EXPECT_TRUE(absl::IsCancelled(channel.Deliver(Message(), stop.get_token())));
  EXPECT_LT(clock_.Monotonic() - begin, absl::Seconds(5));
}

TEST_F(ChannelsTest, NobodyThereIsUnreachable) {
  WebhookChannel channel({"http://127.0.0.1:1/", kKey, "", "u"});
  EXPECT_EQ(base::ReasonOf(channel.Deliver(Message(), {})), "NOTIFICATION_UNREACHABLE");
}

TEST_F(ChannelsTest, SecretsAreFilesOfOneFolder) {
  ASSERT_TRUE(files_.MakeDirectories(dir_.File("secrets")).ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("secrets/mail"), "pass word\n").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("secrets/empty"), "\n").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("secrets/two"), "a\r\nb").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("other"), "x").ok());
  const Secrets secrets(files_, dir_.File("secrets"));
  EXPECT_EQ(secrets.Read("mail").value(), "pass word");
  for (const char* name : {"empty", "two", "none", "../other", "", ".", "a/b"}) {
    EXPECT_EQ(base::ReasonOf(secrets.Read(name).status()), "NOTIFICATION_SECRET_MISSING") << name;
  }
}

}  // namespace
}  // namespace umbra::notifications
