// Target: everything that a repository reads back from disk. The first byte chooses the decoder.
#include "storage/repo/format.h"
#include "storage/repo/key_format.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

constexpr char kUuid[] = "0c7f2a52-65d1-4c8e-9a51-1f5c3e8d7b20";

std::string HeaderSeed() {
  repo::RepositoryInfo info;
  info.uuid = kUuid;
  info.format_version = repo::kFormatVersion;
  info.chunk_size_bytes = repo::kDefaultChunkSizeBytes;
  info.map_page_entries = repo::kMapPageEntries;
  return repo::EncodeHeader(info);
}

repo::Point PointSeed() {
  repo::Point point;
  point.manifest.set_recovery_point_id(kUuid);
  auto* disk = point.manifest.add_disks();
  disk->set_name("vda");
  disk->set_capacity_bytes(1 << 30);
  repo::DiskRoot root;
  root.name = "vda";
  root.capacity_bytes = 1 << 30;
  root.pages.resize(8);
  point.disks.push_back(root);
  return point;
}

std::string PackSeed() {
  repo::PackHeader header;
  header.repository = repo::ToRawUuid(kUuid);
  const std::string head = repo::EncodePackHeader(header);
  repo::PackSlot slot;
  slot.offset = repo::kPackHeaderSize;
  slot.stored_length = 4 + repo::kTagSize;
  slot.plain_length = 4;
  const std::string chunk(slot.stored_length, 'c');
  return head + chunk + repo::EncodePackEnd(head, {slot}, repo::kPackHeaderSize + chunk.size());
}

void TestPack(std::string_view input) {
  const base::Bytes bytes = base::AsBytes(input);
  if (bytes.size() < repo::kPackHeaderSize + repo::kPackTrailerSize) return;
  (void)repo::DecodePackHeader(bytes.first(repo::kPackHeaderSize));
  const base::Bytes end = bytes.last(repo::kPackTrailerSize);
  const auto trailer = repo::DecodePackTrailer(end, bytes.size());
  if (!trailer.ok()) return;
  Require(trailer->footer_offset + trailer->footer_length + repo::kPackTrailerSize <= bytes.size(),
          "an accepted trailer points into its pack");
  const base::Bytes footer = bytes.subspan(trailer->footer_offset, trailer->footer_length);
  const auto slots = repo::DecodePackFooter(bytes.first(repo::kPackHeaderSize), footer, end);
  if (!slots.ok()) return;
  for (const repo::PackSlot& slot : *slots) {
    Require(uint64_t{slot.offset} + slot.stored_length <= trailer->footer_offset, "an accepted slot lies inside its pack");
  }
}

repo::DataKeys& Keys() {
  static auto* const keys = [] {
    auto* made = new repo::DataKeys;
    made->Add(1, repo::Key());
    return made;
  }();
  return *keys;
}

std::string SealedPointSeed() {
  base::SeededRandom random(1);
  return repo::EncodePoint(Keys(), random, repo::ToRawUuid(kUuid), PointSeed());
}

// The tag stops nearly everything at the door, so what is behind it has an entrance of its own.
void TestPoint(std::string_view input) {
  (void)repo::DecodePoint(Keys(), repo::ToRawUuid(kUuid), input);
  (void)repo::DecodePointBody(base::AsBytes(input));
}

void TestCommit(std::string_view input) {
  const auto points = repo::DecodeCommit(input);
  if (!points.ok()) return;
  for (const auto& point : *points) Require(repo::IsUuidText(point.id), "an accepted commit names only uuids");
}

repo::PackDamage MarkSeed() { return {.whole = true, .chunks = {{96, 100}, {4096, 7}}}; }

void TestMark(std::string_view input) {
  const auto damage = repo::DecodeMark(repo::ToRawUuid(kUuid), repo::PackId{}, base::AsBytes(input));
  if (!damage.ok()) return;
  Require(damage->chunks.size() * 8 <= input.size(), "an accepted mark has room for what it names");
}

std::string SlotSeed() {
  repo::KeySlot slot;
  slot.repository = repo::ToRawUuid(kUuid);
  slot.argon2 = {1, 8};
  slot.epoch = 1;
  slot.label = "office";
  return repo::EncodeSlot(slot);
}

std::string RingSeed() {
  repo::RingBody body;
  body.earlier_roots.emplace_back(1, repo::Key());
  return repo::EncodeRing({repo::ToRawUuid(kUuid), 1, 2, {{}, {}}}, body, repo::Key());
}

void TestSlot(std::string_view input) {
  const auto slot = repo::DecodeSlot(repo::ToRawUuid(kUuid), input);
  if (!slot.ok()) return;
  Require(slot->argon2.memory_kib <= base::kMiB, "an accepted slot doesn't make a guess cost more than a GiB");
  Require(repo::EncodeSlot(*slot) == input, "an accepted slot has one form");
}

void TestRing(std::string_view input) {
  const auto ring = repo::DecodeRing(repo::ToRawUuid(kUuid), input);
  if (ring.ok()) (void)repo::OpenRing(*ring, repo::Key());
  (void)repo::DecodeRingBody(base::AsBytes(input));
}

// What people type, and the file that they may have edited.
void TestTyped(std::string_view input) {
  const auto recovery = repo::ParseRecoveryKey(input);
  if (recovery.ok())
    Require(repo::ParseRecoveryKey(repo::PrintRecoveryKey(*recovery)).ok(), "a printed key can be typed");
  (void)repo::ParseKeyFile(input);
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string point = SealedPointSeed();
  base::SeededRandom random(2);
  return {"0" + HeaderSeed(),
          "1" + PackSeed(),
          "2" + point,
          "2" + repo::EncodePointBody(PointSeed()),
          "3" + repo::EncodeCommit({{kUuid, point}}),
          "4" + SlotSeed(),
          "5" + RingSeed(),
          "6" + repo::PrintRecoveryKey(repo::NewRecoverySecret(random)),
          "6" + repo::PrintKeyFile(repo::NewKeyFileSecret(random), "a file"),
          "7" + repo::EncodeMark(repo::ToRawUuid(kUuid), repo::PackId{}, MarkSeed())};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  const std::string_view rest = input.substr(1);
  switch (input[0] & 7) {
    case 0:
      (void)repo::DecodeHeader(rest);
      break;
    case 1:
      TestPack(rest);
      break;
    case 2:
      TestPoint(rest);
      break;
    case 3:
      TestCommit(rest);
      break;
    case 4:
      TestSlot(rest);
      break;
    case 5:
      TestRing(rest);
      break;
    case 7:
      TestMark(rest);
      break;
    default:
      TestTyped(rest);
      break;
  }
}

}  // namespace umbra::fuzz
