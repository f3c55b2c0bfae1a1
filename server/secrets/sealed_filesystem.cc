#include "server/secrets/sealed_filesystem.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/base/bytes.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::secrets {
namespace {

// Of a secret on the disk: certificates are the largest.
constexpr uint64_t kSecretSizeMax = 4 * base::kMiB;
constexpr std::string_view kTemporarySuffix = ".tmp";  // of Filesystem::WriteFileAtomic

// A plain secret in memory. What is written goes to `sealed` as one piece with Sync.
class SecretFile final : public base::File {
 public:
  SecretFile(std::string plain, std::unique_ptr<base::File> sealed, const SealingKey& key, base::Random& random)
      : plain_(std::move(plain)), sealed_(std::move(sealed)), key_(key), random_(random) {}
  ~SecretFile() override { sodium_memzero(plain_.data(), plain_.size()); }

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
    if (offset > plain_.size() || out.size() > plain_.size() - offset) {
      return base::MakeError(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT", "the secret ends before");
    }
    std::memcpy(out.data(), plain_.data() + offset, out.size());
    return absl::OkStatus();
  }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    if (offset > kSecretSizeMax || data.size() > kSecretSizeMax - offset) {
      return base::MakeError(absl::StatusCode::kResourceExhausted, "FILE_TOO_LARGE", "too large for a secret");
    }
    plain_.resize(std::max<size_t>(plain_.size(), offset + data.size()));
    std::memcpy(plain_.data() + offset, data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    if (size_bytes > kSecretSizeMax) {
      return base::MakeError(absl::StatusCode::kResourceExhausted, "FILE_TOO_LARGE", "too large for a secret");
    }
    plain_.resize(size_bytes);
    return absl::OkStatus();
  }
  absl::StatusOr<uint64_t> Size() override { return plain_.size(); }
  absl::Status Sync() override {
    const std::string text = key_.Seal(plain_, random_);
    RETURN_IF_ERROR(sealed_->Truncate(0));
    RETURN_IF_ERROR(sealed_->WriteAt(0, base::AsBytes(text)));
    return sealed_->Sync();
  }

 private:
  std::string plain_;
  const std::unique_ptr<base::File> sealed_;
  const SealingKey& key_;
  base::Random& random_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> SecretFiles(base::Filesystem& filesystem, const SecretPaths& paths) {
  std::vector<std::string> found;
  for (const std::string& file : paths.files) {
    ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(file));
    if (exists) found.push_back(file);
  }
  for (const std::string& folder : paths.folders) {
    const auto entries = filesystem.ListEntries(folder);
    if (absl::IsNotFound(entries.status())) continue;
    RETURN_IF_ERROR(entries.status());
    for (const base::FolderEntry& entry : *entries) {
      if (entry.kind == base::EntryKind::kFile) found.push_back(folder + "/" + entry.name);
    }
  }
  return found;
}

absl::StatusOr<std::optional<SealingKey>> FindKey(base::Filesystem& filesystem, const KeySources& sources) {
  constexpr uint64_t kKeyFileSizeMax = 64 * base::kKiB;
  std::string file = sources.file;
  if (file.empty() && !sources.credentials_directory.empty()) {
    const std::string credential = sources.credentials_directory + "/" + kCredentialName;
    ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(credential));
    if (exists) file = credential;
  }
  std::string text = sources.text;
  if (!file.empty()) {
    auto content = filesystem.ReadFile(file, kKeyFileSizeMax);
    if (!content.ok()) return base::Annotate(content.status(), "secrets key");
    text = *std::move(content);
  }
  if (file.empty() && text.empty()) return std::nullopt;
  auto key = SealingKey::FromText(text);
  sodium_memzero(text.data(), text.size());
  if (!key.ok()) return base::Annotate(key.status(), "{}", file.empty() ? "UMBRA_SECRETS_KEY" : file);
  return *std::move(key);
}

absl::Status CheckNoneSealed(base::Filesystem& filesystem, const SecretPaths& paths) {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, SecretFiles(filesystem, paths));
  for (const std::string& file : files) {
    const auto content = filesystem.ReadFile(file, kSecretSizeMax);
    if (!content.ok() || !IsSealed(*content)) continue;  // whoever needs it says what is wrong with it
    return base::Error(absl::StatusCode::kFailedPrecondition, "SECRETS_KEY_MISSING",
                       "{} is sealed, and no secrets key was given (secrets_key_file, the credential umbra-secrets, or "
                       "UMBRA_SECRETS_KEY)",
                       file);
  }
  return absl::OkStatus();
}

bool SealedFilesystem::IsSecret(const std::string& path) const {
  std::string name = path;
  if (name.ends_with(kTemporarySuffix)) name.resize(name.size() - kTemporarySuffix.size());
  const auto is = [&](const std::string& file) { return name == file; };
  return std::any_of(paths_.files.begin(), paths_.files.end(), is) ||
         std::find(paths_.folders.begin(), paths_.folders.end(), base::DirectoryOf(name)) != paths_.folders.end();
}

absl::StatusOr<std::unique_ptr<base::File>> SealedFilesystem::Open(const std::string& path, base::OpenMode mode) {
  if (!IsSecret(path)) return inner_.Open(path, mode);
  std::string plain;
  if (mode == base::OpenMode::kRead || mode == base::OpenMode::kReadWrite) {
    ASSIGN_OR_RETURN(plain, inner_.ReadFile(path, kSecretSizeMax));
    if (IsSealed(plain)) {
      auto opened = key_.Open(plain);
      if (!opened.ok()) return base::Annotate(opened.status(), "{}", path);
      plain = *std::move(opened);
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<base::File> sealed, inner_.Open(path, mode));
  return std::make_unique<SecretFile>(std::move(plain), std::move(sealed), key_, random_);
}

absl::Status SealedFilesystem::SealAll() {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, SecretFiles(inner_, paths_));
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::string on_disk, inner_.ReadFile(file, kSecretSizeMax));
    ASSIGN_OR_RETURN(const std::string plain, ReadFile(file, kSecretSizeMax));
    if (IsSealed(on_disk)) continue;
    const absl::Status sealed = WriteFileAtomic(file, plain);
    // A folder of somebody else's, who looks after it himself.
    if (absl::IsPermissionDenied(sealed)) {
      base::Log("secrets")->warn("secret stays plain file={} error={}", file, base::Describe(sealed));
      continue;
    }
    RETURN_IF_ERROR(base::Annotate(sealed, "seal {}", file));
    base::Log("secrets")->info("secret sealed file={}", file);
  }
  return absl::OkStatus();
}

absl::Status SealedFilesystem::UnsealAll() {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, SecretFiles(inner_, paths_));
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::string plain, ReadFile(file, kSecretSizeMax));
    RETURN_IF_ERROR(base::Annotate(inner_.WriteFileAtomic(file, plain), "unseal {}", file));
  }
  return absl::OkStatus();
}

}  // namespace umbra::secrets
