// Proves that a copy of the catalog reads back as it was written or is refused: cut, changed, mixed from parts, of
// another repository; that a copy which is interrupted anywhere leaves the earlier ones as they are; and which
// generations stay.
#include "storage/repo/catalog_copies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/repo/verify_stored.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/memory_blob_store.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Noise(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  base::SeededRandom random(seed);
  random.Fill(std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  return bytes;
}

absl::StatusOr<CatalogCopyInfo> Write(CatalogCopies& copies, std::string_view content, size_t piece = 300'000) {
  ASSIGN_OR_RETURN(auto writer, copies.Begin());
  while (!content.empty()) {
    const std::string_view part = content.substr(0, piece);
    RETURN_IF_ERROR(writer->Append(base::AsBytes(part)));
    content.remove_prefix(part.size());
  }
  return writer->Commit();
}

absl::StatusOr<std::string> Read(CatalogCopies& copies, const std::string& id) {
  ASSIGN_OR_RETURN(auto reader, copies.Open(id));
  std::string content;
  for (;;) {
    ASSIGN_OR_RETURN(const std::string part, reader->Next());
    if (part.empty()) return content;
    content += part;
  }
}

class CatalogCopiesTest : public RepositoryTest {
 protected:
  CatalogCopies& copies() { return repository_->catalog_copies(); }
  std::string PathOf(const std::string& id) { return std::string(kPath) + "/" + CatalogName(id); }
};

TEST_F(CatalogCopiesTest, WhatIsWrittenReadsBackAlsoAfterReopeningAndRotatingKeys) {
  const size_t kSizes[] = {
      0, 1, kCatalogSegmentSize - 1, kCatalogSegmentSize, kCatalogSegmentSize + 1, 3 * kCatalogSegmentSize + 17};
  std::map<std::string, std::string> written;
  for (const size_t size : kSizes) {
    const std::string content = size % 2 == 0 ? std::string(size, 'x') : Noise(size, size);
    const auto info = Write(copies(), content);
    ASSERT_TRUE(info.ok()) << info.status();
    written[info->id] = content;
  }
  ASSERT_TRUE(repository_->RotateKeys().ok());
  Reopen();
  const auto list = *copies().List();
  ASSERT_THAT(list, SizeIs(std::size(kSizes)));
  EXPECT_EQ(list.front().sequence, std::size(kSizes)) << "newest first";
  for (const auto& info : list) {
    EXPECT_EQ(*Read(copies(), info.id), written[info.id]);
    EXPECT_FALSE(info.damaged);
    EXPECT_GT(info.create_time, absl::UnixEpoch());
    EXPECT_EQ(info.stored_bytes, fs_.ReadFile(PathOf(info.id))->size());
  }
}

TEST_F(CatalogCopiesTest, NothingShowsBeforeItsCommit) {
  {
    auto writer = copies().Begin();
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Append(base::AsBytes(Noise(2'000'000, 1))).ok());
    EXPECT_THAT(*copies().List(), IsEmpty());
  }
  EXPECT_THAT(*copies().List(), IsEmpty());
  EXPECT_THAT(fs_.AllFiles(std::string(kPath) + "/tmp"), IsEmpty());
  EXPECT_EQ(base::ReasonOf(copies().Open("0000000000000001-00000000").status()), "CATALOG_COPY_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(copies().Open("../keys/x").status()), "CATALOG_COPY_NOT_FOUND");
}

TEST_F(CatalogCopiesTest, ItIsSealed) {
  const std::string secret = "a secret that nobody else may read";
  const auto info = *Write(copies(), secret);
  EXPECT_EQ(fs_.ReadFile(PathOf(info.id))->find("secret"), std::string::npos);
}

TEST_F(CatalogCopiesTest, EveryChangedByteAndEveryCutIsFound) {
  const std::string content = Noise(1500, 7);
  const auto info = *Write(copies(), content);
  const std::string path = PathOf(info.id);
  const std::string good = *fs_.ReadFile(path);
  const auto refused = [&](const std::string& bytes, const std::string& what) {
    ASSERT_TRUE(fs_.WriteFileAtomic(path, bytes).ok());
    EXPECT_EQ(base::ReasonOf(Read(copies(), info.id).status()), "CATALOG_COPY_DAMAGED") << what;
  };
  for (size_t at = 0; at < good.size(); at += at < 200 ? 1 : 13) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    refused(bad, fmt::format("byte {}", at));
  }
  for (size_t size = 0; size < good.size(); size += 11) refused(good.substr(0, size), fmt::format("cut at {}", size));
  refused(good + "x", "something behind it");
  // With every hash right again, as somebody could do who can write to the disk: the tag tells.
  std::string forged = good;
  const size_t segment = kCatalogHeaderSize;
  forged[segment + kCatalogSegmentHeadSize + 3] ^= 1;
  const Hash hash = HashOf(base::AsBytes(forged).subspan(segment, forged.size() - segment - 32));
  forged.replace(forged.size() - 32, 32, base::AsText(hash));
  refused(forged, "another content with a right hash");
}

TEST_F(CatalogCopiesTest, PartsOfCopiesCannotBeMixed) {
  const auto first = *Write(copies(), Noise(3 * kCatalogSegmentSize, 1));
  const auto second = *Write(copies(), Noise(3 * kCatalogSegmentSize, 2));
  const std::string a = *fs_.ReadFile(PathOf(first.id)), b = *fs_.ReadFile(PathOf(second.id));
  ASSERT_EQ(a.size(), b.size());
  const size_t segment = kCatalogSegmentHeadSize + kCatalogSegmentSize + kTagSize + kCatalogSegmentHashSize;
  const auto refused = [&](const std::string& bytes) {
    ASSERT_TRUE(fs_.WriteFileAtomic(PathOf(first.id), bytes).ok());
    EXPECT_EQ(base::ReasonOf(Read(copies(), first.id).status()), "CATALOG_COPY_DAMAGED");
  };
  refused(b);  // another copy under this name
  const size_t begin = kCatalogHeaderSize;
  refused(a.substr(0, begin + segment) + b.substr(begin + segment));
  refused(a.substr(0, begin) + a.substr(begin + segment, segment) + a.substr(begin, segment) +
          a.substr(begin + 2 * segment));
  refused(a.substr(0, begin) + a.substr(begin + segment));
}

TEST_F(CatalogCopiesTest, ADamagedOneIsListedReportedByVerificationAndPassedOver) {
  const auto first = *Write(copies(), "one");
  const auto second = *Write(copies(), "two");
  EXPECT_TRUE(repository_->Verify({}, {}, {})->ok());
  std::string bytes = *fs_.ReadFile(PathOf(second.id));
  bytes[20] ^= 1;
  ASSERT_TRUE(fs_.WriteFileAtomic(PathOf(second.id), bytes).ok());
  const auto list = *copies().List();
  ASSERT_THAT(list, SizeIs(2));
  EXPECT_TRUE(list[0].damaged);
  EXPECT_FALSE(list[1].damaged);
  const auto report = *repository_->Verify({}, {}, {});
  ASSERT_THAT(report.problems, SizeIs(1));
  EXPECT_NE(report.problems[0].find(second.id), std::string::npos) << report.problems[0];
  repository_.reset();
  const auto stored = *VerifyStoredFolder(fs_, kPath, {}, {});
  EXPECT_THAT(stored.problems, SizeIs(1));
}

TEST_F(CatalogCopiesTest, TheyCountAsStoredBytes) {
  const uint64_t before = repository_->Stats()->stored_bytes;
  const auto info = *Write(copies(), Noise(100'000, 1));
  EXPECT_EQ(repository_->Stats()->stored_bytes, before + info.stored_bytes);
}

CatalogCopyInfo At(uint64_t sequence, absl::Duration age, bool damaged = false) {
  return {.id = CatalogCopyId(sequence, "00000000"),
          .sequence = sequence,
          .create_time = damaged ? absl::InfinitePast() : absl::FromUnixSeconds(1'800'000'000) - age,
          .damaged = damaged};
}

std::vector<uint64_t> Forgotten(const std::vector<CatalogCopyInfo>& copies) {
  std::vector<uint64_t> sequences;
  for (const std::string& id : CopiesToForget(copies)) ParseCatalogCopyId(id, sequences.emplace_back());
  return sequences;
}

TEST(CopiesToForget, TheNewestStayAndOneOfEachDay) {
  EXPECT_THAT(Forgotten({}), IsEmpty());
  EXPECT_THAT(Forgotten({At(3, {}), At(2, {}), At(1, {})}), IsEmpty());
  EXPECT_THAT(Forgotten({At(5, {}), At(4, {}), At(3, {}), At(2, {}), At(1, {})}), ElementsAre(2, 1));
  std::vector<CatalogCopyInfo> daily;
  for (uint64_t day = 0; day < 20; ++day) daily.push_back(At(100 - day, absl::Hours(24) * day));
  EXPECT_THAT(Forgotten(daily), SizeIs(13)) << "seven days";
  // Damaged ones neither stand for a day nor push a sound one out.
  EXPECT_THAT(Forgotten({At(6, {}, true), At(5, {}, true), At(4, {}), At(3, {}), At(2, {}), At(1, {}, true)}),
              ElementsAre(1));
}

TEST(CopiesToForget, NeverTheLastSoundOne) {
  base::SeededRandom random(5);
  for (int round = 0; round < 500; ++round) {
    std::vector<CatalogCopyInfo> copies;
    for (uint64_t i = 30; i > 0; --i)
      copies.push_back(At(i, absl::Hours(720) * random.Fraction(), random.Fraction() < 0.4));
    const auto forgotten = Forgotten(copies);
    size_t newest_sound = 0;
    for (const auto& copy : copies) {
      if (copy.damaged || newest_sound++ >= kCatalogCopiesKept) continue;
      EXPECT_THAT(forgotten, ::testing::Not(::testing::Contains(copy.sequence))) << round;
    }
  }
}

TEST_F(CatalogCopiesTest, ThinAndPruneForgetTheRest) {
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Write(copies(), "x").ok());
  ASSERT_TRUE(copies().Thin().ok());
  EXPECT_THAT(*copies().List(), SizeIs(kCatalogCopiesKept));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Write(copies(), "y").ok());
  ASSERT_TRUE(repository_->Prune({.dry_run = true}, {}, {}).ok());
  EXPECT_THAT(*copies().List(), SizeIs(kCatalogCopiesKept + 3)) << "a dry run changes nothing";
  const auto report = repository_->Prune({}, {}, {});
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->problems, IsEmpty());
  EXPECT_THAT(*copies().List(), SizeIs(kCatalogCopiesKept));
  EXPECT_EQ(*Read(copies(), copies().List()->front().id), "y");
}

// A second copy, through a file system that fails at its n-th call: the first is as it was, and the second whole or not
// there.
TEST(CatalogCopyFaults, AnInterruptedCopyLeavesTheEarlierOnes) {
  const std::string first = Noise(1'200'000, 1), second = Noise(1'300'000, 2);
  base::SystemClock clock;
  for (const auto fault : {testing::Fault::kNoSpace, testing::Fault::kIoError}) {
    for (const bool for_good : {false, true}) {
      for (uint64_t call = 1;; ++call) {
        base::SeededRandom random(1);
        testing::MemoryFilesystem memory;
        testing::FaultFilesystem files(memory);
        auto repository = *Repository::OpenOrCreate(files, clock, random, "/r", SmallOptions());
        const auto kept = *Write(repository->catalog_copies(), first);
        files.FailAt(call, fault, for_good);
        const auto written = Write(repository->catalog_copies(), second);
        const bool struck = files.struck();
        repository.reset();  // the process dies here: what wasn't synced may be lost
        repository = *Repository::OpenOrCreate(memory, clock, random, "/r", SmallOptions());
        CatalogCopies& copies = repository->catalog_copies();
        EXPECT_EQ(*Read(copies, kept.id), first) << call;
        const auto list = *copies.List();
        ASSERT_LE(list.size(), 2u);
        if (list.size() == 2) {
          EXPECT_EQ(*Read(copies, list[0].id), second) << call;
        }
        if (written.ok()) {
          EXPECT_EQ(list.size(), 2u) << call;
        }
        EXPECT_THAT(memory.AllFiles("/r/tmp"), IsEmpty());
        EXPECT_TRUE(Write(copies, "works again").ok());
        if (!struck) {
          EXPECT_TRUE(written.ok());
          break;
        }
      }
    }
  }
}

}  // namespace
}  // namespace umbra::repo
