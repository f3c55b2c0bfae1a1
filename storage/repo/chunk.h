// Chunks: ids, codecs, compression. Also for the agent, which makes chunks but has no repository (library umbra_chunk).
//
// Format: docs/formats/repository.md section 3.
#ifndef UMBRA_STORAGE_REPO_CHUNK_H_
#define UMBRA_STORAGE_REPO_CHUNK_H_

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "storage/base/bytes.h"

namespace umbra::repo {

inline constexpr size_t kChunkIdSize = 32;
inline constexpr size_t kIdKeySize = 32;
inline constexpr uint32_t kDefaultChunkSizeBytes = 128 * 1024;
inline constexpr uint32_t kMinChunkSizeBytes = 64 * 1024;
inline constexpr uint32_t kMaxChunkSizeBytes = 1024 * 1024;

// Name of a chunk: a keyed hash of its plain bytes.
struct ChunkId {
  std::array<std::byte, kChunkIdSize> bytes{};

  auto operator<=>(const ChunkId&) const = default;
  bool IsZero() const;
  std::string ToHex() const { return base::ToHex(bytes); }
  // `raw` must have kChunkIdSize bytes.
  static ChunkId FromBytes(base::Bytes raw);
};

// The place of a chunk that is all zero; such a chunk is neither stored nor sent.
inline constexpr ChunkId kZeroChunkId{};

// Ids are uniform already.
struct ChunkIdHash {
  size_t operator()(const ChunkId& id) const {
    size_t h;
    std::memcpy(&h, id.bytes.data(), sizeof h);
    return h;
  }
};

// Persisted; never renumbered.
enum class IdSuite : uint32_t {
  kBlake3Keyed = 1,
  kHmacSha256 = 2,
};

// Persisted; never renumbered.
enum class Codec : uint32_t {
  kRaw = 0,
  kZstd = 1,
  kLz4 = 2,  // a block, without a frame
};

// Empty when `value` is no suite / codec of this version.
std::optional<IdSuite> ToIdSuite(uint32_t value);
std::optional<Codec> ToCodec(uint32_t value);

// Computes ids. Thread-safe, copyable.
class ChunkHasher {
 public:
  // `key` must have kIdKeySize bytes.
  ChunkHasher(IdSuite suite, base::Bytes key);

  // The id of `plain`, which need not be a whole chunk. Never kZeroChunkId in practice.
  ChunkId Id(base::Bytes plain) const;

  IdSuite suite() const { return suite_; }
  base::Bytes key() const { return key_; }

 private:
  IdSuite suite_;
  std::array<std::byte, kIdKeySize> key_;
};

// How to compress.
struct Compression {
  Codec codec = Codec::kZstd;
  // kZstd: the library's levels, but that 2 has parameters of our own, for chunks; kLz4: its acceleration, from 1 on;
  // kRaw: of no meaning.
  int level = 1;

  bool operator==(const Compression&) const = default;
};

// A chunk ready to be sent or stored. `data` looks into the caller's plain bytes (kRaw) or into the scratch buffer.
struct CompressedChunk {
  Codec codec;
  base::Bytes data;
};

// Gives kRaw when the data looks incompressible or doesn't shrink to 94 %. `scratch` is grown as needed; use it again
// for the next chunk. Thread-safe: one compressor per thread is kept inside.
CompressedChunk CompressChunk(base::Bytes plain, const Compression& how, std::vector<std::byte>& scratch);

// Decompresses into exactly `plain`. INVALID_ARGUMENT / CHUNK_DAMAGED when `stored` isn't that many bytes in that
// codec. Thread-safe: one decompressor per thread is kept inside.
absl::Status DecompressChunk(Codec codec, base::Bytes stored, base::MutableBytes plain);

// Decompresses and computes the id. On OK `plain` looks at the chunk's bytes, in `scratch` or (kRaw) in `stored`
// itself. INVALID_ARGUMENT / CHUNK_DAMAGED when the bytes aren't chunk `id` with `plain_length` bytes. Thread-safe.
absl::Status OpenChunk(const ChunkHasher& hasher, const ChunkId& id, Codec codec, uint32_t plain_length,
                       base::Bytes stored, std::vector<std::byte>& scratch, base::Bytes& plain);

// The same into memory of the caller's: exactly `plain.size()` bytes, which are only worth something on OK.
absl::Status OpenChunkInto(const ChunkHasher& hasher, const ChunkId& id, Codec codec, base::Bytes stored,
                           base::MutableBytes plain);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNK_H_
