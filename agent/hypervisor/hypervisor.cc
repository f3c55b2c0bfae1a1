#include "agent/hypervisor/hypervisor.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

class FileReader final : public BlockReader {
 public:
  FileReader(std::unique_ptr<base::File> file, uint64_t size_bytes) : file_(std::move(file)), size_bytes_(size_bytes) {}

  uint64_t capacity_bytes() const override { return size_bytes_; }

  absl::StatusOr<std::vector<Extent>> Extents() override { return std::vector<Extent>{{0, size_bytes_, false}}; }

  absl::Status ReadExtents(const std::vector<Extent>& extents, uint32_t piece_bytes, const BlockSink& sink) override {
    if (piece_bytes == 0) {
      return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "pieces of 0 bytes");
    }
    std::vector<std::byte> buffer(piece_bytes);
    for (const Extent& extent : extents) {
      const uint64_t end = extent.offset_bytes + extent.length_bytes;
      for (uint64_t at = extent.zero ? end : extent.offset_bytes; at < end;) {
        const base::MutableBytes piece(buffer.data(), std::min(end - at, piece_bytes - at % piece_bytes));
        RETURN_IF_ERROR(ReadAt(at, piece));
        RETURN_IF_ERROR(sink(at, piece));
        at += piece.size();
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override { return file_->ReadAt(offset, out); }

 private:
  const std::unique_ptr<base::File> file_;
  const uint64_t size_bytes_;
};

}  // namespace

absl::Status CheckTracked(const Checkpoint& base, const TrackedDisk& now) {
  if (base.name.empty()) {
    return base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_NO_BASE",
                           "there is no checkpoint to count from");
  }
  const auto then =
      std::find_if(base.disks.begin(), base.disks.end(), [&](const TrackedDisk& d) { return d.name == now.name; });
  if (then == base.disks.end()) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CBT_DISK_NEW", "it isn't in checkpoint {}", base.name);
  }
  if (then->capacity_bytes != now.capacity_bytes) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CBT_DISK_RESIZED", "it had {} bytes and has {} now",
                       then->capacity_bytes, now.capacity_bytes);
  }
  if (then->generation != now.generation) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CBT_DISK_REPLACED", "it was the image {} and is {} now",
                       then->generation, now.generation);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Extent>> BlockReader::Changes() {
  return base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_UNSUPPORTED", "its changes aren't tracked");
}

absl::StatusOr<std::unique_ptr<PointInTime>> Hypervisor::BeginPointInTime(const std::string& uuid,
                                                                          const PointInTimeOptions& options) {
  ASSIGN_OR_RETURN(auto prepared, PreparePointInTime(uuid, options));
  return prepared->Begin();
}

absl::StatusOr<std::unique_ptr<BlockReader>> OpenFile(base::Filesystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<base::File> file, files.Open(path, base::OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  return std::make_unique<FileReader>(std::move(file), size);
}

}  // namespace umbra::hypervisor
