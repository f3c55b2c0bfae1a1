#include "storage/repo/chunk.h"

#include <blake3.h>
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

ZSTD_CCtx* Compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, ContextDeleter> context(ZSTD_createCCtx());
  UMBRA_CHECK(context != nullptr);
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
  std::array<uint16_t, 256> counts{};
  for (size_t piece = 0; piece < kSamplePieces; ++piece) {
    for (std::byte b : plain.subspan(piece * step, kPiece)) ++counts[std::to_integer<size_t>(b)];
  }
  double sum = 0;
  for (uint16_t count : counts) sum += CountLogs()[count];
  return std::log2(static_cast<double>(kSampleBytes)) - sum / kSampleBytes > kIncompressibleBits;
}

absl::Status Damaged(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "CHUNK_DAMAGED", std::move(message));
}

}  // namespace

bool ChunkId::IsZero() const { return *this == kZeroChunkId; }

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
  if (value <= 1) return static_cast<Codec>(value);
  return std::nullopt;
}

ChunkHasher::ChunkHasher(IdSuite suite, base::Bytes key) : suite_(suite) {
  UMBRA_CHECK(key.size() == kIdKeySize);
  std::memcpy(key_.data(), key.data(), kIdKeySize);
  // BLAKE3 looks at the processor when it hashes for the first time, and notes what it found without a lock: once, here,
  // before any thread hashes.
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

CompressedChunk CompressChunk(base::Bytes plain, int level, std::vector<std::byte>& scratch) {
  if (LooksIncompressible(plain)) return {Codec::kRaw, plain};
  // The output buffer ends where compression stops being worth it; zstd then gives up early by itself.
  const auto limit = static_cast<size_t>(static_cast<double>(plain.size()) * kWorthwhileRatio);
  if (scratch.size() < limit) scratch.resize(limit);
  const size_t size = ZSTD_compressCCtx(Compressor(), scratch.data(), limit, plain.data(), plain.size(), level);
  if (ZSTD_isError(size)) return {Codec::kRaw, plain};
  return {Codec::kZstd, base::Bytes(scratch.data(), size)};
}

absl::Status DecompressChunk(Codec codec, base::Bytes stored, base::MutableBytes plain) {
  if (codec == Codec::kRaw) {
    if (stored.size() != plain.size()) {
      return Damaged(fmt::format("raw chunk has {} bytes instead of {}", stored.size(), plain.size()));
    }
    if (!plain.empty()) std::memcpy(plain.data(), stored.data(), stored.size());
    return absl::OkStatus();
  }
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

absl::Status OpenChunk(const ChunkHasher& hasher, const ChunkId& id, Codec codec, uint32_t plain_length, base::Bytes stored,
                       std::vector<std::byte>& scratch, base::Bytes& plain) {
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
