#include "tests/fleet/limits.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "agent/link/identity.h"
#include "agent/link/rpc.h"
#include "storage/base/bytes.h"
#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"
#include "storage/tls/x509.h"
#include "umbra/store/v1/store.grpc.pb.h"

namespace umbra::fleet {
namespace {

constexpr int kConnections = 16;
constexpr int kCallsOfEach = 4;

// How often `work` can be done in `time`, in a second.
absl::StatusOr<double> Rate(base::Clock& clock, absl::Duration time, const std::function<absl::Status(int)>& work) {
  const absl::Duration begin = clock.Monotonic();
  int count = 0;
  while (clock.Monotonic() - begin < time) RETURN_IF_ERROR(work(count++));
  return count / absl::ToDoubleSeconds(clock.Monotonic() - begin);
}

class Echo final : public store::v1::StoreService::CallbackService {
  grpc::ServerUnaryReactor* AbortSession(grpc::CallbackServerContext* context, const store::v1::AbortSessionRequest*,
                                         store::v1::AbortSessionResponse*) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// Calls one after the other on one connection, until told to stop; or each on one of its own.
class Caller {
 public:
  Caller(const link::Identity& identity, bool reconnects, const std::atomic<bool>& stop, std::atomic<int64_t>& count)
      : identity_(identity), reconnects_(reconnects), stop_(stop), count_(count) {}

  void Use(const std::shared_ptr<grpc::Channel>& channel) { stub_ = store::v1::StoreService::NewStub(channel); }

  void Call() {
    if (reconnects_) Use(link::MakeChannel(identity_, identity_.daemon_address));
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_wait_for_ready(true);
    ++under_way_;
    stub_->async()->AbortSession(context_.get(), &request_, &response_, [this](const grpc::Status& status) {
      if (status.ok()) ++count_;
      if (!stop_) Call();
      --under_way_;
    });
  }

  bool done() const { return under_way_ == 0; }

 private:
  const link::Identity& identity_;
  const bool reconnects_;
  const std::atomic<bool>& stop_;
  std::atomic<int64_t>& count_;
  std::atomic<int> under_way_{0};
  std::unique_ptr<store::v1::StoreService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  store::v1::AbortSessionRequest request_;
  store::v1::AbortSessionResponse response_;
};

double Calls(base::Clock& clock, const link::Identity& identity, bool reconnects, absl::Duration time) {
  std::atomic<bool> stop{false};
  std::atomic<int64_t> count{0};
  std::vector<std::unique_ptr<Caller>> callers;
  for (int i = 0; i < kConnections; ++i) {
    const auto channel = link::MakeChannel(identity, identity.daemon_address);
    for (int k = 0; k < (reconnects ? 1 : kCallsOfEach); ++k) {
      callers.push_back(std::make_unique<Caller>(identity, reconnects, stop, count));
      callers.back()->Use(channel);
    }
  }
  for (const auto& caller : callers) caller->Call();
  clock.Sleep(time / 4);  // until all are connected
  const int64_t before = count;
  const absl::Duration begin = clock.Monotonic();
  clock.Sleep(time);
  const double rate = static_cast<double>(count - before) / absl::ToDoubleSeconds(clock.Monotonic() - begin);
  stop = true;
  for (const auto& caller : callers) {
    while (!caller->done()) clock.Sleep(absl::Milliseconds(1));
  }
  return rate;
}

}  // namespace

absl::StatusOr<Limits> MeasureLimits(base::Filesystem& files, base::Clock& clock, base::Random& random,
                                     const std::string& folder, absl::Duration time) {
  Limits limits;
  RETURN_IF_ERROR(files.MakeDirectories(folder));
  const std::string block(4096, 'x');
  ASSIGN_OR_RETURN(const auto file, files.Open(folder + "/sync", base::OpenMode::kTruncate));
  ASSIGN_OR_RETURN(limits.syncs, Rate(clock, time, [&](int i) -> absl::Status {
                     RETURN_IF_ERROR(file->WriteAt(static_cast<uint64_t>(i) * block.size(), base::AsBytes(block)));
                     return file->Sync();
                   }));
  ASSIGN_OR_RETURN(limits.new_files, Rate(clock, time, [&](int i) -> absl::Status {
                     ASSIGN_OR_RETURN(const auto made,
                                      files.Open(fmt::format("{}/{}", folder, i), base::OpenMode::kTruncate));
                     RETURN_IF_ERROR(made->WriteAt(0, base::AsBytes(block)));
                     RETURN_IF_ERROR(made->Sync());
                     return files.SyncDirectory(folder);
                   }));

  ASSIGN_OR_RETURN(const auto authority, tls::CertificateAuthority::Open(files, clock, random, folder));
  ASSIGN_OR_RETURN(const tls::ServerCertificate certificate, authority->IssueServerCertificate({}));
  link::Identity identity;
  ASSIGN_OR_RETURN(identity.key_pem, tls::GenerateKey());
  ASSIGN_OR_RETURN(const std::string request, tls::MakeCsr(identity.key_pem, "limits"));
  ASSIGN_OR_RETURN(identity.certificate_pem, authority->SignAgentCertificate(request, "limits"));
  identity.authority_pem = authority->certificate_pem();

  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = identity.authority_pem;
  options.pem_key_cert_pairs.push_back({certificate.key_pem, certificate.chain_pem});
  Echo echo;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port);
  builder.RegisterService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::UnavailableError("can't listen on the loopback");
  identity.daemon_address = fmt::format("127.0.0.1:{}", port);
  limits.round_trips = Calls(clock, identity, /*reconnects=*/false, time);
  limits.connections = Calls(clock, identity, /*reconnects=*/true, time);
  server->Shutdown();
  return limits;
}

}  // namespace umbra::fleet
