#include "storage/repo/format.h"

#include <blake3.h>

#include <charconv>
#include <map>

#include "storage/base/secret_equals.h"
#include "storage/base/status.h"
#include "storage/repo/wire.h"

namespace umbra::repo {
namespace {

constexpr std::string_view kPackMagic = "UMBRAPK2";
constexpr std::string_view kIndexMagic = "UMBRAIX1";
constexpr std::string_view kPointMagic = "UMBRAPT2";
constexpr std::string_view kCommitMagic = "UMBRACM1";
constexpr std::string_view kMarkMagic = "UMBRAQM1";
constexpr std::string_view kEndMagic = "UMBRAEND";
constexpr std::string_view kPackSuffix = ".pack";
constexpr std::string_view kMarkSuffix = ".mark";
constexpr std::string_view kPackPurpose = "umbra pack v2";
constexpr std::string_view kPointPurpose = "umbra point v2";
constexpr uint32_t kObjectVersion = 2;  // of packs and points
constexpr uint32_t kAeadSuite = 1;      // AES-256-GCM
// A point up to its commitment.
constexpr size_t kPointKeyedSize = 72;

absl::Status BadPack(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "pack is damaged: {}", what);
}

absl::Status BadIndex(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "INDEX_DAMAGED", "index run is damaged: {}", what);
}

absl::Status BadPoint(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "recovery point is damaged: {}", what);
}

absl::Status BadHeader(std::string_view what) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "REPOSITORY_INCOMPATIBLE", "repository header: {}", what);
}

template <typename T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string PackName(const PackId& id) {
  const std::string hex = base::ToHex(id);
  return fmt::format("{}{}/{}{}", kPackPrefix, hex.substr(0, 2), hex, kPackSuffix);
}

bool ParsePackName(std::string_view name, PackId& id) {
  constexpr size_t kHexAt = sizeof(kPackPrefix) - 1 + 3;
  if (name.size() != kHexAt + 32 + kPackSuffix.size()) return false;
  const auto raw = base::FromHex(name.substr(kHexAt, 32));
  if (!raw.has_value()) return false;
  std::memcpy(id.data(), raw->data(), id.size());
  return PackName(id) == name;
}

std::string PointName(std::string_view recovery_point_id) {
  return fmt::format("{}{}.point", kPointPrefix, recovery_point_id);
}

std::string RunName(uint64_t sequence, std::string_view suffix) {
  return fmt::format("{}{:016x}-{}.run", kIndexPrefix, sequence, suffix);
}

bool IsUuidText(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

RawUuid ToRawUuid(std::string_view text) {
  UMBRA_CHECK(IsUuidText(text));
  std::string hex(text);
  std::erase(hex, '-');
  const std::string raw = *base::FromHex(hex);
  RawUuid uuid;
  std::memcpy(uuid.data(), raw.data(), uuid.size());
  return uuid;
}

Hash HashOf(base::Bytes a, base::Bytes b, base::Bytes c) {
  blake3_hasher hasher;
  blake3_hasher_init(&hasher);
  for (base::Bytes part : {a, b, c}) blake3_hasher_update(&hasher, part.data(), part.size());
  Hash hash;
  blake3_hasher_finalize(&hasher, reinterpret_cast<uint8_t*>(hash.data()), hash.size());
  return hash;
}

uint64_t CheckOf(const Hash& stored_hash) { return ByteReader(stored_hash).Int<uint64_t>(); }

std::string EncodeHeader(const RepositoryInfo& info) {
  std::string text = fmt::format(
      "umbra-repository\nformat_version {}\ncompatible_version {}\nrepository_id {}\ncreate_time_us {}\n"
      "chunk_size_bytes {}\nmap_page_entries {}\nid_suite {}\naead_suite {}\n",
      info.format_version, kCompatibleVersion, info.uuid, absl::ToUnixMicros(info.create_time), info.chunk_size_bytes,
      info.map_page_entries, static_cast<uint32_t>(info.id_suite), kAeadSuite);
  text += fmt::format("checksum {}\n", base::ToHex(HashOf(base::AsBytes(text))));
  return text;
}

namespace {

// The lines "key value" of an intact header.
absl::StatusOr<std::map<std::string, std::string, std::less<>>> HeaderFields(std::string_view text) {
  if (!text.starts_with("umbra-repository\n")) return BadHeader("this is no repository");
  const size_t checksum_at = text.rfind("\nchecksum ") + 1;
  if (checksum_at == 0) return BadHeader("the checksum is missing");
  const std::string want = fmt::format("checksum {}\n", base::ToHex(HashOf(base::AsBytes(text.substr(0, checksum_at)))));
  if (text.substr(checksum_at) != want) return BadHeader("it is damaged, its checksum is wrong");
  std::map<std::string, std::string, std::less<>> fields;
  for (std::string_view rest = text.substr(0, checksum_at); !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    fields[std::string(line.substr(0, space))] = line.substr(space + 1);
  }
  return fields;
}

}  // namespace

absl::StatusOr<std::string> RepositoryIdOf(std::string_view text) {
  ASSIGN_OR_RETURN(auto fields, HeaderFields(text));
  const std::string id = fields["repository_id"];
  if (!IsUuidText(id)) return BadHeader("a field is missing or wrong");
  return id;
}

absl::StatusOr<RepositoryInfo> DecodeHeader(std::string_view text) {
  ASSIGN_OR_RETURN(auto fields, HeaderFields(text));
  uint32_t compatible = 0;
  if (!ParseNumber(fields["compatible_version"], compatible)) return BadHeader("no compatible_version");
  if (compatible > kFormatVersion) {
    return BadHeader(fmt::format("it needs version {}, this program knows {}", compatible, kFormatVersion));
  }
  RepositoryInfo info;
  uint32_t suite = 0, aead = 0;
  int64_t created = 0;
  info.uuid = fields["repository_id"];
  const bool numbers = ParseNumber(fields["format_version"], info.format_version) && ParseNumber(fields["id_suite"], suite) &&
                       ParseNumber(fields["create_time_us"], created) && ParseNumber(fields["aead_suite"], aead) &&
                       ParseNumber(fields["chunk_size_bytes"], info.chunk_size_bytes) &&
                       ParseNumber(fields["map_page_entries"], info.map_page_entries);
  if (!numbers || !IsUuidText(info.uuid)) return BadHeader("a field is missing or wrong");
  const bool chunk_size_ok = info.chunk_size_bytes >= kMinChunkSizeBytes && info.chunk_size_bytes <= kMaxChunkSizeBytes &&
                             (info.chunk_size_bytes & (info.chunk_size_bytes - 1)) == 0;
  const bool page_ok = info.map_page_entries >= 1 && info.map_page_entries * kChunkIdSize <= kMaxChunkSizeBytes;
  if (!chunk_size_ok || !page_ok) return BadHeader("chunk size or page size is out of range");
  if (aead == 0)
    return BadHeader("it was made without encryption, by an early version; such repositories aren't used any more");
  if (aead != kAeadSuite || !ToIdSuite(suite).has_value()) {
    return BadHeader("it uses an id suite or an encryption that this program doesn't know");
  }
  info.id_suite = *ToIdSuite(suite);
  info.create_time = absl::FromUnixMicros(created);
  return info;
}

std::string EncodePackHeader(const PackHeader& header) {
  ByteWriter out;
  out.Text(kPackMagic).Int(kObjectVersion).Int<uint32_t>(kPackHeaderSize).Raw(header.repository).Raw(header.pack);
  out.Raw(header.salt).Int(header.create_time_us).Int(kAeadSuite).Int(header.epoch);
  UMBRA_CHECK(out.str().size() == kPackKeyedSize);
  out.Raw(header.commitment);
  UMBRA_CHECK(out.str().size() == kPackHeaderSize);
  return out.Take();
}

namespace {

absl::StatusOr<ObjectKey> ObjectKeyOf(const DataKeys& keys, const PackHeader& header) {
  const std::string encoded = EncodePackHeader(header);
  return keys.KeyOf(header.epoch, header.salt, kPackPurpose, base::AsBytes(encoded).first(kPackKeyedSize));
}

}  // namespace

KeyedPack NewPack(const DataKeys& keys, base::Random& random, const RawUuid& repository, int64_t create_time_us) {
  KeyedPack pack;
  pack.header.repository = repository;
  pack.header.create_time_us = create_time_us;
  random.Fill(pack.header.pack);
  random.Fill(pack.header.salt);
  pack.header.epoch = keys.epoch();
  const auto derived = ObjectKeyOf(keys, pack.header);
  UMBRA_CHECK(derived.ok());
  pack.key = derived->key;
  pack.header.commitment = derived->commitment;
  return pack;
}

absl::StatusOr<Key> KeyOfPack(const DataKeys& keys, const PackHeader& header) {
  const auto derived = ObjectKeyOf(keys, header);
  if (!derived.ok()) return BadPack(base::MessageOf(derived.status()));
  if (base::SecretEquals(derived->commitment, header.commitment)) return derived->key;
  return BadPack("its header wasn't made with this repository's keys");
}

ChunkAad AadOf(const ChunkId& id, uint32_t plain_length, Codec codec) {
  ChunkAad aad{};
  std::memcpy(aad.data(), id.bytes.data(), kChunkIdSize);
  for (size_t i = 0; i < 4; ++i) aad[kChunkIdSize + i] = static_cast<std::byte>(plain_length >> (8 * i));
  for (size_t i = 0; i < 2; ++i)
    aad[kChunkIdSize + 4 + i] = static_cast<std::byte>(static_cast<uint32_t>(codec) >> (8 * i));
  return aad;
}

std::string EncodePackEnd(std::string_view header, const std::vector<PackSlot>& slots, uint64_t footer_offset) {
  ByteWriter footer;
  for (const PackSlot& slot : slots) {
    footer.Raw(slot.id.bytes).Raw(slot.stored_hash).Int(slot.offset).Int(slot.stored_length).Int(slot.plain_length);
    footer.Int(static_cast<uint16_t>(slot.codec)).Int<uint16_t>(0);
  }
  footer.Text(header);
  ByteWriter trailer;
  trailer.Int(static_cast<uint32_t>(slots.size())).Int<uint32_t>(0).Int(footer_offset);
  trailer.Int<uint64_t>(footer.str().size());
  const Hash hash = HashOf(base::AsBytes(header), base::AsBytes(footer.str()), base::AsBytes(trailer.str()));
  trailer.Raw(hash).Text(kEndMagic);
  UMBRA_CHECK(trailer.str().size() == kPackTrailerSize);
  return footer.Take() + trailer.Take();
}

absl::StatusOr<PackHeader> DecodePackHeader(base::Bytes bytes) {
  ByteReader in(bytes);
  if (!in.Magic(kPackMagic)) return BadPack("its header has another magic number");
  const auto version = in.Int<uint32_t>();
  const auto size = in.Int<uint32_t>();
  if (version != kObjectVersion || size != kPackHeaderSize)
    return BadPack(fmt::format("header version {} is unknown", version));
  PackHeader header;
  header.repository = in.Array<16>();
  header.pack = in.Array<16>();
  header.salt = in.Array<32>();
  header.create_time_us = in.Int<int64_t>();
  const auto aead = in.Int<uint32_t>();
  header.epoch = in.Int<uint32_t>();
  header.commitment = in.Array<32>();
  if (!in.ok() || aead != kAeadSuite) return BadPack("its header is cut, or its encryption unknown");
  return header;
}

absl::StatusOr<PackTrailer> DecodePackTrailer(base::Bytes bytes, uint64_t file_size) {
  ByteReader in(bytes);
  PackTrailer trailer;
  trailer.slot_count = in.Int<uint32_t>();
  in.Int<uint32_t>();
  trailer.footer_offset = in.Int<uint64_t>();
  trailer.footer_length = in.Int<uint64_t>();
  in.Raw(32);
  if (!in.Magic(kEndMagic)) return BadPack("it has no trailer");
  const bool lengths_ok = trailer.footer_length <= kPackFooterSizeMax && trailer.footer_offset >= kPackHeaderSize &&
                          trailer.footer_offset <= file_size &&
                          trailer.footer_offset + trailer.footer_length + kPackTrailerSize == file_size;
  if (!lengths_ok) return BadPack("its trailer doesn't fit its size");
  return trailer;
}

absl::StatusOr<std::vector<PackSlot>> DecodePackFooter(base::Bytes header, base::Bytes footer, base::Bytes trailer) {
  const Hash want = HashOf(header, footer, trailer.first(24));
  if (std::memcmp(want.data(), trailer.data() + 24, want.size()) != 0) return BadPack("the hash of header and footer is wrong");
  ByteReader lengths(trailer);
  const auto count = lengths.Int<uint32_t>();
  lengths.Int<uint32_t>();
  const auto chunks_end = lengths.Int<uint64_t>();
  std::vector<PackSlot> slots;
  ByteReader in(footer);
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    PackSlot slot;
    slot.id = ChunkId{in.Array<32>()};
    slot.stored_hash = in.Array<32>();
    slot.offset = in.Int<uint32_t>();
    slot.stored_length = in.Int<uint32_t>();
    slot.plain_length = in.Int<uint32_t>();
    const auto codec = ToCodec(in.Int<uint16_t>());
    const auto bases = in.Int<uint16_t>();
    if (!codec.has_value() || bases != 0) return BadPack("it has a chunk in an unknown codec");
    slot.codec = *codec;
    if (slot.stored_length < kTagSize || slot.stored_length > kMaxChunkSizeBytes + kTagSize) {
      return BadPack("a chunk has a length that no chunk has");
    }
    if (slot.offset < kPackHeaderSize ||
        uint64_t{slot.offset} + slot.stored_length > chunks_end) {
      return BadPack("a chunk lies outside of it");
    }
    slots.push_back(slot);
  }
  if (!in.ok() || in.left() != kPackHeaderSize) return BadPack("its footer has another length than it says");
  if (base::AsText(in.Raw(kPackHeaderSize)) != base::AsText(header)) return BadPack("its header and the copy of it differ");
  return slots;
}

std::string EncodeIndexBlock(const std::vector<IndexEntry>& entries) {
  UMBRA_CHECK(entries.size() <= kIndexBlockEntries);
  ByteWriter out;
  for (const IndexEntry& entry : entries) {
    out.Raw(entry.id.bytes).Int(entry.pack).Int(entry.offset).Int(entry.stored_length);
    out.Int<uint32_t>(entry.plain_length | static_cast<uint32_t>(entry.codec) << 24).Int(entry.check);
  }
  out.Zero(kIndexBlockSize - 8 - out.str().size());
  out.Int(CheckOf(HashOf(base::AsBytes(out.str()))));
  return out.Take();
}

IndexEntry DecodeIndexEntry(base::Bytes block, size_t position) {
  ByteReader in(block.subspan(position * kIndexEntrySize, kIndexEntrySize));
  IndexEntry entry;
  entry.id = ChunkId{in.Array<32>()};
  entry.pack = in.Int<uint32_t>();
  entry.offset = in.Int<uint32_t>();
  entry.stored_length = in.Int<uint32_t>();
  const auto packed = in.Int<uint32_t>();
  entry.plain_length = packed & 0xffffff;
  entry.codec = static_cast<Codec>(packed >> 24);
  entry.check = in.Int<uint64_t>();
  return entry;
}

bool IndexBlockIsIntact(base::Bytes block) {
  return CheckOf(HashOf(block.first(kIndexBlockSize - 8))) == ByteReader(block.last(8)).Int<uint64_t>();
}

std::string EncodeIndexEnd(const std::vector<IndexPack>& packs, const RawUuid& repository, const IndexTrailer& trailer) {
  ByteWriter out;
  for (const IndexPack& pack : packs) out.Raw(pack.id).Int(pack.size_bytes).Int(pack.create_time_us);
  out.Text(kIndexMagic).Int<uint32_t>(1).Int<uint32_t>(kIndexBlockSize).Raw(repository);
  out.Int(trailer.entry_count).Int(trailer.pack_count).Int(trailer.sequence);
  out.Raw(HashOf(base::AsBytes(out.str()))).Text(kEndMagic);
  return out.Take();
}

absl::StatusOr<IndexTrailer> DecodeIndexTrailer(base::Bytes bytes, const RawUuid& repository, uint64_t file_size) {
  ByteReader in(bytes);
  if (!in.Magic(kIndexMagic)) return BadIndex("its trailer has another magic number");
  const auto version = in.Int<uint32_t>();
  const auto block_size = in.Int<uint32_t>();
  if (version != 1 || block_size != kIndexBlockSize) return BadIndex("its version is unknown");
  if (in.Array<16>() != repository) return BadIndex("it belongs to another repository");
  IndexTrailer trailer;
  trailer.entry_count = in.Int<uint64_t>();
  trailer.pack_count = in.Int<uint64_t>();
  trailer.sequence = in.Int<uint64_t>();
  in.Raw(32);
  if (!in.Magic(kEndMagic)) return BadIndex("its end is missing");
  constexpr uint64_t kSane = uint64_t{1} << 40;  // keeps the sum below from overflowing
  const uint64_t blocks = (trailer.entry_count + kIndexBlockEntries - 1) / kIndexBlockEntries;
  if (trailer.entry_count > kSane || trailer.pack_count > kSane ||
      blocks * kIndexBlockSize + trailer.pack_count * kIndexPackSize + kIndexTrailerSize != file_size) {
    return BadIndex("its length doesn't fit");
  }
  return trailer;
}

absl::StatusOr<std::vector<IndexPack>> DecodeIndexPacks(base::Bytes table, base::Bytes trailer) {
  constexpr size_t kHashed = kIndexTrailerSize - 40;
  const Hash want = HashOf(table, trailer.first(kHashed));
  if (std::memcmp(want.data(), trailer.data() + kHashed, want.size()) != 0) return BadIndex("the hash of its end is wrong");
  std::vector<IndexPack> packs;
  for (ByteReader in(table); in.left() != 0;) {
    IndexPack pack;
    pack.id = in.Array<16>();
    pack.size_bytes = in.Int<uint64_t>();
    pack.create_time_us = in.Int<int64_t>();
    packs.push_back(pack);
  }
  return packs;
}

std::string EncodePointBody(const Point& point) {
  const std::string manifest = point.manifest.SerializeAsString();
  ByteWriter out;
  out.Int<uint64_t>(manifest.size()).Text(manifest).Int(static_cast<uint32_t>(point.disks.size()));
  for (const DiskRoot& disk : point.disks) {
    out.Int(static_cast<uint32_t>(disk.name.size())).Text(disk.name).Int(disk.capacity_bytes);
    out.Int<uint64_t>(disk.pages.size());
    for (const ChunkId& page : disk.pages) out.Raw(page.bytes);
  }
  return out.Take();
}

std::string EncodePoint(const DataKeys& keys, base::Random& random, const RawUuid& repository, const Point& point) {
  const std::string body = EncodePointBody(point);
  Salt salt;
  random.Fill(salt);
  const uint32_t epoch = keys.epoch();
  ByteWriter head;
  head.Text(kPointMagic).Int(kObjectVersion).Int(epoch).Raw(repository).Raw(salt).Int<uint64_t>(body.size());
  UMBRA_CHECK(head.str().size() == kPointKeyedSize);
  const auto derived = keys.KeyOf(epoch, salt, kPointPurpose, base::AsBytes(head.str()));
  UMBRA_CHECK(derived.ok());
  std::string sealed(body.size() + kTagSize, '\0');
  Sealer sealer;
  sealer.SetKey(derived->key);
  sealer.Seal(0, {}, base::AsBytes(body), reinterpret_cast<std::byte*>(sealed.data()));
  head.Raw(derived->commitment).Text(sealed);
  head.Raw(HashOf(base::AsBytes(head.str())));
  return head.Take();
}

namespace {

// `bytes` without the hash at its end; empty when that is wrong.
base::Bytes WithoutHash(std::string_view bytes) {
  const base::Bytes all = base::AsBytes(bytes);
  if (all.size() < sizeof(Hash)) return {};
  const base::Bytes body = all.first(all.size() - sizeof(Hash));
  const Hash want = HashOf(body);
  return std::memcmp(want.data(), all.data() + body.size(), want.size()) == 0 ? body : base::Bytes();
}

bool DecodeDiskRoot(ByteReader& in, DiskRoot& disk) {
  disk.name = base::AsText(in.Raw(in.Int<uint32_t>()));
  disk.capacity_bytes = in.Int<uint64_t>();
  const auto pages = in.Int<uint64_t>();
  if (!in.ok() || pages > in.left() / kChunkIdSize) return false;
  disk.pages.reserve(pages);
  for (uint64_t i = 0; i < pages; ++i) disk.pages.push_back(ChunkId{in.Array<32>()});
  return true;
}

}  // namespace

absl::StatusOr<Point> DecodePointBody(base::Bytes body) {
  ByteReader in(body);
  Point point;
  const base::Bytes manifest = in.Raw(in.Int<uint64_t>());
  if (!in.ok() || !point.manifest.ParseFromArray(manifest.data(), static_cast<int>(manifest.size()))) {
    return BadPoint("its manifest doesn't parse");
  }
  const auto disks = in.Int<uint32_t>();
  for (uint32_t i = 0; i < disks && in.ok(); ++i) {
    if (!DecodeDiskRoot(in, point.disks.emplace_back())) return BadPoint("a disk is cut short");
  }
  if (!in.ok() || in.left() != 0) return BadPoint("it has another length than it says");
  return point;
}

absl::StatusOr<Point> DecodePoint(const DataKeys& keys, const RawUuid& repository, std::string_view bytes) {
  const base::Bytes whole = WithoutHash(bytes);
  if (whole.empty()) return BadPoint("its hash is wrong");
  ByteReader in(whole);
  if (!in.Magic(kPointMagic) || in.Int<uint32_t>() != kObjectVersion)
    return BadPoint("its magic number or version is unknown");
  const auto epoch = in.Int<uint32_t>();
  if (in.Array<16>() != repository) return BadPoint("it belongs to another repository");
  const auto salt = in.Array<32>();
  const auto length = in.Int<uint64_t>();
  const auto commitment = in.Array<32>();
  if (!in.ok() || in.left() < kTagSize || in.left() - kTagSize != length)
    return BadPoint("it has another length than it says");
  const auto derived = keys.KeyOf(epoch, salt, kPointPurpose, whole.first(kPointKeyedSize));
  if (!derived.ok()) return BadPoint(base::MessageOf(derived.status()));
  if (!base::SecretEquals(derived->commitment, commitment))
    return BadPoint("it wasn't made with this repository's keys");
  Opener opener;
  opener.SetKey(derived->key);
  std::vector<std::byte> body(length);
  if (!opener.Open(0, {}, in.Raw(in.left()), body.data())) return BadPoint("its encryption's tag is wrong");
  return DecodePointBody(body);
}

std::string EncodeCommit(const std::vector<EncodedPoint>& points) {
  ByteWriter out;
  out.Text(kCommitMagic).Int(static_cast<uint32_t>(points.size())).Int<uint32_t>(0);
  for (const EncodedPoint& point : points) out.Text(point.id).Int<uint64_t>(point.bytes.size()).Text(point.bytes);
  out.Raw(HashOf(base::AsBytes(out.str())));
  return out.Take();
}

absl::StatusOr<std::vector<EncodedPoint>> DecodeCommit(std::string_view bytes) {
  const base::Bytes body = WithoutHash(bytes);
  ByteReader in(body);
  if (body.empty() || !in.Magic(kCommitMagic)) return BadPoint("a commit's hash or magic number is wrong");
  const auto count = in.Int<uint32_t>();
  in.Int<uint32_t>();
  std::vector<EncodedPoint> points;
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    EncodedPoint& point = points.emplace_back();
    point.id = base::AsText(in.Raw(36));
    point.bytes = base::AsText(in.Raw(in.Int<uint64_t>()));
  }
  if (!in.ok() || in.left() != 0) return BadPoint("a commit has another length than it says");
  return points;
}

absl::Status CheckOwnHash(base::Bytes bytes) {
  if (bytes.size() >= sizeof(Hash)) {
    const Hash want = HashOf(bytes.first(bytes.size() - sizeof(Hash)));
    if (std::memcmp(want.data(), bytes.data() + bytes.size() - want.size(), want.size()) == 0) return absl::OkStatus();
  }
  return base::MakeError(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "the hash of its bytes is wrong");
}

std::string MarkName(const PackId& pack, std::string_view suffix) {
  return fmt::format("{}{}-{}{}", kQuarantinePrefix, base::ToHex(pack), suffix, kMarkSuffix);
}

bool ParseMarkName(std::string_view name, PackId& pack) {
  constexpr size_t kHexAt = sizeof(kQuarantinePrefix) - 1;
  if (!name.starts_with(kQuarantinePrefix) || !name.ends_with(kMarkSuffix) || name.size() < kHexAt + 33) return false;
  const auto raw = base::FromHex(name.substr(kHexAt, 32));
  if (!raw.has_value() || name[kHexAt + 32] != '-') return false;
  std::memcpy(pack.data(), raw->data(), pack.size());
  return true;
}

std::string EncodeMark(const RawUuid& repository, const PackId& pack, const PackDamage& damage) {
  ByteWriter out;
  out.Text(kMarkMagic).Int<uint32_t>(1).Int<uint32_t>(damage.whole ? 1 : 0).Raw(repository).Raw(pack);
  out.Int(static_cast<uint32_t>(damage.chunks.size())).Int<uint32_t>(0);
  for (const BadChunk& chunk : damage.chunks) out.Int(chunk.offset).Int(chunk.stored_length);
  out.Raw(HashOf(base::AsBytes(out.str())));
  return out.Take();
}

absl::StatusOr<PackDamage> DecodeMark(const RawUuid& repository, const PackId& pack, base::Bytes bytes) {
  const auto bad = [](std::string_view what) {
    return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "quarantine mark is damaged: {}", what);
  };
  if (!CheckOwnHash(bytes).ok()) return bad("its hash is wrong");
  ByteReader in(bytes.first(bytes.size() - sizeof(Hash)));
  if (!in.Magic(kMarkMagic) || in.Int<uint32_t>() != 1) return bad("its version is unknown");
  PackDamage damage;
  damage.whole = in.Int<uint32_t>() != 0;
  if (in.Array<16>() != repository || in.Array<16>() != pack) return bad("it is of another pack or repository");
  const auto count = in.Int<uint32_t>();
  in.Int<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    BadChunk chunk;
    chunk.offset = in.Int<uint32_t>();
    chunk.stored_length = in.Int<uint32_t>();
    damage.chunks.push_back(chunk);
  }
  if (!in.ok() || in.left() != 0) return bad("it has another length than it says");
  return damage;
}

}  // namespace umbra::repo
