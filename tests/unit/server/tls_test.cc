// Proves, against the assembled daemon and with a TLS client that would agree to anything, that no port speaks old TLS,
// that an agent's certificate opens nothing but the agent port and no method of the API there, that a replayed
// enrolment gives nothing, that the certificate of the HTTPS port is changed while it serves, and that a removed host
// loses its live link. tests/unit/server/agent_api/agent_identity_test.cc has the certificates that the agent port
// refuses.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <openssl/ssl.h>

#include <span>
#include <thread>

#include "server/api/methods.h"
#include "storage/base/bytes.h"
#include "storage/tls/certificate_authority.h"
#include "tests/unit/server/server_fixture.h"
#include "umbra/v1/event.grpc.pb.h"

namespace umbra::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kHttp2[] = "\x02h2";
constexpr char kHttp1[] = "\x08http/1.1";
// What a client says first in HTTP/2: the preface and empty settings.
const std::string kHello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 33);

using ContextPtr = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

// Refuses nothing by itself: other versions, ciphers and certificates are the other side's to refuse.
ContextPtr LaxContext(const SSL_METHOD* method, int version) {
  ContextPtr context(SSL_CTX_new(method), SSL_CTX_free);
  SSL_CTX_set_cipher_list(context.get(), "ALL:@SECLEVEL=0");
  SSL_CTX_set_min_proto_version(context.get(), version);
  SSL_CTX_set_max_proto_version(context.get(), version);
  return context;
}

void Use(SSL_CTX* context, const std::string& certificate_pem, const std::string& key_pem) {
  std::unique_ptr<BIO, decltype(&BIO_free_all)> certificate(BIO_new_mem_buf(certificate_pem.data(), -1), BIO_free_all);
  std::unique_ptr<BIO, decltype(&BIO_free_all)> key(BIO_new_mem_buf(key_pem.data(), -1), BIO_free_all);
  std::unique_ptr<X509, decltype(&X509_free)> x509(PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr),
                                                   X509_free);
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pkey(
      PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  ASSERT_EQ(SSL_CTX_use_certificate(context, x509.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context, pkey.get()), 1);
}

class TlsClient {
 public:
  TlsClient(const std::string& address, int version, const std::string& alpn, const AgentIdentity* identity = nullptr)
      : context_(LaxContext(TLS_client_method(), version)) {
    if (identity != nullptr) Use(context_.get(), identity->certificate_pem, identity->key_pem);
    bio_.reset(BIO_new_ssl_connect(context_.get()));
    SSL* ssl = nullptr;
    BIO_get_ssl(bio_.get(), &ssl);
    SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(alpn.data()), static_cast<unsigned>(alpn.size()));
    BIO_set_conn_hostname(bio_.get(), address.c_str());
    shaken_ = BIO_do_handshake(bio_.get()) == 1;
  }

  // Of the server's certificate; empty when there was no handshake.
  std::string Shown() const {
    SSL* ssl = nullptr;
    BIO_get_ssl(bio_.get(), &ssl);
    const std::unique_ptr<X509, decltype(&X509_free)> shown(SSL_get1_peer_certificate(ssl), X509_free);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (shown == nullptr || X509_digest(shown.get(), EVP_sha256(), digest, &size) != 1) return "";
    return base::ToHex(std::as_bytes(std::span(digest, size)));
  }

  // In TLS 1.3 a client is done before the server has looked at its certificate: only words from the server prove that
  // it let the client in.
  std::string Ask(const std::string& words, bool whole = false) {
    if (!shaken_ || BIO_write(bio_.get(), words.data(), static_cast<int>(words.size())) <= 0) return "";
    std::string answer;
    char part[4096];
    for (int got; (got = BIO_read(bio_.get(), part, sizeof part)) > 0;) {
      answer.append(part, static_cast<size_t>(got));
      if (!whole) break;
    }
    return answer;
  }

 private:
  const ContextPtr context_;
  std::unique_ptr<BIO, decltype(&BIO_free_all)> bio_{nullptr, BIO_free_all};
  bool shaken_ = false;
};

class TlsTest : public ServerTest {
 protected:
  TlsTest() {
    config_.http.listen = "127.0.0.1:0";
    Start();
  }

  bool AgentPortLetsIn(int version, const AgentIdentity* identity) {
    return !TlsClient(server_->addresses().agent, version, kHttp2, identity).Ask(kHello).empty();
  }
  bool EnrolmentPortLetsIn(int version) {
    return !TlsClient(server_->addresses().enrolment, version, kHttp2).Ask(kHello).empty();
  }
  std::string Rest(int version, const std::string& request, const AgentIdentity* identity = nullptr) {
    return TlsClient(server_->addresses().http, version, kHttp1, identity)
        .Ask(request + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", true);
  }
};

// That a refusal isn't the client's own doing.
TEST(TlsClientTest, WouldSpeakOldTls) {
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION}) {
    const testing::TempDir folder;
    base::PosixFilesystem files;
    base::SystemClock clock;
    base::SystemRandom random;
    const auto authority = *tls::CertificateAuthority::Open(files, clock, random, folder.path());
    const tls::ServerCertificate certificate = *authority->IssueServerCertificate({});
    const ContextPtr server_context = LaxContext(TLS_server_method(), version);
    Use(server_context.get(), certificate.chain_pem, certificate.key_pem);
    const ContextPtr client_context = LaxContext(TLS_client_method(), version);
    std::unique_ptr<SSL, decltype(&SSL_free)> server(SSL_new(server_context.get()), SSL_free);
    std::unique_ptr<SSL, decltype(&SSL_free)> client(SSL_new(client_context.get()), SSL_free);
    BIO *of_server = nullptr, *of_client = nullptr;
    ASSERT_EQ(BIO_new_bio_pair(&of_server, 1 << 16, &of_client, 1 << 16), 1);
    SSL_set_bio(server.get(), of_server, of_server);
    SSL_set_bio(client.get(), of_client, of_client);
    SSL_set_accept_state(server.get());
    SSL_set_connect_state(client.get());
    for (int i = 0; i < 20; ++i) {
      SSL_do_handshake(client.get());
      SSL_do_handshake(server.get());
    }
    EXPECT_TRUE(SSL_is_init_finished(server.get())) << std::hex << version;
    EXPECT_EQ(SSL_version(client.get()), version);
  }
}

TEST_F(TlsTest, NoPortSpeaksOldTls) {
  const AgentIdentity identity = Enrol();
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    EXPECT_FALSE(AgentPortLetsIn(version, &identity)) << std::hex << version;
    EXPECT_FALSE(EnrolmentPortLetsIn(version)) << std::hex << version;
    EXPECT_EQ(Rest(version, "GET /openapi.json"), "") << std::hex << version;
  }
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    EXPECT_TRUE(AgentPortLetsIn(version, &identity)) << std::hex << version;
    EXPECT_TRUE(EnrolmentPortLetsIn(version)) << std::hex << version;
    EXPECT_THAT(Rest(version, "GET /openapi.json"), StartsWith("HTTP/1.1 200")) << std::hex << version;
  }
}

TEST_F(TlsTest, TheAgentPortAnswersNobodyWithoutACertificate) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    EXPECT_FALSE(AgentPortLetsIn(version, nullptr)) << std::hex << version;
  }
}

TEST_F(TlsTest, TheHttpsPortsCertificateIsReadAgainWhileItServes) {
  EXPECT_FALSE(*server_->ReloadCertificate()) << "the daemon's own";
  server_.reset();
  const auto authority = *tls::CertificateAuthority::Open(files_, clock_, random_, dir_.File("web-authority"));
  const tls::ServerCertificate first = *authority->IssueServerCertificate({}),
                               second = *authority->IssueServerCertificate({});
  config_.http.certificate = dir_.File("web.pem");
  config_.http.key = dir_.File("web.key");
  const auto write = [&](const std::string& chain_pem, const std::string& key_pem) {
    ASSERT_TRUE(files_.WriteFileAtomic(config_.http.certificate, chain_pem).ok());
    ASSERT_TRUE(files_.WriteFileAtomic(config_.http.key, key_pem).ok());
  };
  const auto shown = [&] { return TlsClient(server_->addresses().http, TLS1_3_VERSION, kHttp1).Shown(); };
  write(first.chain_pem, first.key_pem);
  Start();
  EXPECT_EQ(shown(), *tls::Fingerprint(first.chain_pem));
  TlsClient open(server_->addresses().http, TLS1_3_VERSION, kHttp1);

  write(second.chain_pem, second.key_pem);
  EXPECT_EQ(shown(), *tls::Fingerprint(first.chain_pem)) << "nobody has said so";
  const auto read = server_->ReloadCertificate();
  ASSERT_TRUE(read.ok()) << base::Describe(read.status());
  EXPECT_TRUE(*read);
  EXPECT_EQ(shown(), *tls::Fingerprint(second.chain_pem));
  EXPECT_THAT(open.Ask("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"), StartsWith("HTTP/1.1 200"))
      << "what was open goes on";

  // What can't be used changes nothing.
  write(second.chain_pem, first.key_pem);
  EXPECT_EQ(base::ReasonOf(server_->ReloadCertificate().status()), "CERTIFICATE_INVALID");
  write("rubbish", first.key_pem);
  EXPECT_EQ(base::ReasonOf(server_->ReloadCertificate().status()), "CERTIFICATE_INVALID");
  ASSERT_TRUE(files_.Remove(config_.http.key).ok());
  EXPECT_FALSE(server_->ReloadCertificate().ok());
  EXPECT_EQ(shown(), *tls::Fingerprint(second.chain_pem));
  EXPECT_THAT(Rest(TLS1_3_VERSION, "GET /openapi.json"), StartsWith("HTTP/1.1 200"));
}

// ---- A stolen certificate ----

TEST_F(TlsTest, AnAgentsCertificateOpensNoMethodOfTheApi) {
  const AgentIdentity identity = Enrol();
  const auto agents = Secure(server_->addresses().agent, OptionsOf(identity));
  const auto enrolment = Secure(server_->addresses().enrolment, {.pem_root_certs = identity.authority_pem});
  int methods = 0;
  for (const api::MethodFacts& method : api::AllMethods()) {
    for (const auto& channel : {agents, enrolment}) {
      std::string answer;
      EXPECT_EQ(RawCall(channel, "/" + method.name, "", &answer).error_code(), grpc::StatusCode::UNIMPLEMENTED)
          << method.name;
      EXPECT_EQ(answer, "");
    }
    ++methods;
  }
  EXPECT_GT(methods, 80);
  std::string answer;
  EXPECT_TRUE(RawCall(Api(), "/umbra.v1.HostService/ListHosts", "", &answer).ok()) << "as the names are meant";
}

TEST_F(TlsTest, AnAgentsCertificateIsNoCredentialForRest) {
  const AgentIdentity identity = Enrol();
  for (const char* path :
       {"/v1/hosts", "/v1/recoveryPoints", "/v1/jobs", "/v1/repositories", "/v1/users", "/v1/events:watch"}) {
    EXPECT_THAT(Rest(TLS1_3_VERSION, std::string("GET ") + path, &identity), StartsWith("HTTP/1.1 401")) << path;
    EXPECT_THAT(Rest(TLS1_2_VERSION, std::string("GET ") + path, &identity), StartsWith("HTTP/1.1 401")) << path;
  }
}

// ---- Enrolment ----

TEST_F(TlsTest, OfOneRequestToEnrolThatIsSentManyTimesOneCounts) {
  const tls::EnrolmentToken token = *tls::ParseEnrolmentToken(NewToken());
  const std::string address = server_->addresses().enrolment;
  const std::string authority = *tls::FetchPinnedAuthority(address, token.fingerprint, clock_.Now(), absl::Seconds(10));
  agent::v1::EnrolRequest request;
  request.set_token_secret(token.secret);
  request.set_host_name("node1");
  request.set_certificate_request_pem(*tls::MakeCsr(*tls::GenerateKey(), "node1"));
  const std::string recorded = request.SerializeAsString();
  const auto send = [&] {
    std::string answer;
    return RawCall(Secure(address, {.pem_root_certs = authority}), "/umbra.agent.v1.EnrolmentService/Enrol", recorded,
                   &answer);
  };
  std::atomic<int> enrolled = 0, refused = 0;
  {
    std::vector<std::jthread> racers;
    for (int i = 0; i < 4; ++i) {
      racers.emplace_back([&] {
        const grpc::Status status = send();
        enrolled += status.ok();
        refused += status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
      });
    }
  }
  EXPECT_EQ(enrolled, 1);
  EXPECT_EQ(refused, 3);
  EXPECT_EQ(send().error_code(), grpc::StatusCode::PERMISSION_DENIED) << "and later";
}

TEST_F(TlsTest, ATokenForOtherNamesIsNoGood) {
  v1::CreateEnrolmentTokenRequest bound;
  bound.set_host_pattern("web-*");
  const tls::EnrolmentToken token = *tls::ParseEnrolmentToken(NewToken(bound));
  const std::string address = server_->addresses().enrolment;
  const std::string authority = *tls::FetchPinnedAuthority(address, token.fingerprint, clock_.Now(), absl::Seconds(10));
  const auto enrol = [&](const std::string& name) {
    agent::v1::EnrolRequest request;
    request.set_token_secret(token.secret);
    request.set_host_name(name);
    request.set_certificate_request_pem(*tls::MakeCsr(*tls::GenerateKey(), "web-1"));
    std::string answer;
    return RawCall(Secure(address, {.pem_root_certs = authority}), "/umbra.agent.v1.EnrolmentService/Enrol",
                   request.SerializeAsString(), &answer)
        .error_code();
  };
  for (const char* name : {"db-1", "xweb-1", "web", "WEB-1"})
    EXPECT_EQ(enrol(name), grpc::StatusCode::PERMISSION_DENIED) << name;
  EXPECT_EQ(enrol("web-1"), grpc::StatusCode::OK) << "nothing used the token up";
}

// ---- The life of an identity ----

// One open stream of an agent that has said Hello.
class LiveLink {
 public:
  explicit LiveLink(std::shared_ptr<grpc::Channel> channel)
      : stub_(agent::v1::AgentLinkService::NewStub(std::move(channel))) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = stub_->Connect(&context_);
    agent::v1::AgentMessage hello;
    hello.mutable_hello()->set_host_name("node1");
    Say(hello);
  }
  void Say(const agent::v1::AgentMessage& message) { stream_->Write(message); }
  // The next message of that kind; empty at the end.
  agent::v1::DaemonMessage Await(agent::v1::DaemonMessage::MessageCase kind) {
    agent::v1::DaemonMessage message;
    while (stream_->Read(&message)) {
      if (message.message_case() == kind) return message;
    }
    return {};
  }
  grpc::Status End() {
    Await(agent::v1::DaemonMessage::MESSAGE_NOT_SET);
    return stream_->Finish();
  }

 private:
  std::unique_ptr<agent::v1::AgentLinkService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<agent::v1::AgentMessage, agent::v1::DaemonMessage>> stream_;
};

TEST_F(TlsTest, ARemovedHostLosesItsLiveLinkAndDoesNotComeBack) {
  const AgentIdentity identity = Enrol();
  LiveLink link(Secure(server_->addresses().agent, OptionsOf(identity)));
  EXPECT_TRUE(link.Await(agent::v1::DaemonMessage::kWelcome).has_welcome());
  v1::DeleteHostRequest request;
  request.set_name("hosts/" + identity.host_id);
  google::protobuf::Empty nothing;
  grpc::ClientContext context;
  SetDeadline(context);
  ASSERT_TRUE(v1::HostService::NewStub(Api())->DeleteHost(&context, request, &nothing).ok());
  EXPECT_EQ(link.End().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  agent::v1::DaemonMessage answer;
  EXPECT_EQ(Greet(OptionsOf(identity), &answer).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(answer.message_case(), agent::v1::DaemonMessage::MESSAGE_NOT_SET);
}

TEST_F(TlsTest, ACertificateIsRenewedOverTheLink) {
  server_.reset();
  config_.certificate_lifetime = absl::Hours(5);
  Start();
  AgentIdentity identity = Enrol();
  const AgentIdentity before = identity;
  EXPECT_LE(tls::Inspect(before.certificate_pem)->not_after, clock_.Now() + absl::Hours(5));
  LiveLink link(Secure(server_->addresses().agent, OptionsOf(identity)));
  link.Await(agent::v1::DaemonMessage::kWelcome);
  identity.key_pem = *tls::GenerateKey();
  agent::v1::AgentMessage ask;
  ask.mutable_certificate_request()->set_certificate_request_pem(*tls::MakeCsr(identity.key_pem, "root"));
  link.Say(ask);
  const agent::v1::Certificate answer = link.Await(agent::v1::DaemonMessage::kCertificate).certificate();
  identity.certificate_pem = answer.certificate_pem();
  EXPECT_EQ(answer.ca_pem(), identity.authority_pem);
  const tls::CertificateInfo info = *tls::Inspect(identity.certificate_pem);
  EXPECT_EQ(info.common_name, identity.host_id);
  EXPECT_NEAR(absl::ToDoubleHours(info.not_after - clock_.Now()), 5, 0.1);

  agent::v1::DaemonMessage welcome, refused;
  Greet(OptionsOf(before), &welcome);
  EXPECT_TRUE(welcome.has_welcome()) << "good until the new one is used";
  server_.reset();  // a restart forgets nothing of it
  Start();
  Greet(OptionsOf(identity), &welcome);
  EXPECT_EQ(welcome.welcome().host_id(), identity.host_id);
  EXPECT_EQ(Greet(OptionsOf(before), &refused).error_code(), grpc::StatusCode::UNAUTHENTICATED);

  grpc::ClientContext context;
  SetDeadline(context);
  v1::ListEventsResponse events;
  ASSERT_TRUE(v1::EventService::NewStub(Api())->ListEvents(&context, {}, &events).ok());
  EXPECT_THAT(events.DebugString(), HasSubstr("HOST_CERTIFICATE_RENEWED"));
}

}  // namespace
}  // namespace umbra::server
