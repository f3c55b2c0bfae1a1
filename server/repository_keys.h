// The key file with which umbrad opens a repository: one for each, in its state folder unless the configuration says
// otherwise.
#ifndef UMBRA_SERVER_REPOSITORY_KEYS_H_
#define UMBRA_SERVER_REPOSITORY_KEYS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/repo/keys.h"

namespace umbra::server {

// Reads the repository's key file. Where there is neither repository nor key file it makes one (mode 0600), durable
// before anything is encrypted with it. FAILED_PRECONDITION / KEY_MISSING  the repository is there, its key file isn't;
// the message says what to do. FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE  neither is there a key file, nor would one
// help: the repository was made without encryption, or by a newer version. INVALID_ARGUMENT / KEY_INVALID  the file is
// no key file.
absl::StatusOr<repo::KeySecret> ProvideKey(const RepositoryConfig& config, base::Filesystem& filesystem,
                                           base::Random& random);

// Opens the repository with `typed`, a recovery key or a passphrase, gives this machine a key file of its own and adds
// it to the repository's keys. For a machine that lost its state. Nothing else may have the repository open.
// ALREADY_EXISTS / TARGET_EXISTS     there is a key file already.
// FAILED_PRECONDITION / KEY_WRONG    `typed` opens nothing.
absl::Status RecoverKeyFile(const RepositoryConfig& config, std::string_view typed, base::Filesystem& filesystem,
                            base::Clock& clock, base::Random& random);

}  // namespace umbra::server

#endif  // UMBRA_SERVER_REPOSITORY_KEYS_H_
