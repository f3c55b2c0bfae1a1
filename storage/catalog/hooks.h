// The hooks of a backup, as jobs and policies name them. Meaning as in umbra.v1.BackupHooks.
#ifndef UMBRA_STORAGE_CATALOG_HOOKS_H_
#define UMBRA_STORAGE_CATALOG_HOOKS_H_

#include <string>

namespace umbra::catalog {

// Programs of the host, by name; empty: none.
struct BackupHooks {
  std::string pre;
  std::string post;
  bool ignore_pre_failure = false;

  bool operator==(const BackupHooks&) const = default;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_HOOKS_H_
