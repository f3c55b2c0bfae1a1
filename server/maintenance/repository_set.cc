#include "server/maintenance/repository_set.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::maintenance {

RepositorySet::RepositorySet(std::vector<OpenRepository> repositories) : repositories_(std::move(repositories)) {
  UMBRA_CHECK(!repositories_.empty());
  const catalog::RepositoryId first = repositories_.front().id;
  std::sort(repositories_.begin(), repositories_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  default_ = &*std::find_if(repositories_.begin(), repositories_.end(), [&](const auto& r) { return r.id == first; });
}

absl::StatusOr<const OpenRepository*> RepositorySet::Find(const catalog::RepositoryId& id) const {
  if (id.empty()) return default_;
  for (const OpenRepository& repository : repositories_) {
    if (repository.id == id) return &repository;
  }
  return base::Error(absl::StatusCode::kNotFound, "REPOSITORY_NOT_FOUND", "there is no repository '{}'", id);
}

}  // namespace umbra::maintenance
