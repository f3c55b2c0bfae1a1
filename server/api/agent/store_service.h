// The data service over gRPC: upload sessions of backups, disks for restores.
//
// Threads: gRPC's own threads only carry messages. Chunks are checked and packed, and disks are read, on `worker_count`
// threads; the short calls have kControlThreads of their own, so that they don't wait behind bulk data. Commits and
// aborts wait for the disk nearly all their time, for several syncs one after the other: kCommitThreads of them do so
// side by side, where they share syncs of the index, the catalog and the file system.
//
// Memory (the daemon stays below 256 MiB): an upload stream holds at most two messages, one in work and one received; a
// message is at most 4 MiB and usually about 2.5 MiB, and only messages that a worker has in hand are held twice (as
// received and as parsed). Our agent's streams carry one message each, three of them at a time and 17 over a line of
// 150 ms: kUploadStreamsMax of those hold 120 MiB at most, and what the transport hasn't handed on yet is limited by
// the port. A restore's stream holds two messages of about kReadBatchBytes: kReadStreamsMax of them 32 MiB.
#ifndef UMBRA_SERVER_API_AGENT_STORE_SERVICE_H_
#define UMBRA_SERVER_API_AGENT_STORE_SERVICE_H_

#include <grpcpp/server_builder.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/store_calls.h"
#include "server/api/agent/stream_set.h"
#include "server/api/agent/upload_sink.h"
#include "server/dispatch/assignment_table.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"
#include "umbra/store/v1/store.grpc.pb.h"

namespace umbra::api {

inline constexpr size_t kUploadStreamsMax = 48;
// Streams that wait unread until one of those has ended.
inline constexpr size_t kUploadStreamsWaitingMax = 208;
inline constexpr size_t kReadStreamsMax = 16;
inline constexpr int kControlThreads = 2;
inline constexpr int kCommitThreads = 24;
namespace internal {
using StoreBase = store::v1::StoreService;
using StoreMethods = StoreBase::WithCallbackMethod_OpenSession<
    StoreBase::WithCallbackMethod_CheckBase<StoreBase::WithCallbackMethod_Negotiate<
        StoreBase::WithCallbackMethod_Commit<StoreBase::WithCallbackMethod_AbortSession<
            StoreBase::WithRawCallbackMethod_Upload<StoreBase::WithRawCallbackMethod_PutDiskMap<
                StoreBase::WithRawCallbackMethod_ReadDisk<StoreBase::Service>>>>>>>>;
}  // namespace internal

// A host sees only sessions of its own assignments. When an assignment ends, its session is aborted.
class StoreService final : public internal::StoreMethods {
 public:
  // Everything outlives the service, and the service outlives its server. Takes the end listener of `assignments`, so
  // make it before the dispatcher starts.
  StoreService(catalog::Catalog& catalog, jobs::JobEngine& engine, dispatch::AssignmentTable& assignments,
               const maintenance::RepositorySet& repositories, base::Random& random, const StoreOptions& options);
  ~StoreService() override;

  // Ends every stream with UNAVAILABLE / SERVER_STOPPING, refuses new ones, and aborts all sessions. Call it before
  // grpc::Server::Shutdown; the dispatcher must be stopped before the service is destroyed.
  void Stop();

 private:
  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* OpenSession(Context* context, const store::v1::OpenSessionRequest* request,
                                        store::v1::OpenSessionResponse* response) override;
  grpc::ServerUnaryReactor* CheckBase(Context* context, const store::v1::CheckBaseRequest* request,
                                      store::v1::CheckBaseResponse* response) override;
  grpc::ServerUnaryReactor* Negotiate(Context* context, const store::v1::NegotiateRequest* request,
                                      store::v1::NegotiateResponse* response) override;
  grpc::ServerUnaryReactor* Commit(Context* context, const store::v1::CommitRequest* request,
                                   store::v1::CommitResponse* response) override;
  grpc::ServerUnaryReactor* AbortSession(Context* context, const store::v1::AbortSessionRequest* request,
                                         store::v1::AbortSessionResponse* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Upload(Context* context, grpc::ByteBuffer* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* PutDiskMap(Context* context, grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* ReadDisk(Context* context, const grpc::ByteBuffer* request) override;

  // Runs `method(host, request, response)` on a thread of `executor` and answers with its status.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Answer(Executor& executor, Context* context, const Request* request, Response* response,
                                   absl::Status (StoreCalls::*method)(const catalog::HostId&, const Request&,
                                                                      Response&));

  // For the streams: their host is looked up with the first message, on a worker.
  FindSession FinderFor(const Context& context);

  catalog::Catalog& catalog_;
  dispatch::AssignmentTable& assignments_;
  const maintenance::RepositorySet& repositories_;
  std::atomic<bool> stopping_ = false;
  StoreCalls calls_;
  StreamSet uploads_{kUploadStreamsMax, kUploadStreamsWaitingMax};
  StreamSet reads_{kReadStreamsMax};
  // Last, because their tasks use the rest; control_ after commits_, because its tasks leave aborts to that.
  Executor workers_;
  Executor commits_{kCommitThreads};
  Executor control_{kControlThreads};
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_STORE_SERVICE_H_
