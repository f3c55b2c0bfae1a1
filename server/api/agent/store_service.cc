#include "server/api/agent/store_service.h"

#include <utility>

#include "server/api/agent/disk_source.h"
#include "server/api/agent/inbound_stream.h"
#include "server/api/agent/outbound_stream.h"
#include "server/api/agent/peer.h"
#include "server/api/agent/rpc_status.h"
#include "server/api/agent/upload_sink.h"
#include "server/auth/host_authenticator.h"
#include "storage/base/status.h"

namespace umbra::api {

using catalog::HostId;

StoreService::StoreService(catalog::Catalog& catalog, jobs::JobEngine& engine, dispatch::AssignmentTable& assignments,
                           const maintenance::RepositorySet& repositories, base::Random& random,
                           const StoreOptions& options)
    : catalog_(catalog),
      assignments_(assignments),
      repositories_(repositories),
      calls_(catalog, engine, assignments, repositories, random, options,
             [this](std::function<void()> task) { commits_.Submit(std::move(task)); }),
      workers_(options.worker_count) {}

StoreService::~StoreService() = default;

void StoreService::Stop() {
  stopping_ = true;
  uploads_.StopAll();
  reads_.StopAll();
  calls_.AbortAll();
}

// ---- Calls ----

template <typename Request, typename Response>
grpc::ServerUnaryReactor* StoreService::Answer(Executor& executor, Context* context, const Request* request,
                                               Response* response,
                                               absl::Status (StoreCalls::*method)(const HostId&, const Request&,
                                                                                  Response&)) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  executor.Submit([this, reactor, context, request, response, method] {
    const absl::Status status = [&]() -> absl::Status {
      if (stopping_) return base::Error(absl::StatusCode::kUnavailable, "SERVER_STOPPING", "the daemon is stopping");
      ASSIGN_OR_RETURN(const HostId host, auth::AuthenticateHost(catalog_, CertificateOf(*context)));
      return (calls_.*method)(host, *request, *response);
    }();
    reactor->Finish(ToRpcStatus(status));
  });
  return reactor;
}

grpc::ServerUnaryReactor* StoreService::OpenSession(Context* context, const store::v1::OpenSessionRequest* request,
                                                    store::v1::OpenSessionResponse* response) {
  return Answer(control_, context, request, response, &StoreCalls::OpenSession);
}

grpc::ServerUnaryReactor* StoreService::CheckBase(Context* context, const store::v1::CheckBaseRequest* request,
                                                  store::v1::CheckBaseResponse* response) {
  return Answer(control_, context, request, response, &StoreCalls::CheckBase);
}

grpc::ServerUnaryReactor* StoreService::Negotiate(Context* context, const store::v1::NegotiateRequest* request,
                                                  store::v1::NegotiateResponse* response) {
  return Answer(control_, context, request, response, &StoreCalls::Negotiate);
}

grpc::ServerUnaryReactor* StoreService::Commit(Context* context, const store::v1::CommitRequest* request,
                                               store::v1::CommitResponse* response) {
  return Answer(commits_, context, request, response, &StoreCalls::Commit);
}

grpc::ServerUnaryReactor* StoreService::AbortSession(Context* context, const store::v1::AbortSessionRequest* request,
                                                     store::v1::AbortSessionResponse* response) {
  return Answer(commits_, context, request, response, &StoreCalls::AbortSession);
}

// ---- Streams ----

FindSession StoreService::FinderFor(const Context& context) {
  return [this, pem = CertificateOf(context)](const std::string& id) -> absl::StatusOr<UploadSessions::Handle> {
    ASSIGN_OR_RETURN(const HostId host, auth::AuthenticateHost(catalog_, pem));
    return calls_.Find(host, id);
  };
}

grpc::ServerReadReactor<grpc::ByteBuffer>* StoreService::Upload(Context* context, grpc::ByteBuffer* response) {
  return InboundStream::Start(workers_, uploads_, std::make_unique<UploadSink>(FinderFor(*context)), response);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* StoreService::PutDiskMap(Context* context, grpc::ByteBuffer* response) {
  return InboundStream::Start(workers_, uploads_, std::make_unique<DiskMapSink>(FinderFor(*context)), response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* StoreService::ReadDisk(Context* context, const grpc::ByteBuffer* request) {
  return OutboundStream::Start(
      workers_, reads_,
      std::make_unique<DiskSource>(
          [this, pem = CertificateOf(*context)] { return auth::AuthenticateHost(catalog_, pem); }, assignments_,
          repositories_, *request));
}

}  // namespace umbra::api
