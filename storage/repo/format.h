// The bytes of a repository: names of objects, magic numbers, encoding. Nothing else in the tree defines them.
//
// docs/formats/repository.md is the description; section numbers below refer to it. Pure functions, no I/O.
#ifndef UMBRA_STORAGE_REPO_FORMAT_H_
#define UMBRA_STORAGE_REPO_FORMAT_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/bytes.h"
#include "storage/base/random.h"
#include "storage/repo/chunk.h"
#include "storage/repo/repository.h"
#include "storage/repo/seal.h"

namespace umbra::repo {

inline constexpr uint32_t kFormatVersion = 2;
inline constexpr uint32_t kCompatibleVersion = 2;
inline constexpr uint32_t kMapPageEntries = 1024;

// --- names (section 1) ---
inline constexpr char kHeaderName[] = "umbra-repository";
inline constexpr char kLockName[] = "lock";
inline constexpr char kKeyPrefix[] = "keys/";
inline constexpr char kPackPrefix[] = "packs/";
inline constexpr char kPointPrefix[] = "points/";
inline constexpr char kCommitPrefix[] = "commits/";
inline constexpr char kIndexPrefix[] = "index/";
inline constexpr char kQuarantinePrefix[] = "quarantine/";

using RawUuid = std::array<std::byte, 16>;
using PackId = std::array<std::byte, 16>;
using Hash = std::array<std::byte, 32>;
using Salt = std::array<std::byte, 32>;

std::string PackName(const PackId& id);
// False when `name` isn't the name of a pack.
bool ParsePackName(std::string_view name, PackId& id);
std::string PointName(std::string_view recovery_point_id);
std::string RunName(uint64_t sequence, std::string_view suffix);
// True for the text of a uuid as base::Random makes it; only such ids may become part of a name.
bool IsUuidText(std::string_view text);
RawUuid ToRawUuid(std::string_view text);

// Unkeyed BLAKE3-256 of the parts, one after another.
Hash HashOf(base::Bytes a, base::Bytes b = {}, base::Bytes c = {});
// The first 8 bytes of the hash of the stored bytes of a chunk, as index entries keep it.
uint64_t CheckOf(const Hash& stored_hash);

// --- header (section 2) ---
// Without the key of the ids, which is in the ring (key_format.h).
std::string EncodeHeader(const RepositoryInfo& info);
// FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE when damaged, made by a newer version or by one without encryption, or
// in need of what we can't do.
absl::StatusOr<RepositoryInfo> DecodeHeader(std::string_view text);

// The repository's id alone, for which no key is needed. FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE when damaged.
absl::StatusOr<std::string> RepositoryIdOf(std::string_view text);

// --- packs (section 4) ---
inline constexpr size_t kPackHeaderSize = 128;
// The part of the header that the pack's key is derived from; the commitment follows.
inline constexpr size_t kPackKeyedSize = 96;
inline constexpr size_t kPackTrailerSize = 64;
inline constexpr size_t kPackSlotSize = 80;  // without base ids
// More than a pack can hold in its 4 GiB of offsets; a footer that claims more is damaged.
inline constexpr uint64_t kPackFooterSizeMax = 256 * base::kMiB;

// A chunk in a pack. The stored bytes are encrypted, with their tag.
struct PackSlot {
  ChunkId id;
  Hash stored_hash;
  uint32_t offset = 0;
  uint32_t stored_length = 0;
  uint32_t plain_length = 0;
  Codec codec = Codec::kRaw;
};

struct PackHeader {
  RawUuid repository;
  PackId pack;
  int64_t create_time_us = 0;
  Salt salt{};
  uint32_t epoch = 0;
  Hash commitment{};
};

// A pack's header and the key that goes with it.
struct KeyedPack {
  PackHeader header;
  Key key;
};
// A new pack of `repository`, with fresh id, salt and key.
KeyedPack NewPack(const DataKeys& keys, base::Random& random, const RawUuid& repository, int64_t create_time_us);
// The key of the pack that has this header. DATA_LOSS / CHUNK_DAMAGED when the header isn't one that was made with our
// keys.
absl::StatusOr<Key> KeyOfPack(const DataKeys& keys, const PackHeader& header);

// What the tag of a chunk covers beside its bytes.
using ChunkAad = std::array<std::byte, kChunkIdSize + 8>;
ChunkAad AadOf(const ChunkId& id, uint32_t plain_length, Codec codec);

std::string EncodePackHeader(const PackHeader& header);
// Footer (with a copy of the header at its end) and trailer, for a pack whose first bytes are `header` and whose chunks end at `footer_offset`.
std::string EncodePackEnd(std::string_view header, const std::vector<PackSlot>& slots, uint64_t footer_offset);

struct PackTrailer {
  uint32_t slot_count = 0;
  uint64_t footer_offset = 0;
  uint64_t footer_length = 0;
};
// DATA_LOSS / CHUNK_DAMAGED for all of these when the bytes are wrong.
absl::StatusOr<PackHeader> DecodePackHeader(base::Bytes bytes);
absl::StatusOr<PackTrailer> DecodePackTrailer(base::Bytes bytes, uint64_t file_size);
// Slots that are returned lie between header and footer.
absl::StatusOr<std::vector<PackSlot>> DecodePackFooter(base::Bytes header, base::Bytes footer, base::Bytes trailer);

// --- index runs (section 5) ---
inline constexpr size_t kIndexBlockSize = 4096;
inline constexpr size_t kIndexEntrySize = 56;
inline constexpr size_t kIndexBlockEntries = 73;
inline constexpr size_t kIndexPackSize = 32;
inline constexpr size_t kIndexTrailerSize = 96;
static_assert(kIndexBlockEntries * kIndexEntrySize + 8 == kIndexBlockSize);

struct IndexEntry {
  ChunkId id;
  uint32_t pack = 0;  // position in the run's pack table
  uint32_t offset = 0;
  uint32_t stored_length = 0;
  uint32_t plain_length = 0;
  Codec codec = Codec::kRaw;
  uint64_t check = 0;
};

struct IndexPack {
  PackId id;
  uint64_t size_bytes = 0;
  int64_t create_time_us = 0;
};

struct IndexTrailer {
  uint64_t entry_count = 0;
  uint64_t pack_count = 0;
  uint64_t sequence = 0;
};

// At most kIndexBlockEntries; the result has kIndexBlockSize bytes.
std::string EncodeIndexBlock(const std::vector<IndexEntry>& entries);
// `position` < kIndexBlockEntries.
IndexEntry DecodeIndexEntry(base::Bytes block, size_t position);
bool IndexBlockIsIntact(base::Bytes block);
std::string EncodeIndexEnd(const std::vector<IndexPack>& packs, const RawUuid& repository, const IndexTrailer& trailer);
// DATA_LOSS / INDEX_DAMAGED.
absl::StatusOr<IndexTrailer> DecodeIndexTrailer(base::Bytes bytes, const RawUuid& repository, uint64_t file_size);
absl::StatusOr<std::vector<IndexPack>> DecodeIndexPacks(base::Bytes table, base::Bytes trailer);

// --- recovery points (section 6) and commits (section 7) ---
// Largest point that is read: 16 Mi pages, which is a disk of 2 PiB, or a manifest full of documents.
inline constexpr uint64_t kPointSizeMax = 512 * base::kMiB;

struct DiskRoot {
  std::string name;
  uint64_t capacity_bytes = 0;
  std::vector<ChunkId> pages;
};

struct Point {
  Manifest manifest;
  std::vector<DiskRoot> disks;  // in the order of manifest.disks()
};

// Encrypted under a key of its own, with a salt from `random`.
std::string EncodePoint(const DataKeys& keys, base::Random& random, const RawUuid& repository, const Point& point);
// DATA_LOSS / MANIFEST_DAMAGED.
absl::StatusOr<Point> DecodePoint(const DataKeys& keys, const RawUuid& repository, std::string_view bytes);
// What is inside a point, not encrypted. DATA_LOSS / MANIFEST_DAMAGED.
std::string EncodePointBody(const Point& point);
absl::StatusOr<Point> DecodePointBody(base::Bytes body);

struct EncodedPoint {
  std::string id;
  std::string bytes;
};
std::string EncodeCommit(const std::vector<EncodedPoint>& points);
// DATA_LOSS / MANIFEST_DAMAGED.
absl::StatusOr<std::vector<EncodedPoint>> DecodeCommit(std::string_view bytes);

// Points, commits and marks end with the hash of everything before. DATA_LOSS / MANIFEST_DAMAGED when it is wrong.
absl::Status CheckOwnHash(base::Bytes bytes);

// --- quarantine marks (section 10) ---
// Larger than the mark of any pack: 8 bytes for each of its chunks.
inline constexpr uint64_t kMarkSizeMax = 64 * base::kMiB;

// A chunk of a pack whose stored bytes are wrong.
struct BadChunk {
  uint32_t offset = 0;  // in the pack's file
  uint32_t stored_length = 0;

  friend auto operator<=>(const BadChunk&, const BadChunk&) = default;
};

// What is wrong with a pack.
struct PackDamage {
  // Header, footer or trailer is wrong, so that the pack can't be listed: nothing in it is to be relied on.
  bool whole = false;
  std::vector<BadChunk> chunks;  // ascending, each once

  bool empty() const { return !whole && chunks.empty(); }
  friend bool operator==(const PackDamage&, const PackDamage&) = default;
};

std::string MarkName(const PackId& pack, std::string_view suffix);
// False when `name` isn't the name of a mark.
bool ParseMarkName(std::string_view name, PackId& pack);
std::string EncodeMark(const RawUuid& repository, const PackId& pack, const PackDamage& damage);
// DATA_LOSS / CHUNK_DAMAGED when the bytes are wrong, or of another pack or repository.
absl::StatusOr<PackDamage> DecodeMark(const RawUuid& repository, const PackId& pack, base::Bytes bytes);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_FORMAT_H_
