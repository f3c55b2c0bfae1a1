#include "tests/support/memory_blob_store.h"

#include <cerrno>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::testing {
namespace {

class MemoryBlobReader final : public repo::BlobReader {
 public:
  explicit MemoryBlobReader(std::shared_ptr<const std::string> bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_->size(); }
  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
    if (offset + out.size() > bytes_->size()) {
      return base::MakeError(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT", "the object ends before");
    }
    if (!out.empty()) std::memcpy(out.data(), bytes_->data() + offset, out.size());
    return absl::OkStatus();
  }

 private:
  const std::shared_ptr<const std::string> bytes_;
};

}  // namespace

class MemoryBlobWriter final : public repo::BlobWriter {
 public:
  MemoryBlobWriter(MemoryBlobStore& store, std::string name) : store_(store), name_(std::move(name)) {}
  absl::Status Append(base::Bytes data) override {
    bytes_.append(base::AsText(data));
    return absl::OkStatus();
  }
  absl::Status Commit() override {
    absl::MutexLock lock(&store_.mu_);
    const bool added = store_.blobs_.try_emplace(name_, std::make_shared<const std::string>(std::move(bytes_))).second;
    return added ? absl::OkStatus() : base::ErrnoError(EEXIST, name_);
  }

 private:
  MemoryBlobStore& store_;
  const std::string name_;
  std::string bytes_;
};

absl::StatusOr<std::unique_ptr<repo::BlobWriter>> MemoryBlobStore::Create(const std::string& name) {
  return std::make_unique<MemoryBlobWriter>(*this, name);
}

absl::StatusOr<std::unique_ptr<repo::BlobReader>> MemoryBlobStore::Open(const std::string& name) {
  absl::MutexLock lock(&mu_);
  const auto at = blobs_.find(name);
  if (at == blobs_.end()) return base::ErrnoError(ENOENT, name);
  return std::make_unique<MemoryBlobReader>(at->second);
}

absl::StatusOr<std::vector<std::string>> MemoryBlobStore::List(const std::string& prefix) {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> names;
  for (auto at = blobs_.lower_bound(prefix); at != blobs_.end() && at->first.starts_with(prefix); ++at) names.push_back(at->first);
  return names;
}

absl::Status MemoryBlobStore::Delete(const std::string& name) {
  absl::MutexLock lock(&mu_);
  return blobs_.erase(name) == 1 ? absl::OkStatus() : base::ErrnoError(ENOENT, name);
}

}  // namespace umbra::testing
