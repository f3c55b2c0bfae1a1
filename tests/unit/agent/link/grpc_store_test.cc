// Proves that data calls arrive as the protocol wants them, that errors keep their reason, and that a cancellation ends
// a call that hangs.
#include "agent/link/grpc_store.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <thread>

#include "agent/link/rpc.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/unit/agent/link/fake_daemon.h"
#include "umbra/store/v1/store.grpc.pb.h"

namespace umbra::link {
namespace {

grpc::Status WithReason(grpc::StatusCode code, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {code, "said the daemon", details.SerializeAsString()};
}

class Service final : public store::v1::StoreService::Service {
 public:
  grpc::Status OpenSession(grpc::ServerContext* context, const store::v1::OpenSessionRequest*,
                           store::v1::OpenSessionResponse*) override {
    shown = FingerprintOf(*context);
    peers.insert(context->peer());
    if (refuse) {
      refuse();
      return WithReason(grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED");
    }
    return WithReason(grpc::StatusCode::RESOURCE_EXHAUSTED, "STORAGE_FULL");
  }
  grpc::Status Negotiate(grpc::ServerContext* context, const store::v1::NegotiateRequest*,
                         store::v1::NegotiateResponse*) override {
    base::SystemClock clock;
    while (!context->IsCancelled()) clock.Sleep(absl::Milliseconds(5));
    return {grpc::StatusCode::CANCELLED, "cancelled"};
  }
  grpc::Status Upload(grpc::ServerContext* context, grpc::ServerReader<store::v1::UploadRequest>* reader,
                      store::v1::UploadResponse* response) override {
    store::v1::UploadRequest request;
    shown = FingerprintOf(*context);
    peers.insert(context->peer());
    while (reader->Read(&request)) response->set_chunk_count(response->chunk_count() + request.chunks_size());
    return grpc::Status::OK;
  }
  grpc::Status PutDiskMap(grpc::ServerContext*, grpc::ServerReader<store::v1::PutDiskMapRequest>* reader,
                          store::v1::PutDiskMapResponse* response) override {
    store::v1::PutDiskMapRequest request;
    while (reader->Read(&request)) {
      EXPECT_LE(request.chunk_ids().size(), 65536u * 32);
      size_t ids = 0;
      for (const auto& run : request.changes()) {
        ids += run.chunk_ids().size() / 32;
        changes.emplace_back(run.first_chunk(), run.chunk_ids().size() / 32);
      }
      EXPECT_LE(ids, 65536u);
      if (!request.base_recovery_point_id().empty()) base = request.base_recovery_point_id();
      if (!request.disk().empty()) disk = request.disk();
      response->set_data_bytes(response->data_bytes() + static_cast<int64_t>(request.chunk_ids().size()));
    }
    return grpc::Status::OK;
  }
  grpc::Status ReadDisk(grpc::ServerContext*, const store::v1::ReadDiskRequest* request,
                        grpc::ServerWriter<store::v1::ReadDiskResponse>* writer) override {
    store::v1::ReadDiskResponse message;
    for (int i = 0; i < 3; ++i) {
      message.set_done_bytes(request->first_chunk() + i);
      writer->Write(message);
    }
    return request->disk() == "bad" ? WithReason(grpc::StatusCode::DATA_LOSS, "CHUNK_DAMAGED") : grpc::Status::OK;
  }

  std::string disk, base;
  std::string shown;             // the caller's certificate
  std::set<std::string> peers;   // address and port of every connection that was used
  std::function<void()> refuse;  // what happens before OpenSession is refused; null: it isn't
  std::vector<std::pair<int64_t, size_t>> changes;
};

class GrpcStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    daemon_.Start({&service_}, /*demand_certificate=*/true);
    identities_ = daemon_.MakeKeeper();
    connections_ = std::make_unique<StoreConnections>(*identities_, "");
    store_ = MakeGrpcStore(*connections_, daemon_.clock(), cancellation_);
  }

  FakeDaemon daemon_;
  Service service_;
  transfer::Cancellation cancellation_;
  std::unique_ptr<IdentityKeeper> identities_;
  std::unique_ptr<StoreConnections> connections_;
  std::unique_ptr<transfer::ChunkStoreClient> store_;
};

TEST_F(GrpcStoreTest, ErrorsKeepCodeAndReason) {
  const absl::Status status = store_->OpenSession({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::ReasonOf(status), "STORAGE_FULL");
  EXPECT_EQ(base::MessageOf(status), "said the daemon");
}

TEST_F(GrpcStoreTest, CallsShowThePresentCertificate) {
  const auto present = [&] { return *tls::Fingerprint(identities_->Current().identity.certificate_pem); };
  const std::string first = present();
  for (int64_t generation = 0; generation < 2; ++generation) {
    (void)store_->OpenSession({});
    EXPECT_EQ(service_.shown, present());
    ASSERT_TRUE(store_->Upload({}).ok());
    EXPECT_EQ(service_.shown, present());
    if (generation == 0) identities_->OnRefused(0);
  }
  EXPECT_NE(service_.shown, first);
}

TEST_F(GrpcStoreTest, ACallThatWasRefusedForTheCertificateBeforeIsTriedAgain) {
  service_.refuse = [] {};
  EXPECT_TRUE(absl::IsUnauthenticated(store_->OpenSession({}).status()));
  service_.refuse = [&] { identities_->OnRefused(0); };
  EXPECT_TRUE(absl::IsUnavailable(store_->OpenSession({}).status()));
  service_.refuse = nullptr;
  EXPECT_EQ(base::ReasonOf(store_->OpenSession({}).status()), "STORAGE_FULL");
}

TEST_F(GrpcStoreTest, UploadSendsTheBatch) {
  store::v1::UploadRequest batch;
  for (int i = 0; i < 5; ++i) batch.add_chunks()->set_data(std::string(100'000, 'x'));
  EXPECT_EQ(store_->Upload(batch)->chunk_count(), 5);
}

TEST_F(GrpcStoreTest, LongMapsGoInPieces) {
  const std::vector<std::byte> ids(150'000 * 32);
  const auto answer = store_->PutDiskMap({"s", "vm", "vda", 1}, ids);
  ASSERT_TRUE(answer.ok()) << base::Describe(answer.status());
  EXPECT_EQ(answer->data_bytes(), static_cast<int64_t>(ids.size()));
  EXPECT_EQ(service_.disk, "vda");
}

TEST_F(GrpcStoreTest, LongChangesGoInPieces) {
  const std::vector<std::byte> ids(100'000 * 32);
  const base::Bytes all(ids);
  const std::vector<transfer::ChangedIds> runs = {{5, all.first(32)}, {10, all}, {200'000, all.first(64)}};
  ASSERT_TRUE(store_->PutChangedMap({"s", "vm", "vda", 1}, "point", runs).ok());
  EXPECT_EQ(service_.base, "point");
  EXPECT_EQ(service_.disk, "vda");
  EXPECT_EQ(service_.changes,
            (std::vector<std::pair<int64_t, size_t>>{{5, 1}, {10, 65535}, {65545, 34465}, {200'000, 2}}));
  service_.base.clear();
  ASSERT_TRUE(store_->PutChangedMap({"s", "vm", "vda", 1}, "same", {}).ok());
  EXPECT_EQ(service_.base, "same") << "also when nothing changed";
}

TEST_F(GrpcStoreTest, DiskStreamEndsOrFails) {
  store::v1::ReadDiskRequest request;
  request.set_first_chunk(7);
  for (const char* disk : {"good", "bad"}) {
    request.set_disk(disk);
    const auto stream = store_->ReadDisk(request);
    store::v1::ReadDiskResponse message;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(*(*stream)->Next(&message));
      EXPECT_EQ(message.done_bytes(), 7 + i);
    }
    const absl::StatusOr<bool> end = (*stream)->Next(&message);
    if (request.disk() == "good") {
      EXPECT_FALSE(*end);
    } else {
      EXPECT_EQ(base::ReasonOf(end.status()), "CHUNK_DAMAGED");
    }
  }
}

TEST_F(GrpcStoreTest, StreamThatIsDroppedEndsToo) {
  const auto stream = store_->ReadDisk({});
  store::v1::ReadDiskResponse message;
  EXPECT_TRUE(*(*stream)->Next(&message));
}

TEST_F(GrpcStoreTest, CancellationEndsACallThatHangs) {
  std::jthread canceller([this] {
    daemon_.clock().Sleep(absl::Milliseconds(100));
    cancellation_.Cancel(base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "by a person"));
  });
  EXPECT_EQ(base::ReasonOf(store_->Negotiate({}).status()), "CANCELLED");
  EXPECT_EQ(base::ReasonOf(store_->OpenSession({}).status()), "CANCELLED") << "and what comes later";
}

TEST_F(GrpcStoreTest, TheNextJobTakesTheConnectionsOver) {
  const auto work = [](transfer::ChunkStoreClient& store) {
    (void)store.OpenSession({});
    ASSERT_TRUE(store.Upload({}).ok());
  };
  work(*store_);
  EXPECT_EQ(service_.peers.size(), 2u) << "one for short calls, one for uploads";
  for (int job = 0; job < 3; ++job) {
    store_.reset();
    store_ = MakeGrpcStore(*connections_, daemon_.clock(), cancellation_);
    work(*store_);
  }
  EXPECT_EQ(service_.peers.size(), 2u);
  const auto beside = MakeGrpcStore(*connections_, daemon_.clock(), cancellation_);
  work(*beside);
  EXPECT_EQ(service_.peers.size(), 4u) << "a job beside it has its own";
}

TEST_F(GrpcStoreTest, DaemonThatIsGoneIsUnavailable) {
  daemon_.Stop();
  EXPECT_EQ(store_->Upload({}).status().code(), absl::StatusCode::kUnavailable);
}

TEST(RpcStatus, ACallThatAStoppingDaemonCutsOffIsALostConnection) {
  EXPECT_EQ(FromRpcStatus({grpc::StatusCode::CANCELLED, ""}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(FromRpcStatus({grpc::StatusCode::NOT_FOUND, "x"}).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace umbra::link
