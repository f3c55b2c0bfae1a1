#include "storage/repo/point_store.h"

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

absl::Status NoPoint(const std::string& id) {
  return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "there is no recovery point {}", id);
}

PointFigures FiguresOf(const Point& point, size_t size_bytes) {
  PointFigures figures{.size_bytes = size_bytes};
  for (const auto& disk : point.manifest.disks()) figures.logical_bytes += static_cast<uint64_t>(disk.data_bytes());
  return figures;
}

}  // namespace

absl::Status PointStore::FinishCommits() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kCommitPrefix));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::string bytes, store_.Get(name, kPointSizeMax));
    const auto points = DecodeCommit(bytes);
    if (!points.ok()) {
      // It was durable before anything relied on it, so this is rot. Its points may still be there by themselves.
      base::Log("repo")->error("commit not readable commit={} error={}", name, base::Describe(points.status()));
      continue;
    }
    RETURN_IF_ERROR(base::Annotate(PutAll(*points), "finish {}", name));
    RETURN_IF_ERROR(store_.Delete(name));
    base::Log("repo")->info("commit finished commit={} points={}", name, points->size());
  }
  return absl::OkStatus();
}

absl::Status PointStore::PutAll(const std::vector<EncodedPoint>& points) {
  for (const EncodedPoint& point : points) {
    const absl::Status put = store_.PutIfAbsent(PointName(point.id), base::AsBytes(point.bytes));
    if (put.code() != absl::StatusCode::kAlreadyExists) RETURN_IF_ERROR(put);
  }
  return absl::OkStatus();
}

absl::Status PointStore::Publish(const std::vector<Point>& points) {
  std::vector<EncodedPoint> encoded;
  for (const Point& point : points) {
    const std::string& id = point.manifest.recovery_point_id();
    auto there = store_.Open(PointName(id));
    if (there.ok()) {
      return base::Error(absl::StatusCode::kAlreadyExists, "UPLOAD_INVALID", "recovery point {} exists already", id);
    }
    if (!absl::IsNotFound(there.status())) return there.status();
    encoded.push_back({id, EncodePoint(keys_, random_, repository_, point)});
  }
  std::string commit;
  absl::Status status;
  if (encoded.size() > 1) {
    commit = fmt::format("{}{}.commit", kCommitPrefix, random_.Uuid());
    {
      absl::MutexLock lock(&mu_);
      for (const EncodedPoint& point : encoded) open_commits_[commit].insert(point.id);
    }
    status = store_.PutIfAbsent(commit, base::AsBytes(EncodeCommit(encoded)));
  }
  if (status.ok()) status = PutAll(encoded);
  if (!status.ok()) {
    TakeBack(encoded, commit);
    return base::Annotate(status, "publish recovery point");
  }
  for (size_t i = 0; i < points.size(); ++i) figures_.Came(encoded[i].id, FiguresOf(points[i], encoded[i].bytes.size()));
  if (commit.empty()) return absl::OkStatus();
  // All points are there; a commit that stays is finished, without effect, at the next opening.
  if (const auto deleted = store_.Delete(commit); !deleted.ok()) {
    base::Log("repo")->warn("commit not deleted commit={} error={}", commit, base::Describe(deleted));
  } else {
    ForgetCommit(commit);
  }
  return absl::OkStatus();
}

void PointStore::ForgetCommit(const std::string& commit) {
  absl::MutexLock lock(&mu_);
  open_commits_.erase(commit);
}

void PointStore::TakeBack(const std::vector<EncodedPoint>& points, const std::string& commit) {
  const auto gone = [this](const std::string& name) {
    const absl::Status deleted = store_.Delete(name);
    if (deleted.ok() || absl::IsNotFound(deleted)) return true;
    base::Log("repo")->error("recovery points of a failed commit may show up name={} error={}", name,
                             base::Describe(deleted));
    return false;
  };
  bool all_gone = true;
  for (const EncodedPoint& point : points) {
    all_gone &= gone(PointName(point.id));
    figures_.Went(point.id);
  }
  // While one of the points may be there, the commit stays: the next opening then shows all of them, not a part.
  if (all_gone && !commit.empty() && gone(commit)) ForgetCommit(commit);
}

absl::StatusOr<std::vector<std::string>> PointStore::List() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kPointPrefix));
  std::vector<std::string> ids;
  for (const std::string& name : names) {
    constexpr size_t kIdAt = sizeof(kPointPrefix) - 1;
    const std::string id = name.substr(kIdAt, 36);
    if (IsUuidText(id) && name == PointName(id)) ids.push_back(id);
  }
  return ids;
}

absl::StatusOr<Point> PointStore::Read(const std::string& id) {
  if (!IsUuidText(id)) return NoPoint(id);
  auto bytes = store_.Get(PointName(id), kPointSizeMax);
  if (absl::IsNotFound(bytes.status())) return NoPoint(id);
  RETURN_IF_ERROR(bytes.status());
  auto point = DecodePoint(keys_, repository_, *bytes);
  if (point.ok() && point->manifest.recovery_point_id() != id) {
    return base::Error(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "{} holds another recovery point",
                       PointName(id));
  }
  if (!point.ok()) return base::Annotate(point.status(), "{}", PointName(id));
  figures_.Learn(id, FiguresOf(*point, bytes->size()));
  return point;
}

absl::StatusOr<PointFiguresTable::Sums> PointStore::Sum(const std::vector<std::string>& some) {
  if (!figures_.counted()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> ids, List());
    figures_.Count(ids);
  }
  for (const std::string& id : figures_.Unread()) {
    if (absl::IsNotFound(Read(id).status())) figures_.Went(id);
  }
  return figures_.Sum(some);
}

absl::Status PointStore::RequireThere(const std::string& id) {
  const absl::Status opened = store_.Open(PointName(id)).status();
  return absl::IsNotFound(opened) ? NoPoint(id) : opened;
}

absl::Status PointStore::Remove(const std::string& id) {
  if (!IsUuidText(id)) return NoPoint(id);
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [commit, points] : open_commits_) {
      if (!points.contains(id)) continue;
      return base::Error(absl::StatusCode::kUnavailable, "RECOVERY_POINT_BUSY", "recovery point {} is in {}, which isn't over", id,
                         commit);
    }
  }
  const absl::Status deleted = store_.Delete(PointName(id));
  if (deleted.ok() || absl::IsNotFound(deleted)) figures_.Went(id);
  return absl::IsNotFound(deleted) ? NoPoint(id) : base::Annotate(deleted, "remove recovery point {}", id);
}

absl::StatusOr<std::vector<Point>> PointStore::ReadCommits() {
  std::vector<Point> points;
  ASSIGN_OR_RETURN(const auto names, store_.List(kCommitPrefix));
  for (const std::string& name : names) {
    const auto bytes = store_.Get(name, kPointSizeMax);
    if (absl::IsNotFound(bytes.status())) continue;
    RETURN_IF_ERROR(bytes.status());
    const auto encoded = DecodeCommit(*bytes);
    if (!encoded.ok()) continue;  // rot: it can't be finished either
    for (const EncodedPoint& point : *encoded) {
      ASSIGN_OR_RETURN(points.emplace_back(), DecodePoint(keys_, repository_, point.bytes));
    }
  }
  return points;
}

absl::Status PointStore::MakeDeletionsDurable() {
  // Names that are never there: a NOT_FOUND is durable for its whole folder. A commit under way stays.
  for (const char* prefix : {kCommitPrefix, kPointPrefix}) {
    const absl::Status none = store_.Delete(fmt::format("{}none.none", prefix));
    if (!absl::IsNotFound(none)) RETURN_IF_ERROR(none);
  }
  return absl::OkStatus();
}

}  // namespace umbra::repo
