// Proves that a pack reads back as it was written, and that all of it but the last bytes goes to the store in pieces that a
// disk can take past the page cache.
#include "storage/repo/pack.h"

#include <gtest/gtest.h>

#include "storage/base/aligned_buffer.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/support/memory_blob_store.h"

namespace umbra::repo {
namespace {

// Notes whether each piece was aligned.
class NotingWriter final : public BlobWriter {
 public:
  NotingWriter(std::unique_ptr<BlobWriter> real, std::vector<bool>& aligned) : real_(std::move(real)), aligned_(aligned) {}
  absl::Status Append(base::Bytes data) override {
    if (!data.empty()) aligned_.push_back(base::IsDirectAligned(size_, data));
    size_ += data.size();
    return real_->Append(data);
  }
  absl::Status Commit() override { return real_->Commit(); }

 private:
  const std::unique_ptr<BlobWriter> real_;
  std::vector<bool>& aligned_;
  uint64_t size_ = 0;
};

class NotingStore final : public BlobStore {
 public:
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) override {
    ASSIGN_OR_RETURN(auto real, real_.Create(name));
    return std::make_unique<NotingWriter>(std::move(real), aligned);
  }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) override { return real_.Open(name); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override { return real_.List(prefix); }
  absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
  absl::StatusOr<uint64_t> FreeSpace() override { return real_.FreeSpace(); }

  std::vector<bool> aligned;

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

}  // namespace
}  // namespace umbra::repo
