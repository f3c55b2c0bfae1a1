// Disks in memory for transfers: a reader with chosen extents and piece sizes, a writer that notes every write.
#ifndef UMBRA_TESTS_SUPPORT_MEMORY_DISK_H_
#define UMBRA_TESTS_SUPPORT_MEMORY_DISK_H_

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/transfer/backup_pipeline.h"
#include "storage/base/status.h"

namespace umbra::testing {

class MemoryReader final : public hypervisor::BlockReader {
 public:
  explicit MemoryReader(std::string content) : content_(std::move(content)) {}

  // Extents of random lengths that tell the truth: data may be called data although it is zero, never the other way.
  void FindExtents(uint64_t granularity) {
    extents_.clear();
    for (uint64_t at = 0; at < content_.size(); at += granularity) {
      const uint64_t length = std::min<uint64_t>(granularity, content_.size() - at);
      extents_.push_back({at, length, base::IsZero(base::AsBytes(std::string_view(content_).substr(at, length)))});
    }
  }
  // Pieces no longer than this, shuffled within a small window as several requests in flight would be.
  void SetPieces(uint64_t bytes, uint64_t seed) {
    piece_bytes_ = bytes;
    shuffle_.seed(seed);
  }
  // Asked before each piece.
  void SetFault(std::function<absl::Status(uint64_t offset)> fault) { fault_ = std::move(fault); }
  // Leaves the piece at this offset out: what a driver must never do.
  void Skip(uint64_t offset) { skip_ = offset; }

  uint64_t capacity_bytes() const override { return content_.size(); }

  absl::StatusOr<std::vector<hypervisor::Extent>> Extents() override {
    if (extents_.empty()) return std::vector<hypervisor::Extent>{{0, content_.size(), false}};
    return extents_;
  }

  absl::Status ReadExtents(const std::vector<hypervisor::Extent>& extents, uint32_t piece_bytes,
                           const hypervisor::BlockSink& sink) override {
    std::vector<std::pair<uint64_t, uint64_t>> pieces;
    for (const auto& extent : extents) {
      const uint64_t end = extent.offset_bytes + extent.length_bytes;
      for (uint64_t at = extent.offset_bytes; at < end;) {
        const uint64_t border = (at / piece_bytes + 1) * piece_bytes;
        const uint64_t length = std::min({border, end, at + piece_bytes_}) - at;
        pieces.emplace_back(at, length);
        at += length;
      }
    }
    for (size_t at = 0; at + 8 <= pieces.size(); at += 8) std::shuffle(&pieces[at], &pieces[at] + 8, shuffle_);
    for (const auto& [at, length] : pieces) {
      if (at == skip_) continue;
      if (fault_) RETURN_IF_ERROR(fault_(at));
      read_bytes_ += length;
      RETURN_IF_ERROR(sink(at, base::AsBytes(std::string_view(content_).substr(at, length))));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) override {
    if (fault_) RETURN_IF_ERROR(fault_(offset_bytes));
    std::memcpy(out.data(), content_.data() + offset_bytes, out.size());
    return absl::OkStatus();
  }

  uint64_t read_bytes() const { return read_bytes_; }

 private:
  const std::string content_;
  std::vector<hypervisor::Extent> extents_;
  uint64_t piece_bytes_ = UINT32_MAX;
  uint64_t skip_ = UINT64_MAX;
  std::mt19937_64 shuffle_{1};
  std::function<absl::Status(uint64_t)> fault_;
  uint64_t read_bytes_ = 0;
};

class MemoryWriter final : public hypervisor::BlockWriter {
 public:
  explicit MemoryWriter(uint64_t capacity_bytes) : content_(capacity_bytes, '\0') {}
  // A disk that holds something already.
  explicit MemoryWriter(std::string content) : content_(std::move(content)) {}

  absl::Status WriteAt(uint64_t offset_bytes, base::Bytes data) override {
    absl::MutexLock lock(&mu_);
    UMBRA_CHECK(offset_bytes + data.size() <= content_.size());
    std::memcpy(content_.data() + offset_bytes, data.data(), data.size());
    written_bytes_ += data.size();
    ++writes_;
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }

  std::string content() {
    absl::MutexLock lock(&mu_);
    return content_;
  }
  uint64_t written_bytes() {
    absl::MutexLock lock(&mu_);
    return written_bytes_;
  }
  uint64_t writes() {
    absl::MutexLock lock(&mu_);
    return writes_;
  }

 private:
  absl::Mutex mu_;
  uint64_t writes_ ABSL_GUARDED_BY(mu_) = 0;
  std::string content_ ABSL_GUARDED_BY(mu_);
  uint64_t written_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

// `chunks` chunks of `chunk_size`: holes, repeated chunks, text, noise, partly zero ones; then `tail_bytes` of noise.
inline std::string MakeDiskContent(uint64_t seed, size_t chunks, size_t chunk_size, size_t tail_bytes) {
  std::mt19937_64 random(seed);
  const auto noise = [&random](size_t length) {
    std::string s(length, '\0');
    for (char& c : s) c = static_cast<char>(random());
    return s;
  };
  const std::string repeated = noise(chunk_size);
  std::string content;
  for (size_t i = 0; i < chunks; ++i) {
    switch (random() % 5) {
      case 0:
        content.append(chunk_size, '\0');
        break;
      case 1:
        content += repeated;
        break;
      case 2:
        content.append(chunk_size, static_cast<char>('a' + random() % 26));
        break;
      case 3:
        content += noise(chunk_size / 2) + std::string(chunk_size - chunk_size / 2, '\0');
        break;
      default:
        content += noise(chunk_size);
    }
  }
  return content + noise(tail_bytes);
}

// Backs a disk up as if nothing were known of it.
inline absl::Status BackUpWholeDisk(transfer::BackupPipeline& pipeline, hypervisor::BlockReader& reader,
                                    const transfer::DiskMapTarget& target, size_t meter_disk) {
  ASSIGN_OR_RETURN(const transfer::DiskReadPlan plan,
                   transfer::PlanWholeDisk(reader, target.capacity_bytes, pipeline.chunk_size()));
  return pipeline.BackUpDisk(reader, target, plan, meter_disk);
}

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_MEMORY_DISK_H_
