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
#include "storage/repo/repository.h"

namespace umbra::server {

// Reads the repository's key file. Where there is neither repository nor key file it makes one (mode 0600), durable
// before anything is encrypted with it. FAILED_PRECONDITION / KEY_MISSING  the repository is there, its key file isn't;
// the message says what to do. FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE  neither is there a key file, nor would one
// help: the repository was made without encryption, or by a newer version. INVALID_ARGUMENT / KEY_INVALID  the file is
// no key file.
absl::StatusOr<repo::KeySecret> ProvideKey(const RepositoryConfig& config, base::Filesystem& filesystem,
                                           base::Random& random);

// What a person typed: a recovery key or, when it isn't one in form, a passphrase. INVALID_ARGUMENT / KEY_INVALID.
absl::StatusOr<repo::KeySecret> ParseTypedKey(std::string_view typed);

// The secret in a key file. INVALID_ARGUMENT / KEY_INVALID, or why the file can't be read.
absl::StatusOr<repo::KeySecret> ReadKeyFile(const std::string& path, base::Filesystem& filesystem);

// Sees to it that config.key_file is there and opens `repository`, which was opened with `secret`: a key file's secret
// is written there, for any other kind of key a new key file is made and added to the repository's keys. A file that is
// there stays.
absl::Status EnsureKeyFile(const RepositoryConfig& config, repo::Repository& repository, const repo::KeySecret& secret,
                           base::Filesystem& filesystem, base::Random& random);

// Opens the repository with `typed`, a recovery key or a passphrase, gives this machine a key file of its own and adds
// it to the repository's keys. For a machine that lost its state. Nothing else may have the repository open.
// ALREADY_EXISTS / TARGET_EXISTS     there is a key file already.
// FAILED_PRECONDITION / KEY_WRONG    `typed` opens nothing.
absl::Status RecoverKeyFile(const RepositoryConfig& config, std::string_view typed, base::Filesystem& filesystem,
                            base::Clock& clock, base::Random& random);

}  // namespace umbra::server

#endif  // UMBRA_SERVER_REPOSITORY_KEYS_H_
