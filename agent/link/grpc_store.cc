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

// A call that ends when the assignment is cancelled.
class Call {
 public:
  Call(base::Clock& clock, transfer::Cancellation& cancellation, std::optional<absl::Duration> timeout)
      : cancellation_(cancellation) {
    if (timeout) context_.set_deadline(absl::ToChronoTime(clock.Now() + *timeout));
    guard_.emplace(cancellation_, [this] { context_.TryCancel(); });
  }

  grpc::ClientContext* context() { return &context_; }

  absl::Status Result(const grpc::Status& status) const {
    if (!status.ok()) RETURN_IF_ERROR(cancellation_.Check());
    return FromRpcStatus(status);
  }

 private:
  transfer::Cancellation& cancellation_;
  grpc::ClientContext context_;
  std::optional<transfer::Cancellation::Guard> guard_;
};

class GrpcDiskStream final : public transfer::DiskStream {
 public:
  GrpcDiskStream(StoreService::Stub& stub, base::Clock& clock, transfer::Cancellation& cancellation,
                 const store::v1::ReadDiskRequest& request)
      : call_(clock, cancellation, std::nullopt), reader_(stub.ReadDisk(call_.context(), request)) {}

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
  const std::unique_ptr<grpc::ClientReader<store::v1::ReadDiskResponse>> reader_;
  bool finished_ = false;
};

struct UploadConnection {
  std::unique_ptr<StoreService::Stub> stub;
  int uploads = 0;  // under way; guarded by its owner's lock
};

// Connections for uploads, made when they are needed. The short calls have one of their own: they needn't wait behind
// what is in its socket's buffer.
class UploadConnections {
 public:
  UploadConnections(const Identity& identity, const std::string& address) : identity_(identity), address_(address) {}

  // The connection of an upload, as long as that takes.
  class Lease {
   public:
    explicit Lease(UploadConnections& all) : all_(all), connection_(all.Take()) {}
    ~Lease() {
      absl::MutexLock lock(&all_.mu_);
      --connection_.uploads;
    }
    Lease(const Lease&) = delete;
    StoreService::Stub& stub() { return *connection_.stub; }

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
      connections_.push_back(std::make_unique<UploadConnection>(UploadConnection{StoreService::NewStub(MakeChannel(identity_, address_))}));
      chosen = std::prev(connections_.end());
    } else if (chosen == connections_.end()) {
      chosen = std::ranges::min_element(connections_, fewer);
    }
    ++(*chosen)->uploads;
    return **chosen;
  }

  const Identity identity_;
  const std::string address_;
  absl::Mutex mu_;
  std::vector<std::unique_ptr<UploadConnection>> connections_ ABSL_GUARDED_BY(mu_);
};

class GrpcStore final : public transfer::ChunkStoreClient {
 public:
  GrpcStore(const Identity& identity, const std::string& address, base::Clock& clock, transfer::Cancellation& cancellation)
      : stub_(StoreService::NewStub(MakeChannel(identity, address))),
        uploads_(identity, address),
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
    Call call(clock_, cancellation_, kCallTimeout);
    store::v1::UploadResponse response;
    const auto writer = connection.stub().Upload(call.context(), &response);
    writer->WriteLast(batch, grpc::WriteOptions());
    RETURN_IF_ERROR(call.Result(writer->Finish()));
    return response;
  }

  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const transfer::DiskMapTarget& target, base::Bytes ids) override {
    Call call(clock_, cancellation_, kCallTimeout);
    store::v1::PutDiskMapResponse response;
    const auto writer = stub_->PutDiskMap(call.context(), &response);
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
    Call call(clock_, cancellation_, kCallTimeout);
    store::v1::PutDiskMapResponse response;
    const auto writer = stub_->PutDiskMap(call.context(), &response);
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
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(clock_.Now() + kCommitTimeout));
    store::v1::CommitResponse response;
    RETURN_IF_ERROR(FromRpcStatus(stub_->Commit(&context, request, &response)));
    return response;
  }

  // Without the cancellation: it is what follows one.
  absl::Status AbortSession(const store::v1::AbortSessionRequest& request) override {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(clock_.Now() + kAbortTimeout));
    store::v1::AbortSessionResponse response;
    return FromRpcStatus(stub_->AbortSession(&context, request, &response));
  }

  absl::StatusOr<std::unique_ptr<transfer::DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) override {
    return std::make_unique<GrpcDiskStream>(*stub_, clock_, cancellation_, request);
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
    Call call(clock_, cancellation_, timeout);
    Response response;
    RETURN_IF_ERROR(call.Result(((*stub_).*method)(call.context(), request, &response)));
    return response;
  }

  const std::unique_ptr<StoreService::Stub> stub_;
  UploadConnections uploads_;
  base::Clock& clock_;
  transfer::Cancellation& cancellation_;
};

}  // namespace

std::unique_ptr<transfer::ChunkStoreClient> MakeGrpcStore(const Identity& identity, const std::string& address,
                                                          base::Clock& clock, transfer::Cancellation& cancellation) {
  return std::make_unique<GrpcStore>(identity, address.empty() ? identity.daemon_address : address, clock, cancellation);
}

}  // namespace umbra::link
