#include "agent/transfer/disk_restorer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::transfer {
namespace {

// One write: what the data of a message fills at most, and room for a chunk of any size.
constexpr size_t kRunBytes = 4 * repo::kMaxChunkSizeBytes;

absl::Status BadStream(std::string message) {
  return base::MakeError(absl::StatusCode::kInternal, "INTERNAL", "the daemon's stream is wrong: " + std::move(message));
}

}  // namespace

DiskRestorer::DiskRestorer(ChunkStoreClient& store, hypervisor::BlockWriter& writer, ProgressMeter& meter, size_t meter_disk,
                           const Cancellation& cancellation, base::Clock& clock, base::Random& random,
                           RestoreSettings settings)
    : store_(store), writer_(writer), meter_(meter), meter_disk_(meter_disk), cancellation_(cancellation), clock_(clock),
      random_(random), settings_(settings), stretches_(static_cast<size_t>(settings.queue_messages)) {
  {
    absl::MutexLock lock(&mu_);
    for (Stretch& stretch : stretches_) free_.push_back(&stretch);
  }
  for (int i = 0; i < settings_.workers; ++i) threads_.push_back(settings_.threads->Start([this] { RunWorker(); }));
}

DiskRestorer::~DiskRestorer() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  threads_.clear();
}

absl::Status DiskRestorer::Run(const DiskSource& source) {
  source_ = source;
  RETURN_IF_ERROR(FindSeedData());
  Backoff backoff(random_, settings_.backoff);
  absl::Duration last_progress = clock_.Monotonic();
  while (true) {
    RETURN_IF_ERROR(cancellation_.Check());
    const uint64_t before = received_bytes_;
    const uint64_t first_chunk = layout_ ? received_bytes_ / layout_->chunk_size_bytes : source_.first_chunk;
    const absl::Status status = Stream(first_chunk);
    if (absl::Status written = WaitUntilWritten(); !written.ok()) {
      RETURN_IF_ERROR(cancellation_.Check());
      return written;
    }
    if (status.ok()) break;
    RETURN_IF_ERROR(cancellation_.Check());
    if (status.code() != absl::StatusCode::kUnavailable) return status;
    if (received_bytes_ > before) {
      last_progress = clock_.Monotonic();
      backoff.Reset();
    }
    if (clock_.Monotonic() - last_progress > settings_.link_grace) {
      return base::Error(absl::StatusCode::kUnavailable, "AGENT_LOST", "the link stayed down at offset {} of disk {}: {}",
                         received_bytes_, source_.disk, base::MessageOf(status));
    }
    base::Log("transfer")->warn("restore stream cut, opening it again disk={} offset={} error=\"{}\"", source_.disk,
                                received_bytes_, base::Describe(status));
    RETURN_IF_ERROR(cancellation_.Wait(clock_, backoff.Next()));
  }
  if (End() == source_.capacity_bytes) meter_.FinishDisk(meter_disk_);
  return absl::OkStatus();
}

absl::Status DiskRestorer::Stream(uint64_t first_chunk) {
  store::v1::ReadDiskRequest request;
  request.set_job_id(source_.job_id);
  request.set_attempt(source_.attempt);
  request.set_recovery_point_id(source_.recovery_point_id);
  request.set_disk(source_.disk);
  request.set_first_chunk(static_cast<int64_t>(first_chunk));
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskStream> stream, store_.ReadDisk(request));
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(Stretch * stretch, FreeStretch());
    const absl::StatusOr<bool> more = stream->Next(&stretch->message);
    absl::Status accepted = more.status();
    if (accepted.ok() && *more && first) accepted = AcceptLayout(stretch->message);
    stretch->begin_bytes = received_bytes_;
    if (accepted.ok() && *more) accepted = Accept(stretch->message);
    absl::MutexLock lock(&mu_);
    const bool use = accepted.ok() && *more;
    if (use) {
      queue_.push_back(stretch);
    } else {
      free_.push_back(stretch);
    }
    RETURN_IF_ERROR(accepted);
    if (!*more || received_bytes_ >= End()) break;
  }
  if (received_bytes_ < End()) {
    return BadStream(fmt::format("it ended at {} of {} bytes", received_bytes_, source_.capacity_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<DiskRestorer::Stretch*> DiskRestorer::FreeStretch() {
  absl::MutexLock lock(&mu_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return StoppedLocked() || !free_.empty(); };
  settings_.threads->Await(mu_, absl::Condition(&ready));
  RETURN_IF_ERROR(error_);
  Stretch* stretch = free_.back();
  free_.pop_back();
  return stretch;
}

absl::Status DiskRestorer::AcceptLayout(const Message& message) {
  const auto suite = repo::ToIdSuite(message.id_suite());
  const auto chunk_size = static_cast<uint64_t>(message.chunk_size_bytes());
  if (!suite || message.id_key().size() != repo::kIdKeySize || !std::has_single_bit(chunk_size) ||
      chunk_size < repo::kMinChunkSizeBytes || chunk_size > repo::kMaxChunkSizeBytes) {
    return BadStream("unknown id suite or chunk size");
  }
  if (static_cast<uint64_t>(message.capacity_bytes()) != source_.capacity_bytes) {
    return BadStream(fmt::format("disk of {} bytes where the recovery point has {}", message.capacity_bytes(),
                                 source_.capacity_bytes));
  }
  if (!layout_) {
    layout_.emplace(Layout{repo::ChunkHasher(*suite, base::AsBytes(message.id_key())), chunk_size});
    received_bytes_ = source_.first_chunk * chunk_size;
  } else if (layout_->chunk_size_bytes != chunk_size) {
    return BadStream("the chunk size changed");
  }
  return absl::OkStatus();
}

// Looks at what doesn't need the data: the stretch continues the one before, and every chunk lies in it, in order.
absl::Status DiskRestorer::Accept(const Message& message) {
  const auto done = static_cast<uint64_t>(message.done_bytes());
  if (done < received_bytes_ || done > source_.capacity_bytes ||
      (done % layout_->chunk_size_bytes != 0 && done != source_.capacity_bytes)) {
    return BadStream(fmt::format("stretch up to {} after {}", message.done_bytes(), received_bytes_));
  }
  uint64_t next = received_bytes_;
  for (const auto& item : message.items()) {
    const auto offset = static_cast<uint64_t>(item.offset_bytes());
    if (offset < next || offset >= done || offset % layout_->chunk_size_bytes != 0 ||
        item.chunk().plain_length() != std::min(layout_->chunk_size_bytes, source_.capacity_bytes - offset) ||
        item.chunk().id().size() != repo::kChunkIdSize) {
      return BadStream(fmt::format("a chunk of {} bytes at {} after {}", item.chunk().plain_length(), item.offset_bytes(), next));
    }
    next = offset + layout_->chunk_size_bytes;
  }
  received_bytes_ = done;
  return absl::OkStatus();
}

absl::Status DiskRestorer::WaitUntilWritten() {
  absl::MutexLock lock(&mu_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return !error_.ok() || free_.size() == stretches_.size();
  };
  settings_.threads->Await(mu_, absl::Condition(&idle));
  return error_;
}

void DiskRestorer::RunWorker() {
  WriteRun run{.memory = base::AlignedBuffer(kRunBytes)};
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return StoppedLocked() || !queue_.empty(); };
  while (true) {
    Stretch* stretch;
    {
      absl::MutexLock lock(&mu_);
      settings_.threads->Await(mu_, absl::Condition(&ready));
      if (StoppedLocked()) return;
      stretch = queue_.front();
      queue_.pop_front();
    }
    if (absl::Status status = WriteStretch(*stretch, run); !status.ok()) Fail(status);
    absl::MutexLock lock(&mu_);
    free_.push_back(stretch);
  }
}

absl::Status DiskRestorer::WriteStretch(const Stretch& stretch, WriteRun& run) {
  run.length = 0;
  uint64_t next = stretch.begin_bytes;
  for (const auto& item : stretch.message.items()) {
    RETURN_IF_ERROR(cancellation_.Check());
    const auto offset = static_cast<uint64_t>(item.offset_bytes());
    if (offset >= End()) break;  // came along: not wanted, and not looked at
    const size_t length = item.chunk().plain_length();
    RETURN_IF_ERROR(ClearGap(next, offset, run));
    next = offset + length;
    if (SeedHas(item, run)) continue;
    if (offset != run.offset_bytes + run.length || run.length + length > run.memory.size()) {
      RETURN_IF_ERROR(Flush(run));
      run.offset_bytes = offset;
    }
    RETURN_IF_ERROR(OpenItem(item, {run.memory.data() + run.length, length}));
    run.length += length;
  }
  const auto done = static_cast<uint64_t>(stretch.message.done_bytes());
  RETURN_IF_ERROR(ClearGap(next, done, run));
  RETURN_IF_ERROR(Flush(run));
  meter_.SetDone(meter_disk_, done);
  return absl::OkStatus();
}

// Before any work is queued: the workers only look at it.
absl::Status DiskRestorer::FindSeedData() {
  if (seed_ == nullptr) return absl::OkStatus();
  if (seed_->capacity_bytes() != source_.capacity_bytes) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "the disk that is there has {} bytes, the one that is restored {}", seed_->capacity_bytes(),
                       source_.capacity_bytes);
  }
  ASSIGN_OR_RETURN(seed_data_, seed_->Extents());
  std::erase_if(seed_data_, [](const hypervisor::Extent& extent) { return extent.zero; });
  return absl::OkStatus();
}

bool DiskRestorer::ReadSeed(uint64_t offset_bytes, base::MutableBytes out) {
  absl::MutexLock lock(&seed_mu_);
  const absl::Status read = seed_->ReadAt(offset_bytes, out);
  if (!read.ok() && !std::exchange(seed_damaged_, true)) {
    base::Log("transfer")->warn("what the disk holds can't be read everywhere, it is written there disk={} offset={} error=\"{}\"",
                                source_.disk, offset_bytes, base::Describe(read));
  }
  return read.ok();
}

bool DiskRestorer::SeedHas(const store::v1::ReadDiskResponse::Item& item, WriteRun& run) {
  if (seed_ == nullptr) return false;
  if (run.seen.size() == 0) run.seen = base::AlignedBuffer(repo::kMaxChunkSizeBytes);
  const base::MutableBytes seen(run.seen.data(), item.chunk().plain_length());
  if (!ReadSeed(static_cast<uint64_t>(item.offset_bytes()), seen)) return false;
  return layout_->hasher.Id(seen) == repo::ChunkId::FromBytes(base::AsBytes(item.chunk().id()));
}

absl::Status DiskRestorer::ClearGap(uint64_t begin_bytes, uint64_t end_bytes, WriteRun& run) {
  if (seed_ == nullptr || begin_bytes == end_bytes) return absl::OkStatus();
  if (run.seen.size() == 0) run.seen = base::AlignedBuffer(repo::kMaxChunkSizeBytes);
  const auto ends_before = [](const hypervisor::Extent& extent, uint64_t offset) {
    return extent.offset_bytes + extent.length_bytes <= offset;
  };
  for (auto data = std::lower_bound(seed_data_.begin(), seed_data_.end(), begin_bytes, ends_before);
       data != seed_data_.end() && data->offset_bytes < end_bytes; ++data) {
    const uint64_t end = std::min(end_bytes, data->offset_bytes + data->length_bytes);
    for (uint64_t at = std::max(begin_bytes, data->offset_bytes); at < end;) {
      RETURN_IF_ERROR(cancellation_.Check());
      // Not across the end of a chunk: a neighbour that is zero already stays as it is.
      const uint64_t chunk_size = layout_->chunk_size_bytes;
      const base::MutableBytes seen(run.seen.data(), std::min<uint64_t>(end - at, chunk_size - at % chunk_size));
      if (!ReadSeed(at, seen) || !base::IsZero(seen)) {
        std::memset(seen.data(), 0, seen.size());
        RETURN_IF_ERROR(writer_.WriteAt(at, seen));
        meter_.AddRead(seen.size());
      }
      at += seen.size();
    }
  }
  return absl::OkStatus();
}

absl::Status DiskRestorer::OpenItem(const store::v1::ReadDiskResponse::Item& item, base::MutableBytes plain) const {
  const store::v1::Chunk& chunk = item.chunk();
  const auto codec = repo::ToCodec(chunk.codec());
  if (!codec) return Damaged(item, fmt::format("codec {} is unknown", chunk.codec()));
  const absl::Status opened = repo::OpenChunkInto(layout_->hasher, repo::ChunkId::FromBytes(base::AsBytes(chunk.id())),
                                                  *codec, base::AsBytes(chunk.data()), plain);
  return opened.ok() ? opened : Damaged(item, base::MessageOf(opened));
}

absl::Status DiskRestorer::Flush(WriteRun& run) {
  if (run.length == 0) return absl::OkStatus();
  const base::Bytes data(run.memory.data(), run.length);
  run.length = 0;
  RETURN_IF_ERROR(writer_.WriteAt(run.offset_bytes, data));
  meter_.AddRead(data.size());
  return absl::OkStatus();
}

absl::Status DiskRestorer::Damaged(const store::v1::ReadDiskResponse::Item& item, std::string_view what) const {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "chunk {} of disk {} at offset {} is damaged: {}",
                     base::ToHex(base::AsBytes(item.chunk().id())), source_.disk, item.offset_bytes(), what);
}

void DiskRestorer::Fail(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  if (error_.ok()) error_ = why;
}

}  // namespace umbra::transfer
