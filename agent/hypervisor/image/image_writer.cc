#include "agent/hypervisor/image/image_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/cloning.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

static_assert(std::endian::native == std::endian::little, "ToBig swaps");

// Of both formats: what is looked at as one when zeroes are left out.
constexpr uint64_t kCluster = 64 * base::kKiB;
constexpr uint64_t kTableEntries = kCluster / 8;      // of an L1, L2 or refcount table's cluster
constexpr uint64_t kRefcountsPerBlock = kCluster / 2;  // 16 bits each
constexpr uint64_t kCopied = uint64_t{1} << 63;        // "refcount is one", in L1 and L2 entries
constexpr uint64_t kAllocateAhead = 512;              // clusters of a qcow2 file that grows
constexpr uint64_t kCapacityMax = uint64_t{1} << 46;   // 64 TiB: an L1 table of 1 MiB, far below QEMU's limit of 32 MiB

uint64_t ToBig(uint64_t v) { return __builtin_bswap64(v); }
uint32_t ToBig(uint32_t v) { return __builtin_bswap32(v); }
uint64_t DivideUp(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

template <typename T>
base::Bytes BytesOf(const std::vector<T>& v) {
  return std::as_bytes(std::span(v));
}

absl::Status ForTarget(const absl::Status& status) {
  const std::string reason = base::ReasonOf(status);
  if (reason == "STORAGE_FULL") return base::MakeError(status.code(), "TARGET_FULL", base::MessageOf(status));
  if (reason == "FILE_EXISTS") return base::MakeError(status.code(), "TARGET_EXISTS", base::MessageOf(status));
  return status;
}

// What both formats share: the file, its end, and the run of the data through clusters without the zero ones.
class ImageWriter : public BlockWriter {
 public:
  ImageWriter(base::Filesystem& files, const NewDisk& disk, std::unique_ptr<base::File> file)
      : file_(std::move(file)), capacity_bytes_(disk.capacity_bytes), files_(files), path_(disk.path) {}

  ~ImageWriter() override {
    if (finished_) return;
    file_.reset();
    files_.Remove(path_).IgnoreError();
  }

  virtual absl::Status Begin() = 0;

  absl::Status WriteAt(uint64_t offset, base::Bytes data) final {
    if (offset > capacity_bytes_ || data.size() > capacity_bytes_ - offset) {
      return base::Error(absl::StatusCode::kOutOfRange, "INVALID_REQUEST",
                         "write of {} bytes at {} is beyond the disk's end at {}", data.size(), offset,
                         capacity_bytes_);
    }
    if (data.empty()) return absl::OkStatus();
    return ForTarget(Write(offset, data));
  }

  absl::Status Finish() final {
    RETURN_IF_ERROR(ForTarget(Complete()));
    RETURN_IF_ERROR(ForTarget(file_->Sync()));
    RETURN_IF_ERROR(ForTarget(files_.SyncDirectory(base::DirectoryOf(path_))));
    finished_ = true;
    return absl::OkStatus();
  }

 protected:
  virtual absl::Status Write(uint64_t offset, base::Bytes data) = 0;
  virtual absl::Status Complete() = 0;

  // The part of `data`, which lies at `offset`, that falls into cluster `index`.
  static base::Bytes PartIn(uint64_t index, uint64_t offset, base::Bytes data) {
    const uint64_t begin = std::max(offset, index * kCluster);
    const uint64_t end = std::min(offset + data.size(), (index + 1) * kCluster);
    return data.subspan(begin - offset, end - begin);
  }

  std::unique_ptr<base::File> file_;
  const uint64_t capacity_bytes_;
  base::Filesystem& files_;
  const std::string path_;

 private:
  bool finished_ = false;
};

class RawWriter final : public ImageWriter {
 public:
  // `cloning`: what made the file, which holds the seed; null: it is empty.
  RawWriter(base::Filesystem& files, const NewDisk& disk, std::unique_ptr<base::File> file, base::Cloning* cloning)
      : ImageWriter(files, disk, std::move(file)), cloning_(cloning) {}

  absl::Status Begin() override {
    RETURN_IF_ERROR(file_->Truncate(capacity_bytes_));
    if (cloning_ != nullptr) {
      ASSIGN_OR_RETURN(seed_, OpenFile(files_, path_, {.skip_cache = true}));
    }
    return absl::OkStatus();
  }

  BlockReader* seed() override { return seed_.get(); }

 private:
  absl::Status Write(uint64_t offset, base::Bytes data) override {
    const uint64_t last = (offset + data.size() - 1) / kCluster;
    for (uint64_t index = offset / kCluster; index <= last;) {
      const base::Bytes first_part = PartIn(index, offset, data);
      const std::byte* begin = first_part.data();
      const std::byte* end = begin;
      while (index <= last && !base::IsZero(PartIn(index, offset, data))) end += PartIn(index++, offset, data).size();
      if (end == begin) {
        if (cloning_ != nullptr) {
          const uint64_t at = offset + static_cast<uint64_t>(begin - data.data());
          RETURN_IF_ERROR(cloning_->MakeHole(path_, at, first_part.size()));
        }
        ++index;
        continue;
      }
      const uint64_t at = offset + static_cast<uint64_t>(begin - data.data());
      file_->Allocate(at, static_cast<uint64_t>(end - begin));
      RETURN_IF_ERROR(file_->WriteAt(at, base::Bytes(begin, end)));
    }
    return absl::OkStatus();
  }

  absl::Status Complete() override { return absl::OkStatus(); }

  base::Cloning* const cloning_;
  std::unique_ptr<BlockReader> seed_;  // null unless the file was cloned
};

// The file, in clusters: header | refcount table | refcount blocks | L1 | all L2 tables | data. Tables are laid out for a
// full disk, and what of them isn't used stays a hole with refcount 0, free for QEMU. The L2 tables lie in a row, so they
// are one array of 8-byte entries, indexed by the guest's cluster.
class Qcow2Writer final : public ImageWriter {
 public:
  Qcow2Writer(base::Filesystem& files, const NewDisk& disk, std::unique_ptr<base::File> file)
      : ImageWriter(files, disk, std::move(file)) {
    const uint64_t data = DivideUp(capacity_bytes_, kCluster);
    l2_tables_ = DivideUp(data, kTableEntries);
    l1_clusters_ = DivideUp(l2_tables_, kTableEntries);
    uint64_t total = 0;
    for (uint64_t before = 1; before != total;) {  // the refcounts count their own clusters too
      before = total;
      refcount_blocks_ = DivideUp(total, kRefcountsPerBlock);
      refcount_table_clusters_ = DivideUp(refcount_blocks_, kTableEntries);
      total = 1 + refcount_table_clusters_ + refcount_blocks_ + l1_clusters_ + l2_tables_ + data;
    }
    l2_used_.resize(l2_tables_);
    next_free_ = DataStart();
  }

  // A file that grows takes one write at a time; inside its size, several.
  absl::Status Begin() override { return file_->Truncate((DataStart() + DivideUp(capacity_bytes_, kCluster)) * kCluster); }

 private:
  static constexpr uint64_t kRefcountTableStart = 1;
  uint64_t RefcountBlocksStart() const { return kRefcountTableStart + refcount_table_clusters_; }
  uint64_t L1Start() const { return RefcountBlocksStart() + refcount_blocks_; }
  uint64_t L2Start() const { return L1Start() + l1_clusters_; }
  uint64_t DataStart() const { return L2Start() + l2_tables_; }

  absl::Status Write(uint64_t offset, base::Bytes data) override {
    const uint64_t first = offset / kCluster;
    std::vector<uint64_t> hosts((offset + data.size() - 1) / kCluster - first + 1);  // 1: needs one; 0: zero, needs none
    for (uint64_t i = 0; i < hosts.size(); ++i) hosts[i] = base::IsZero(PartIn(first + i, offset, data)) ? 0 : 1;
    RETURN_IF_ERROR(Allocate(first, hosts));
    for (uint64_t i = 0; i < hosts.size();) {
      if (hosts[i] == 0) {
        ++i;
        continue;
      }
      const base::Bytes part = PartIn(first + i, offset, data);
      const uint64_t at = hosts[i] * kCluster + std::max(offset, (first + i) * kCluster) % kCluster;
      const std::byte* end = part.data() + part.size();
      for (++i; i < hosts.size() && hosts[i] == hosts[i - 1] + 1; ++i) end += PartIn(first + i, offset, data).size();
      RETURN_IF_ERROR(file_->WriteAt(at, base::Bytes(part.data(), end)));
    }
    return absl::OkStatus();
  }

  // Replaces every 1 in `hosts` by the number of the host's cluster for the guest's cluster `first` + index.
  absl::Status Allocate(uint64_t first, std::vector<uint64_t>& hosts) {
    const uint64_t entries_at = L2Start() * kCluster + first * 8;
    std::vector<uint64_t> entries(hosts.size());
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(file_->ReadAt(entries_at, std::as_writable_bytes(std::span(entries))));
    bool changed = false;
    for (uint64_t i = 0; i < hosts.size(); ++i) {
      if (hosts[i] == 0) continue;
      if (entries[i] == 0) {
        if (next_free_ >= allocated_) {  // not cluster by cluster
          file_->Allocate(next_free_ * kCluster, kAllocateAhead * kCluster);
          allocated_ = next_free_ + kAllocateAhead;
        }
        entries[i] = ToBig(next_free_++ * kCluster | kCopied);
        l2_used_[(first + i) / kTableEntries] = true;
        changed = true;
      }
      hosts[i] = (ToBig(entries[i]) & ~kCopied) / kCluster;
    }
    return changed ? file_->WriteAt(entries_at, BytesOf(entries)) : absl::OkStatus();
  }

  absl::Status Complete() override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(file_->Truncate(next_free_ * kCluster));
    RETURN_IF_ERROR(WriteL1());
    RETURN_IF_ERROR(WriteRefcounts());
    return WriteHeader();
  }

  absl::Status WriteL1() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<uint64_t> l1(l2_tables_);
    for (uint64_t i = 0; i < l2_tables_; ++i) {
      if (l2_used_[i]) l1[i] = ToBig((L2Start() + i) * kCluster | kCopied);
    }
    return file_->WriteAt(L1Start() * kCluster, BytesOf(l1));
  }

  absl::Status WriteRefcounts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const uint64_t blocks = DivideUp(next_free_, kRefcountsPerBlock);
    std::vector<uint64_t> table(blocks);
    for (uint64_t b = 0; b < blocks; ++b) {
      table[b] = ToBig((RefcountBlocksStart() + b) * kCluster);
      std::vector<uint16_t> counts(kRefcountsPerBlock);
      const uint64_t start = b * kRefcountsPerBlock;
      for (uint64_t i = 0; i < kRefcountsPerBlock; ++i) {
        if (InUse(start + i, blocks)) counts[i] = __builtin_bswap16(1);
      }
      RETURN_IF_ERROR(file_->WriteAt((RefcountBlocksStart() + b) * kCluster, BytesOf(counts)));
    }
    return file_->WriteAt(kRefcountTableStart * kCluster, BytesOf(table));
  }

  bool InUse(uint64_t cluster, uint64_t blocks) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (cluster >= next_free_) return false;
    if (cluster >= DataStart()) return true;
    if (cluster >= L2Start()) return l2_used_[cluster - L2Start()];
    if (cluster >= L1Start()) return true;
    return cluster < RefcountBlocksStart() + blocks;
  }

  absl::Status WriteHeader() {
    struct Header {
      char magic[4] = {'Q', 'F', 'I', '\xfb'};
      uint32_t version = ToBig(uint32_t{3});
      uint64_t backing_file_offset = 0;
      uint32_t backing_file_size = 0;
      uint32_t cluster_bits = ToBig(uint32_t{std::countr_zero(kCluster)});
      uint64_t size = 0;
      uint32_t crypt_method = 0;
      uint32_t l1_size = 0;
      uint64_t l1_table_offset = 0;
      uint64_t refcount_table_offset = ToBig(kRefcountTableStart * kCluster);
      uint32_t refcount_table_clusters = 0;
      uint32_t nb_snapshots = 0;
      uint64_t snapshots_offset = 0;
      uint64_t incompatible_features = 0;
      uint64_t compatible_features = 0;
      uint64_t autoclear_features = 0;
      uint32_t refcount_order = ToBig(uint32_t{4});
      uint32_t header_length = ToBig(uint32_t{104});
      uint64_t end_of_extensions = 0;
    };
    static_assert(sizeof(Header) == 112);
    Header header;
    header.size = ToBig(capacity_bytes_);
    header.l1_size = ToBig(static_cast<uint32_t>(l2_tables_));
    header.l1_table_offset = ToBig(L1Start() * kCluster);
    header.refcount_table_clusters = ToBig(static_cast<uint32_t>(refcount_table_clusters_));
    return file_->WriteAt(0, std::as_bytes(std::span(&header, 1)));
  }

  uint64_t l2_tables_ = 0;
  uint64_t l1_clusters_ = 0;
  uint64_t refcount_blocks_ = 0;
  uint64_t refcount_table_clusters_ = 0;

  absl::Mutex mu_;  // an entry of the L2 array is read, decided and written as one
  uint64_t next_free_ ABSL_GUARDED_BY(mu_);
  uint64_t allocated_ ABSL_GUARDED_BY(mu_) = 0;  // the file has its place on the disk up to here
  std::vector<bool> l2_used_ ABSL_GUARDED_BY(mu_);
};

// Makes the file of the image with the bytes of its seed; gives what did it, or null. When those can't be had the image
// begins empty, and if something is wrong with its place, shows it then.
base::Cloning* CloneSeed(base::Filesystem& files, const NewDisk& disk) {
  if (disk.seed_path.empty() || disk.format != "raw") return nullptr;
  base::Cloning* const cloning = base::CloningOf(files);
  if (cloning == nullptr) return nullptr;
  const absl::StatusOr<bool> cloned = cloning->Clone(disk.seed_path, disk.path);
  if (!cloned.ok()) {
    base::Log("hypervisor")
        ->info("no seed, all is written path={} error=\"{}\"", disk.path, base::Describe(cloned.status()));
  }
  return cloned.ok() && *cloned ? cloning : nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockWriter>> CreateImage(base::Filesystem& files, const NewDisk& disk) {
  const bool plain_bytes = disk.format == kStateFileFormat;
  if (disk.format != "raw" && disk.format != "qcow2" && !plain_bytes) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "images of format '{}' can't be written",
                       disk.format);
  }
  if (disk.capacity_bytes == 0 || (disk.capacity_bytes % 512 != 0 && !plain_bytes) || disk.capacity_bytes > kCapacityMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "{} bytes is no possible size of a disk: a multiple of 512, up to {}", disk.capacity_bytes,
                       base::FormatSize(kCapacityMax));
  }
  base::Cloning* const cloning = CloneSeed(files, disk);
  auto file = files.Open(disk.path, cloning != nullptr ? base::OpenMode::kReadWrite : base::OpenMode::kCreate);
  if (!file.ok() && cloning != nullptr) files.Remove(disk.path).IgnoreError();
  if (!file.ok()) return ForTarget(file.status());
  (*file)->SkipCache();
  std::unique_ptr<ImageWriter> writer;
  if (disk.format == "raw" || plain_bytes) {
    writer = std::make_unique<RawWriter>(files, disk, *std::move(file), cloning);
  } else {
    writer = std::make_unique<Qcow2Writer>(files, disk, *std::move(file));
  }
  RETURN_IF_ERROR(ForTarget(writer->Begin()));
  return writer;
}

}  // namespace umbra::hypervisor
