#include "server/api/agent/store_calls.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "server/api/agent/base_points.h"
#include "server/api/agent/upload_sink.h"
#include "server/maintenance/rebuild.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using catalog::HostId;

std::shared_ptr<spdlog::logger> Logger() {
  return base::Log("api");
}

template <typename... Args>
absl::Status Invalid(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kInvalidArgument, "UPLOAD_INVALID", format, std::forward<Args>(args)...);
}

// All virtual machines of the assignment, each once: a part of a backup is no backup.
absl::Status CheckComplete(const dispatch::Assignment& assignment, const store::v1::CommitRequest& request) {
  std::vector<std::string> given, wanted = assignment.vm_uuids;
  for (const repo::Manifest& manifest : request.manifests()) given.push_back(manifest.vm_uuid());
  std::sort(given.begin(), given.end());
  std::sort(wanted.begin(), wanted.end());
  return given == wanted ? absl::OkStatus()
                         : Invalid("manifests: not exactly one for each virtual machine of the assignment");
}

absl::Status CheckDocuments(const repo::Manifest& manifest) {
  size_t total = 0;
  for (const store::v1::ManifestDocument& document : manifest.documents()) {
    total += document.content().size();
    if (document.content().size() > kDocumentBytesMax) {
      return Invalid("document {}: {} bytes, at most {} are kept", document.kind(), document.content().size(),
                     kDocumentBytesMax);
    }
  }
  return total <= kDocumentsBytesMax ? absl::OkStatus() : Invalid("documents: {} bytes in all", total);
}

// What the agent may not decide is set, or left to the repository.
repo::Manifest Own(const dispatch::Assignment& assignment, repo::Manifest manifest) {
  manifest.clear_recovery_point_id();
  manifest.clear_create_time();
  manifest.set_host_id(assignment.host.value);
  manifest.set_job_id(assignment.key.job.value);
  return manifest;
}

}  // namespace

StoreCalls::StoreCalls(catalog::Catalog& catalog, jobs::JobEngine& engine, dispatch::AssignmentTable& assignments,
                       const maintenance::RepositorySet& repositories, base::Random& random,
                       const StoreOptions& options, RunLater later)
    : catalog_(catalog),
      engine_(engine),
      assignments_(assignments),
      repositories_(repositories),
      options_(options),
      later_(std::move(later)),
      sessions_(random) {
  assignments_.SetEndListener([this](const dispatch::AssignmentKey& key) { AbortLater(sessions_.TakeOf(key)); });
}

StoreCalls::~StoreCalls() {
  assignments_.SetEndListener(nullptr);
}

void StoreCalls::AbortAll() {
  for (UploadSessions::Handle& session : sessions_.TakeAll()) session->upload->Abort();
}

void StoreCalls::AbortLater(UploadSessions::Handle session) {
  if (session) later_([session = std::move(session)] { session->upload->Abort(); });
}

absl::Status StoreCalls::OpenSession(const HostId& host, const store::v1::OpenSessionRequest& request,
                                     store::v1::OpenSessionResponse& response) {
  const dispatch::AssignmentKey key{catalog::JobId(request.job_id()), request.attempt()};
  ASSIGN_OR_RETURN(const dispatch::Assignment assignment, assignments_.Authorize(host, key, catalog::JobKind::kBackup));
  if (request.repository() != assignment.repository.value) {
    return base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                       "repository {} is not the assignment's", request.repository());
  }
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* const open, repositories_.Find(assignment.repository));
  UploadSessions::Handle replaced;
  const UploadSessions::Handle session =
      sessions_.Open(assignment, *open, ChooseBases(catalog_, *open, assignment), replaced);
  AbortLater(std::move(replaced));
  if (absl::Status s = assignments_.CheckAlive(key); !s.ok()) {  // ended while the session was made
    AbortLater(sessions_.TakeOf(key));
    return s;
  }
  Logger()->info("upload session opened host={} job={} attempt={} repository={}", host, key.job, key.attempt, open->id);
  const base::Bytes id_key = open->repository->hasher().key();
  response.set_session_id(session->id);
  response.set_chunk_size_bytes(open->repository->info().chunk_size_bytes);
  response.set_id_suite(static_cast<uint32_t>(open->repository->info().id_suite));
  response.set_id_key(id_key.data(), id_key.size());
  response.set_compression_level(options_.compression_level);
  response.set_fast_compression_codec(static_cast<uint32_t>(options_.fast_compression.codec));
  response.set_fast_compression_level(options_.fast_compression.level);
  for (const store::v1::BasePoint& base : session->bases) *response.add_bases() = base;
  return absl::OkStatus();
}

absl::Status StoreCalls::CheckBase(const HostId& host, const store::v1::CheckBaseRequest& request,
                                   store::v1::CheckBaseResponse& response) {
  ASSIGN_OR_RETURN(const UploadSessions::Handle session, sessions_.Find(host, request.session_id()));
  ASSIGN_OR_RETURN(const repo::BaseDisk base, BaseOf(*session, request.recovery_point_id(), request.vm_uuid(),
                                                     request.disk(), request.capacity_bytes()));
  ASSIGN_OR_RETURN(const std::vector<repo::ChunkId> ids, ParseIds(request.chunk_ids(), kNegotiateIdsMax));
  const std::vector<uint64_t> chunks(request.chunks().begin(), request.chunks().end());
  ASSIGN_OR_RETURN(const std::vector<size_t> different, session->upload->CompareWithBase(base, chunks, ids));
  for (const size_t i : different) response.add_different(request.chunks(static_cast<int>(i)));
  return absl::OkStatus();
}

absl::Status StoreCalls::Negotiate(const HostId& host, const store::v1::NegotiateRequest& request,
                                   store::v1::NegotiateResponse& response) {
  ASSIGN_OR_RETURN(const UploadSessions::Handle session, sessions_.Find(host, request.session_id()));
  ASSIGN_OR_RETURN(const std::vector<repo::ChunkId> ids, ParseIds(request.chunk_ids(), kNegotiateIdsMax));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> wanted, session->upload->Wanted(ids));
  response.set_wanted(wanted.data(), wanted.size());
  return absl::OkStatus();
}

absl::Status StoreCalls::AbortSession(const HostId& host, const store::v1::AbortSessionRequest& request,
                                      store::v1::AbortSessionResponse&) {
  ASSIGN_OR_RETURN(const UploadSessions::Handle session, sessions_.Take(host, request.session_id()));
  session->upload->Abort();
  return absl::OkStatus();
}

// ---- Commit ----

absl::Status StoreCalls::Commit(const HostId& host, const store::v1::CommitRequest& request,
                                store::v1::CommitResponse& response) {
  ASSIGN_OR_RETURN(const UploadSessions::Handle session, sessions_.Find(host, request.session_id()));
  absl::MutexLock lock(&session->commit_mu);
  if (session->committed) {  // the answer got lost
    response = *session->committed;
    return absl::OkStatus();
  }
  const dispatch::Assignment& assignment = session->assignment;
  RETURN_IF_ERROR(CheckComplete(assignment, request));
  std::vector<repo::Manifest> manifests;
  for (const repo::Manifest& manifest : request.manifests()) {
    RETURN_IF_ERROR(CheckDocuments(manifest));
    manifests.push_back(Own(assignment, manifest));
  }
  RETURN_IF_ERROR(assignments_.BeginCommit(assignment.key));
  const auto end = absl::MakeCleanup([&] { assignments_.EndCommit(assignment.key); });
  ASSIGN_OR_RETURN(response, Publish(*session, std::move(manifests)));
  session->committed = response;
  return absl::OkStatus();
}

absl::StatusOr<store::v1::CommitResponse> StoreCalls::Publish(OpenUpload& session,
                                                              std::vector<repo::Manifest> manifests) {
  const dispatch::Assignment& assignment = session.assignment;
  ASSIGN_OR_RETURN(manifests, session.upload->Commit(std::move(manifests)));
  base::CrashPoint("daemon.repository_committed");
  if (absl::Status s = Enter(assignment, manifests); !s.ok()) {
    TakeBack(session, manifests);
    return base::Annotate(s, "commit of job {}", assignment.key.job);
  }
  base::CrashPoint("daemon.catalog_committed");
  store::v1::CommitResponse response;
  for (const repo::Manifest& manifest : manifests) response.add_recovery_point_ids(manifest.recovery_point_id());
  response.set_stored_bytes(static_cast<int64_t>(session.upload->stored_bytes()));
  Logger()->info("recovery points committed host={} job={} attempt={} count={} stored_bytes={}", assignment.host,
                 assignment.key.job, assignment.key.attempt, manifests.size(), response.stored_bytes());
  return response;
}

// Job event and rows, in one transaction.
absl::Status StoreCalls::Enter(const dispatch::Assignment& assignment, const std::vector<repo::Manifest>& manifests) {
  const dispatch::AssignmentKey& key = assignment.key;
  jobs::EventFacts facts;
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* const open, repositories_.Find(assignment.repository));
  for (const repo::Manifest& manifest : manifests) {
    facts.recovery_points.push_back(maintenance::ToRecord(manifest, open->id));
  }
  const absl::Status applied = engine_.Apply(key.job, key.attempt, jobs::JobEvent::kRepoCommitted, facts).status();
  if (applied.ok()) return applied;
  const auto job = engine_.Get(key.job);  // the catalog may have taken it although it said otherwise
  return job.ok() && job->state == catalog::JobState::kCommitting ? absl::OkStatus() : applied;
}

// The job ended meanwhile, or the catalog can't be written: nothing of it may stay visible.
void StoreCalls::TakeBack(OpenUpload& session, const std::vector<repo::Manifest>& manifests) {
  for (const repo::Manifest& manifest : manifests) {
    // Nobody saw it, so there is nothing to undelete.
    const repo::RemovalOptions removal{.who = "umbrad", .undelete_window = absl::ZeroDuration()};
    const absl::Status s = session.repository.RemoveRecoveryPoint(manifest.recovery_point_id(), removal).status();
    Logger()->log(s.ok() ? spdlog::level::warn : spdlog::level::err,
                  "recovery point taken back job={} point={} status={}", session.assignment.key.job,
                  manifest.recovery_point_id(), base::Describe(s));
  }
}

}  // namespace umbra::api
