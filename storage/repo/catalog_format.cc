#include "storage/repo/catalog_format.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "storage/base/secret_equals.h"
#include "storage/base/status.h"
#include "storage/repo/wire.h"

namespace umbra::repo {
namespace {

constexpr std::string_view kMagic = "UMBRACC1";
constexpr std::string_view kSuffix = ".catalog";
constexpr std::string_view kPurpose = "umbra catalog v1";
constexpr uint32_t kVersion = 1;
// A header up to its commitment.
constexpr size_t kKeyedSize = 80;
constexpr size_t kIdSize = 25;

absl::Status Bad(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CATALOG_COPY_DAMAGED", "the copy of the catalog is damaged: {}",
                     what);
}

std::string KeyedPart(const CatalogHeader& header) {
  ByteWriter out;
  out.Text(kMagic).Int(kVersion).Int(header.epoch).Raw(header.repository).Raw(header.salt);
  out.Int(header.create_time_us).Int(header.sequence);
  UMBRA_CHECK(out.str().size() == kKeyedSize);
  return out.Take();
}

absl::StatusOr<ObjectKey> ObjectKeyOf(const DataKeys& keys, const CatalogHeader& header) {
  return keys.KeyOf(header.epoch, header.salt, kPurpose, base::AsBytes(KeyedPart(header)));
}

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool HashFits(base::Bytes content, base::Bytes hash) {
  const Hash want = HashOf(content);
  return std::memcmp(want.data(), hash.data(), want.size()) == 0;
}

}  // namespace

std::string CatalogCopyId(uint64_t sequence, std::string_view suffix) {
  return fmt::format("{:016x}-{}", sequence, suffix);
}

std::string CatalogName(std::string_view id) {
  return fmt::format("{}{}{}", kCatalogPrefix, id, kSuffix);
}

bool ParseCatalogCopyId(std::string_view id, uint64_t& sequence) {
  if (id.size() != kIdSize || id[16] != '-' || !IsHex(id.substr(0, 16)) || !IsHex(id.substr(17))) return false;
  const auto parsed = std::from_chars(id.data(), id.data() + 16, sequence, 16);
  return parsed.ec == std::errc() && parsed.ptr == id.data() + 16;
}

std::string CatalogCopyIdOf(std::string_view name) {
  constexpr size_t kIdAt = sizeof(kCatalogPrefix) - 1;
  if (name.size() != kIdAt + kIdSize + kSuffix.size()) return "";
  const std::string id(name.substr(kIdAt, kIdSize));
  uint64_t sequence = 0;
  return ParseCatalogCopyId(id, sequence) && name == CatalogName(id) ? id : "";
}

KeyedCatalog NewCatalogCopy(const DataKeys& keys, base::Random& random, const RawUuid& repository, uint64_t sequence,
                            int64_t create_time_us) {
  KeyedCatalog copy;
  copy.header.repository = repository;
  copy.header.epoch = keys.epoch();
  random.Fill(copy.header.salt);
  copy.header.create_time_us = create_time_us;
  copy.header.sequence = sequence;
  const auto derived = ObjectKeyOf(keys, copy.header);
  UMBRA_CHECK(derived.ok());
  copy.key = derived->key;
  copy.header.commitment = derived->commitment;
  return copy;
}

std::string EncodeCatalogHeader(const CatalogHeader& header) {
  ByteWriter out;
  out.Text(KeyedPart(header)).Raw(header.commitment);
  out.Raw(HashOf(base::AsBytes(out.str())));
  UMBRA_CHECK(out.str().size() == kCatalogHeaderSize);
  return out.Take();
}

absl::StatusOr<CatalogHeader> DecodeCatalogHeader(base::Bytes bytes) {
  if (bytes.size() != kCatalogHeaderSize) return Bad("it is too short");
  if (!HashFits(bytes.first(kCatalogHeaderSize - 32), bytes.last(32))) return Bad("the hash of its header is wrong");
  ByteReader in(bytes);
  CatalogHeader header;
  if (!in.Magic(kMagic) || in.Int<uint32_t>() != kVersion) return Bad("it is no copy, or of another version");
  header.epoch = in.Int<uint32_t>();
  header.repository = in.Array<16>();
  header.salt = in.Array<32>();
  header.create_time_us = in.Int<int64_t>();
  header.sequence = in.Int<uint64_t>();
  header.commitment = in.Array<32>();
  return header;
}

absl::StatusOr<Key> KeyOfCatalog(const DataKeys& keys, const CatalogHeader& header) {
  const auto derived = ObjectKeyOf(keys, header);
  if (!derived.ok()) return Bad(base::MessageOf(derived.status()));
  if (base::SecretEquals(derived->commitment, header.commitment)) return derived->key;
  return Bad("its header wasn't made with this repository's keys");
}

std::string EncodeSegment(Sealer& sealer, uint64_t number, base::Bytes plain, bool last,
                          std::vector<std::byte>& scratch) {
  UMBRA_CHECK(plain.size() <= kCatalogSegmentSize);
  const CompressedChunk compressed =
      plain.empty() ? CompressedChunk{Codec::kRaw, plain} : CompressChunk(plain, Compression(), scratch);
  ByteWriter out;
  out.Int(static_cast<uint32_t>(compressed.data.size() + kTagSize)).Int(static_cast<uint32_t>(plain.size()));
  out.Int(static_cast<uint16_t>(compressed.codec)).Int(static_cast<uint16_t>(last ? 1 : 0));
  std::string segment = out.Take();
  const std::string head = segment;
  segment.resize(head.size() + compressed.data.size() + kTagSize);
  sealer.Seal(number, base::AsBytes(head), compressed.data, reinterpret_cast<std::byte*>(segment.data() + head.size()));
  return segment.append(base::AsText(HashOf(base::AsBytes(segment))));
}

absl::StatusOr<SegmentHead> DecodeSegmentHead(base::Bytes bytes) {
  ByteReader in(bytes);
  SegmentHead head;
  head.stored_length = in.Int<uint32_t>();
  head.plain_length = in.Int<uint32_t>();
  const auto codec = ToCodec(in.Int<uint16_t>());
  const auto last = in.Int<uint16_t>();
  if (!in.ok() || !codec.has_value() || last > 1) return Bad("a segment begins with what none begins with");
  head.codec = *codec;
  head.last = last == 1;
  if (head.stored_length < kTagSize || head.stored_length > kCatalogSegmentSize + kTagSize ||
      head.plain_length > kCatalogSegmentSize) {
    return Bad("a segment has a length that none has");
  }
  return head;
}

absl::Status CheckSegment(base::Bytes bytes) {
  if (bytes.size() < kCatalogSegmentHeadSize + kTagSize + kCatalogSegmentHashSize) return Bad("a segment is too short");
  const size_t content = bytes.size() - kCatalogSegmentHashSize;
  return HashFits(bytes.first(content), bytes.subspan(content)) ? absl::OkStatus()
                                                                : Bad("the hash of a segment is wrong");
}

absl::StatusOr<std::string> OpenSegment(Opener& opener, uint64_t number, base::Bytes bytes) {
  RETURN_IF_ERROR(CheckSegment(bytes));
  const base::Bytes head_bytes = bytes.first(kCatalogSegmentHeadSize);
  ASSIGN_OR_RETURN(const SegmentHead head, DecodeSegmentHead(head_bytes));
  const base::Bytes sealed =
      bytes.subspan(kCatalogSegmentHeadSize, bytes.size() - kCatalogSegmentHeadSize - kCatalogSegmentHashSize);
  if (sealed.size() != head.stored_length) return Bad("a segment has another length than it says");
  std::vector<std::byte> stored(sealed.size() - kTagSize);
  if (!opener.Open(number, head_bytes, sealed, stored.data())) return Bad("the tag of a segment is wrong");
  std::string plain(head.plain_length, '\0');
  if (plain.empty()) return stored.empty() ? absl::StatusOr<std::string>(plain) : Bad("an empty segment isn't empty");
  const auto out = std::as_writable_bytes(std::span(plain.data(), plain.size()));
  if (!DecompressChunk(head.codec, stored, out).ok()) return Bad("a segment can't be decompressed");
  return plain;
}

}  // namespace umbra::repo
