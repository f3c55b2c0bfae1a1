// A daemon in this process, over its real sockets, and an agent's way in.
#ifndef UMBRA_TESTS_UNIT_SERVER_SERVER_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_SERVER_FIXTURE_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/server.h"
#include "storage/base/status.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/peer.h"
#include "storage/tls/x509.h"
#include "tests/support/temp_dir.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"
#include "umbra/agent/v1/enrolment.grpc.pb.h"
#include "umbra/v1/host.grpc.pb.h"

namespace umbra::server {

struct AgentIdentity {
  std::string host_id;
  std::string key_pem;
  std::string certificate_pem;
  std::string authority_pem;
};

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    signal(SIGPIPE, SIG_IGN);
    Config config;
    config.data_dir = dir_.File("d");
    config.agent_listen = "127.0.0.1:0";
    config.enrolment_listen = "127.0.0.1:0";
    config_ = *CompleteConfig(config);
  }

  void Start() {
    auto started = Server::Start(config_, files_, clock_, random_);
    ASSERT_TRUE(started.ok()) << base::Describe(started.status());
    server_ = *std::move(started);
  }

  std::string ReasonOfStart() {
    const auto started = Server::Start(config_, files_, clock_, random_);
    return started.ok() ? "OK" : base::ReasonOf(started.status());
  }

  std::shared_ptr<grpc::Channel> Api() {
    return grpc::CreateChannel("unix:" + server_->addresses().api_socket, grpc::InsecureChannelCredentials());
  }

  std::shared_ptr<grpc::Channel> Secure(const std::string& address, const grpc::SslCredentialsOptions& options) {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride(std::string(tls::kServerName));
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // no sharing with another test's connection
    return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
  }

  static void SetDeadline(grpc::ClientContext& context, int seconds = 15) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
  }

  // A unary call of raw bytes; also good for one question and answer on a stream.
  grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& request, std::string* response) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    SetDeadline(context);
    const grpc::Slice slice(request);
    const grpc::ByteBuffer in(&slice, 1);
    grpc::ByteBuffer out;
    grpc::Status status;
    absl::Mutex mu;
    bool done = false;
    stub.UnaryCall(&context, method, {}, &in, &out, [&](grpc::Status s) {
      absl::MutexLock lock(&mu);
      status = std::move(s);
      done = true;
    });
    absl::MutexLock lock(&mu, absl::Condition(&done));
    std::vector<grpc::Slice> slices;
    if (status.ok() && out.Dump(&slices).ok()) {
      for (const grpc::Slice& s : slices) response->append(reinterpret_cast<const char*>(s.begin()), s.size());
    }
    return status;
  }

  std::string NewToken(const v1::CreateEnrolmentTokenRequest& request = {}) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::EnrolmentToken token;
    EXPECT_TRUE(v1::HostService::NewStub(Api())->CreateEnrolmentToken(&context, request, &token).ok());
    EXPECT_EQ(token.enrolment_address(), server_->addresses().enrolment);
    return token.token();
  }

  AgentIdentity Enrol(const std::string& host_name = "node1") {
    const tls::EnrolmentToken token = *tls::ParseEnrolmentToken(NewToken());
    const std::string address = server_->addresses().enrolment;
    const auto authority = tls::FetchPinnedAuthority(address, token.fingerprint, clock_.Now(), absl::Seconds(10));
    EXPECT_TRUE(authority.ok()) << base::Describe(authority.status());
    AgentIdentity identity;
    identity.key_pem = *tls::GenerateKey();
    identity.authority_pem = *authority;
    agent::v1::EnrolRequest request;
    request.set_token_secret(token.secret);
    request.set_certificate_request_pem(*tls::MakeCsr(identity.key_pem, host_name));
    request.set_host_name(host_name);
    agent::v1::EnrolResponse response;
    grpc::ClientContext context;
    SetDeadline(context);
    const auto stub = agent::v1::EnrolmentService::NewStub(Secure(address, {.pem_root_certs = *authority}));
    const grpc::Status enrolled = stub->Enrol(&context, request, &response);
    EXPECT_TRUE(enrolled.ok()) << enrolled.error_message();
    EXPECT_EQ(response.agent_address(), server_->addresses().agent);
    EXPECT_EQ(response.ca_pem(), *authority);
    identity.host_id = response.host_id();
    identity.certificate_pem = response.certificate_pem();
    return identity;
  }

  // The answer to a Hello on the agent port, or why there is none.
  grpc::Status Greet(const grpc::SslCredentialsOptions& options, agent::v1::DaemonMessage* answer) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto stub = agent::v1::AgentLinkService::NewStub(Secure(server_->addresses().agent, options));
    const auto stream = stub->Connect(&context);
    agent::v1::AgentMessage hello;
    hello.mutable_hello()->set_host_name("node1");
    hello.mutable_hello()->set_process_id("p1");
    stream->Write(hello);
    if (stream->Read(answer)) context.TryCancel();
    return stream->Finish();
  }

  static grpc::SslCredentialsOptions OptionsOf(const AgentIdentity& identity) {
    return {.pem_root_certs = identity.authority_pem,
            .pem_private_key = identity.key_pem,
            .pem_cert_chain = identity.certificate_pem};
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  Config config_;
  std::unique_ptr<Server> server_;
};

}  // namespace umbra::server

#endif  // UMBRA_TESTS_UNIT_SERVER_SERVER_FIXTURE_H_
