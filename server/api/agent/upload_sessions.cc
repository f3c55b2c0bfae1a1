#include "server/api/agent/upload_sessions.h"

#include <utility>

#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr size_t kSessionIdBytes = 16;  // 128 random bits: not to be guessed

}  // namespace

UploadSessions::Handle UploadSessions::Open(const dispatch::Assignment& assignment,
                                            const maintenance::OpenRepository& repository,
                                            std::vector<store::v1::BasePoint> bases, Handle& replaced) {
  auto session = std::make_shared<OpenUpload>(random_.Hex(kSessionIdBytes), assignment, *repository.repository,
                                              repository.repository->BeginSession(), std::move(bases),
                                              repository.upload_limit.get());
  absl::MutexLock lock(&mu_);
  replaced = TakeOfLocked(assignment.key);
  by_id_[session->id] = session;
  by_assignment_[assignment.key] = session;
  return session;
}

absl::StatusOr<UploadSessions::Handle> UploadSessions::Find(const catalog::HostId& host, const std::string& id) const {
  absl::MutexLock lock(&mu_);
  return FindLocked(host, id);
}

absl::StatusOr<UploadSessions::Handle> UploadSessions::Take(const catalog::HostId& host, const std::string& id) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(Handle session, FindLocked(host, id));
  by_assignment_.erase(session->assignment.key);
  by_id_.erase(id);
  return session;
}

UploadSessions::Handle UploadSessions::TakeOf(const dispatch::AssignmentKey& key) {
  absl::MutexLock lock(&mu_);
  return TakeOfLocked(key);
}

UploadSessions::Handle UploadSessions::TakeOfLocked(const dispatch::AssignmentKey& key) {
  const auto it = by_assignment_.find(key);
  if (it == by_assignment_.end()) return nullptr;
  Handle session = std::move(it->second);
  by_assignment_.erase(it);
  by_id_.erase(session->id);
  return session;
}

std::vector<UploadSessions::Handle> UploadSessions::TakeAll() {
  absl::MutexLock lock(&mu_);
  std::vector<Handle> sessions;
  for (auto& [id, session] : by_id_) sessions.push_back(std::move(session));
  by_id_.clear();
  by_assignment_.clear();
  return sessions;
}

absl::StatusOr<UploadSessions::Handle> UploadSessions::FindLocked(const catalog::HostId& host, const std::string& id) const {
  const auto it = by_id_.find(id);
  if (it == by_id_.end() || it->second->assignment.host != host) {
    return base::Error(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND", "no such upload session: it has ended, or never was");
  }
  return it->second;
}

}  // namespace umbra::api
