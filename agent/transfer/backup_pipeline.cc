#include "agent/transfer/backup_pipeline.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "agent/transfer/read_plan.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::transfer {
namespace {

// Ids a Negotiate call asks about: enough that the call costs nothing beside hashing and compressing its chunks
// (16+ ms), few enough that several batches fit the memory budget.
constexpr size_t kAskBatchMax = 64;
constexpr size_t kSlotsMin = 8;
// Finished batches that wait for an uploader: as soon as one is free there is something to send.
constexpr int kBatchesAhead = 3;
// A batch that compresses extremely well is sent before it gets long to check at the other end.
constexpr uint64_t kUploadPlainMax = 16 * base::kMiB;
// A map that the store refuses because it lost chunks (a pack of another session that it couldn't write, or one found
// damaged since) is handed in again after these were sent. Losing some each time, a store has worse troubles.
constexpr int kResendsMax = 3;
// Ids that one question about a finished map is about.
constexpr size_t kMapAskMax = 1024;

absl::Status Internal(std::string message) {
  return base::MakeError(absl::StatusCode::kInternal, "INTERNAL", std::move(message));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BackupPipeline>> BackupPipeline::Create(ChunkStoreClient& store,
                                                                       const store::v1::OpenSessionResponse& session,
                                                                       ProgressMeter& meter, Cancellation& cancellation,
                                                                       const BackupSettings& settings) {
  const int64_t chunk_size = session.chunk_size_bytes();
  if (chunk_size < repo::kMinChunkSizeBytes || chunk_size > repo::kMaxChunkSizeBytes ||
      !std::has_single_bit(static_cast<uint64_t>(chunk_size))) {
    return Internal(fmt::format("the daemon asks for chunks of {} bytes, which this agent can't make", chunk_size));
  }
  const auto suite = repo::ToIdSuite(session.id_suite());
  if (!suite || session.id_key().size() != repo::kIdKeySize) {
    return Internal(
        fmt::format("the daemon asks for chunk ids of suite {}, which this agent doesn't know", session.id_suite()));
  }
  repo::ChunkHasher hasher(*suite, base::AsBytes(session.id_key()));
  Compressions compressions;
  compressions.usual.level = session.compression_level();
  compressions.fast.level = session.fast_compression_level();
  if (session.fast_compression_codec() != 0) {
    const auto codec = repo::ToCodec(session.fast_compression_codec());
    // A newer daemon may know codecs that this agent doesn't; it takes what its agents always could.
    if (codec)
      compressions.fast.codec = *codec;
    else
      compressions.fast = compressions.usual;
  }
  return std::unique_ptr<BackupPipeline>(new BackupPipeline(store, session.session_id(),
                                                            static_cast<uint32_t>(chunk_size), compressions, hasher,
                                                            meter, cancellation, settings));
}

BackupPipeline::BackupPipeline(ChunkStoreClient& store, std::string session_id, uint32_t chunk_size,
                               const Compressions& compressions, repo::ChunkHasher hasher, ProgressMeter& meter,
                               Cancellation& cancellation, const BackupSettings& settings)
    : store_(store),
      session_id_(std::move(session_id)),
      chunk_size_(chunk_size),
      compressions_(compressions),
      hasher_(hasher),
      meter_(meter),
      cancellation_(cancellation),
      settings_(settings) {
  const size_t slot_count = std::max<size_t>(kSlotsMin, settings_.memory_bytes / chunk_size_);
  memory_ = std::make_unique_for_overwrite<std::byte[]>(slot_count * chunk_size_);
  slots_.resize(slot_count);
  batches_.resize(static_cast<size_t>(settings_.uploaders + std::min(settings_.uploaders, kBatchesAhead)));
  ask_batch_max_ = std::min(kAskBatchMax, slot_count / 4);
  {
    absl::MutexLock lock(&mu_);
    for (size_t i = 0; i < slot_count; ++i) {
      slots_[i].data = memory_.get() + i * chunk_size_;
      free_.push_back(&slots_[i]);
    }
    for (UploadBatch& batch : batches_) free_batches_.push_back(&batch);
  }
  for (int i = 0; i < settings_.workers; ++i) threads_.push_back(settings_.threads->Start([this] { RunWorker(); }));
  for (int i = 0; i < settings_.askers; ++i) threads_.push_back(settings_.threads->Start([this] { RunAsker(); }));
  for (int i = 0; i < settings_.uploaders; ++i) threads_.push_back(settings_.threads->Start([this] { RunUploader(); }));
  // The token's reason is asked for where the error is reported: its lock may not be taken in the callback.
  on_cancel_.emplace(cancellation_, [this] { Fail(absl::CancelledError("cancelled")); });
}

BackupPipeline::~BackupPipeline() {
  on_cancel_.reset();
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  threads_.clear();
}

absl::Status BackupPipeline::BackUpDisk(hypervisor::BlockReader& reader, const DiskMapTarget& target,
                                        const DiskReadPlan& plan, size_t meter_disk) {
  absl::Status status = StartDisk(target, plan, meter_disk);
  if (status.ok()) status = ReadDisk(reader, plan.reads);
  if (status.ok()) status = Drain();
  if (status.ok()) status = PutMap(target, plan);
  for (int resends = 0; base::ReasonOf(status) == "CHUNK_MISSING" && resends < kResendsMax; ++resends) {
    status = SendMissing(reader, plan);
    if (status.ok()) status = PutMap(target, plan);
  }
  if (status.ok()) {
    meter_.FinishDisk(meter_disk);
    return status;
  }
  Fail(status);
  RETURN_IF_ERROR(cancellation_.Check());
  absl::MutexLock lock(&mu_);
  return error_;  // the first one, of which the others are consequences
}

absl::Status BackupPipeline::StartDisk(const DiskMapTarget& target, const DiskReadPlan& plan, size_t meter_disk) {
  static_assert(sizeof(repo::ChunkId) == repo::kChunkIdSize);
  {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(error_);  // a worker may still be at the map of the disk that failed
  }
  const uint64_t chunks = (target.capacity_bytes + chunk_size_ - 1) / chunk_size_;
  map_.reset(static_cast<repo::ChunkId*>(std::calloc(std::max<uint64_t>(chunks, 1), sizeof(repo::ChunkId))));
  if (map_ == nullptr) {
    return base::Error(absl::StatusCode::kResourceExhausted, "INTERNAL", "no memory for the map of {} chunks", chunks);
  }
  capacity_bytes_ = target.capacity_bytes;
  meter_disk_ = meter_disk;
  planned_bytes_ = plan.reads.data_bytes;
  meter_.SetDataBytes(meter_disk_, planned_bytes_);
  return absl::OkStatus();
}

// With a base only what may differ from it, zeros included.
absl::Status BackupPipeline::PutMap(const DiskMapTarget& target, const DiskReadPlan& plan) {
  const auto ids = [this](uint64_t first, uint64_t count) {
    return base::Bytes(reinterpret_cast<const std::byte*>(map_.get() + first), count * sizeof(repo::ChunkId));
  };
  if (plan.base_recovery_point_id.empty()) {
    return store_.PutDiskMap(target, ids(0, (capacity_bytes_ + chunk_size_ - 1) / chunk_size_)).status();
  }
  std::vector<ChangedIds> changes;
  for (const ChunkRun& run : plan.changed) changes.push_back({run.first, ids(run.first, run.count)});
  return store_.PutChangedMap(target, plan.base_recovery_point_id, changes).status();
}

absl::Status BackupPipeline::SendMissing(hypervisor::BlockReader& reader, const DiskReadPlan& plan) {
  ASSIGN_OR_RETURN(const ReadPlan missing, PlanMissing(plan));
  base::Log("transfer")
      ->warn("chunks of the map are gone from the store, sending them again bytes={}", missing.data_bytes);
  RETURN_IF_ERROR(ReadDisk(reader, missing));
  return Drain();
}

absl::StatusOr<ReadPlan> BackupPipeline::PlanMissing(const DiskReadPlan& plan) {
  std::vector<ChunkRun> runs = plan.changed;
  if (plan.base_recovery_point_id.empty()) runs = {{0, (capacity_bytes_ + chunk_size_ - 1) / chunk_size_}};
  std::vector<uint64_t> chunks;  // that `request` asks about
  store::v1::NegotiateRequest request;
  request.set_session_id(session_id_);
  std::vector<hypervisor::Extent> wanted;
  const auto ask = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const store::v1::NegotiateResponse answer, store_.Negotiate(request));
    if (answer.wanted().size() != chunks.size()) {
      return Internal(fmt::format("the daemon answered {} of {} ids", answer.wanted().size(), chunks.size()));
    }
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (answer.wanted()[i] != 0) wanted.push_back({chunks[i] * chunk_size_, chunk_size_, false});
    }
    chunks.clear();
    request.clear_chunk_ids();
    return absl::OkStatus();
  };
  for (const ChunkRun& run : runs) {
    for (uint64_t chunk = run.first; chunk < run.first + run.count; ++chunk) {
      if (map_[chunk].IsZero()) continue;
      chunks.push_back(chunk);
      request.mutable_chunk_ids()->append(base::AsText(map_[chunk].bytes));
      if (chunks.size() == kMapAskMax) RETURN_IF_ERROR(ask());
    }
  }
  if (!chunks.empty()) RETURN_IF_ERROR(ask());
  return PlanReads(wanted, capacity_bytes_, chunk_size_);
}

absl::Status BackupPipeline::ReadDisk(hypervisor::BlockReader& reader, const ReadPlan& plan) {
  if (reader.capacity_bytes() != capacity_bytes_) {
    return Internal(
        fmt::format("the disk has {} bytes where {} were announced", reader.capacity_bytes(), capacity_bytes_));
  }
  {
    absl::MutexLock lock(&mu_);
    draining_ = false;
  }
  received_bytes_ = 0;
  RETURN_IF_ERROR(reader.ReadExtents(plan.extents, chunk_size_, [this](uint64_t offset_bytes, base::Bytes data) {
    return TakePiece(offset_bytes, data);
  }));
  // Nothing may be taken for a hole because a driver left it out.
  if (received_bytes_ != plan.data_bytes || !partial_.empty()) {
    return Internal(
        fmt::format("the hypervisor gave {} bytes of the {} that were asked for", received_bytes_, plan.data_bytes));
  }
  return absl::OkStatus();
}

absl::Status BackupPipeline::TakePiece(uint64_t offset_bytes, base::Bytes data) {
  const uint64_t chunk = offset_bytes / chunk_size_;
  const uint64_t begin = chunk * chunk_size_;
  if (data.empty() || offset_bytes >= capacity_bytes_ || data.size() > capacity_bytes_ - offset_bytes ||
      offset_bytes + data.size() > begin + chunk_size_) {
    return Internal(fmt::format("the hypervisor gave {} bytes at {}, across a chunk's end", data.size(), offset_bytes));
  }
  const auto length = static_cast<uint32_t>(std::min<uint64_t>(chunk_size_, capacity_bytes_ - begin));
  ASSIGN_OR_RETURN(Slot * slot, SlotFor(chunk, length, data.size()));
  std::memcpy(slot->data + (offset_bytes - begin), data.data(), data.size());
  slot->filled += static_cast<uint32_t>(data.size());
  received_bytes_ += data.size();
  meter_.AddRead(data.size());
  base::CrashPoint("agent.transfer.first_chunk");
  if (received_bytes_ * 2 >= planned_bytes_) base::CrashPoint("agent.transfer.middle");
  if (slot->filled < length) return absl::OkStatus();
  if (length != data.size()) partial_.erase(chunk);
  absl::MutexLock lock(&mu_);
  to_hash_.push_back(slot);
  return error_;
}

absl::StatusOr<BackupPipeline::Slot*> BackupPipeline::SlotFor(uint64_t chunk, uint32_t length, size_t piece_bytes) {
  if (piece_bytes < length) {
    if (auto it = partial_.find(chunk); it != partial_.end()) return it->second;
    if (partial_.size() >= slots_.size() / 2) return Internal("the hypervisor gives the disk in too many loose pieces");
  }
  Slot* slot;
  {
    absl::MutexLock lock(&mu_);
    const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !free_.empty() || StoppedLocked(); };
    settings_.threads->Await(mu_, absl::Condition(&ready));
    RETURN_IF_ERROR(error_);
    slot = free_.back();
    free_.pop_back();
  }
  slot->chunk = chunk;
  slot->length = length;
  slot->filled = 0;
  if (piece_bytes < length) partial_[chunk] = slot;
  return slot;
}

absl::Status BackupPipeline::Drain() {
  absl::MutexLock lock(&mu_);
  draining_ = true;
  SealLocked();
  const auto empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return StoppedLocked() || (free_.size() == slots_.size() && free_batches_.size() == batches_.size());
  };
  settings_.threads->Await(mu_, absl::Condition(&empty));
  return error_;
}

void BackupPipeline::RunWorker() {
  std::vector<std::byte> scratch;
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return StoppedLocked() || !to_compress_.empty() || !to_hash_.empty();
  };
  while (true) {
    Slot* slot;
    bool compress;
    repo::Compression how;
    {
      absl::MutexLock lock(&mu_);
      settings_.threads->Await(mu_, absl::Condition(&ready));
      if (StoppedLocked()) return;
      compress = !to_compress_.empty();
      std::deque<Slot*>& queue = compress ? to_compress_ : to_hash_;
      slot = queue.front();
      queue.pop_front();
      ++(compress ? compressing_ : hashing_);
      how = CompressionLocked();
    }
    if (!compress) {
      Hash(slot);
    } else if (absl::Status status = Compress(slot, how, scratch); !status.ok()) {
      Fail(status);
    }
  }
}

void BackupPipeline::Hash(Slot* slot) {
  const base::Bytes plain{slot->data, slot->length};
  const bool zero = base::IsZero(plain);
  if (!zero) {
    slot->id = hasher_.Id(plain);
    map_[slot->chunk] = slot->id;
  }
  absl::MutexLock lock(&mu_);
  --hashing_;
  if (zero || !under_way_.insert(slot->id).second) {
    EndChunkLocked(slot);
  } else {
    open_ask_.push_back(slot);
  }
  SealLocked();
}

absl::Status BackupPipeline::Compress(Slot* slot, const repo::Compression& how, std::vector<std::byte>& scratch) {
  const base::ThreadTimes begin = settings_.thread_times();
  const repo::CompressedChunk compressed = repo::CompressChunk({slot->data, slot->length}, how, scratch);
  std::string data(base::AsText(compressed.data));  // outside the lock
  const base::ThreadTimes end = settings_.thread_times();
  absl::MutexLock lock(&mu_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return StoppedLocked() || open_upload_ != nullptr || !free_batches_.empty();
  };
  settings_.threads->Await(mu_, absl::Condition(&ready));
  share_.Add(end.computed - begin.computed, end.now - begin.now, settings_.thread_times().now - begin.now);
  if (StoppedLocked()) return absl::OkStatus();
  if (open_upload_ == nullptr) {
    open_upload_ = free_batches_.back();
    free_batches_.pop_back();
  }
  open_upload_->plain_bytes += slot->length;
  open_upload_->stored_bytes += data.size();
  store::v1::Chunk* chunk = open_upload_->request.add_chunks();
  chunk->set_id(slot->id.bytes.data(), slot->id.bytes.size());
  chunk->set_plain_length(slot->length);
  chunk->set_codec(static_cast<uint32_t>(compressed.codec));
  chunk->mutable_data()->swap(data);
  open_upload_->ids.push_back(slot->id);
  --compressing_;
  free_.push_back(slot);
  SealLocked();
  return absl::OkStatus();
}

void BackupPipeline::RunAsker() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return StoppedLocked() || !to_ask_.empty(); };
  while (true) {
    AskBatch batch;
    {
      absl::MutexLock lock(&mu_);
      settings_.threads->Await(mu_, absl::Condition(&ready));
      if (StoppedLocked()) return;
      batch = std::move(to_ask_.front());
      to_ask_.pop_front();
      ++asking_;
    }
    if (absl::Status status = Ask(batch); !status.ok()) Fail(status);
  }
}

absl::Status BackupPipeline::Ask(const AskBatch& batch) {
  store::v1::NegotiateRequest request;
  request.set_session_id(session_id_);
  std::string& ids = *request.mutable_chunk_ids();
  ids.reserve(batch.size() * repo::kChunkIdSize);
  for (const Slot* slot : batch) ids.append(base::AsText(slot->id.bytes));
  ASSIGN_OR_RETURN(const store::v1::NegotiateResponse answer, store_.Negotiate(request));
  if (answer.wanted().size() != batch.size()) {
    return Internal(fmt::format("the daemon answered {} of {} ids", answer.wanted().size(), batch.size()));
  }
  absl::MutexLock lock(&mu_);
  --asking_;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (answer.wanted()[i] != 0) {
      to_compress_.push_back(batch[i]);
    } else {
      under_way_.erase(batch[i]->id);
      EndChunkLocked(batch[i]);
    }
  }
  SealLocked();
  return absl::OkStatus();
}

void BackupPipeline::RunUploader() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return StoppedLocked() || !to_upload_.empty(); };
  while (true) {
    UploadBatch* batch;
    {
      absl::MutexLock lock(&mu_);
      settings_.threads->Await(mu_, absl::Condition(&ready));
      if (StoppedLocked()) return;
      batch = to_upload_.front();
      to_upload_.pop_front();
    }
    if (absl::Status status = Send(*batch); !status.ok()) Fail(status);
  }
}

absl::Status BackupPipeline::Send(UploadBatch& batch) {
  batch.request.set_session_id(session_id_);
  RETURN_IF_ERROR(store_.Upload(batch.request).status());
  meter_.AddNew(batch.plain_bytes, batch.stored_bytes);
  meter_.AddDone(meter_disk_, batch.plain_bytes);
  // Keeps the messages for the next round, but not their data, in place of which each gets a new string.
  for (store::v1::Chunk& chunk : *batch.request.mutable_chunks()) std::string().swap(*chunk.mutable_data());
  batch.request.mutable_chunks()->Clear();
  absl::MutexLock lock(&mu_);
  for (const repo::ChunkId& id : batch.ids) under_way_.erase(id);
  batch.ids.clear();
  batch.plain_bytes = batch.stored_bytes = 0;
  free_batches_.push_back(&batch);
  return absl::OkStatus();
}

void BackupPipeline::Fail(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  if (error_.ok()) error_ = why;
}

void BackupPipeline::EndChunkLocked(Slot* slot) {
  meter_.AddDone(meter_disk_, slot->length);
  free_.push_back(slot);
}

// It is the processors that everybody waits for when the workers get none to themselves, because whoever else shares
// them (the reader, the hypervisor, a daemon on the same host) could do more with what compressing takes; and when the
// reader waits for room although there is a batch to fill. With all batches on their way it is the link, and bytes
// count.
const repo::Compression& BackupPipeline::CompressionLocked() const {
  const bool workers_limit = free_.size() <= slots_.size() / 8 && !free_batches_.empty();
  return workers_limit || share_.contended() ? compressions_.fast : compressions_.usual;
}

// Passes batches on that are full, or, when draining, that nothing can be added to any more.
void BackupPipeline::SealLocked() {
  const bool all_hashed = draining_ && to_hash_.empty() && hashing_ == 0;
  if (open_ask_.size() >= ask_batch_max_ || (all_hashed && !open_ask_.empty())) {
    to_ask_.push_back(std::exchange(open_ask_, {}));
  }
  if (open_upload_ == nullptr) return;
  const bool all_compressed =
      all_hashed && to_ask_.empty() && asking_ == 0 && to_compress_.empty() && compressing_ == 0;
  if (open_upload_->stored_bytes >= settings_.upload_batch_bytes || open_upload_->plain_bytes >= kUploadPlainMax ||
      all_compressed) {
    to_upload_.push_back(std::exchange(open_upload_, nullptr));
  }
}

}  // namespace umbra::transfer
