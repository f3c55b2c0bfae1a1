// What the data service does, whoever carries its calls: sessions of backups are opened, asked, committed and aborted.
// store_service.h carries them over gRPC.
#ifndef UMBRA_SERVER_API_AGENT_STORE_CALLS_H_
#define UMBRA_SERVER_API_AGENT_STORE_CALLS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/agent/upload_sessions.h"
#include "server/dispatch/assignment_table.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::api {

// Of one recovery point; together they must fit the message that sends them to a restoring agent (gRPC's 4 MiB).
inline constexpr size_t kDocumentBytesMax = 1024 * 1024;
inline constexpr size_t kDocumentsBytesMax = 3 * 1024 * 1024;

struct StoreOptions {
  int worker_count = 2;  // as many as there are cores
  // How agents compress (docs/adr/0006): usually with zstd at this level (2: repo::Compression), and
  // fast while their processors are what a backup waits for.
  int compression_level = 2;
  repo::Compression fast_compression = {repo::Codec::kLz4, 1};
};

// Runs a task soon, on a thread that may wait for the disk.
using RunLater = std::function<void(std::function<void()> task)>;

// Thread-safe; every call may wait for the disk. `host` is who calls, as its certificate says: a host sees only
// sessions of its own assignments. When an assignment ends, its session is aborted. Errors are those that
// umbra.store.v1 lists.
class StoreCalls {
 public:
  // Everything outlives the calls. Takes the end listener of `assignments`, so make it before the dispatcher starts.
  StoreCalls(catalog::Catalog& catalog, jobs::JobEngine& engine, dispatch::AssignmentTable& assignments,
             const maintenance::RepositorySet& repositories, base::Random& random, const StoreOptions& options,
             RunLater later);
  ~StoreCalls();

  absl::Status OpenSession(const catalog::HostId& host, const store::v1::OpenSessionRequest& request,
                           store::v1::OpenSessionResponse& response);
  absl::Status CheckBase(const catalog::HostId& host, const store::v1::CheckBaseRequest& request,
                         store::v1::CheckBaseResponse& response);
  absl::Status Negotiate(const catalog::HostId& host, const store::v1::NegotiateRequest& request,
                         store::v1::NegotiateResponse& response);
  absl::Status Commit(const catalog::HostId& host, const store::v1::CommitRequest& request,
                      store::v1::CommitResponse& response);
  absl::Status AbortSession(const catalog::HostId& host, const store::v1::AbortSessionRequest& request,
                            store::v1::AbortSessionResponse& response);

  // For the upload streams. NOT_FOUND / SESSION_NOT_FOUND.
  absl::StatusOr<UploadSessions::Handle> Find(const catalog::HostId& host, const std::string& session_id) const {
    return sessions_.Find(host, session_id);
  }
  // Aborts every session, at once.
  void AbortAll();

 private:
  absl::StatusOr<store::v1::CommitResponse> Publish(OpenUpload& session, std::vector<repo::Manifest> manifests);
  absl::Status Enter(const dispatch::Assignment& assignment, const std::vector<repo::Manifest>& manifests);
  void TakeBack(OpenUpload& session, const std::vector<repo::Manifest>& manifests);
  void AbortLater(UploadSessions::Handle session);

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  dispatch::AssignmentTable& assignments_;
  const maintenance::RepositorySet& repositories_;
  const StoreOptions options_;
  const RunLater later_;
  UploadSessions sessions_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_STORE_CALLS_H_
