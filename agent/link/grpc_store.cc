#include "agent/link/grpc_store.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/link/rpc.h"
#include "storage/base/status.h"
#include "umbra/store/v1/store.grpc.pb.h"

namespace umbra::link {
namespace {

using store::v1::StoreService;

// Longest time for one answer. A daemon that is alive but takes longer is stuck; a dead one is noticed by keepalive.
constexpr absl::Duration kCallTimeout = absl::Minutes(2);
// Makes packs, index, maps and manifests durable: disks may be slow.
constexpr absl::Duration kCommitTimeout = absl::Minutes(15);
constexpr absl::Duration kAbortTimeout = absl::Seconds(5);
// One TCP connection carries about a socket buffer (some 4 MiB) in a round trip: on a long line it takes several to fill it. An
// upload takes the first connection that has room, so that on a short line there are only one or two.
constexpr int kUploadsPerConnection = 2;
constexpr size_t kUploadConnectionsMax = 8;
// Ids in one message of PutDiskMap: the limit of the protocol.
constexpr size_t kMapIdsMax = 65536;
constexpr size_t kIdSize = 32;

// Connections that are kept for the next job: two jobs at once, with two each on a short line.
constexpr size_t kFreeConnectionsMax = 4;

using SharedStub = std::shared_ptr<StoreService::Stub>;

}  // namespace

// A connection that shows the agent's present certificate. Thread-safe.
class StoreConnection {
 public:
  StoreConnection(IdentityKeeper& identities, std::string address) : identities_(identities), address_(std::move(address)) {}

  // For one call. Owners: this, and the calls under way; so those that began with the certificate before end in peace.
  SharedStub Stub() {
    absl::MutexLock lock(&mu_);
    if (stub_ == nullptr || generation_ != identities_.generation()) {
      const IdentityKeeper::Shown shown = identities_.Current();
      stub_ = StoreService::NewStub(MakeDataChannel(shown.identity, address_));
      generation_ = shown.generation;
    }
    return stub_;
  }

 private:
  IdentityKeeper& identities_;
  const std::string address_;
  absl::Mutex mu_;
  SharedStub stub_ ABSL_GUARDED_BY(mu_);
  int64_t generation_ ABSL_GUARDED_BY(mu_) = 0;
};

StoreConnections::StoreConnections(IdentityKeeper& identities, std::string address)
    : identities_(identities),
      address_(address.empty() ? identities.Current().identity.daemon_address : std::move(address)) {}

StoreConnections::~StoreConnections() = default;

std::unique_ptr<StoreConnection> StoreConnections::Take() {
  absl::MutexLock lock(&mu_);
  if (free_.empty()) return std::make_unique<StoreConnection>(identities_, address_);
  std::unique_ptr<StoreConnection> taken = std::move(free_.back());
  free_.pop_back();
  return taken;
}

void StoreConnections::GiveBack(std::unique_ptr<StoreConnection> connection) {
  absl::MutexLock lock(&mu_);
  if (free_.size() < kFreeConnectionsMax) free_.push_back(std::move(connection));
}

namespace {

// Tells whether a refusal counts. Begin it before the call.
class Admission {
 public:
  explicit Admission(IdentityKeeper& identities) : identities_(identities), generation_(identities.generation()) {}

  absl::Status Judge(absl::Status status) const {
    if (!absl::IsUnauthenticated(status) || identities_.generation() == generation_) return status;
    return base::MakeError(absl::StatusCode::kUnavailable, base::ReasonOf(status),
                           "the agent got another certificate during the call");
  }

 private:
  IdentityKeeper& identities_;
  const int64_t generation_;
};

// A call that ends when the assignment is cancelled.
class Call {
 public:
  Call(IdentityKeeper& identities, base::Clock& clock, transfer::Cancellation& cancellation,
       std::optional<absl::Duration> timeout)
      : admission_(identities), cancellation_(cancellation) {
    if (timeout) context_.set_deadline(absl::ToChronoTime(clock.Now() + *timeout));
    guard_.emplace(cancellation_, [this] { context_.TryCancel(); });
  }

  grpc::ClientContext* context() { return &context_; }

  absl::Status Result(const grpc::Status& status) const {
    if (!status.ok()) RETURN_IF_ERROR(cancellation_.Check());
    return admission_.Judge(FromRpcStatus(status));
  }

 private:
  const Admission admission_;
  transfer::Cancellation& cancellation_;
  grpc::ClientContext context_;
  std::optional<transfer::Cancellation::Guard> guard_;
};

class GrpcDiskStream final : public transfer::DiskStream {
 public:
  GrpcDiskStream(StoreConnection& connection, IdentityKeeper& identities, base::Clock& clock,
                 transfer::Cancellation& cancellation, const store::v1::ReadDiskRequest& request)
      : call_(identities, clock, cancellation, std::nullopt),
        stub_(connection.Stub()),
        reader_(stub_->ReadDisk(call_.context(), request)) {}

  ~GrpcDiskStream() override {
    if (finished_) return;
    call_.context()->TryCancel();
    reader_->Finish().IgnoreError();
  }

  absl::StatusOr<bool> Next(store::v1::ReadDiskResponse* message) override {
    if (reader_->Read(message)) return true;
    finished_ = true;
    RETURN_IF_ERROR(call_.Result(reader_->Finish()));
    return false;
  }

 private:
  Call call_;
  const SharedStub stub_;
  const std::unique_ptr<grpc::ClientReader<store::v1::ReadDiskResponse>> reader_;
  bool finished_ = false;
};

// A connection that is given back at the end.
class Taken {
 public:
  explicit Taken(StoreConnections& all) : all_(all), connection_(all.Take()) {}
  ~Taken() { all_.GiveBack(std::move(connection_)); }
  Taken(const Taken&) = delete;

  StoreConnection& operator*() { return *connection_; }
  StoreConnection* operator->() { return connection_.get(); }

 private:
  StoreConnections& all_;
  std::unique_ptr<StoreConnection> connection_;
};

struct UploadConnection {
  explicit UploadConnection(StoreConnections& all) : connection(all) {}

  Taken connection;
  int uploads = 0;  // under way; guarded by its owner's lock
};

// Connections for uploads, taken when they are needed. The short calls have one of their own: they needn't wait behind
// what is in its socket's buffer.
class UploadConnections {
 public:
  explicit UploadConnections(StoreConnections& all) : all_(all) {}

  // The connection of an upload, as long as that takes.
  class Lease {
   public:
    explicit Lease(UploadConnections& all) : all_(all), connection_(all.Take()) {}
    ~Lease() {
      absl::MutexLock lock(&all_.mu_);
      --connection_.uploads;
    }
    Lease(const Lease&) = delete;
    SharedStub Stub() { return connection_.connection->Stub(); }

   private:
    UploadConnections& all_;
    UploadConnection& connection_;
  };

 private:
  UploadConnection& Take() {
    absl::MutexLock lock(&mu_);
    const auto fewer = [](const auto& a, const auto& b) { return a->uploads < b->uploads; };
    auto chosen = std::ranges::find_if(connections_, [](const auto& c) { return c->uploads < kUploadsPerConnection; });
    if (chosen == connections_.end() && connections_.size() < kUploadConnectionsMax) {
      connections_.push_back(std::make_unique<UploadConnection>(all_));
      chosen = std::prev(connections_.end());
    } else if (chosen == connections_.end()) {
      chosen = std::ranges::min_element(connections_, fewer);
    }
    ++(*chosen)->uploads;
    return **chosen;
  }

  StoreConnections& all_;
  absl::Mutex mu_;
  std::vector<std::unique_ptr<UploadConnection>> connections_ ABSL_GUARDED_BY(mu_);
};

class GrpcStore final : public transfer::ChunkStoreClient {
 public:
  GrpcStore(StoreConnections& connections, base::Clock& clock, transfer::Cancellation& cancellation)
      : identities_(connections.identities()),
        connection_(connections),
        uploads_(connections),
        clock_(clock),
        cancellation_(cancellation) {}

  absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest& request) override {
    return Unary<store::v1::OpenSessionResponse>(&StoreService::Stub::OpenSession, request, kCallTimeout);
  }

  absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& request) override {
    return Unary<store::v1::CheckBaseResponse>(&StoreService::Stub::CheckBase, request, kCallTimeout);
  }

  absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& request) override {
    return Unary<store::v1::NegotiateResponse>(&StoreService::Stub::Negotiate, request, kCallTimeout);
  }

  absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& batch) override {
    UploadConnections::Lease connection(uploads_);
    Call call(identities_, clock_, cancellation_, kCallTimeout);
    store::v1::UploadResponse response;
    const SharedStub stub = connection.Stub();
    const auto writer = stub->Upload(call.context(), &response);
    writer->WriteLast(batch, grpc::WriteOptions());
    RETURN_IF_ERROR(call.Result(writer->Finish()));
    return response;
  }

  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const transfer::DiskMapTarget& target, base::Bytes ids) override {
    Call call(identities_, clock_, cancellation_, kCallTimeout);
    store::v1::PutDiskMapResponse response;
    const SharedStub stub = connection_->Stub();
    const auto writer = stub->PutDiskMap(call.context(), &response);
    store::v1::PutDiskMapRequest request = FirstOf(target);
    for (size_t at = 0; at < ids.size(); at += kMapIdsMax * kIdSize) {
      const base::Bytes piece = ids.subspan(at, std::min(kMapIdsMax * kIdSize, ids.size() - at));
      request.set_chunk_ids(piece.data(), piece.size());
      if (!writer->Write(request)) break;  // Finish tells why
      request.Clear();
    }
    writer->WritesDone();
    RETURN_IF_ERROR(call.Result(writer->Finish()));
    return response;
  }

  absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const transfer::DiskMapTarget& target,
                                                              const std::string& base_recovery_point_id,
                                                              std::span<const transfer::ChangedIds> changes) override {
    Call call(identities_, clock_, cancellation_, kCallTimeout);
    store::v1::PutDiskMapResponse response;
    const SharedStub stub = connection_->Stub();
    const auto writer = stub->PutDiskMap(call.context(), &response);
    store::v1::PutDiskMapRequest request = FirstOf(target);
    request.set_base_recovery_point_id(base_recovery_point_id);
    size_t ids = 0;  // in `request`
    bool going = true;
    const auto send = [&] {
      going = writer->Write(request);  // if not, Finish tells why
      request.Clear();
      ids = 0;
    };
    for (const transfer::ChangedIds& run : changes) {
      for (size_t at = 0; at < run.ids.size() && going;) {
        const size_t count = std::min(kMapIdsMax - ids, (run.ids.size() - at) / kIdSize);
        store::v1::ChangedRun* part = request.add_changes();
        part->set_first_chunk(static_cast<int64_t>(run.first_chunk + at / kIdSize));
        part->set_chunk_ids(run.ids.data() + at, count * kIdSize);
        at += count * kIdSize;
        ids += count;
        if (ids == kMapIdsMax) send();
      }
    }
    if (going && (ids > 0 || !request.session_id().empty())) send();  // nothing changed: one message all the same
    writer->WritesDone();
    RETURN_IF_ERROR(call.Result(writer->Finish()));
    return response;
  }

  // Without the cancellation: who leaves in the middle doesn't know what he leaves behind.
  absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& request) override {
    const Admission admission(identities_);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(clock_.Now() + kCommitTimeout));
    store::v1::CommitResponse response;
    RETURN_IF_ERROR(admission.Judge(FromRpcStatus(connection_->Stub()->Commit(&context, request, &response))));
    return response;
  }

  // Without the cancellation: it is what follows one.
  absl::Status AbortSession(const store::v1::AbortSessionRequest& request) override {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(clock_.Now() + kAbortTimeout));
    store::v1::AbortSessionResponse response;
    return FromRpcStatus(connection_->Stub()->AbortSession(&context, request, &response));
  }

  absl::StatusOr<std::unique_ptr<transfer::DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) override {
    return std::make_unique<GrpcDiskStream>(*connection_, identities_, clock_, cancellation_, request);
  }

 private:
  static store::v1::PutDiskMapRequest FirstOf(const transfer::DiskMapTarget& target) {
    store::v1::PutDiskMapRequest request;
    request.set_session_id(target.session_id);
    request.set_vm_uuid(target.vm_uuid);
    request.set_disk(target.disk);
    request.set_capacity_bytes(static_cast<int64_t>(target.capacity_bytes));
    return request;
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Unary(grpc::Status (StoreService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                 const Request& request, absl::Duration timeout) {
    Call call(identities_, clock_, cancellation_, timeout);
    Response response;
    const SharedStub stub = connection_->Stub();
    RETURN_IF_ERROR(call.Result(((*stub).*method)(call.context(), request, &response)));
    return response;
  }

  IdentityKeeper& identities_;
  Taken connection_;
  UploadConnections uploads_;
  base::Clock& clock_;
  transfer::Cancellation& cancellation_;
};

}  // namespace

std::unique_ptr<transfer::ChunkStoreClient> MakeGrpcStore(StoreConnections& connections, base::Clock& clock,
                                                          transfer::Cancellation& cancellation) {
  return std::make_unique<GrpcStore>(connections, clock, cancellation);
}

}  // namespace umbra::link
