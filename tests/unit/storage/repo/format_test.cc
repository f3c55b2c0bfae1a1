// Proves that the bytes of the format round-trip, and that every flipped bit and every cut of them is noticed.
#include "storage/repo/format.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

using base::AsBytes;

constexpr char kUuid[] = "01234567-89ab-4def-8123-456789abcdef";

RepositoryInfo Info() {
  RepositoryInfo info;
  info.uuid = kUuid;
  info.format_version = 2;
  info.chunk_size_bytes = 131072;
  info.map_page_entries = 1024;
  info.id_suite = IdSuite::kBlake3Keyed;
  info.create_time = absl::FromUnixMicros(1767225600123456);
  return info;
}

Point SomePoint() {
  Point point;
  point.manifest.set_recovery_point_id(kUuid);
  point.manifest.set_vm_display_name("db1");
  point.manifest.add_disks()->set_name("vda");
  ChunkId page;
  page.bytes[0] = std::byte{7};
  point.disks.push_back({"vda", 1 << 30, {page, kZeroChunkId}});
  point.disks.push_back({"vdb", 12345, {}});
  return point;
}

const DataKeys& Keys() {
  static const auto* keys = [] {
    auto* made = new DataKeys;
    made->Add(1, Key());
    return made;
  }();
  return *keys;
}

std::string Encoded(std::string_view repository) {
  base::SeededRandom random(1);
  return EncodePoint(Keys(), random, ToRawUuid(repository), SomePoint());
}

// Calls `decode` with every bit of `bytes` flipped in turn and with every shorter length: it must return false.
template <typename Decode>
void ExpectEveryDamageIsNoticed(const std::string& bytes, const Decode& decode) {
  ASSERT_TRUE(decode(bytes));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(decode(damaged)) << "bit " << bit;
  }
  for (size_t length = 0; length < bytes.size(); ++length) EXPECT_FALSE(decode(bytes.substr(0, length))) << length;
}

TEST(Header, RoundTrip) {
  const auto info = DecodeHeader(EncodeHeader(Info()));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->uuid, kUuid);
  EXPECT_EQ(info->chunk_size_bytes, 131072u);
  EXPECT_EQ(info->map_page_entries, 1024u);
  EXPECT_EQ(info->id_suite, IdSuite::kBlake3Keyed);
  EXPECT_EQ(info->id_key, "") << "the header holds no secret";
  EXPECT_EQ(info->create_time, absl::FromUnixMicros(1767225600123456));
}

TEST(Header, IsTheDocumentedText) {
  const std::string text = EncodeHeader(Info());
  EXPECT_TRUE(text.starts_with(
      "umbra-repository\nformat_version 2\ncompatible_version 2\nrepository_id 01234567-89ab-4def-8123-456789abcdef\n"
      "create_time_us 1767225600123456\nchunk_size_bytes 131072\nmap_page_entries 1024\nid_suite 1\naead_suite 1\n"
      "checksum "))
      << text;
}

TEST(Header, DamageIsNoticed) {
  ExpectEveryDamageIsNoticed(EncodeHeader(Info()), [](const std::string& text) { return DecodeHeader(text).ok(); });
}

// A header whose checksum is right, with one line replaced.
std::string HeaderWith(std::string_view line, std::string_view replacement) {
  std::string text = EncodeHeader(Info());
  text = text.substr(0, text.rfind("checksum "));
  text.replace(text.find(line), line.size(), replacement);
  return text + fmt::format("checksum {}\n", base::ToHex(HashOf(AsBytes(text))));
}

TEST(Header, RefusesWhatItDoesNotKnow) {
  for (const auto& [line, replacement] :
       {std::pair("compatible_version 2", "compatible_version 3"), std::pair("aead_suite 1", "aead_suite 2"),
        std::pair("id_suite 1", "id_suite 9"), std::pair("chunk_size_bytes 131072", "chunk_size_bytes 131073"),
        std::pair("chunk_size_bytes 131072", "chunk_size_bytes 32768"),
        std::pair("map_page_entries 1024", "map_page_entries 0"), std::pair("repository_id 0", "repository_id x")}) {
    const auto info = DecodeHeader(HeaderWith(line, replacement));
    EXPECT_EQ(base::ReasonOf(info.status()), "REPOSITORY_INCOMPATIBLE") << replacement;
  }
}

TEST(Header, TakesNewerOnesThatSayTheyAreCompatible) {
  EXPECT_TRUE(DecodeHeader(HeaderWith("format_version 2", "format_version 7")).ok());
  EXPECT_TRUE(DecodeHeader(HeaderWith("aead_suite 1", "aead_suite 1\nsomething new")).ok());
}

// What programs before encryption wrote, byte for byte.
TEST(Header, OneWithoutEncryptionIsRefusedAndSaysWhy) {
  std::string text =
      "umbra-repository\nformat_version 1\ncompatible_version 1\nrepository_id 01234567-89ab-4def-8123-456789abcdef\n"
      "create_time_us 1767225600123456\nchunk_size_bytes 131072\nmap_page_entries 1024\nid_suite 1\naead_suite 0\n"
      "key_slot id 0 6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b\n";
  text += fmt::format("checksum {}\n", base::ToHex(HashOf(AsBytes(text))));
  const auto info = DecodeHeader(text);
  EXPECT_EQ(base::ReasonOf(info.status()), "REPOSITORY_INCOMPATIBLE");
  EXPECT_NE(base::MessageOf(info.status()).find("without encryption"), std::string::npos) << info.status();
}

TEST(Names, OnlyWellFormedOnes) {
  PackId id{};
  id[0] = std::byte{0xab};
  const std::string name = PackName(id);
  EXPECT_EQ(name, "packs/ab/ab000000000000000000000000000000.pack");
  PackId parsed;
  EXPECT_TRUE(ParsePackName(name, parsed));
  EXPECT_EQ(parsed, id);
  EXPECT_FALSE(ParsePackName("packs/aa/ab000000000000000000000000000000.pack", parsed));
  EXPECT_FALSE(ParsePackName("packs/ab/AB000000000000000000000000000000.pack", parsed));
  EXPECT_FALSE(ParsePackName(name + "x", parsed));
  EXPECT_TRUE(IsUuidText(kUuid));
  for (const char* bad : {"", "../../../../../../../../../etc/passwd", "01234567-89AB-4def-8123-456789abcdef",
                          "01234567-89ab-4def-8123-456789abcdef0", "0123456789ab--4def-8123-456789abcdef"}) {
    EXPECT_FALSE(IsUuidText(bad)) << bad;
  }
}

TEST(Pack, RoundTripAndDamage) {
  PackHeader header;
  header.pack[3] = std::byte{9};
  header.create_time_us = 42;
  PackSlot slot;
  slot.offset = kPackHeaderSize;
  slot.stored_length = kTagSize + 4;
  slot.plain_length = 20;
  slot.codec = Codec::kZstd;
  const std::string head = EncodePackHeader(header);
  const std::string end = EncodePackEnd(head, {slot, slot}, kPackHeaderSize + 20);
  const auto decode = [](const std::string& bytes) {
    if (bytes.size() < kPackHeaderSize + kPackTrailerSize) return false;
    const base::Bytes all = AsBytes(bytes);
    const auto decoded = DecodePackHeader(all.first(kPackHeaderSize));
    const auto trailer = DecodePackTrailer(all.last(kPackTrailerSize), bytes.size() + 20);
    if (!decoded.ok() || !trailer.ok()) return false;
    const auto slots = DecodePackFooter(all.first(kPackHeaderSize),
                                        all.subspan(kPackHeaderSize, all.size() - kPackHeaderSize - kPackTrailerSize),
                                        all.last(kPackTrailerSize));
    return slots.ok() && slots->size() == 2 && (*slots)[1].plain_length == 20 && (*slots)[1].codec == Codec::kZstd;
  };
  ExpectEveryDamageIsNoticed(head + end, decode);
}

TEST(IndexBlock, RoundTripAndDamage) {
  std::vector<IndexEntry> entries(3);
  entries[2].id.bytes[5] = std::byte{1};
  entries[2].pack = 70000;
  entries[2].offset = 4000000000;
  entries[2].stored_length = 1000000;
  entries[2].plain_length = 1048576;
  entries[2].codec = Codec::kZstd;
  entries[2].check = 0x0123456789abcdef;
  const std::string block = EncodeIndexBlock(entries);
  ASSERT_EQ(block.size(), kIndexBlockSize);
  const IndexEntry entry = DecodeIndexEntry(AsBytes(block), 2);
  EXPECT_EQ(entry.id, entries[2].id);
  EXPECT_EQ(entry.pack, 70000u);
  EXPECT_EQ(entry.offset, 4000000000u);
  EXPECT_EQ(entry.stored_length, 1000000u);
  EXPECT_EQ(entry.plain_length, 1048576u);
  EXPECT_EQ(entry.codec, Codec::kZstd);
  EXPECT_EQ(entry.check, 0x0123456789abcdefu);
  EXPECT_TRUE(IndexBlockIsIntact(AsBytes(block)));
  for (size_t bit = 0; bit < block.size() * 8; bit += 13) {
    std::string damaged = block;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(IndexBlockIsIntact(AsBytes(damaged))) << bit;
  }
}

TEST(Point, RoundTrip) {
  const auto point = DecodePoint(Keys(), ToRawUuid(kUuid), Encoded(kUuid));
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_EQ(point->manifest.vm_display_name(), "db1");
  ASSERT_EQ(point->disks.size(), 2u);
  EXPECT_EQ(point->disks[0].pages, SomePoint().disks[0].pages);
  EXPECT_EQ(point->disks[1].capacity_bytes, 12345u);
}

TEST(Point, DamageIsNoticed) {
  ExpectEveryDamageIsNoticed(
      Encoded(kUuid), [](const std::string& bytes) { return DecodePoint(Keys(), ToRawUuid(kUuid), bytes).ok(); });
}

TEST(Point, OfAnotherRepositoryIsRefused) {
  const std::string bytes = Encoded("ffffffff-89ab-4def-8123-456789abcdef");
  EXPECT_EQ(base::ReasonOf(DecodePoint(Keys(), ToRawUuid(kUuid), bytes).status()), "MANIFEST_DAMAGED");
}

// A point whose hash is right but whose lengths lie: nothing may be read beyond the end, nothing huge allocated.
TEST(Point, LyingLengthsAreRefused) {
  const std::string sealed = Encoded(kUuid);
  for (size_t at = 0; at + 8 + 32 <= sealed.size(); ++at) {
    std::string body = sealed.substr(0, sealed.size() - 32);
    std::memset(body.data() + at, 0xff, 8);
    const Hash hash = HashOf(AsBytes(body));
    EXPECT_FALSE(DecodePoint(Keys(), ToRawUuid(kUuid), body + std::string(base::AsText(hash))).ok()) << at;
  }
  const std::string good = EncodePointBody(SomePoint());
  ASSERT_TRUE(DecodePointBody(AsBytes(good)).ok());
  for (size_t at = 0; at + 8 <= good.size(); ++at) {
    std::string body = good;
    std::memset(body.data() + at, 0xff, 8);
    (void)DecodePointBody(AsBytes(body));
  }
}

TEST(Commit, RoundTripAndDamage) {
  const std::string bytes = EncodeCommit({{kUuid, "first"}, {kUuid, std::string(300, 'x')}});
  ExpectEveryDamageIsNoticed(bytes, [](const std::string& damaged) {
    const auto points = DecodeCommit(damaged);
    return points.ok() && points->size() == 2 && (*points)[1].bytes == std::string(300, 'x');
  });
}

}  // namespace
}  // namespace umbra::repo
