#include "server/repository_keys.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::server {
namespace {

constexpr uint64_t kKeyFileSizeMax = 64 * base::kKiB;

// Durable, with the folder that it lies in.
absl::Status WriteKeyFile(const RepositoryConfig& config, const repo::KeySecret& secret, base::Filesystem& filesystem) {
  const std::string folder = base::DirectoryOf(config.key_file);
  RETURN_IF_ERROR(filesystem.MakeDirectories(folder));
  RETURN_IF_ERROR(filesystem.SyncDirectory(base::DirectoryOf(folder)));
  const std::string text = repo::PrintKeyFile(secret, fmt::format("Key of the Umbra repository {}", config.id));
  return filesystem.WriteFileAtomic(config.key_file, text);
}

}  // namespace

absl::StatusOr<repo::KeySecret> ParseTypedKey(std::string_view typed) {
  while (!typed.empty() && (typed.back() == '\n' || typed.back() == '\r')) typed.remove_suffix(1);
  auto recovery = repo::ParseRecoveryKey(typed);
  // Eight groups with dashes between them: a recovery key with a slip in it is no passphrase.
  if (recovery.ok() || std::count(typed.begin(), typed.end(), '-') == 7) return recovery;
  auto passphrase = repo::PassphraseSecret(typed);
  // Too short for a passphrase: what was meant is a recovery key.
  return passphrase.ok() ? passphrase : recovery;
}

absl::StatusOr<repo::KeySecret> ReadKeyFile(const std::string& path, base::Filesystem& filesystem) {
  ASSIGN_OR_RETURN(const std::string text, filesystem.ReadFile(path, kKeyFileSizeMax));
  auto secret = repo::ParseKeyFile(text);
  return secret.ok() ? secret : base::Annotate(secret.status(), "{}", path);
}

absl::Status EnsureKeyFile(const RepositoryConfig& config, repo::Repository& repository, const repo::KeySecret& secret,
                           base::Filesystem& filesystem, base::Random& random) {
  ASSIGN_OR_RETURN(const bool has_key, filesystem.Exists(config.key_file));
  if (has_key) return absl::OkStatus();
  if (secret.kind == repo::KeyKind::kKeyFile) {
    return base::Annotate(WriteKeyFile(config, secret, filesystem), "write key file {}", config.key_file);
  }
  const repo::KeySecret made = repo::NewKeyFileSecret(random);
  ASSIGN_OR_RETURN(const repo::KeyInfo added, repository.AddKey(made, "key file"));
  // Last, so that a key file always opens something; a slot without its file is one to remove.
  return base::Annotate(WriteKeyFile(config, made, filesystem), "write key file {} (remove key {})", config.key_file,
                        added.id);
}

absl::StatusOr<repo::KeySecret> ProvideKey(const RepositoryConfig& config, base::Filesystem& filesystem,
                                           base::Random& random) {
  ASSIGN_OR_RETURN(const bool has_key, filesystem.Exists(config.key_file));
  if (has_key) return ReadKeyFile(config.key_file, filesystem);
  ASSIGN_OR_RETURN(const bool has_repository, repo::Repository::Exists(filesystem, config.path));
  if (has_repository) {
    RETURN_IF_ERROR(repo::Repository::CheckHeader(filesystem, config.path));
    return base::Error(
        absl::StatusCode::kFailedPrecondition, "KEY_MISSING",
        "{} isn't there: put the repository's key file there, or make one with its recovery key or a passphrase: "
        "umbrad --recover-key {}",
        config.key_file, config.id);
  }
  const repo::KeySecret secret = repo::NewKeyFileSecret(random);
  RETURN_IF_ERROR(base::Annotate(WriteKeyFile(config, secret, filesystem), "write key file {}", config.key_file));
  return secret;
}

absl::Status RecoverKeyFile(const RepositoryConfig& config, std::string_view typed, base::Filesystem& filesystem,
                            base::Clock& clock, base::Random& random) {
  ASSIGN_OR_RETURN(const bool has_key, filesystem.Exists(config.key_file));
  if (has_key) {
    return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS", "there is a key file already: {}",
                       config.key_file);
  }
  repo::RepositoryOptions options;
  ASSIGN_OR_RETURN(options.key, ParseTypedKey(typed));
  ASSIGN_OR_RETURN(auto repository, repo::Repository::Open(filesystem, clock, random, config.path, options));
  return EnsureKeyFile(config, *repository, options.key, filesystem, random);
}

}  // namespace umbra::server
