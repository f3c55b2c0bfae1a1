// Proves that chunk ids are the documented hashes, that what CompressChunk makes OpenChunk gives back, and that
// wrong bytes of any kind are refused.
#include "storage/repo/chunk.h"

#include <gtest/gtest.h>

#include <thread>

#include "storage/base/random.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

using base::AsBytes;

std::string Key() {
  std::string key(kIdKeySize, '\0');
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<char>(i);
  return key;
}

std::string Noise(size_t size, uint64_t seed = 1) {
  std::string bytes(size, '\0');
  base::SeededRandom random(seed);
  random.Fill(std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  return bytes;
}

std::string Text(size_t size) {
  std::string text;
  while (text.size() < size) text += "the same words again and again " + std::to_string(text.size());
  text.resize(size);
  return text;
}

// Values made with the openssl command and a program over the official BLAKE3 code; to change them is to change the
// format.
TEST(ChunkHasher, GivesTheDocumentedIds) {
  EXPECT_EQ(ChunkHasher(IdSuite::kBlake3Keyed, AsBytes(Key())).Id(AsBytes("abc")).ToHex(),
            "6da54495d8152f2bcba87bd7282df70901cdb66b4448ed5f4c7bd2852b8b5532");
  EXPECT_EQ(ChunkHasher(IdSuite::kHmacSha256, AsBytes(Key())).Id(AsBytes("abc")).ToHex(),
            "f0133729c4163dede81e21cd47839256da58171238c8a0d874397c73b14e1e47");
}

TEST(ChunkHasher, AnotherKeyGivesAnotherId) {
  const std::string other(kIdKeySize, 'k');
  EXPECT_NE(ChunkHasher(IdSuite::kBlake3Keyed, AsBytes(Key())).Id(AsBytes("abc")),
            ChunkHasher(IdSuite::kBlake3Keyed, AsBytes(other)).Id(AsBytes("abc")));
}

TEST(ChunkHasher, ZeroIdIsNotTheIdOfZeroes) {
  EXPECT_FALSE(ChunkHasher(IdSuite::kBlake3Keyed, AsBytes(Key())).Id(AsBytes(std::string(65536, '\0'))).IsZero());
  EXPECT_TRUE(kZeroChunkId.IsZero());
}

struct Way {
  IdSuite suite;
  Compression how;
};

class Codecs : public ::testing::TestWithParam<Way> {
 protected:
  const ChunkHasher hasher_{GetParam().suite, AsBytes(Key())};
  const Compression how_ = GetParam().how;
};

INSTANTIATE_TEST_SUITE_P(All, Codecs,
                         ::testing::Values(Way{IdSuite::kBlake3Keyed, {Codec::kZstd, 1}},
                                           Way{IdSuite::kBlake3Keyed, {Codec::kZstd, -5}},
                                           Way{IdSuite::kBlake3Keyed, {Codec::kLz4, 1}},
                                           Way{IdSuite::kBlake3Keyed, {Codec::kLz4, 8}},
                                           Way{IdSuite::kHmacSha256, {Codec::kZstd, 1}}));

TEST_P(Codecs, RoundTrip) {
  std::vector<std::byte> scratch, out;
  for (const std::string& plain :
       {Text(131072), Noise(131072), std::string("x"), Text(5000), Noise(70000), std::string(131072, '\0')}) {
    const CompressedChunk chunk = CompressChunk(AsBytes(plain), how_, scratch);
    EXPECT_LE(chunk.data.size(), plain.size());
    base::Bytes opened;
    const absl::Status status = OpenChunk(hasher_, hasher_.Id(AsBytes(plain)), chunk.codec,
                                          static_cast<uint32_t>(plain.size()), chunk.data, out, opened);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(base::AsText(opened), plain);
  }
}

TEST_P(Codecs, RefusesWhatIsNotTheChunk) {
  std::vector<std::byte> scratch, out;
  const std::string plain = Text(131072);
  const ChunkId id = hasher_.Id(AsBytes(plain));
  const CompressedChunk chunk = CompressChunk(AsBytes(plain), how_, scratch);
  ASSERT_EQ(chunk.codec, how_.codec);
  const auto open = [&](Codec codec, uint32_t length, base::Bytes data) {
    base::Bytes opened;
    return base::ReasonOf(OpenChunk(hasher_, id, codec, length, data, out, opened));
  };
  EXPECT_EQ(open(how_.codec, 131072, chunk.data), "");
  EXPECT_EQ(open(how_.codec, 131071, chunk.data), "CHUNK_DAMAGED") << "shorter than said";
  EXPECT_EQ(open(how_.codec, 131073, chunk.data), "CHUNK_DAMAGED") << "longer than said";
  EXPECT_EQ(open(how_.codec, 0xffffffff, chunk.data), "CHUNK_DAMAGED") << "no such allocation is tried";
  for (const Codec other : {Codec::kRaw, Codec::kZstd, Codec::kLz4}) {
    if (other == how_.codec) continue;
    EXPECT_EQ(open(other, 131072, chunk.data), "CHUNK_DAMAGED") << "another codec";
  }
  EXPECT_EQ(open(how_.codec, 131072, chunk.data.first(chunk.data.size() - 1)), "CHUNK_DAMAGED") << "cut";
  EXPECT_EQ(open(how_.codec, 131072, {}), "CHUNK_DAMAGED") << "empty";
  std::vector<std::byte> flipped(chunk.data.begin(), chunk.data.end());
  flipped[flipped.size() / 2] ^= std::byte{1};
  EXPECT_EQ(open(how_.codec, 131072, flipped), "CHUNK_DAMAGED") << "a flipped bit";
  EXPECT_EQ(open(Codec::kRaw, 131072, AsBytes(Text(131072).replace(7, 1, "X"))), "CHUNK_DAMAGED") << "another chunk";
}

TEST(CompressChunk, StoresNoiseRawAndWithoutCopying) {
  std::vector<std::byte> scratch;
  const std::string noise = Noise(131072);
  const CompressedChunk chunk = CompressChunk(AsBytes(noise), {}, scratch);
  EXPECT_EQ(chunk.codec, Codec::kRaw);
  EXPECT_EQ(chunk.data.data(), AsBytes(noise).data());
}

TEST(CompressChunk, StoresRawWhatHardlyShrinks) {
  // 96 % noise: the sample may pass, the result doesn't.
  std::vector<std::byte> scratch;
  const std::string plain = Noise(126000) + std::string(5072, 'a');
  EXPECT_EQ(CompressChunk(AsBytes(plain), {}, scratch).codec, Codec::kRaw);
}

TEST(CompressChunk, ManyThreadsAtOnce) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      std::vector<std::byte> scratch;
      const std::string plain = Text(131072);
      std::string out(plain.size(), '\0');
      for (int i = 0; i < 50; ++i) {
        const CompressedChunk chunk = CompressChunk(AsBytes(plain), {}, scratch);
        EXPECT_TRUE(
            DecompressChunk(chunk.codec, chunk.data, std::as_writable_bytes(std::span(out.data(), out.size()))).ok());
        EXPECT_EQ(out, plain);
      }
    });
  }
}

TEST(PersistedValues, OnlyKnownOnesAreTaken) {
  EXPECT_EQ(ToCodec(2), Codec::kLz4);
  EXPECT_FALSE(ToCodec(3).has_value());
  EXPECT_FALSE(ToIdSuite(0).has_value());
  EXPECT_FALSE(ToIdSuite(3).has_value());
  EXPECT_EQ(ToIdSuite(2), IdSuite::kHmacSha256);
}

}  // namespace
}  // namespace umbra::repo
