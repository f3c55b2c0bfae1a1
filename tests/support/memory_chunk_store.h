// The daemon's data service in memory, with switches for what goes wrong on the way.
//
// Promises of the real one that it keeps: it checks every chunk that comes in, pins nothing away, takes a chunk twice,
// refuses a map whose chunks it doesn't have, commits all or none, and forgets a session that was aborted or lost.
#ifndef UMBRA_TESTS_SUPPORT_MEMORY_CHUNK_STORE_H_
#define UMBRA_TESTS_SUPPORT_MEMORY_CHUNK_STORE_H_

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent/transfer/chunk_store_client.h"
#include "storage/base/status.h"
#include "storage/repo/chunk.h"

namespace umbra::testing {

class MemoryChunkStore final : public transfer::ChunkStoreClient {
 public:
  struct StoredDisk {
    uint64_t capacity_bytes = 0;
    std::vector<repo::ChunkId> ids;
  };

  static constexpr uint32_t kChunkSize = 64 * 1024;

  // Asked before every call with its name and how many calls came before; what isn't OK is the answer.
  using Fault = std::function<absl::Status(const std::string& call, int number)>;
  void SetFault(Fault fault) {
    absl::MutexLock lock(&mu_);
    fault_ = std::move(fault);
  }
  // Asked before every message of ReadDisk, with the number of messages over all streams.
  void SetReadFault(std::function<absl::Status(int number)> fault) {
    absl::MutexLock lock(&mu_);
    read_fault_ = std::move(fault);
  }
  // As a restart of the daemon does.
  void LoseSessions() {
    absl::MutexLock lock(&mu_);
    sessions_.clear();
  }
  // Its disks can't be read any more: a disk is found by its name alone.
  void Forget(const std::string& vm_uuid) {
    absl::MutexLock lock(&mu_);
    std::erase_if(disks_, [&](const auto& entry) { return entry.first.first == vm_uuid; });
  }
  // Loses every `one_in`-th chunk that it knew, as when a pack of another session couldn't be written after all. Call
  // it from a fault.
  void LoseChunksLocked(size_t one_in) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    size_t n = 0;
    std::erase_if(chunks_, [&](const auto&) { return n++ % one_in == 0; });
  }
  // Flips one bit of a stored chunk.
  void Damage(const repo::ChunkId& id) {
    absl::MutexLock lock(&mu_);
    store::v1::Chunk& chunk = chunks_.at(id);
    (*chunk.mutable_data())[chunk.data().size() / 2] ^= 4;
  }

  int calls(const std::string& call) {
    absl::MutexLock lock(&mu_);
    return calls_[call];
  }
  uint64_t chunks_received() {
    absl::MutexLock lock(&mu_);
    return chunks_received_;
  }
  // For sessions opened from now on; the usual level is 1.
  void SetFast(const repo::Compression& how) {
    absl::MutexLock lock(&mu_);
    fast_ = how;
  }
  size_t chunk_count() {
    absl::MutexLock lock(&mu_);
    return chunks_.size();
  }
  size_t session_count() {
    absl::MutexLock lock(&mu_);
    return sessions_.size();
  }
  std::vector<store::v1::Manifest> committed() {
    absl::MutexLock lock(&mu_);
    return committed_;
  }
  StoredDisk disk(const std::string& vm, const std::string& name) {
    absl::MutexLock lock(&mu_);
    return disks_[{vm, name}];
  }

  // Changes one id of a disk in a committed recovery point, as if the hypervisor had missed a change there.
  void FalsifyMap(const std::string& point, const std::string& vm, const std::string& disk, size_t chunk) {
    absl::MutexLock lock(&mu_);
    points_.at(point).at({vm, disk}).ids.at(chunk).bytes[0] ^= std::byte{1};
  }

  absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest&) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("OpenSession"));
    store::v1::OpenSessionResponse response;
    response.set_session_id("session-" + std::to_string(++next_session_));
    sessions_[response.session_id()] = {};
    response.set_chunk_size_bytes(kChunkSize);
    response.set_id_suite(1);
    response.set_id_key(key_);
    response.set_compression_level(1);
    response.set_fast_compression_codec(static_cast<uint32_t>(fast_.codec));
    response.set_fast_compression_level(fast_.level);
    for (size_t i = 0; i < committed_.size(); ++i) {
      const store::v1::Manifest& manifest = committed_[i];
      const bool newest = std::none_of(committed_.begin() + static_cast<ptrdiff_t>(i) + 1, committed_.end(),
                                       [&](const auto& later) { return later.vm_uuid() == manifest.vm_uuid(); });
      if (!newest || manifest.tracking().checkpoint().empty()) continue;
      store::v1::BasePoint* base = response.add_bases();
      base->set_vm_uuid(manifest.vm_uuid());
      base->set_recovery_point_id("point-" + std::to_string(i + 1));
      *base->mutable_tracking() = manifest.tracking();
    }
    return response;
  }

  absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& request) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("CheckBase"));
    RETURN_IF_ERROR(SessionLocked(request.session_id()));
    ASSIGN_OR_RETURN(const StoredDisk base, BaseLocked(request.recovery_point_id(), request.vm_uuid(), request.disk(),
                                                       static_cast<uint64_t>(request.capacity_bytes())));
    store::v1::CheckBaseResponse response;
    for (int i = 0; i < request.chunks_size(); ++i) {
      const repo::ChunkId id = IdAt(request.chunk_ids(), static_cast<size_t>(i) * repo::kChunkIdSize);
      if (base.ids.at(static_cast<size_t>(request.chunks(i))) != id) response.add_different(request.chunks(i));
    }
    return response;
  }

  absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& request) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("Negotiate"));
    RETURN_IF_ERROR(SessionLocked(request.session_id()));
    store::v1::NegotiateResponse response;
    for (size_t at = 0; at < request.chunk_ids().size(); at += repo::kChunkIdSize) {
      response.mutable_wanted()->push_back(chunks_.contains(IdAt(request.chunk_ids(), at)) ? 0 : 1);
    }
    return response;
  }

  absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& batch) override {
    absl::MutexLock lock(&mu_);
    const absl::Status fault = CallLocked("Upload");
    if (!fault.ok() && !late_fault_) return fault;
    RETURN_IF_ERROR(SessionLocked(batch.session_id()));
    std::vector<std::byte> scratch;
    for (const store::v1::Chunk& chunk : batch.chunks()) {
      const repo::ChunkId id = IdAt(chunk.id(), 0);
      base::Bytes plain;
      RETURN_IF_ERROR(repo::OpenChunk(hasher_, id, *repo::ToCodec(chunk.codec()), chunk.plain_length(),
                                      base::AsBytes(chunk.data()), scratch, plain));
      ++chunks_received_;
      chunks_.emplace(id, chunk);
    }
    RETURN_IF_ERROR(fault);  // the answer was lost: the chunks were taken all the same
    return store::v1::UploadResponse();
  }
  // Faults of Upload strike after the chunks were taken.
  void SetLateFault() {
    absl::MutexLock lock(&mu_);
    late_fault_ = true;
  }

  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const transfer::DiskMapTarget& target,
                                                           base::Bytes ids) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("PutDiskMap"));
    RETURN_IF_ERROR(SessionLocked(target.session_id));
    StoredDisk disk{.capacity_bytes = target.capacity_bytes, .ids = {}};
    for (size_t at = 0; at < ids.size(); at += repo::kChunkIdSize) {
      disk.ids.push_back(IdAt(base::AsText(ids), at));
      if (!disk.ids.back().IsZero() && !chunks_.contains(disk.ids.back())) {
        return base::Error(absl::StatusCode::kFailedPrecondition, "CHUNK_MISSING", "chunk {} was not uploaded",
                           disk.ids.size() - 1);
      }
    }
    disks_[{target.vm_uuid, target.disk}] = std::move(disk);
    return store::v1::PutDiskMapResponse();
  }

  absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const transfer::DiskMapTarget& target,
                                                              const std::string& base_recovery_point_id,
                                                              std::span<const transfer::ChangedIds> changes) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("PutDiskMap"));
    RETURN_IF_ERROR(SessionLocked(target.session_id));
    ASSIGN_OR_RETURN(StoredDisk disk,
                     BaseLocked(base_recovery_point_id, target.vm_uuid, target.disk, target.capacity_bytes));
    for (const transfer::ChangedIds& run : changes) {
      for (size_t at = 0; at < run.ids.size(); at += repo::kChunkIdSize) {
        const repo::ChunkId id = IdAt(base::AsText(run.ids), at);
        if (!id.IsZero() && !chunks_.contains(id)) {
          return base::Error(absl::StatusCode::kFailedPrecondition, "CHUNK_MISSING", "a chunk was not uploaded");
        }
        disk.ids.at(run.first_chunk + at / repo::kChunkIdSize) = id;
      }
    }
    disks_[{target.vm_uuid, target.disk}] = std::move(disk);
    return store::v1::PutDiskMapResponse();
  }

  absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& request) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("Commit"));
    RETURN_IF_ERROR(SessionLocked(request.session_id()));
    store::v1::CommitResponse response;
    for (const store::v1::Manifest& manifest : request.manifests()) {
      committed_.push_back(manifest);
      response.add_recovery_point_ids("point-" + std::to_string(committed_.size()));
      auto& maps = points_[response.recovery_point_ids().rbegin()[0]];
      for (const auto& [key, disk] : disks_) {
        if (key.first == manifest.vm_uuid()) maps[key] = disk;
      }
    }
    sessions_.erase(request.session_id());
    return response;
  }

  absl::Status AbortSession(const store::v1::AbortSessionRequest& request) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("AbortSession"));
    sessions_.erase(request.session_id());
    return absl::OkStatus();
  }

  // The disk that was last put under this name for `vm_of_reads`.
  absl::StatusOr<std::unique_ptr<transfer::DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) override {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(CallLocked("ReadDisk"));
    for (const auto& [key, disk] : disks_) {
      if (key.second == request.disk()) {
        return std::make_unique<Stream>(*this, disk, static_cast<uint64_t>(request.first_chunk()));
      }
    }
    return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "no disk {}", request.disk());
  }

 private:
  class Stream final : public transfer::DiskStream {
   public:
    Stream(MemoryChunkStore& owner, StoredDisk disk, uint64_t chunk)
        : owner_(owner), disk_(std::move(disk)), next_(chunk) {}

    absl::StatusOr<bool> Next(store::v1::ReadDiskResponse* message) override {
      absl::MutexLock lock(&owner_.mu_);
      if (owner_.read_fault_) RETURN_IF_ERROR(owner_.read_fault_(owner_.read_messages_));
      ++owner_.read_messages_;
      if (next_ >= disk_.ids.size()) return false;
      message->Clear();
      if (std::exchange(first_, false)) {
        message->set_id_suite(1);
        message->set_id_key(owner_.key_);
        message->set_capacity_bytes(static_cast<int64_t>(disk_.capacity_bytes));
        message->set_chunk_size_bytes(kChunkSize);
      }
      for (int i = 0; i < 4 && next_ < disk_.ids.size(); ++i, ++next_) {
        if (disk_.ids[next_].IsZero()) continue;
        auto* item = message->add_items();
        item->set_offset_bytes(static_cast<int64_t>(next_ * kChunkSize));
        *item->mutable_chunk() = owner_.chunks_.at(disk_.ids[next_]);
      }
      message->set_done_bytes(static_cast<int64_t>(std::min(next_ * kChunkSize, disk_.capacity_bytes)));
      return true;
    }

   private:
    MemoryChunkStore& owner_;
    const StoredDisk disk_;
    uint64_t next_;
    bool first_ = true;
  };

  static repo::ChunkId IdAt(std::string_view ids, size_t at) {
    return repo::ChunkId::FromBytes(base::AsBytes(ids.substr(at, repo::kChunkIdSize)));
  }

  absl::Status CallLocked(const std::string& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const int number = calls_[call]++;
    return fault_ ? fault_(call, number) : absl::OkStatus();
  }

  absl::StatusOr<StoredDisk> BaseLocked(const std::string& point, const std::string& vm, const std::string& disk,
                                        uint64_t capacity_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (const auto maps = points_.find(point); maps != points_.end()) {
      const auto map = maps->second.find({vm, disk});
      if (map != maps->second.end() && map->second.capacity_bytes == capacity_bytes) return map->second;
    }
    return base::Error(absl::StatusCode::kFailedPrecondition, "CBT_BASE_UNUSABLE", "{} has no such disk {}", point,
                       disk);
  }

  absl::Status SessionLocked(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (sessions_.contains(id)) return absl::OkStatus();
    return base::Error(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND", "no session {}", id);
  }

  const std::string key_ = std::string(repo::kIdKeySize, 'k');
  const repo::ChunkHasher hasher_{repo::IdSuite::kBlake3Keyed, base::AsBytes(key_)};

  absl::Mutex mu_;
  Fault fault_ ABSL_GUARDED_BY(mu_);
  std::function<absl::Status(int)> read_fault_ ABSL_GUARDED_BY(mu_);
  bool late_fault_ ABSL_GUARDED_BY(mu_) = false;
  int read_messages_ ABSL_GUARDED_BY(mu_) = 0;
  repo::Compression fast_ ABSL_GUARDED_BY(mu_);
  int next_session_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t chunks_received_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> sessions_ ABSL_GUARDED_BY(mu_);
  std::map<repo::ChunkId, store::v1::Chunk> chunks_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<std::string, std::string>, StoredDisk> disks_ ABSL_GUARDED_BY(mu_);
  std::vector<store::v1::Manifest> committed_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::map<std::pair<std::string, std::string>, StoredDisk>> points_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_MEMORY_CHUNK_STORE_H_
