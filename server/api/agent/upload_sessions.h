// The open upload sessions of running backups, by an id that nobody can guess.
#ifndef UMBRA_SERVER_API_AGENT_UPLOAD_SESSIONS_H_
#define UMBRA_SERVER_API_AGENT_UPLOAD_SESSIONS_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/dispatch/assignment_table.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/random.h"
#include "storage/base/tuning.h"
#include "storage/repo/repository.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::api {

// One session. Its streams and calls share it with UploadSessions; it is aborted by whoever closes it.
struct OpenUpload {
  OpenUpload(std::string the_id, dispatch::Assignment the_assignment, repo::Repository& the_repository,
             std::unique_ptr<repo::UploadSession> the_upload, std::vector<store::v1::BasePoint> the_bases = {},
             base::TokenBucket* the_upload_limit = nullptr)
      : id(std::move(the_id)),
        assignment(std::move(the_assignment)),
        repository(the_repository),
        upload(std::move(the_upload)),
        bases(std::move(the_bases)),
        upload_limit(the_upload_limit) {}

  const base::GivesBackMemory gives_back;
  std::string id;
  dispatch::Assignment assignment;
  repo::Repository& repository;
  const std::unique_ptr<repo::UploadSession> upload;
  const std::vector<store::v1::BasePoint> bases;  // that its maps may be built on
  base::TokenBucket* const upload_limit;          // of the repository; null: none

  absl::Mutex commit_mu;  // one commit at a time; its answer is kept, for an agent that didn't get it and asks again
  std::optional<store::v1::CommitResponse> committed ABSL_GUARDED_BY(commit_mu);
};

// Thread-safe. There is at most one session for an assignment.
class UploadSessions {
 public:
  using Handle = std::shared_ptr<OpenUpload>;

  // `random` makes the ids and outlives this.
  explicit UploadSessions(base::Random& random) : random_(random) {}

  // Begins a session. An earlier one of the same assignment is given back as `replaced`, for the caller to abort: the
  // agent asked twice, and only the newest answer counts. `repository` outlives the session.
  Handle Open(const dispatch::Assignment& assignment, const maintenance::OpenRepository& repository,
              std::vector<store::v1::BasePoint> bases, Handle& replaced);

  // NOT_FOUND / SESSION_NOT_FOUND: unknown, ended, or another host's.
  absl::StatusOr<Handle> Find(const catalog::HostId& host, const std::string& id) const;

  // Forgets sessions and gives them back; the caller aborts them (which may wait for calls that are under way).
  absl::StatusOr<Handle> Take(const catalog::HostId& host, const std::string& id);
  Handle TakeOf(const dispatch::AssignmentKey& key);  // null when there is none
  std::vector<Handle> TakeAll();

 private:
  Handle TakeOfLocked(const dispatch::AssignmentKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Handle> FindLocked(const catalog::HostId& host, const std::string& id) const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);

  base::Random& random_;
  mutable absl::Mutex mu_;  // both maps hold the same sessions
  absl::flat_hash_map<std::string, Handle> by_id_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<dispatch::AssignmentKey, Handle> by_assignment_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_UPLOAD_SESSIONS_H_
