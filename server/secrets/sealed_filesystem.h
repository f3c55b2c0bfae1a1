// A file system on which certain files are sealed on the disk and plain for whoever uses it, so that no user of them
// has to know.
#ifndef UMBRA_SERVER_SECRETS_SEALED_FILESYSTEM_H_
#define UMBRA_SERVER_SECRETS_SEALED_FILESYSTEM_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/secrets/sealing_key.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::secrets {

// Which files are secret: small ones, written by WriteFileAtomic and read as a whole.
struct SecretPaths {
  std::vector<std::string> files;
  std::vector<std::string> folders;  // every file right in them
};

// Those of `paths` that are there. Errors of the file system.
absl::StatusOr<std::vector<std::string>> SecretFiles(base::Filesystem& filesystem, const SecretPaths& paths);

// Where a key may come from, in this order; what is empty isn't asked.
struct KeySources {
  std::string file;
  std::string credentials_directory;  // of systemd: the file kCredentialName in it
  std::string text;
};
inline constexpr char kCredentialName[] = "umbra-secrets";

// Absent: no source has one. INVALID_ARGUMENT / SECRETS_KEY_INVALID, or why the file can't be read.
absl::StatusOr<std::optional<SealingKey>> FindKey(base::Filesystem& filesystem, const KeySources& sources);

// FAILED_PRECONDITION / SECRETS_KEY_MISSING: one of `paths` is sealed. For a daemon that was given no key.
absl::Status CheckNoneSealed(base::Filesystem& filesystem, const SecretPaths& paths);

// Thread-safe, as what is below it, which outlives it together with `random`.
//
// A secret file that is plain on the disk is read as it is: somebody has just put it there, or an earlier version did.
// What is written is sealed. Reading one that the key doesn't open fails with SECRETS_KEY_WRONG.
class SealedFilesystem final : public base::Filesystem {
 public:
  SealedFilesystem(base::Filesystem& inner, base::Random& random, SealingKey key, SecretPaths paths)
      : inner_(inner), random_(random), key_(std::move(key)), paths_(std::move(paths)) {}

  // Every secret file that is there opens with the key, and is sealed from now on.
  absl::Status SealAll();
  // The way back: every secret file is plain from now on, for a daemon without a key.
  absl::Status UnsealAll();

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override { return inner_.Rename(from, to); }
  absl::Status Remove(const std::string& path) override { return inner_.Remove(path); }
  absl::Status MakeDirectories(const std::string& path) override { return inner_.MakeDirectories(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return inner_.List(path); }
  absl::StatusOr<std::vector<base::FolderEntry>> ListEntries(const std::string& path) override {
    return inner_.ListEntries(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override { return inner_.Exists(path); }
  absl::Status SyncDirectory(const std::string& path) override { return inner_.SyncDirectory(path); }
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override { return inner_.Lock(path); }
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override { return inner_.FreeSpace(path); }
  absl::Status Symlink(const std::string& target, const std::string& link) override {
    return inner_.Symlink(target, link);
  }
  absl::StatusOr<std::string> VolumeOf(const std::string& path) override { return inner_.VolumeOf(path); }
  absl::StatusOr<std::string> StampOf(const std::string& path) override { return inner_.StampOf(path); }
  absl::StatusOr<std::string> IdentityOf(const std::string& path) override { return inner_.IdentityOf(path); }
  absl::Status AllowTraversal(const std::string& folder) override { return inner_.AllowTraversal(folder); }

 private:
  bool IsSecret(const std::string& path) const;

  base::Filesystem& inner_;
  base::Random& random_;
  const SealingKey key_;
  const SecretPaths paths_;
};

}  // namespace umbra::secrets

#endif  // UMBRA_SERVER_SECRETS_SEALED_FILESYSTEM_H_
