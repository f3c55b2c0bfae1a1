// Target: chunks that an agent sends. Whatever is accepted must have the id that it claims.
#include "storage/repo/chunk.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

const repo::ChunkHasher& Hasher() {
  static const repo::ChunkHasher hasher(repo::IdSuite::kBlake3Keyed,
                                        base::AsBytes(std::string_view("0123456789abcdef0123456789abcdef")));
  return hasher;
}

// codec, plain length (4 bytes), id, data
std::string Encode(repo::Codec codec, std::string_view plain, base::Bytes data) {
  const uint32_t length = static_cast<uint32_t>(plain.size());
  std::string input(1, static_cast<char>(codec));
  input.append(reinterpret_cast<const char*>(&length), sizeof length);
  const repo::ChunkId id = Hasher().Id(base::AsBytes(plain));
  input.append(base::AsText(id.bytes));
  return input + std::string(base::AsText(data));
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string plain = "the quick brown fox " + std::string(5000, 'x');
  std::vector<std::byte> scratch;
  const repo::CompressedChunk compressed = repo::CompressChunk(base::AsBytes(plain), {}, scratch);
  std::vector<std::byte> other;
  const repo::CompressedChunk block = repo::CompressChunk(base::AsBytes(plain), {repo::Codec::kLz4, 1}, other);
  return {Encode(compressed.codec, plain, compressed.data), Encode(block.codec, plain, block.data),
          Encode(repo::Codec::kRaw, plain, base::AsBytes(plain))};
}

void TestOneInput(std::string_view input) {
  constexpr size_t kHead = 1 + sizeof(uint32_t) + repo::kChunkIdSize;
  if (input.size() < kHead) return;
  const auto codec = repo::ToCodec(static_cast<uint8_t>(input[0]));
  uint32_t length;
  std::memcpy(&length, input.data() + 1, sizeof length);
  if (!codec.has_value() || length == 0 || length > repo::kMaxChunkSizeBytes) return;
  const auto id = repo::ChunkId::FromBytes(base::AsBytes(input.substr(1 + sizeof length, repo::kChunkIdSize)));
  std::vector<std::byte> scratch;
  base::Bytes plain;
  if (!repo::OpenChunk(Hasher(), id, *codec, length, base::AsBytes(input.substr(kHead)), scratch, plain).ok()) return;
  Require(plain.size() == length, "an accepted chunk has its length");
  Require(Hasher().Id(plain) == id, "an accepted chunk has its id");
}

}  // namespace umbra::fuzz
