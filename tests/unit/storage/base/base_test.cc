// Proves the seams of storage/base: errors keep their reason, bytes and hex round-trip, files are replaced atomically,
// time and randomness behave as their headers say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <thread>

#include "storage/base/aligned_buffer.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"

namespace umbra::base {
namespace {

using ::testing::HasSubstr;

class TempFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/umbra-base-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
  PosixFilesystem fs_;
};

TEST(Status, ReasonAndCodeSurviveAnnotation) {
  const absl::Status status = Error(absl::StatusCode::kNotFound, "VM_NOT_FOUND", "no VM {}", "g1");
  const absl::Status annotated = Annotate(status, "job {}", 7);
  EXPECT_EQ(annotated.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(annotated), "VM_NOT_FOUND");
  EXPECT_EQ(MessageOf(annotated), "job 7: no VM g1");
  EXPECT_EQ(Describe(annotated), "NOT_FOUND [VM_NOT_FOUND]: job 7: no VM g1");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "unused").ok());
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "");
}

TEST(Status, ErrnoMapsToStableReasons) {
  EXPECT_EQ(ReasonOf(ErrnoError(ENOSPC, "write x")), "STORAGE_FULL");
  EXPECT_EQ(ErrnoError(ENOSPC, "write x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(ErrnoError(ENOENT, "open x")), "FILE_NOT_FOUND");
  EXPECT_EQ(ReasonOf(ErrnoError(EIO, "read x")), "IO_ERROR");
  EXPECT_THAT(MessageOf(ErrnoError(EIO, "read x")), HasSubstr("read x"));
}

TEST(Status, MacrosReturnTheError) {
  auto fails = []() -> absl::StatusOr<int> { return MakeError(absl::StatusCode::kAborted, "X", "x"); };
  auto user = [&]() -> absl::StatusOr<int> {
    ASSIGN_OR_RETURN(int value, fails());
    return value + 1;
  };
  EXPECT_EQ(ReasonOf(user().status()), "X");
}

TEST(Bytes, HexRoundTripsAndRefusesRubbish) {
  const std::string raw("\x00\x7f\xff umbra", 9);
  EXPECT_EQ(FromHex(ToHex(AsBytes(raw))), raw);
  EXPECT_EQ(ToHex(AsBytes("\x0a\xb0")), "0ab0");
  EXPECT_FALSE(FromHex("abc").has_value());
  EXPECT_FALSE(FromHex("zz").has_value());
}

TEST(Bytes, IsZeroSeesEverySingleByte) {
  for (const size_t size : {0u, 1u, 15u, 16u, 17u, 4096u}) {
    std::string buffer(size, '\0');
    EXPECT_TRUE(IsZero(AsBytes(buffer))) << size;
    for (size_t i = 0; i < size; i += (size > 100 ? 97 : 1)) {
      buffer[i] = 1;
      EXPECT_FALSE(IsZero(AsBytes(buffer))) << size << " byte " << i;
      buffer[i] = 0;
    }
  }
}

TEST(Bytes, SizesAreReadable) {
  EXPECT_EQ(FormatSize(512), "512 B");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(3 * kGiB), "3.0 GiB");
}

TEST(Random, UuidsAreVersion4AndDistinct) {
  SystemRandom random;
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string uuid = random.Uuid();
    ASSERT_EQ(uuid.size(), 36u);
    EXPECT_EQ(uuid[14], '4');
    EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos);
    EXPECT_TRUE(seen.insert(uuid).second);
  }
}

TEST(Random, ASeedRepeatsItself) {
  SeededRandom a(42), b(42), c(43);
  EXPECT_EQ(a.Hex(20), b.Hex(20));
  EXPECT_NE(a.Hex(20), c.Hex(20));
  for (int i = 0; i < 100; ++i) {
    const double f = a.Fraction();
    EXPECT_GE(f, 0);
    EXPECT_LT(f, 1);
  }
}

TEST(Clock, AwaitForEndsWhenTheConditionHolds) {
  SystemClock clock;
  absl::Mutex mu;
  bool ready = false;
  std::jthread other([&] {
    absl::MutexLock lock(&mu);
    ready = true;
  });
  absl::MutexLock lock(&mu);
  EXPECT_TRUE(clock.AwaitFor(mu, absl::Condition(&ready), absl::Seconds(60)));
}

TEST(Clock, AwaitForEndsWhenTimeIsUp) {
  SystemClock clock;
  const absl::Duration start = clock.Monotonic();
  clock.Sleep(absl::Milliseconds(5));
  EXPECT_GE(clock.Monotonic() - start, absl::Milliseconds(5));
}

TEST_F(TempFolder, AtomicReplacementLeavesNoTemporaryFile) {
  ASSERT_TRUE(fs_.WriteFileAtomic(Path("a"), "one").ok());
  ASSERT_TRUE(fs_.WriteFileAtomic(Path("a"), "two").ok());
  EXPECT_EQ(*fs_.ReadFile(Path("a")), "two");
  EXPECT_THAT(*fs_.List(folder_), ::testing::ElementsAre("a"));
}

TEST_F(TempFolder, NewFilesAreForTheOwnerOnly) {
  ASSERT_TRUE(fs_.WriteFileAtomic(Path("key"), "secret").ok());
  struct stat st;
  ASSERT_EQ(stat(Path("key").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(TempFolder, HolesAreKnown) {
  auto file = *fs_.Open(Path("sparse"), OpenMode::kCreate);
  EXPECT_THAT(*file->DataRanges(), ::testing::IsEmpty()) << "of an empty file";
  ASSERT_TRUE(file->Truncate(8 * kMiB).ok());
  EXPECT_THAT(*file->DataRanges(), ::testing::IsEmpty()) << "all hole";
  const std::string data(kMiB, 'x');
  ASSERT_TRUE(file->WriteAt(2 * kMiB, AsBytes(data)).ok());
  ASSERT_TRUE(file->WriteAt(7 * kMiB, AsBytes(data)).ok());
  EXPECT_THAT(*file->DataRanges(), ::testing::ElementsAre(FileRange{2 * kMiB, kMiB}, FileRange{7 * kMiB, kMiB}));
}

TEST_F(TempFolder, AllocatingChangesNothingThatCanBeRead) {
  auto file = *fs_.Open(Path("a"), OpenMode::kCreate);
  file->SkipCache();
  const std::string data(4096, 'x');
  ASSERT_TRUE(file->WriteAt(0, AsBytes(data)).ok());
  file->Allocate(0, kMiB);
  EXPECT_EQ(*file->Size(), data.size());
  ASSERT_TRUE(file->Truncate(kMiB).ok());
  const std::string content = *fs_.ReadFile(Path("a"));
  EXPECT_EQ(content, data + std::string(kMiB - data.size(), '\0'));
}

TEST_F(TempFolder, CreateRefusesAnExistingFile) {
  ASSERT_TRUE(fs_.Open(Path("a"), OpenMode::kCreate).ok());
  EXPECT_EQ(ReasonOf(fs_.Open(Path("a"), OpenMode::kCreate).status()), "FILE_EXISTS");
  EXPECT_EQ(ReasonOf(fs_.Open(Path("b"), OpenMode::kRead).status()), "FILE_NOT_FOUND");
}

TEST_F(TempFolder, ReadsPastTheEndAreErrorsAndHolesReadAsZero) {
  auto file = fs_.Open(Path("a"), OpenMode::kCreate);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->WriteAt(10000, AsBytes("end")).ok());
  EXPECT_EQ(*(*file)->Size(), 10003u);
  std::string head(16, 'x');
  ASSERT_TRUE((*file)->ReadAt(0, std::as_writable_bytes(std::span(head.data(), head.size()))).ok());
  EXPECT_TRUE(IsZero(AsBytes(head)));
  EXPECT_EQ(ReasonOf((*file)->ReadAt(10000, std::as_writable_bytes(std::span(head.data(), head.size())))),
            "FILE_TOO_SHORT");
}

// Aligned writes, unaligned ones and both side by side, whatever the file system makes of the hint.
TEST_F(TempFolder, WritesPastTheCacheAreReadBack) {
  auto file = fs_.Open(Path("a"), OpenMode::kCreate);
  ASSERT_TRUE(file.ok());
  (*file)->SkipCache();
  AlignedBuffer buffer(64 * kKiB);
  for (size_t i = 0; i < buffer.size(); ++i) buffer.data()[i] = static_cast<std::byte>(i / 7);
  const Bytes all = buffer.bytes();
  ASSERT_TRUE(IsDirectAligned(0, all));
  ASSERT_FALSE(IsDirectAligned(0, all.subspan(1)));
  ASSERT_FALSE(IsDirectAligned(1, all));
  ASSERT_TRUE((*file)->WriteAt(0, all.first(32 * kKiB)).ok());
  ASSERT_TRUE((*file)->WriteAt(32 * kKiB, all.subspan(32 * kKiB, 100)).ok());
  ASSERT_TRUE((*file)->WriteAt(32 * kKiB + 100, all.subspan(32 * kKiB + 100)).ok());
  ASSERT_TRUE((*file)->WriteAt(4096, all.subspan(4096, 8192)).ok());
  ASSERT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(*fs_.ReadFile(Path("a")), AsText(all));
}

TEST_F(TempFolder, ReadFileHasALimit) {
  ASSERT_TRUE(fs_.WriteFileAtomic(Path("a"), std::string(100, 'x')).ok());
  EXPECT_EQ(ReasonOf(fs_.ReadFile(Path("a"), 99).status()), "FILE_TOO_LARGE");
}

TEST_F(TempFolder, DirectoriesAreMadeWithTheirParents) {
  ASSERT_TRUE(fs_.MakeDirectories(Path("x/y/z")).ok());
  ASSERT_TRUE(fs_.MakeDirectories(Path("x/y/z")).ok());
  EXPECT_TRUE(*fs_.Exists(Path("x/y/z")));
  EXPECT_FALSE(*fs_.Exists(Path("x/q")));
  EXPECT_GT(*fs_.FreeSpace(folder_), 0u);
}

TEST_F(TempFolder, LinksAreMadeAndReplacedButNeverInPlaceOfAFile) {
  ASSERT_TRUE(fs_.WriteFileAtomic(Path("one"), "1").ok());
  ASSERT_TRUE(fs_.WriteFileAtomic(Path("two"), "2").ok());
  ASSERT_TRUE(fs_.Symlink(Path("one"), Path("link")).ok());
  EXPECT_EQ(*fs_.ReadFile(Path("link")), "1");
  ASSERT_TRUE(fs_.Symlink(Path("two"), Path("link")).ok());
  EXPECT_EQ(*fs_.ReadFile(Path("link")), "2");
  EXPECT_EQ(ReasonOf(fs_.Symlink(Path("one"), Path("two"))), "FILE_EXISTS");
  EXPECT_EQ(*fs_.ReadFile(Path("two")), "2");
}

TEST_F(TempFolder, VolumeIsThatOfTheNearestExistingFolder) {
  const auto here = fs_.VolumeOf(folder_);
  ASSERT_TRUE(here.ok());
  EXPECT_EQ(*fs_.VolumeOf(Path("not/yet/there")), *here);
  EXPECT_NE(*fs_.VolumeOf("/proc/self"), *here);
}

// From FIPS 180-4's examples.
TEST(Sha256, GivesTheKnownHash) {
  EXPECT_EQ(ToHex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace umbra::base
