// Proves that written images hold the bytes that were written, zeroes elsewhere, and no more space than needed; qcow2 is
// judged by qemu-img, raw by reading the file.
#include "agent/hypervisor/image/image_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <thread>

#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::hypervisor {
namespace {

class ImageWriterTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string path() const { return folder_.File("disk." + GetParam()); }

  std::unique_ptr<BlockWriter> Create(uint64_t capacity) {
    auto writer = CreateImage(files_, {path(), GetParam(), capacity});
    UMBRA_CHECK(writer.ok());
    return *std::move(writer);
  }

  std::string RandomBytes(size_t size) {
    std::string bytes(size, '\0');
    random_.Fill(std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
    return bytes;
  }

  static bool HaveQemuImg() { return std::system("command -v qemu-img >/dev/null") == 0; }

  // The image's content as the guest would see it.
  std::string Content() {
    if (GetParam() == "raw") return files_.ReadFile(path(), base::kGiB).value();
    const std::string raw = path() + ".as-raw";
    EXPECT_EQ(std::system(fmt::format("qemu-img check -q {}", path()).c_str()), 0) << "errors or leaks";
    EXPECT_EQ(std::system(fmt::format("qemu-img convert -f qcow2 -O raw {} {}", path(), raw).c_str()), 0);
    return files_.ReadFile(raw, base::kGiB).value();
  }

  uint64_t SpaceTaken() const {
    struct stat st {};
    UMBRA_CHECK(stat(path().c_str(), &st) == 0);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  base::PosixFilesystem files_;
  base::SeededRandom random_{7};
  umbra::testing::TempDir folder_;
};

INSTANTIATE_TEST_SUITE_P(Formats, ImageWriterTest, ::testing::Values("raw", "qcow2"),
                         [](const auto& info) { return info.param; });

TEST_P(ImageWriterTest, HoldsWhatWasWrittenInAnyOrderAndSize) {
  if (GetParam() == "qcow2" && !HaveQemuImg()) GTEST_SKIP() << "qemu-img is not installed";
  constexpr uint64_t kCapacity = 40 * base::kMiB + 512;  // neither whole clusters nor whole chunks
  std::string expected(kCapacity, '\0');
  auto writer = Create(kCapacity);
  const std::pair<uint64_t, uint64_t> kWrites[] = {{kCapacity - 512, 512}, {3 * base::kMiB + 100, 777},
                                                   {20 * base::kMiB, 2 * base::kMiB}, {64 * 1024 - 1, 2},
                                                   {3 * base::kMiB + 877, 300000}, {0, 512}};
  for (const auto& [offset, size] : kWrites) {
    const std::string data = RandomBytes(size);
    expected.replace(offset, size, data);
    ASSERT_TRUE(writer->WriteAt(offset, base::AsBytes(data)).ok());
  }
  ASSERT_TRUE(writer->WriteAt(30 * base::kMiB, base::AsBytes(std::string(base::kMiB, '\0'))).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(Content() == expected);
  EXPECT_LT(SpaceTaken(), 4 * base::kMiB) << "zeroes take no space";
}

TEST_P(ImageWriterTest, TakesWritesFromManyThreads) {
  if (GetParam() == "qcow2" && !HaveQemuImg()) GTEST_SKIP() << "qemu-img is not installed";
  constexpr uint64_t kPiece = 100 * 1024;  // clusters are shared between threads
  constexpr int kThreads = 4;
  const std::string expected = RandomBytes(256 * kPiece);
  auto writer = Create(expected.size());
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t at = t * kPiece; at < expected.size(); at += kThreads * kPiece) {
        EXPECT_TRUE(writer->WriteAt(at, base::AsBytes(std::string_view(expected).substr(at, kPiece))).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(Content() == expected);
}

TEST_P(ImageWriterTest, EmptyAndHugeDisksTakeLittleSpace) {
  if (GetParam() == "qcow2" && !HaveQemuImg()) GTEST_SKIP() << "qemu-img is not installed";
  auto writer = Create(4096 * base::kGiB);  // tables of 512 MiB, unused
  const std::string data = RandomBytes(512);
  ASSERT_TRUE(writer->WriteAt(3000 * base::kGiB, base::AsBytes(data)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_LT(SpaceTaken(), 4 * base::kMiB);
  if (GetParam() == "qcow2") {
    EXPECT_EQ(std::system(fmt::format("qemu-img check -q {}", path()).c_str()), 0);
  }
}

TEST_P(ImageWriterTest, IsRemovedWithoutFinish) {
  Create(base::kMiB).reset();
  EXPECT_FALSE(files_.Exists(path()).value());
}

TEST_P(ImageWriterTest, RefusesImpossibleDisksAndWrites) {
  EXPECT_EQ(base::ReasonOf(CreateImage(files_, {path(), GetParam(), 0}).status()), "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(CreateImage(files_, {path(), GetParam(), 513}).status()), "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(CreateImage(files_, {path(), "vhdx", 512}).status()), "INVALID_REQUEST");
  auto writer = Create(base::kMiB);
  EXPECT_EQ(base::ReasonOf(CreateImage(files_, {path(), GetParam(), 512}).status()), "TARGET_EXISTS");
  EXPECT_TRUE(files_.Exists(path()).value()) << "what is in the way stays";
  EXPECT_FALSE(writer->WriteAt(base::kMiB, base::AsBytes("x")).ok());
  EXPECT_FALSE(writer->WriteAt(UINT64_MAX, base::AsBytes("x")).ok());
  EXPECT_EQ(base::ReasonOf(CreateImage(files_, {"/nowhere/x", GetParam(), 512}).status()), "FILE_NOT_FOUND");
}

// Every call that needs space fails once, one after another, until the whole scenario passes.
TEST_P(ImageWriterTest, FullTargetHasItsOwnReasonAndLeavesNothing) {
  const std::string data = RandomBytes(200 * 1024);
  bool struck = true;
  for (uint64_t call = 1; struck; ++call) {
    ASSERT_LT(call, 50u);
    umbra::testing::FaultFilesystem faulty(files_);
    faulty.FailAt(call, umbra::testing::Fault::kNoSpace, /*for_good=*/true);
    const absl::Status status = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(auto writer, CreateImage(faulty, {path(), GetParam(), base::kMiB}));
      RETURN_IF_ERROR(writer->WriteAt(1000, base::AsBytes(data)));
      return writer->Finish();
    }();
    struck = faulty.struck();
    if (!struck) {
      EXPECT_TRUE(status.ok());
      break;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << call;
    EXPECT_EQ(base::ReasonOf(status), "TARGET_FULL") << call;
    EXPECT_FALSE(files_.Exists(path()).value()) << call;
  }
}

// On a file system where files share their content.
class SeededImageTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kCapacity = base::kMiB + 512;

  void SetUp() override {
    random_.Fill(std::as_writable_bytes(std::span(old_.data(), old_.size())));
    ASSERT_TRUE(files_.WriteFileAtomic("/old", old_).ok());
  }

  // Some of it, and zeros over a part.
  static absl::Status WriteOver(BlockWriter& writer) {
    RETURN_IF_ERROR(writer.WriteAt(1000, base::AsBytes(std::string(70'000, 'n'))));
    RETURN_IF_ERROR(writer.WriteAt(500'000, base::AsBytes(std::string(200'000, '\0'))));
    return writer.Finish();
  }
  std::string Expected() const {
    return std::string(old_).replace(1000, 70'000, 70'000, 'n').replace(500'000, 200'000, 200'000, '\0');
  }

  umbra::testing::MemoryFilesystem files_;
  base::SeededRandom random_{9};
  std::string old_ = std::string(kCapacity, '\0');
};

TEST_F(SeededImageTest, BeginsWithTheOldContentAndKeepsWhatIsNotWritten) {
  auto writer = CreateImage(files_, {.path = "/new", .format = "raw", .capacity_bytes = kCapacity, .seed_path = "/old"});
  ASSERT_TRUE(writer.ok()) << writer.status();
  BlockReader* const seed = (*writer)->seed();
  ASSERT_NE(seed, nullptr);
  EXPECT_EQ(seed->capacity_bytes(), kCapacity);
  std::string seen(kCapacity, '\0');
  ASSERT_TRUE(seed->ReadAt(0, std::as_writable_bytes(std::span(seen.data(), seen.size()))).ok());
  EXPECT_TRUE(seen == old_);
  ASSERT_TRUE(WriteOver(**writer).ok());
  EXPECT_TRUE(*files_.ReadFile("/new") == Expected());
  EXPECT_TRUE(*files_.ReadFile("/old") == old_) << "the old file is only read";
  files_.CutPower();
  EXPECT_TRUE(*files_.ReadFile("/new") == Expected()) << "durable after Finish";
}

TEST_F(SeededImageTest, HasTheSizeOfTheDiskAndNotOfTheSeed) {
  for (const uint64_t capacity : {kCapacity - 512 * 100, kCapacity + 512 * 100}) {
    auto writer = CreateImage(files_, {.path = "/new", .format = "raw", .capacity_bytes = capacity, .seed_path = "/old"});
    ASSERT_TRUE(writer.ok());
    ASSERT_NE((*writer)->seed(), nullptr);
    EXPECT_EQ((*writer)->seed()->capacity_bytes(), capacity);
    ASSERT_TRUE((*writer)->Finish().ok());
    std::string expected = old_;
    expected.resize(capacity);
    EXPECT_TRUE(*files_.ReadFile("/new") == expected);
    ASSERT_TRUE(files_.Remove("/new").ok());
  }
}

TEST_F(SeededImageTest, IsEmptyWhereItCanHaveNone) {
  ASSERT_TRUE(files_.MakeDirectories("/folder").ok());
  base::PosixFilesystem real;
  const umbra::testing::TempDir temp;
  struct {
    base::Filesystem& files;
    NewDisk disk;
  } const cases[] = {
      {files_, {.path = "/new", .format = "raw", .capacity_bytes = 512, .seed_path = "/none"}},
      {files_, {.path = "/new", .format = "raw", .capacity_bytes = 512, .seed_path = "/folder"}},
      {files_, {.path = "/new", .format = "qcow2", .capacity_bytes = 512, .seed_path = "/old"}},
      {files_, {.path = "/new", .format = kStateFileFormat, .capacity_bytes = 511, .seed_path = "/old"}},
      {real, {.path = temp.File("new"), .format = "raw", .capacity_bytes = 512, .seed_path = "/dev/null"}},
  };
  for (const auto& [files, disk] : cases) {
    auto writer = CreateImage(files, disk);
    ASSERT_TRUE(writer.ok()) << disk.seed_path << writer.status();
    EXPECT_EQ((*writer)->seed(), nullptr) << disk.seed_path;
    ASSERT_TRUE((*writer)->Finish().ok());
    if (disk.format != "qcow2") {
      EXPECT_EQ(*files.ReadFile(disk.path), std::string(disk.capacity_bytes, '\0')) << disk.seed_path;
    }
    ASSERT_TRUE(files.Remove(disk.path).ok());
  }
}

// Every call fails once: either the image is whole, with the seed or without, or there is none and the reason is told.
TEST_F(SeededImageTest, IsWholeOrGoneWhateverFails) {
  for (const auto fault : {umbra::testing::Fault::kNoSpace, umbra::testing::Fault::kIoError}) {
    bool struck = true;
    for (uint64_t call = 1; struck; ++call) {
      ASSERT_LT(call, 60u);
      umbra::testing::FaultFilesystem faulty(files_);
      faulty.FailAt(call, fault, /*for_good=*/false);
      bool seeded = false;
      const absl::Status status = [&]() -> absl::Status {
        ASSIGN_OR_RETURN(auto writer, CreateImage(faulty, {.path = "/new", .format = "raw", .capacity_bytes = kCapacity,
                                                           .seed_path = "/old"}));
        seeded = writer->seed() != nullptr;
        return WriteOver(*writer);
      }();
      struck = faulty.struck();
      EXPECT_TRUE(*files_.ReadFile("/old") == old_) << call;
      if (!status.ok()) {
        EXPECT_FALSE(*files_.Exists("/new")) << call;
        EXPECT_EQ(base::ReasonOf(status), fault == umbra::testing::Fault::kNoSpace ? "TARGET_FULL" : "IO_ERROR") << call;
        continue;
      }
      EXPECT_EQ(seeded, !struck) << "only a clone that fails is done without";
      const std::string unseeded = std::string(kCapacity, '\0').replace(1000, 70'000, 70'000, 'n');
      EXPECT_TRUE(*files_.ReadFile("/new") == (seeded ? Expected() : unseeded)) << call;
      ASSERT_TRUE(files_.Remove("/new").ok());
    }
  }
}

}  // namespace
}  // namespace umbra::hypervisor
