#include "agent/hypervisor/hypervisor.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

// One read of the file: many pieces, since a call costs as much as copying some of them.
constexpr uint64_t kReadBytes = base::kMiB;

class FileReader final : public BlockReader {
 public:
  FileReader(std::unique_ptr<base::File> file, uint64_t size_bytes, FileReading reading)
      : file_(std::move(file)), size_bytes_(size_bytes), reading_(std::move(reading)) {}

  uint64_t capacity_bytes() const override { return size_bytes_; }

  absl::StatusOr<std::vector<Extent>> Extents() override {
    ASSIGN_OR_RETURN(const std::vector<base::FileRange> ranges, file_->DataRanges());
    std::vector<Extent> extents;
    uint64_t end = 0;
    const auto add = [&](uint64_t up_to, bool zero) {
      up_to = std::min(up_to, size_bytes_);  // a file that grew is looked at as it was
      if (up_to > end) extents.push_back({end, up_to - end, zero});
      end = std::max(end, up_to);
    };
    for (const base::FileRange& range : ranges) {
      add(range.offset_bytes, true);
      add(range.offset_bytes + range.length_bytes, false);
    }
    add(size_bytes_, true);
    return extents;
  }

  absl::Status ReadExtents(const std::vector<Extent>& extents, uint32_t piece_bytes, const BlockSink& sink) override {
    if (piece_bytes == 0) {
      return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "pieces of 0 bytes");
    }
    std::vector<std::byte> buffer(std::max<uint64_t>(piece_bytes, kReadBytes / piece_bytes * piece_bytes));
    for (const Extent& extent : extents) {
      const uint64_t end = extent.offset_bytes + extent.length_bytes;
      for (uint64_t at = extent.zero ? end : extent.offset_bytes; at < end;) {
        const base::MutableBytes read(buffer.data(), std::min(end - at, buffer.size() - at % piece_bytes));
        RETURN_IF_ERROR(ReadAt(at, read));
        for (const uint64_t read_end = at + read.size(); at < read_end;) {
          const uint64_t length = std::min(read_end - at, piece_bytes - at % piece_bytes);
          RETURN_IF_ERROR(sink(at, read.last(read_end - at).first(length)));
          at += length;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
    absl::Status read = file_->ReadAt(offset, out);
    if (!read.ok()) RETURN_IF_ERROR(reading_.why());
    return read;
  }

  absl::StatusOr<std::vector<Extent>> Changes() override {
    return base::ReasonOf(reading_.no_changes).empty() ? BlockReader::Changes() : reading_.no_changes;
  }

 private:
  const std::unique_ptr<base::File> file_;
  const uint64_t size_bytes_;
  const FileReading reading_;
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

absl::StatusOr<std::unique_ptr<BlockReader>> OpenFile(base::Filesystem& files, const std::string& path,
                                                      FileReading reading) {
  ASSIGN_OR_RETURN(std::unique_ptr<base::File> file, files.Open(path, base::OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  if (reading.skip_cache) file->SkipCache();
  return std::make_unique<FileReader>(std::move(file), size, std::move(reading));
}

}  // namespace umbra::hypervisor
