// A repository: deduplicated chunks and recovery points in a folder.
//
// Backups write through an UploadSession, restores read through a DiskReader; any number of both, and Verify, run at the
// same time. Nothing that a session writes is visible before Commit returned OK; then all of it is, durably.
// Format and order of writing: docs/formats/repository.md.
#ifndef UMBRA_STORAGE_REPO_REPOSITORY_H_
#define UMBRA_STORAGE_REPO_REPOSITORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/chunk.h"
#include "storage/repo/keys.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::repo {

using Manifest = store::v1::Manifest;

class CatalogCopies;

struct RepositoryOptions {
  // Only when a repository is made; an existing one keeps its own.
  uint32_t chunk_size_bytes = kDefaultChunkSizeBytes;
  IdSuite id_suite = IdSuite::kBlake3Keyed;
  std::string key_label = "key file";  // of the first key

  // Opens the repository; the first key of one that is made. Every repository is encrypted.
  KeySecret key;
  Argon2Cost passphrase_cost = kDefaultArgon2Cost;  // of passphrases that are added

  // A pack is sealed at this size. Smaller: more files and syncs. Larger: more is sent again after a cut.
  uint64_t pack_size_bytes = 32 * base::kMiB;
  // Set aside for deletions on a full disk (a few hundred KiB are enough for one; more survives more of them). 0: none.
  uint64_t reserve_bytes = 0;
  // Chunks in sealed packs that are held in memory (about 100 bytes each) before they get an index run of their own.
  uint64_t unindexed_chunks_max = 256 * 1024;
};

// What the header says; constant for the life of a repository.
struct RepositoryInfo {
  std::string uuid;
  uint32_t format_version = 0;
  uint32_t chunk_size_bytes = 0;
  uint32_t map_page_entries = 0;
  IdSuite id_suite = IdSuite::kBlake3Keyed;
  std::string id_key;  // kIdKeySize bytes; only for agents that make chunks for this repository; not in the header but
                       // in the ring
  absl::Time create_time;
};

// A chunk on its way. The bytes belong to somebody else.
struct ChunkView {
  ChunkId id;
  uint32_t plain_length = 0;  // 1 .. chunk size
  Codec codec = Codec::kRaw;
  base::Bytes data;
};

// A chunk of a disk, as stored. `chunk.data` is valid until the next call on the reader.
struct DiskChunk {
  uint64_t offset_bytes = 0;
  ChunkView chunk;
};

// Takes the map of one disk, in order. One thread at a time; must not outlive its session.
class DiskMapWriter {
 public:
  virtual ~DiskMapWriter() = default;

  // Ids of the next chunks, kZeroChunkId for zero chunks. Waits for the seal of other sessions' packs that hold some
  // of them.
  // FAILED_PRECONDITION / CHUNK_MISSING  the chunk wasn't uploaded (or was found damaged since); names chunk, disk, offset.
  // INVALID_ARGUMENT / UPLOAD_INVALID    more ids than the disk has chunks, or a chunk of another length than its place.
  virtual absl::Status Append(std::span<const ChunkId> ids) = 0;

  // Of a map that is built on another: the next `count` chunks are those of the base at the same place. Whole pages are
  // taken over by their id: they are read for the map's hash, and nothing is looked up chunk by chunk.
  // INVALID_ARGUMENT / UPLOAD_INVALID  it isn't built on another, or has fewer chunks.
  virtual absl::Status AppendBase(uint64_t count) = 0;

  // The map is complete; returns the bytes in chunks that aren't zero.
  // INVALID_ARGUMENT / UPLOAD_INVALID when ids are missing.
  virtual absl::StatusOr<uint64_t> Finish() = 0;
};

// A disk of an earlier recovery point that a new map is built on.
struct BaseDisk {
  std::string recovery_point_id;
  std::string vm_uuid;
  std::string disk;
  uint64_t capacity_bytes = 0;
};

// One backup's writes. Thread-safe: Put and Wanted from several threads at once; Commit and Abort wait for calls that are
// under way, and calls that come later get FAILED_PRECONDITION / SESSION_NOT_FOUND.
// After an I/O error (STORAGE_FULL, IO_ERROR) the session is lost: every later call returns the same error.
// Destroying a session aborts it. Must not outlive the repository.
class UploadSession {
 public:
  virtual ~UploadSession() = default;

  // One byte per id, in order: 1 = send it, 0 = stored already, or in a pack that this or another session still writes.
  // Zero ids give 0. Should that other session lose its pack (an I/O error), the map says CHUNK_MISSING.
  virtual absl::StatusOr<std::vector<uint8_t>> Wanted(std::span<const ChunkId> ids) = 0;

  // Takes a chunk; returns the bytes that the repository grows by, 0 when it was known (as in Wanted). Decompresses and
  // computes the id in the calling thread; blocks while earlier packs are being synced (back pressure). Durable only at Commit.
  // INVALID_ARGUMENT / UPLOAD_INVALID when the data isn't what the id says; the session goes on.
  virtual absl::StatusOr<uint64_t> Put(const ChunkView& chunk) = 0;

  // Starts the map of a disk; several disks may be under way. Upload the chunks first. Takes the place of an earlier map of
  // this disk, finished or not, so that a call that was cut can be made again.
  // INVALID_ARGUMENT / UPLOAD_INVALID for a capacity of 0.
  virtual absl::StatusOr<std::unique_ptr<DiskMapWriter>> AddDiskMap(const std::string& vm_uuid, const std::string& disk,
                                                                    uint64_t capacity_bytes) = 0;

  // Can a map be built on this disk? Returns the positions in `chunks` (numbers of chunks, ascending) at which the base
  // has another id than `ids`. From here on, or from AddDiskMapOn, the base's recovery point isn't deleted until the
  // session ends. FAILED_PRECONDITION / CBT_BASE_UNUSABLE: it is gone, has another size, or needs a chunk that is
  // missing or damaged.
  virtual absl::StatusOr<std::vector<size_t>> CompareWithBase(const BaseDisk& base, std::span<const uint64_t> chunks,
                                                              std::span<const ChunkId> ids) = 0;
  // As AddDiskMap for the same virtual machine, disk and size; AppendBase takes over what hasn't changed. The new map
  // is as complete and independent as any other. FAILED_PRECONDITION / CBT_BASE_UNUSABLE as above.
  virtual absl::StatusOr<std::unique_ptr<DiskMapWriter>> AddDiskMapOn(const BaseDisk& base) = 0;

  // Makes the recovery points visible, all or none; they are durable when OK returns, and the session has ended.
  // Each manifest's disks must be exactly the disks that got a finished map for its vm_uuid, with equal capacity
  // (else INVALID_ARGUMENT / UPLOAD_INVALID, and the session goes on). Sets recovery_point_id (unless given), create_time
  // (unless given), map_hash, data_bytes, new_bytes and stored_bytes (the session's growth, shared out by data_bytes).
  // Returns the manifests as stored, in order.
  virtual absl::StatusOr<std::vector<Manifest>> Commit(std::vector<Manifest> manifests) = 0;

  // Gives the session up. What was sent is sealed and stays, for other sessions that rely on it, and so that the next
  // attempt need not send it again; unless the session was lost by an I/O error. Blocks for the sync of its last packs.
  virtual void Abort() = 0;

  // Bytes that the repository grew by so far.
  virtual uint64_t stored_bytes() const = 0;
};

// Reads one disk of a recovery point in order. One thread at a time; must not outlive the repository.
class DiskReader {
 public:
  virtual ~DiskReader() = default;

  virtual uint64_t capacity_bytes() const = 0;
  // Everything before this offset has been returned (zero chunks included).
  virtual uint64_t position_bytes() const = 0;
  virtual uint64_t chunk_count() const = 0;
  // Continues at this chunk. OUT_OF_RANGE / INVALID_REQUEST beyond the disk's end.
  virtual absl::Status Seek(uint64_t chunk) = 0;

  // The next chunks with data, up to about `limit_bytes` of stored bytes (at least one chunk); empty only at the end of the
  // disk. The stored bytes are checked against their hash; whoever decompresses computes the id as well (OpenChunk).
  // DATA_LOSS / CHUNK_DAMAGED, CHUNK_MISSING name chunk, disk and offset; the position stays before the chunk.
  virtual absl::StatusOr<std::vector<DiskChunk>> Next(uint64_t limit_bytes) = 0;
};

struct DiskViewOptions {
  // Decoded chunks that are kept, those read ahead included; at least 16 chunks.
  uint64_t cache_bytes = 16 * base::kMiB;
  // Threads that decode ahead of reads that follow one another; the reads themselves are decoded by their callers.
  int read_ahead_threads = 2;
};

// A stretch of a disk whose chunks are all zero chunks, or all not.
struct DiskStretch {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool zero = false;
};

// Reads one disk of a recovery point anywhere: what an export reads from. Thread-safe: reads of several threads run at the same
// time. Memory: the cache, and one batch of up to 16 chunks for each thread that reads. Must not outlive the repository.
class DiskView {
 public:
  virtual ~DiskView() = default;

  virtual uint64_t capacity_bytes() const = 0;

  // Exactly out.size() bytes; every chunk that they come from is decoded and its id computed again.
  // OUT_OF_RANGE / INVALID_REQUEST beyond the disk's end. DATA_LOSS / CHUNK_DAMAGED, CHUNK_MISSING name chunk, disk and offset:
  // what is in `out` then is worth nothing; reads of other chunks go on.
  virtual absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) = 0;

  // The stretch that begins at `offset_bytes`, without reading data; it may be cut short (the next one may be of the same kind).
  virtual absl::StatusOr<DiskStretch> StretchAt(uint64_t offset_bytes) = 0;
};

// What may be done with a recovery point.
struct PointProtection {
  bool removed = false;  // hidden; deleted by a prune after delete_time
  absl::Time remove_time = absl::InfinitePast();
  absl::Time delete_time = absl::InfinitePast();
  std::string removed_by;
  bool held = false;  // can't be removed until released
  std::string held_by;
  std::string hold_note;
  absl::Time lock_until = absl::InfinitePast();  // can't be removed before, by anybody

  bool operator==(const PointProtection&) const = default;
};

inline constexpr absl::Duration kUndeleteWindowDefault = absl::Hours(24 * 7);

struct RemovalOptions {
  std::string who;
  absl::Duration undelete_window = kUndeleteWindowDefault;
};

struct RecoveryPointList {
  std::vector<Manifest> points;       // ordered by create time, then id
  std::vector<Manifest> removed;      // the same for those that are removed, but not deleted yet
  std::map<std::string, PointProtection> protections;  // by point id; points without an entry have none
  std::vector<std::string> problems;  // one per point that can't be read, with its file and the reason
};

// How thorough a verification is. Persisted; never renumbered.
enum class VerifyLevel {
  kStored = 1,  // the stored bytes are the ones that were written; needs no key and no decompression
  kFull = 2,    // and they are the chunks that they claim to be: decompressed, id computed
  kDisks = 3,   // every disk read from its first to its last byte, and compared with the hash of what the backup read
};

// A pack was read from its first to its last byte.
struct PackCheck {
  std::string pack;  // 32 hexadecimal digits
  uint64_t size_bytes = 0;
  VerifyLevel level = VerifyLevel::kFull;
  bool whole_damaged = false;  // it can't be listed by its own footer
  uint64_t damaged_chunks = 0;
};

// Every disk of a recovery point was read.
struct PointCheck {
  std::string recovery_point_id;
  bool sound = true;
};

struct VerifyScope {
  std::string recovery_point_id;  // not empty: read all disks of this one, and nothing else
  VerifyLevel level = VerifyLevel::kFull;

  // Only these packs (32 hexadecimal digits each), in this order; empty: all, in any order. Those that are gone are skipped.
  std::vector<std::string> packs = {};
  // With kDisks: these points first, in this order.
  std::vector<std::string> recovery_points = {};
  // No pack (with kDisks: no disk) is begun after this much time, or when this many bytes have been begun.
  absl::Duration time_budget = absl::InfiniteDuration();
  uint64_t byte_budget = UINT64_MAX;

  // Called after each pack or point, as `progress` is. Results that have been told of stay true when Verify is cancelled.
  std::function<void(const PackCheck&)> on_pack = {};
  std::function<void(const PointCheck&)> on_point = {};
};

// A chunk (or map page) whose bytes are wrong or gone, at one place where it is needed.
struct ChunkDamage {
  std::string chunk_id;           // hexadecimal; empty when the disk as a whole isn't what was backed up
  std::string recovery_point_id;  // empty when no recovery point needs it
  std::string vm_display_name;
  std::string disk;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;  // of the disk; a map page stands for many chunks
  std::string reason;         // CHUNK_DAMAGED or CHUNK_MISSING
  std::string message;        // for people; names all of the above
};

struct VerifyProgress {
  uint64_t done_bytes = 0;  // stored bytes of packs; with disks, bytes of the disks
  uint64_t total_bytes = 0;
};

struct VerifyReport {
  uint64_t pack_count = 0;    // packs read
  uint64_t chunk_count = 0;   // chunks checked
  uint64_t stored_bytes = 0;  // bytes read
  uint64_t plain_bytes = 0;   // bytes decompressed and hashed
  bool complete = true;       // false: the budget was used up before everything was read
  std::vector<ChunkDamage> damaged;   // at most kVerifyDamageMax
  uint64_t damaged_count = 0;         // all of them
  std::vector<std::string> problems;  // packs, index runs, points: what is wrong, with the file
  // What was found wrong but does no harm: there is another copy of everything that lies in it, or nothing needs it.
  std::vector<std::string> healed;
  bool ok() const { return damaged_count == 0 && problems.empty(); }
};
// A dead disk would fill memory with the same message.
inline constexpr size_t kVerifyDamageMax = 1000;

struct PruneOptions {
  bool dry_run = false;  // changes nothing, and says what would be done
  // Copying from packs with little in them, read and written bytes together; 0: as fast as it goes.
  uint64_t io_bytes_per_second = 0;
  // A pack is copied when less than this part of it is needed.
  int compact_below_percent = 60;
  // Packs younger than this stay: an upload that was cut finds its chunks there when it is made again.
  absl::Duration young_pack_grace = absl::Hours(24);
  // From "nothing needs this pack" to its deletion. What makes that safe are leases (docs/locking.md); this is for what nobody
  // thought of.
  absl::Duration condemned_grace = absl::Hours(1);
};

struct PruneProgress {
  uint64_t done_bytes = 0;  // of packs that are to be deleted or copied
  uint64_t total_bytes = 0;
};

// Of a dry run: what would happen, without waiting for grace periods and readers.
struct PruneReport {
  std::vector<std::string> deleted_points;
  uint64_t deleted_packs = 0;
  uint64_t freed_bytes = 0;    // of the deleted packs; what was copied is stored again and counted in copied_bytes
  uint64_t copied_packs = 0;
  uint64_t copied_bytes = 0;
  uint64_t waiting_bytes = 0;  // condemned, but not deleted: grace period, or sessions from before
  uint64_t needed_bytes = 0;   // stored bytes that recovery points need
  uint64_t needed_chunks = 0;
  uint64_t reference_count = 0;  // entries of all maps, those of shared pages as often as they are shared
  uint64_t read_reference_count = 0;
  absl::Duration mark_duration;
  bool clock_jumped = false;  // the wall clock is ahead of the repository's time: points wait longer than it says
  std::vector<std::string> problems;  // what was left alone, and why
};

struct PackInfo {
  std::string id;  // 32 hexadecimal digits
  uint64_t size_bytes = 0;
  absl::Time create_time;
};

struct QuarantinedPack {
  std::string pack;  // 32 hexadecimal digits
  bool whole = false;  // it can't be listed by its own footer
  uint64_t damaged_chunks = 0;
};

struct RepositoryStats {
  uint64_t recovery_point_count = 0;
  uint64_t logical_bytes = 0;  // sum of the disks' data bytes over all points
  uint64_t unique_bytes = 0;   // plain bytes of the stored chunks
  uint64_t stored_bytes = 0;   // packs, index and points on disk
  uint64_t chunk_count = 0;
  uint64_t pack_count = 0;
  uint64_t free_bytes = 0;
};

// Thread-safe.
class Repository {
 public:
  // `fs`, `clock`, `random` outlive the repository; `path` is its folder.
  // FAILED_PRECONDITION / REPOSITORY_LOCKED        another process (or object) has it open.
  // FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE  no repository, made by a newer version, or its header is damaged.
  // FAILED_PRECONDITION / KEY_MISSING, KEY_WRONG   options.key is empty, or opens nothing.
  // DATA_LOSS / KEYS_DAMAGED                       no intact key opens it, or somebody changed keys or header.
  // ALREADY_EXISTS / TARGET_EXISTS                 (Create) the folder holds something else, or a repository.
  static absl::StatusOr<std::unique_ptr<Repository>> Create(base::Filesystem& fs, base::Clock& clock, base::Random& random,
                                                            const std::string& path, const RepositoryOptions& options = {});
  // Heals what a crash left: removes temporary files, finishes a half-published commit, indexes packs without a run.
  static absl::StatusOr<std::unique_ptr<Repository>> Open(base::Filesystem& fs, base::Clock& clock, base::Random& random,
                                                          const std::string& path, const RepositoryOptions& options = {});
  static absl::StatusOr<std::unique_ptr<Repository>> OpenOrCreate(base::Filesystem& fs, base::Clock& clock,
                                                                  base::Random& random, const std::string& path,
                                                                  const RepositoryOptions& options = {});
  // The same over any store; the caller sees to it that nobody else uses it. Makes the repository when the store is empty.
  static absl::StatusOr<std::unique_ptr<Repository>> OpenOrCreateIn(std::unique_ptr<BlobStore> store, base::Clock& clock,
                                                                    base::Random& random, const RepositoryOptions& options = {});
  // There is a repository in the folder, intact or not.
  static absl::StatusOr<bool> Exists(base::Filesystem& fs, const std::string& path);
  // Whether this version can use the repository in the folder, as far as that can be told without a key.
  // FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE with what is in the way, such as that it was made without encryption.
  static absl::Status CheckHeader(base::Filesystem& fs, const std::string& path);
  virtual ~Repository() = default;

  virtual const RepositoryInfo& info() const = 0;
  // Computes ids as the header says.
  virtual const ChunkHasher& hasher() const = 0;

  virtual std::unique_ptr<UploadSession> BeginSession() = 0;

  // Keys that open the repository. Data is never touched; each change is durable when OK.
  virtual absl::StatusOr<KeyList> ListKeys() = 0;
  // INVALID_ARGUMENT / KEY_INVALID when the label is no label.
  virtual absl::StatusOr<KeyInfo> AddKey(const KeySecret& secret, const std::string& label) = 0;
  // NOT_FOUND / KEY_NOT_FOUND; FAILED_PRECONDITION / KEY_LAST, KEY_IN_USE.
  virtual absl::Status RemoveKey(const std::string& id) = 0;
  // Everything written from now on is encrypted with a new key, which keys that were removed don't open. Returns the
  // keys; those that were passed over say why.
  virtual absl::StatusOr<KeyList> RotateKeys() = 0;

  virtual absl::StatusOr<RecoveryPointList> ListRecoveryPoints() = 0;
  // NOT_FOUND / RECOVERY_POINT_NOT_FOUND; DATA_LOSS / MANIFEST_DAMAGED.
  virtual absl::StatusOr<Manifest> ReadManifest(const std::string& recovery_point_id) = 0;
  // As ReadManifest; NOT_FOUND / INVALID_REQUEST when the point has no such disk.
  virtual absl::StatusOr<std::unique_ptr<DiskReader>> OpenDisk(const std::string& recovery_point_id,
                                                               const std::string& disk) = 0;
  virtual absl::StatusOr<std::unique_ptr<DiskView>> OpenDiskView(const std::string& recovery_point_id, const std::string& disk,
                                                                 const DiskViewOptions& options = {}) = 0;
  // The point is invisible, durably, and can be undeleted for a while. Its space is given back by a prune after that. Readers that
  // are open go on. Works on a full disk when there is a reserve.
  // NOT_FOUND / RECOVERY_POINT_NOT_FOUND            also when it is removed already.
  // FAILED_PRECONDITION / RECOVERY_POINT_HELD, RECOVERY_POINT_LOCKED
  virtual absl::StatusOr<PointProtection> RemoveRecoveryPoint(const std::string& recovery_point_id,
                                                              const RemovalOptions& options) = 0;
  // Visible again, durably. NOT_FOUND / RECOVERY_POINT_NOT_FOUND when it isn't removed, or is deleted already.
  virtual absl::StatusOr<PointProtection> UndeleteRecoveryPoint(const std::string& recovery_point_id) = 0;
  // The point can't be removed until it is released. A second hold takes the place of the first.
  virtual absl::StatusOr<PointProtection> HoldRecoveryPoint(const std::string& recovery_point_id, const std::string& who,
                                                            const std::string& note) = 0;
  virtual absl::StatusOr<PointProtection> ReleaseRecoveryPoint(const std::string& recovery_point_id) = 0;
  // The point can't be removed before `until` by the repository's own time (repository_time.h). A lock is only ever extended:
  // INVALID_ARGUMENT / INVALID_REQUEST for a time that isn't after the present one.
  virtual absl::StatusOr<PointProtection> LockRecoveryPoint(const std::string& recovery_point_id, absl::Time until,
                                                            const std::string& who) = 0;

  // Deletes removed points whose window is over, and gives back the space of what no point needs. Everything else may run
  // meanwhile; one prune at a time (FAILED_PRECONDITION / PRUNE_RUNNING). It can be cut at any moment, and made again.
  // DATA_LOSS / MANIFEST_DAMAGED, CHUNK_DAMAGED, CHUNK_MISSING  a point or one of its map pages can't be read, so it isn't known
  // what it needs: nothing is given back until the point is removed or healed.
  // CANCELLED / CANCELLED when `stop` was asked. `progress` (may be empty) as for Verify.
  virtual absl::StatusOr<PruneReport> Prune(const PruneOptions& options, std::function<void(const PruneProgress&)> progress,
                                            std::stop_token stop) = 0;
  // Small work that is to be done now and then (every hour or so): deletes packs that an earlier prune condemned, makes the
  // reserve, keeps the time. Errors are for the log.
  virtual absl::Status Maintain(const PruneOptions& options) = 0;
  // How far the wall clock is ahead of the repository's time; zero when it isn't by more than an hour.
  virtual absl::Duration ClockAhead() = 0;
  // A person says that the wall clock is right, after it jumped or nobody was running. Locks go on by time that really passed.
  virtual absl::Status ConfirmClock(const std::string& who) = 0;

  // Reads everything in scope and checks it. Damage is in the report; an error means that checking itself failed.
  // CANCELLED / CANCELLED when `stop` was asked. `progress` (may be empty) is called after each pack, or each few MiB of a
  // disk, from one thread at a time; it should return soon. Chunks found damaged are in quarantine from then on, also after
  // a restart: the next backup that has them uploads them again. A pack that was read in full (kFull) and is sound leaves it.
  // IO_ERROR and the like when the store as a whole can't be read; a single file that can't is damage.
  virtual absl::StatusOr<VerifyReport> Verify(const VerifyScope& scope, std::function<void(const VerifyProgress&)> progress,
                                              std::stop_token stop) = 0;

  // All packs, in no order: what a verification of everything would read.
  virtual std::vector<PackInfo> ListPacks() = 0;
  // One byte per id, in order: 1 = there is a copy that isn't in quarantine.
  virtual absl::StatusOr<std::vector<uint8_t>> HaveSound(std::span<const ChunkId> ids) = 0;

  // Packs with something in quarantine, in no order.
  virtual std::vector<QuarantinedPack> ListQuarantine() = 0;

  // The copies of a daemon's catalog that it keeps (catalog_copies.h). Lives as long as the repository.
  virtual CatalogCopies& catalog_copies() = 0;

  // Figures; reads manifests that it hasn't seen yet.
  virtual absl::StatusOr<RepositoryStats> Stats() = 0;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_REPOSITORY_H_
