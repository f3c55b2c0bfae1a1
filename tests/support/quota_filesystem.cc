#include "tests/support/quota_filesystem.h"

#include <algorithm>
#include <cerrno>

#include "storage/base/status.h"

namespace umbra::testing {

class QuotaFile final : public base::File {
 public:
  QuotaFile(QuotaFilesystem& fs, std::unique_ptr<base::File> real, std::string path)
      : fs_(fs), real_(std::move(real)), path_(std::move(path)) {}

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override { return real_->ReadAt(offset, out); }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    RETURN_IF_ERROR(fs_.Grow(path_, offset + data.size()));
    return real_->WriteAt(offset, data);
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    RETURN_IF_ERROR(fs_.Grow(path_, size_bytes));
    return real_->Truncate(size_bytes);
  }
  absl::StatusOr<uint64_t> Size() override { return real_->Size(); }
  absl::Status Sync() override { return real_->Sync(); }

 private:
  QuotaFilesystem& fs_;
  const std::unique_ptr<base::File> real_;
  const std::string path_;
};

uint64_t QuotaFilesystem::UsedLocked() const {
  uint64_t used = 0;
  for (const auto& [path, size] : sizes_) used += (size / kBlockSize + 1) * kBlockSize;
  return used;
}

void QuotaFilesystem::SetCapacity(uint64_t capacity_bytes) {
  absl::MutexLock lock(&mu_);
  capacity_ = capacity_bytes;
}

uint64_t QuotaFilesystem::used_bytes() const {
  absl::MutexLock lock(&mu_);
  return UsedLocked();
}

absl::Status QuotaFilesystem::Grow(const std::string& path, uint64_t size_bytes) {
  absl::MutexLock lock(&mu_);
  const bool known = sizes_.contains(path);
  uint64_t& size = sizes_[path];
  const uint64_t before = size;
  size = std::max(size, size_bytes);
  if (UsedLocked() <= capacity_) return absl::OkStatus();
  size = before;
  if (!known) sizes_.erase(path);
  return base::ErrnoError(ENOSPC, "write " + path);
}

absl::StatusOr<std::unique_ptr<base::File>> QuotaFilesystem::Open(const std::string& path, base::OpenMode mode) {
  if (mode == base::OpenMode::kCreate || mode == base::OpenMode::kTruncate) RETURN_IF_ERROR(Grow(path, 0));
  auto file = real_.Open(path, mode);
  RETURN_IF_ERROR(file.status());
  return std::make_unique<QuotaFile>(*this, *std::move(file), path);
}

absl::Status QuotaFilesystem::Rename(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(real_.Rename(from, to));
  absl::MutexLock lock(&mu_);
  if (const auto at = sizes_.find(from); at != sizes_.end()) {
    const uint64_t size = at->second;
    sizes_.erase(at);
    sizes_[to] = size;
  }
  return absl::OkStatus();
}

absl::Status QuotaFilesystem::Remove(const std::string& path) {
  RETURN_IF_ERROR(real_.Remove(path));
  absl::MutexLock lock(&mu_);
  sizes_.erase(path);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> QuotaFilesystem::FreeSpace(const std::string&) {
  absl::MutexLock lock(&mu_);
  const uint64_t used = UsedLocked();
  return used >= capacity_ ? 0 : capacity_ - used;
}

}  // namespace umbra::testing
