#include "storage/repo/chunk.h"

#include <blake3.h>
#include <lz4.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <zstd.h>

#include <cmath>
#include <memory>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Random bytes measure 7.95 bits on a sample of 4 KiB; text and code are far below 7.
constexpr size_t kSampleBytes = 4096;
constexpr size_t kSamplePieces = 8;
constexpr double kIncompressibleBits = 7.8;
// A chunk that doesn't shrink to this isn't worth decompressing later.
constexpr double kWorthwhileRatio = 0.94;

struct ContextDeleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// Level 2 with tables for 128 KiB: against the library's own level 2 it takes a tenth more time, and of what that
// stores beyond level 3 about half. Larger tables were slower, smaller ones stored more (docs/adr/0006).
constexpr std::pair<ZSTD_cParameter, int> kLevel2[] = {{ZSTD_c_compressionLevel, 3},
                                                       {ZSTD_c_strategy, ZSTD_dfast},
                                                       {ZSTD_c_hashLog, 14},
                                                       {ZSTD_c_chainLog, 13},
                                                       {ZSTD_c_minMatch, 5}};

// The calling thread's, set to this level.
ZSTD_CCtx* Compressor(int level) {
  thread_local const std::unique_ptr<ZSTD_CCtx, ContextDeleter> context(ZSTD_createCCtx());
  thread_local std::optional<int> set;
  UMBRA_CHECK(context != nullptr);
  if (set == level) return context.get();
  set = level;
  ZSTD_CCtx_reset(context.get(), ZSTD_reset_session_and_parameters);
  if (level == 2) {
    for (const auto& [parameter, value] : kLevel2) ZSTD_CCtx_setParameter(context.get(), parameter, value);
  } else {
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  }
  return context.get();
}

ZSTD_DCtx* Decompressor() {
  thread_local const std::unique_ptr<ZSTD_DCtx, ContextDeleter> context(ZSTD_createDCtx());
  UMBRA_CHECK(context != nullptr);
  return context.get();
}

// c * log2(c) for every count that a sample can have.
const std::array<float, kSampleBytes + 1>& CountLogs() {
  static const auto table = [] {
    std::array<float, kSampleBytes + 1> t{};
    for (size_t c = 1; c < t.size(); ++c) t[c] = static_cast<float>(c * std::log2(static_cast<double>(c)));
    return t;
  }();
  return table;
}

// Order-0 entropy, in bits per byte, of pieces spread evenly over `plain`.
bool LooksIncompressible(base::Bytes plain) {
  if (plain.size() < kSampleBytes) return false;
  constexpr size_t kPiece = kSampleBytes / kSamplePieces;
  const size_t step = (plain.size() - kPiece) / (kSamplePieces - 1);
  // Four tables, because an increment waits for the one before it when both are of the same byte.
  std::array<std::array<uint16_t, 256>, 4> counts{};
  for (size_t piece = 0; piece < kSamplePieces; ++piece) {
    const base::Bytes bytes = plain.subspan(piece * step, kPiece);
    for (size_t i = 0; i < kPiece; i += counts.size()) {
      for (size_t table = 0; table < counts.size(); ++table) ++counts[table][std::to_integer<size_t>(bytes[i + table])];
    }
  }
  double sum = 0;
  for (size_t b = 0; b < counts[0].size(); ++b) sum += CountLogs()[counts[0][b] + counts[1][b] + counts[2][b] + counts[3][b]];
  return std::log2(static_cast<double>(kSampleBytes)) - sum / kSampleBytes > kIncompressibleBits;
}

absl::Status Damaged(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "CHUNK_DAMAGED", std::move(message));
}

}  // namespace

bool ChunkId::IsZero() const {
  return *this == kZeroChunkId;
}

ChunkId ChunkId::FromBytes(base::Bytes raw) {
  UMBRA_CHECK(raw.size() == kChunkIdSize);
  ChunkId id;
  std::memcpy(id.bytes.data(), raw.data(), kChunkIdSize);
  return id;
}

std::optional<IdSuite> ToIdSuite(uint32_t value) {
  if (value == 1 || value == 2) return static_cast<IdSuite>(value);
  return std::nullopt;
}

std::optional<Codec> ToCodec(uint32_t value) {
  if (value <= static_cast<uint32_t>(Codec::kLz4)) return static_cast<Codec>(value);
  return std::nullopt;
}

ChunkHasher::ChunkHasher(IdSuite suite, base::Bytes key) : suite_(suite) {
  UMBRA_CHECK(key.size() == kIdKeySize);
  std::memcpy(key_.data(), key.data(), kIdKeySize);
  // BLAKE3 looks at the processor when it hashes for the first time, and notes what it found without a lock: once,
  // here, before any thread hashes.
  static const ChunkId first = Id(key_);
  (void)first;
}

ChunkId ChunkHasher::Id(base::Bytes plain) const {
  ChunkId id;
  auto* out = reinterpret_cast<uint8_t*>(id.bytes.data());
  if (suite_ == IdSuite::kBlake3Keyed) {
    blake3_hasher hasher;
    blake3_hasher_init_keyed(&hasher, reinterpret_cast<const uint8_t*>(key_.data()));
    blake3_hasher_update(&hasher, plain.data(), plain.size());
    blake3_hasher_finalize(&hasher, out, kChunkIdSize);
  } else {
    unsigned int length = 0;
    const auto* data = reinterpret_cast<const unsigned char*>(plain.data());
    UMBRA_CHECK(HMAC(EVP_sha256(), key_.data(), kIdKeySize, data, plain.size(), out, &length) != nullptr);
    UMBRA_CHECK(length == kChunkIdSize);
  }
  return id;
}

namespace {

// Returns the bytes written to `out`; 0 when they would be more than that. The codecs give up early by themselves.
size_t CompressInto(base::Bytes plain, const Compression& how, base::MutableBytes out) {
  if (how.codec == Codec::kLz4) {
    const int size = LZ4_compress_fast(reinterpret_cast<const char*>(plain.data()), reinterpret_cast<char*>(out.data()),
                                       static_cast<int>(plain.size()), static_cast<int>(out.size()), how.level);
    return static_cast<size_t>(size);
  }
  const size_t size = ZSTD_compress2(Compressor(how.level), out.data(), out.size(), plain.data(), plain.size());
  return ZSTD_isError(size) ? 0 : size;
}

}  // namespace

CompressedChunk CompressChunk(base::Bytes plain, const Compression& how, std::vector<std::byte>& scratch) {
  if (how.codec == Codec::kRaw || LooksIncompressible(plain)) return {Codec::kRaw, plain};
  const auto limit = static_cast<size_t>(static_cast<double>(plain.size()) * kWorthwhileRatio);
  if (scratch.size() < limit) scratch.resize(limit);
  const size_t size = CompressInto(plain, how, {scratch.data(), limit});
  if (size == 0) return {Codec::kRaw, plain};
  return {how.codec, base::Bytes(scratch.data(), size)};
}

namespace {

absl::Status DecompressLz4(base::Bytes stored, base::MutableBytes plain) {
  if (stored.size() > kMaxChunkSizeBytes) return Damaged(fmt::format("chunk has {} stored bytes", stored.size()));
  const int size =
      LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()), reinterpret_cast<char*>(plain.data()),
                          static_cast<int>(stored.size()), static_cast<int>(plain.size()));
  if (size < 0) return Damaged("chunk doesn't decompress: no lz4 block of its length");
  if (static_cast<size_t>(size) != plain.size()) {
    return Damaged(fmt::format("chunk decompresses to {} bytes instead of {}", size, plain.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DecompressChunk(Codec codec, base::Bytes stored, base::MutableBytes plain) {
  if (codec == Codec::kRaw) {
    if (stored.size() != plain.size()) {
      return Damaged(fmt::format("raw chunk has {} bytes instead of {}", stored.size(), plain.size()));
    }
    if (!plain.empty()) std::memcpy(plain.data(), stored.data(), stored.size());
    return absl::OkStatus();
  }
  if (codec == Codec::kLz4) return DecompressLz4(stored, plain);
  const size_t size = ZSTD_decompressDCtx(Decompressor(), plain.data(), plain.size(), stored.data(), stored.size());
  if (ZSTD_isError(size)) return Damaged(fmt::format("chunk doesn't decompress: {}", ZSTD_getErrorName(size)));
  if (size != plain.size()) {
    return Damaged(fmt::format("chunk decompresses to {} bytes instead of {}", size, plain.size()));
  }
  return absl::OkStatus();
}

namespace {

absl::Status CheckId(const ChunkHasher& hasher, const ChunkId& id, base::Bytes plain) {
  const ChunkId found = hasher.Id(plain);
  if (found == id) return absl::OkStatus();
  return Damaged(fmt::format("the data is chunk {}, not {}", found.ToHex(), id.ToHex()));
}

}  // namespace

absl::Status OpenChunkInto(const ChunkHasher& hasher, const ChunkId& id, Codec codec, base::Bytes stored,
                           base::MutableBytes plain) {
  RETURN_IF_ERROR(DecompressChunk(codec, stored, plain));
  return CheckId(hasher, id, plain);
}

absl::Status OpenChunk(const ChunkHasher& hasher, const ChunkId& id, Codec codec, uint32_t plain_length,
                       base::Bytes stored, std::vector<std::byte>& scratch, base::Bytes& plain) {
  if (codec == Codec::kRaw && stored.size() == plain_length) {
    plain = stored;
    return CheckId(hasher, id, plain);
  }
  if (plain_length > kMaxChunkSizeBytes) return Damaged(fmt::format("chunk claims {} plain bytes", plain_length));
  if (scratch.size() < plain_length) scratch.resize(plain_length);
  plain = base::Bytes(scratch.data(), plain_length);
  return OpenChunkInto(hasher, id, codec, stored, {scratch.data(), plain_length});
}

}  // namespace umbra::repo
