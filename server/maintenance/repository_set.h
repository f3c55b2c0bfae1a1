// The repositories of the configuration, open.
#ifndef UMBRA_SERVER_MAINTENANCE_REPOSITORY_SET_H_
#define UMBRA_SERVER_MAINTENANCE_REPOSITORY_SET_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/token_bucket.h"
#include "storage/catalog/records.h"
#include "storage/repo/repository.h"

namespace umbra::maintenance {

struct OpenRepository {
  catalog::RepositoryId id;
  std::string location;  // folder on this machine
  std::unique_ptr<repo::Repository> repository;
  // What all uploads to it get together; null: no limit, and none can be set.
  std::unique_ptr<base::TokenBucket> upload_limit = nullptr;
};

// Constant after construction, so thread-safe; owns the repositories.
class RepositorySet {
 public:
  // `repositories` has at least one, with different ids; the first is the default.
  explicit RepositorySet(std::vector<OpenRepository> repositories);

  const OpenRepository& Default() const { return *default_; }
  // The default one for an empty id. NOT_FOUND / REPOSITORY_NOT_FOUND.
  absl::StatusOr<const OpenRepository*> Find(const catalog::RepositoryId& id) const;
  // Ordered by id.
  const std::vector<OpenRepository>& All() const { return repositories_; }

 private:
  std::vector<OpenRepository> repositories_;
  const OpenRepository* default_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_REPOSITORY_SET_H_
