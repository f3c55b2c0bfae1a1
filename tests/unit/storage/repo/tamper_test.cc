// Proves that somebody who can write to the repository's disk, and makes every hash right again, can't make anybody
// read what a key's owner didn't write: changed, moved, swapped and borrowed chunks, packs and points are refused.
#include <set>

#include "storage/repo/chunk_reader.h"
#include "storage/repo/pack.h"
#include "tests/support/memory_blob_store.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

// A pack in parts, put together again with a footer and trailer of its own that are right.
struct OpenedPack {
  std::string header;
  std::string chunks;
  std::vector<PackSlot> slots;

  static OpenedPack Of(const std::string& bytes) {
    const base::Bytes all = base::AsBytes(bytes);
    const auto trailer = *DecodePackTrailer(all.last(kPackTrailerSize), bytes.size());
    OpenedPack pack;
    pack.header = bytes.substr(0, kPackHeaderSize);
    pack.chunks = bytes.substr(kPackHeaderSize, trailer.footer_offset - kPackHeaderSize);
    pack.slots =
        *DecodePackFooter(all.first(kPackHeaderSize), all.subspan(trailer.footer_offset, trailer.footer_length),
                          all.last(kPackTrailerSize));
    return pack;
  }
  std::string& StoredOf(const PackSlot& slot, std::string& out) const {
    return out = chunks.substr(slot.offset - kPackHeaderSize, slot.stored_length);
  }
  std::string Bytes() const {
    std::string text = header + chunks;
    std::vector<PackSlot> all = slots;
    for (PackSlot& slot : all) {
      slot.stored_hash = HashOf(base::AsBytes(text).subspan(slot.offset, slot.stored_length));
    }
    return text + EncodePackEnd(header, all, text.size());
  }
};

class Tamper : public RepositoryTest {
 protected:
  // Noise, so that all chunks have one length; one pack of four, and a map page.
  void SetUp() override {
    RepositoryTest::SetUp();
    point_ = Backup(*repository_, "vm1", vm_)->recovery_point_id();
    other_point_ = Backup(*repository_, "vm2", other_vm_)->recovery_point_id();
    repository_.reset();
    for (const std::string& path : fs_.AllFiles(std::string(kPath) + "/packs")) original_[path] = *fs_.ReadFile(path);
  }

  // The repository with this pack changed, its index made again from the footers: what does reading say?
  absl::Status ReadWith(const std::string& path, const std::string& bytes) {
    for (const std::string& run : fs_.AllFiles(std::string(kPath) + "/index")) EXPECT_TRUE(fs_.Remove(run).ok());
    EXPECT_TRUE(fs_.WriteFileAtomic(path, bytes).ok());
    auto opened = Repository::Open(fs_, clock_, random_, kPath, SmallOptions());
    absl::Status status = opened.status();
    if (opened.ok()) {
      status = CompareVm(**opened, point_, vm_);
      if (status.ok()) status = CompareVm(**opened, other_point_, other_vm_);
      const auto report = (*opened)->Verify({}, {}, {});
      EXPECT_TRUE(report.ok()) << report.status();
      // Verification may see more than one point needs, never less.
      if (report.ok() && !status.ok()) {
        EXPECT_FALSE(report->ok());
      }
    }
    opened = absl::CancelledError();
    EXPECT_TRUE(fs_.WriteFileAtomic(path, original_.at(path)).ok());
    return status;
  }

  void ExpectRefused(const std::string& path, const OpenedPack& pack, const std::string& what) {
    const absl::Status status = ReadWith(path, pack.Bytes());
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << what << ": " << status;
  }

  std::string PackWithSlots(size_t count) {
    for (const auto& [path, bytes] : original_) {
      if (OpenedPack::Of(bytes).slots.size() >= count) return path;
    }
    ADD_FAILURE() << "no such pack";
    return "";
  }

  const ModelVm vm_ = {{"vda", ModelDisk::OfChunks({1, 3, 5, 7, 9})}};
  const ModelVm other_vm_ = {{"vda", ModelDisk::OfChunks({11, 13, 15, 17})}};
  std::string point_, other_point_;
  std::map<std::string, std::string> original_;
};

TEST_F(Tamper, UntouchedIsAccepted) {
  for (const auto& [path, bytes] : original_) {
    EXPECT_EQ(OpenedPack::Of(bytes).Bytes(), bytes);
    EXPECT_EQ(ReadWith(path, bytes), absl::OkStatus());
  }
}

TEST_F(Tamper, EveryRegionOfAPackIsProven) {
  const std::string path = PackWithSlots(3);
  const OpenedPack good = OpenedPack::Of(original_.at(path));
  struct Region {
    const char* name;
    size_t first, length;
  };
  for (const Region& region :
       {Region{"repository", 16, 16}, Region{"pack id", 32, 16}, Region{"salt", 48, 32}, Region{"create time", 80, 8},
        Region{"suite", 88, 4}, Region{"epoch", 92, 4}, Region{"commitment", 96, 32}}) {
    for (size_t byte = region.first; byte < region.first + region.length; byte += 3) {
      OpenedPack bad = good;
      bad.header[byte] ^= static_cast<char>(1 << byte % 8);
      ExpectRefused(path, bad, region.name);
    }
  }
  for (const PackSlot& slot : good.slots) {
    for (const size_t at : {size_t{0}, size_t{1}, slot.stored_length / 2 + size_t{0}, slot.stored_length - kTagSize,
                            slot.stored_length - size_t{1}}) {
      OpenedPack bad = good;
      bad.chunks[slot.offset - kPackHeaderSize + at] ^= 4;
      ExpectRefused(path, bad, "a chunk's bytes");
    }
  }
}

TEST_F(Tamper, WhatAFooterClaimsIsProven) {
  const std::string path = PackWithSlots(3);
  const OpenedPack good = OpenedPack::Of(original_.at(path));
  const auto with = [&](const std::string& what, const std::function<void(std::vector<PackSlot>&)>& change) {
    OpenedPack bad = good;
    change(bad.slots);
    ExpectRefused(path, bad, what);
  };
  with("ids swapped", [](auto& slots) { std::swap(slots[0].id, slots[1].id); });
  with("places swapped", [](auto& slots) { std::swap(slots[0].offset, slots[1].offset); });
  with("two slots of one chunk", [](auto& slots) { slots[0].offset = slots[1].offset; });
  with("shorter", [](auto& slots) { slots[0].stored_length -= 1; });
  with("only a tag", [](auto& slots) { slots[0].stored_length = kTagSize; });
  with("moved", [](auto& slots) { slots[0].offset += 1; });
  with("another codec", [](auto& slots) { slots[0].codec = Codec::kZstd; });
  with("one over all others", [&](auto& slots) {
    slots[0].stored_length = static_cast<uint32_t>(good.chunks.size());
  });
  with("the last over the first", [](auto& slots) { slots.back().offset = slots[0].offset + 1; });
  with("a chunk left out", [](auto& slots) { slots.erase(slots.begin()); });
}

TEST_F(Tamper, ChunksCannotBeMoved) {
  const std::string path = PackWithSlots(3);
  const OpenedPack good = OpenedPack::Of(original_.at(path));
  // Swapped within the pack.
  OpenedPack swapped = good;
  std::string a, b;
  good.StoredOf(good.slots[0], a);
  good.StoredOf(good.slots[1], b);
  ASSERT_EQ(a.size(), b.size());
  swapped.chunks.replace(good.slots[0].offset - kPackHeaderSize, a.size(), b);
  swapped.chunks.replace(good.slots[1].offset - kPackHeaderSize, b.size(), a);
  ExpectRefused(path, swapped, "swapped");
  // Also when the footer follows.
  std::swap(swapped.slots[0].id, swapped.slots[1].id);
  ExpectRefused(path, swapped, "swapped with its ids");
  // From another pack of the repository, at the same place.
  for (const auto& [other, bytes] : original_) {
    if (other == path) continue;
    const OpenedPack donor = OpenedPack::Of(bytes);
    if (donor.slots[0].stored_length != good.slots[0].stored_length) continue;
    OpenedPack bad = good;
    std::string chunk;
    bad.chunks.replace(0, donor.StoredOf(donor.slots[0], chunk).size(), chunk);
    bad.slots[0].id = donor.slots[0].id;
    ExpectRefused(path, bad, "a chunk of another pack");
    // A whole pack under the other's name.
    EXPECT_EQ(ReadWith(path, bytes).code(), absl::StatusCode::kDataLoss) << "another pack's name";
    // And with the name in its header made right.
    OpenedPack renamed = donor;
    renamed.header.replace(32, 16, good.header.substr(32, 16));
    ExpectRefused(path, renamed, "another pack with this name in it");
  }
}

// Another repository, opened by the same key file, that holds the very same disk.
TEST_F(Tamper, NothingCanBeBorrowedFromAnotherRepository) {
  std::string twin_point;
  {
    auto twin = *Repository::Create(fs_, clock_, random_, "/twin", SmallOptions());
    twin_point = Backup(*twin, "vm1", vm_)->recovery_point_id();
  }
  const std::string path = PackWithSlots(3);
  const OpenedPack good = OpenedPack::Of(original_.at(path));
  for (const std::string& theirs : fs_.AllFiles("/twin/packs")) {
    OpenedPack donor = OpenedPack::Of(*fs_.ReadFile(theirs));
    donor.header.replace(16, 32, good.header.substr(16, 32));  // repository and pack id
    ExpectRefused(path, donor, "a pack of another repository");
  }
  const std::string point_path = std::string(kPath) + "/" + PointName(point_);
  std::string bytes = *fs_.ReadFile("/twin/" + PointName(twin_point));
  const std::string mine = *fs_.ReadFile(point_path);
  bytes.replace(16, 16, mine.substr(16, 16));
  const Hash hash = HashOf(base::AsBytes(bytes).first(bytes.size() - 32));
  std::memcpy(bytes.data() + bytes.size() - 32, hash.data(), 32);
  ASSERT_TRUE(fs_.WriteFileAtomic(point_path, bytes).ok());
  auto opened = *Repository::Open(fs_, clock_, random_, kPath, SmallOptions());
  EXPECT_EQ(base::ReasonOf(opened->ReadManifest(point_).status()), "MANIFEST_DAMAGED");
}

TEST_F(Tamper, EveryBitOfAPointIsProven) {
  const std::string path = std::string(kPath) + "/" + PointName(point_);
  const std::string good = *fs_.ReadFile(path);
  auto opened = *Repository::Open(fs_, clock_, random_, kPath, SmallOptions());
  for (size_t bit = 0; bit < (good.size() - 32) * 8; bit += 3) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const Hash hash = HashOf(base::AsBytes(bad).first(bad.size() - 32));
    std::memcpy(bad.data() + bad.size() - 32, hash.data(), 32);
    ASSERT_TRUE(fs_.WriteFileAtomic(path, bad).ok());
    const auto manifest = opened->ReadManifest(point_);
    ASSERT_EQ(base::ReasonOf(manifest.status()), "MANIFEST_DAMAGED") << "bit " << bit;
    EXPECT_EQ(manifest.status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(good.find("vm-vm1"), std::string::npos) << "names are not in clear";
}

TEST_F(Tamper, KeysAndNoncesAreUsedOnce) {
  std::set<std::string> salts;
  for (const auto& [path, bytes] : original_) {
    const OpenedPack pack = OpenedPack::Of(bytes);
    EXPECT_TRUE(salts.insert(pack.header.substr(48, 32)).second) << "a salt came twice";
    // Under one key the nonce is the place: places differ, and don't overlap.
    std::map<uint32_t, uint32_t> places;
    for (const PackSlot& slot : pack.slots) EXPECT_TRUE(places.emplace(slot.offset, slot.stored_length).second);
    uint64_t end = kPackHeaderSize;
    for (const auto& [offset, length] : places) {
      EXPECT_GE(offset, end);
      end = uint64_t{offset} + length;
    }
  }
  // A pack that is written again with the same chunks shares nothing with the first.
  DataKeys keys;
  keys.Add(1, Key());
  std::set<std::string> seen;
  for (int i = 0; i < 20; ++i) {
    testing::MemoryBlobStore store;
    auto writer = *PackWriter::Create(store, NewPack(keys, random_, RawUuid{}, 1));
    const std::string content = ContentOf(3, 4096);
    ASSERT_TRUE(writer->Append(ChunkId(), Codec::kRaw, 4096, base::AsBytes(content)).ok());
    EXPECT_TRUE(seen.insert(base::ToHex(writer->slots()[0].stored_hash)).second);
  }
}

// What compaction does with a chunk that is still needed.
TEST(CopyChunk, MovesAChunkUnderTheKeyOfItsNewPack) {
  base::SeededRandom random(4);
  testing::MemoryBlobStore store;
  DataKeys keys;
  keys.Add(1, Key());
  const RawUuid uuid{};
  ChunkIndex index(store, random, uuid, 1000);
  ASSERT_TRUE(index.Load().ok());
  PackCache packs(store, index, keys, uuid);
  const std::string id_key(kIdKeySize, 'k');
  const ChunkHasher hasher(IdSuite::kBlake3Keyed, base::AsBytes(id_key));
  const std::string content = ContentOf(2, 65536);
  const ChunkId id = hasher.Id(base::AsBytes(content));
  std::vector<std::byte> scratch;
  const CompressedChunk chunk = CompressChunk(base::AsBytes(content), {}, scratch);
  auto first = *PackWriter::Create(store, NewPack(keys, random, uuid, 1));
  ASSERT_TRUE(first->Append(id, chunk.codec, 65536, chunk.data).ok());
  index.AddPack(*first->Seal(), first->slots());
  const ChunkLocation from = **index.Find(id);

  Key next;
  random.Fill(next.bytes);
  keys.Add(2, next);  // a rotation in between
  ChunkReader reader(packs, index, hasher);
  auto second = *PackWriter::Create(store, NewPack(keys, random, uuid, 2));
  ASSERT_EQ(CopyChunk(reader, id, from, &hasher, *second), absl::OkStatus());
  index.AddPack(*second->Seal(), second->slots());
  const ChunkLocation to = **index.Find(id);
  EXPECT_NE(to.pack, from.pack);
  EXPECT_EQ(to.codec, from.codec);
  EXPECT_EQ(base::AsText(*reader.FetchPlain(id, 65536)), content);

  // Another id at that place: neither the tag nor the hasher lets it pass.
  ChunkId wrong = id;
  wrong.bytes[0] ^= std::byte{1};
  auto third = *PackWriter::Create(store, NewPack(keys, random, uuid, 3));
  EXPECT_EQ(base::ReasonOf(CopyChunk(reader, wrong, from, nullptr, *third)), "CHUNK_DAMAGED");
  EXPECT_TRUE(third->slots().empty());
}

}  // namespace
}  // namespace umbra::repo
