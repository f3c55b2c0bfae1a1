// Proves that a pack reads back as it was written, by one thread or by many at once, that all of it but the last bytes
// goes to the store in pieces that a disk can take past the page cache, and that an error of the store reaches
// everybody.
#include "storage/repo/pack.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "storage/base/aligned_buffer.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/support/memory_blob_store.h"

namespace umbra::repo {
namespace {

// Notes whether each piece was aligned.
class NotingWriter final : public BlobWriter {
 public:
  NotingWriter(std::unique_ptr<BlobWriter> real, std::vector<bool>& aligned, size_t fail_at)
      : real_(std::move(real)), aligned_(aligned), fail_at_(fail_at) {}
  absl::Status Append(base::Bytes data) override {
    if (aligned_.size() == fail_at_) return base::MakeError(absl::StatusCode::kUnavailable, "IO_ERROR", "no");
    if (!data.empty()) aligned_.push_back(base::IsDirectAligned(size_, data));
    size_ += data.size();
    return real_->Append(data);
  }
  absl::Status Commit() override { return real_->Commit(); }

 private:
  const std::unique_ptr<BlobWriter> real_;
  std::vector<bool>& aligned_;
  const size_t fail_at_;
  uint64_t size_ = 0;
};

class NotingStore final : public BlobStore {
 public:
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) override {
    ASSIGN_OR_RETURN(auto real, real_.Create(name));
    return std::make_unique<NotingWriter>(std::move(real), aligned, fail_at);
  }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) override { return real_.Open(name); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override { return real_.List(prefix); }
  absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
  absl::StatusOr<uint64_t> FreeSpace() override { return real_.FreeSpace(); }

  std::vector<bool> aligned;
  size_t fail_at = SIZE_MAX;  // the piece that can't be written

 private:
  testing::MemoryBlobStore real_;
};

TEST(PackWriter, WritesAlignedPiecesThatReadBack) {
  base::SeededRandom random(3);
  for (const size_t chunks : {0, 1, 7, 40, 61}) {
    SCOPED_TRACE(chunks);
    NotingStore store;
    DataKeys keys;
    keys.Add(1, Key());
    const KeyedPack pack = NewPack(keys, random, RawUuid{}, 42);
    auto writer = *PackWriter::Create(store, pack);
    std::vector<std::string> stored;
    for (size_t i = 0; i < chunks; ++i) {
      std::string& data = stored.emplace_back(64 + static_cast<size_t>(random.Fraction() * 131072), '\0');
      random.Fill(std::as_writable_bytes(std::span(data.data(), data.size())));
      ChunkId id;
      random.Fill(id.bytes);
      const base::Bytes bytes = base::AsBytes(data);
      ASSERT_TRUE(writer->Append(id, Codec::kRaw, static_cast<uint32_t>(data.size()), bytes).ok());
    }
    const IndexPack sealed = *writer->Seal();
    ASSERT_FALSE(store.aligned.empty());
    for (size_t i = 0; i + 1 < store.aligned.size(); ++i) EXPECT_TRUE(store.aligned[i]) << "piece " << i;

    auto blob = *store.Open(PackName(pack.header.pack));
    EXPECT_EQ(blob->size(), sealed.size_bytes);
    const auto contents = ReadPackContents(*blob, pack.header.pack, pack.header.repository);
    ASSERT_TRUE(contents.ok()) << base::Describe(contents.status());
    ASSERT_EQ(contents->slots.size(), chunks);
    const auto key = KeyOfPack(keys, contents->header);
    ASSERT_TRUE(key.ok()) << base::Describe(key.status());
    Opener opener;
    opener.SetKey(*key);
    for (size_t i = 0; i < chunks; ++i) {
      const PackSlot& slot = contents->slots[i];
      std::vector<std::byte> data(slot.stored_length);
      ASSERT_TRUE(blob->ReadAt(slot.offset, data).ok());
      EXPECT_EQ(HashOf(data), slot.stored_hash);
      EXPECT_EQ(base::AsText(data).find(stored[i].substr(0, 64)), std::string::npos) << "not in clear";
      ASSERT_TRUE(opener.Open(slot.offset, AadOf(slot.id, slot.plain_length, slot.codec), data, data.data()));
      EXPECT_EQ(base::AsText(data).substr(0, data.size() - kTagSize), stored[i]);
    }
  }
}

std::string Noise(base::Random& random, size_t size) {
  std::string data(size, '\0');
  random.Fill(std::as_writable_bytes(std::span(data.data(), data.size())));
  return data;
}

// The id is made of the content, so that whoever finds a slot knows what must be in it.
ChunkId IdOf(const std::string& data) {
  ChunkId id;
  const Hash hash = HashOf(base::AsBytes(data));
  std::memcpy(id.bytes.data(), hash.data(), id.bytes.size());
  return id;
}

TEST(PackWriter, ManyThreadsFillItAtOnce) {
  constexpr int kThreads = 6, kChunksOfEach = 60;
  base::SeededRandom random(4);
  NotingStore store;
  DataKeys keys;
  keys.Add(1, Key());
  const KeyedPack pack = NewPack(keys, random, RawUuid{}, 42);
  auto writer = *PackWriter::Create(store, pack);
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&writer, t] {
      base::SeededRandom sizes(static_cast<uint64_t>(100 + t));
      for (int i = 0; i < kChunksOfEach; ++i) {
        const std::string data = Noise(sizes, 1 + static_cast<size_t>(sizes.Fraction() * 150'000));
        EXPECT_TRUE(
            writer->Append(IdOf(data), Codec::kRaw, static_cast<uint32_t>(data.size()), base::AsBytes(data)).ok());
      }
    });
  }
  threads.clear();
  const IndexPack sealed = *writer->Seal();
  for (size_t i = 0; i + 1 < store.aligned.size(); ++i) EXPECT_TRUE(store.aligned[i]) << "piece " << i;

  auto blob = *store.Open(PackName(pack.header.pack));
  EXPECT_EQ(blob->size(), sealed.size_bytes);
  const auto contents = ReadPackContents(*blob, pack.header.pack, pack.header.repository);
  ASSERT_TRUE(contents.ok()) << base::Describe(contents.status());
  ASSERT_EQ(contents->slots.size(), static_cast<size_t>(kThreads * kChunksOfEach));
  Opener opener;
  opener.SetKey(*KeyOfPack(keys, contents->header));
  uint64_t next = kPackHeaderSize;
  for (const PackSlot& slot : contents->slots) {
    EXPECT_EQ(slot.offset, next) << "no gap, and nothing twice";
    next += slot.stored_length;
    std::vector<std::byte> data(slot.stored_length);
    ASSERT_TRUE(blob->ReadAt(slot.offset, data).ok());
    EXPECT_EQ(HashOf(data), slot.stored_hash);
    ASSERT_TRUE(opener.Open(slot.offset, AadOf(slot.id, slot.plain_length, slot.codec), data, data.data()));
    EXPECT_EQ(IdOf(std::string(base::AsText(data).substr(0, data.size() - kTagSize))), slot.id);
  }
}

TEST(PackWriter, IsSealedWhenTheLastPlaceIsFilled) {
  base::SeededRandom random(5);
  NotingStore store;
  DataKeys keys;
  keys.Add(1, Key());
  const KeyedPack pack = NewPack(keys, random, RawUuid{}, 42);
  auto writer = *PackWriter::Create(store, pack);
  const std::string first = Noise(random, 1'000'000), second = Noise(random, 70'000);
  const auto place = [&](const std::string& data) {
    return writer->Reserve(IdOf(data), Codec::kRaw, static_cast<uint32_t>(data.size()), data.size());
  };
  const PackWriter::Place early = place(first), late = place(second);
  ASSERT_TRUE(writer->Fill(late, base::AsBytes(second)).ok());
  absl::Status sealed = absl::UnknownError("not yet");
  std::jthread sealing([&] { sealed = writer->Seal().status(); });
  EXPECT_FALSE(store.Open(PackName(pack.header.pack)).ok());
  EXPECT_TRUE(store.aligned.empty()) << "what comes first isn't there yet";
  ASSERT_TRUE(writer->Fill(early, base::AsBytes(first)).ok());
  sealing.join();
  ASSERT_TRUE(sealed.ok()) << base::Describe(sealed);
  EXPECT_EQ(ReadPackContents(**store.Open(PackName(pack.header.pack)), pack.header.pack, pack.header.repository)
                ->slots.size(),
            2u);
}

TEST(PackWriter, AnErrorOfTheStoreIsEverybodysAndNothingIsSealed) {
  base::SeededRandom random(6);
  NotingStore store;
  store.fail_at = 2;
  DataKeys keys;
  keys.Add(1, Key());
  const KeyedPack pack = NewPack(keys, random, RawUuid{}, 42);
  auto writer = *PackWriter::Create(store, pack);
  std::vector<std::jthread> threads;
  std::atomic<int> failed = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      base::SeededRandom noise(static_cast<uint64_t>(t));
      for (int i = 0; i < 200; ++i) {
        const std::string data = Noise(noise, 100'000);
        if (writer->Append(IdOf(data), Codec::kRaw, 100'000, base::AsBytes(data)).ok()) continue;
        ++failed;
        return;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(failed, 4);
  EXPECT_EQ(base::ReasonOf(writer->Seal().status()), "IO_ERROR");
  EXPECT_FALSE(store.Open(PackName(pack.header.pack)).ok());
}

}  // namespace
}  // namespace umbra::repo
