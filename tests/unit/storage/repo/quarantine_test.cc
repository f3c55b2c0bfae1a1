// Proves that what is known to be damaged stays known: over restarts, damaged marks and crashes between two marks.
#include "storage/repo/quarantine.h"

#include <gtest/gtest.h>

#include "storage/base/random.h"
#include "tests/support/memory_blob_store.h"

namespace umbra::repo {
namespace {

using Trust = Quarantine::Trust;

class QuarantineTest : public ::testing::Test {
 protected:
  std::vector<std::string> Marks() { return *store_.List(kQuarantinePrefix); }

  testing::MemoryBlobStore store_;
  base::SeededRandom random_{1};
  const RawUuid repository_{std::byte{1}};
  const PackId a_{std::byte{10}};
  const PackId b_{std::byte{11}};
};

TEST_F(QuarantineTest, WhatIsAddedIsKnownAtOnceAndAfterARestart) {
  Quarantine first(store_, random_, repository_);
  ASSERT_TRUE(first.Load().ok());
  EXPECT_TRUE(first.empty());
  first.Add(a_, {.whole = false, .chunks = {{4096, 100}}});
  first.Add(a_, {.whole = false, .chunks = {{96, 7}}});
  first.Add(b_, {.whole = true, .chunks = {{96, 8}}});
  EXPECT_EQ(Marks().size(), 2u) << "one mark for each pack: the older ones are superseded";
  Quarantine second(store_, random_, repository_);
  ASSERT_TRUE(second.Load().ok());
  for (const Quarantine* quarantine : {&first, &second}) {
    EXPECT_FALSE(quarantine->empty());
    EXPECT_EQ(quarantine->TrustOf(a_, 96), Trust::kChunkDamaged);
    EXPECT_EQ(quarantine->TrustOf(a_, 97), Trust::kSound);
    EXPECT_EQ(quarantine->TrustOf(a_, 4096), Trust::kChunkDamaged);
    EXPECT_EQ(quarantine->TrustOf(b_, 96), Trust::kChunkDamaged);
    EXPECT_EQ(quarantine->TrustOf(b_, 5000), Trust::kPackDamaged);
    EXPECT_EQ(quarantine->TrustOf(PackId{}, 96), Trust::kSound);
    EXPECT_EQ(quarantine->Of(a_), (PackDamage{.whole = false, .chunks = {{96, 7}, {4096, 100}}}));
    EXPECT_EQ(quarantine->All().size(), 2u);
  }
}

TEST_F(QuarantineTest, WhatIsKnownAlreadyIsNotWrittenAgain) {
  Quarantine quarantine(store_, random_, repository_);
  ASSERT_TRUE(quarantine.Load().ok());
  quarantine.Add(a_, {.whole = false, .chunks = {{96, 7}}});
  const auto marks = Marks();
  quarantine.Add(a_, {.whole = false, .chunks = {{96, 7}}});
  EXPECT_EQ(Marks(), marks);
}

TEST_F(QuarantineTest, AFullCheckReplacesWhatWasKnown) {
  Quarantine quarantine(store_, random_, repository_);
  ASSERT_TRUE(quarantine.Load().ok());
  quarantine.Add(a_, {.whole = true, .chunks = {{96, 7}}});
  quarantine.Replace(a_, {.whole = false, .chunks = {{500, 7}}});
  EXPECT_EQ(quarantine.TrustOf(a_, 96), Trust::kSound);
  EXPECT_EQ(quarantine.TrustOf(a_, 500), Trust::kChunkDamaged);
  quarantine.Replace(a_, {});
  EXPECT_TRUE(quarantine.empty());
  EXPECT_TRUE(Marks().empty());
}

// A crash after the new mark was written and before the old one was deleted.
TEST_F(QuarantineTest, SeveralMarksOfAPackAddUp) {
  for (const BadChunk& chunk : {BadChunk{96, 1}, BadChunk{200, 1}}) {
    const std::string mark = EncodeMark(repository_, a_, {.whole = false, .chunks = {chunk}});
    ASSERT_TRUE(store_.PutIfAbsent(MarkName(a_, random_.Hex(4)), base::AsBytes(mark)).ok());
  }
  Quarantine quarantine(store_, random_, repository_);
  ASSERT_TRUE(quarantine.Load().ok());
  EXPECT_EQ(quarantine.Of(a_).chunks.size(), 2u);
  quarantine.Forget(a_);
  EXPECT_TRUE(Marks().empty()) << "both go";
}

TEST_F(QuarantineTest, ADamagedMarkStandsForItsWholePack) {
  const std::string good = EncodeMark(repository_, a_, {.whole = false, .chunks = {{96, 1}}});
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(DecodeMark(repository_, a_, base::AsBytes(bad)).ok()) << bit;
  }
  EXPECT_FALSE(DecodeMark(repository_, b_, base::AsBytes(good)).ok()) << "of another pack";
  EXPECT_FALSE(DecodeMark(RawUuid{}, a_, base::AsBytes(good)).ok()) << "of another repository";
  ASSERT_TRUE(store_.PutIfAbsent(MarkName(a_, "00"), base::AsBytes(good.substr(1))).ok());
  Quarantine quarantine(store_, random_, repository_);
  ASSERT_TRUE(quarantine.Load().ok());
  EXPECT_EQ(quarantine.TrustOf(a_, 12345), Trust::kPackDamaged);
}

}  // namespace
}  // namespace umbra::repo
