// A key for repositories of tests, and options with it.
#ifndef UMBRA_TESTS_SUPPORT_REPOSITORY_KEY_H_
#define UMBRA_TESTS_SUPPORT_REPOSITORY_KEY_H_

#include <string>

#include "storage/repo/repository.h"

namespace umbra::testing {

inline repo::KeySecret TestKey() {
  return {repo::KeyKind::kKeyFile, std::string(repo::kKeyFileSecretSize, 'k')};
}

// Passphrases cost nothing here.
inline repo::RepositoryOptions WithTestKey(repo::RepositoryOptions options = {}) {
  options.key = TestKey();
  options.passphrase_cost = {1, 8};
  return options;
}

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_REPOSITORY_KEY_H_
