// Proves that a file is read as a disk: holes are zero, pieces end at their multiples, errors and missing changes have
// the reasons given.
#include <map>
#include <string>

#include "agent/hypervisor/hypervisor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::hypervisor {
namespace {

using base::kKiB;
using base::kMiB;

class FileReaderTest : public ::testing::Test {
 protected:
  // 4 MiB and a bit, with data in the second MiB and at the end.
  void SetUp() override {
    auto file = *fs_.Open(folder_.File("disk"), base::OpenMode::kCreate);
    ASSERT_TRUE(file->Truncate(kSize).ok());
    ASSERT_TRUE(file->WriteAt(kMiB, base::AsBytes(std::string(kMiB, 'a'))).ok());
    ASSERT_TRUE(file->WriteAt(kSize - kTail, base::AsBytes(std::string(kTail, 'z'))).ok());
  }

  testing::TempDir folder_;
  base::PosixFilesystem fs_;
  static constexpr uint64_t kTail = 12 * kKiB;
  static constexpr uint64_t kSize = 4 * kMiB + kTail;
};

TEST_F(FileReaderTest, HolesAreZero) {
  const auto reader = *OpenFile(fs_, folder_.File("disk"));
  EXPECT_EQ(reader->capacity_bytes(), kSize);
  const std::vector<Extent> extents = *reader->Extents();
  uint64_t next = 0;
  uint64_t data = 0;
  for (const Extent& extent : extents) {
    EXPECT_EQ(extent.offset_bytes, next);
    next += extent.length_bytes;
    if (!extent.zero) data += extent.length_bytes;
  }
  EXPECT_EQ(next, kSize) << "they cover the file";
  EXPECT_EQ(data, kMiB + kTail);
}

TEST_F(FileReaderTest, PiecesNeverCrossTheirMultiple) {
  const auto reader = *OpenFile(fs_, folder_.File("disk"));
  for (const uint64_t piece : {64 * kKiB, 128 * kKiB, 3 * kMiB}) {
    std::map<uint64_t, std::string> pieces;
    const auto sink = [&](uint64_t offset, base::Bytes bytes) {
      EXPECT_EQ(offset / piece, (offset + bytes.size() - 1) / piece);
      EXPECT_TRUE(pieces.emplace(offset, base::AsText(bytes)).second);
      return absl::OkStatus();
    };
    ASSERT_TRUE(reader
                    ->ReadExtents({{5000, 2 * kMiB, false}, {3 * kMiB, kSize - 3 * kMiB, false}},
                                  static_cast<uint32_t>(piece), sink)
                    .ok());
    std::string all;
    for (const auto& [offset, bytes] : pieces) all += bytes;
    std::string expected(kMiB - 5000, '\0');
    expected += std::string(kMiB, 'a') + std::string(5000, '\0') + std::string(kMiB, '\0') + std::string(kTail, 'z');
    EXPECT_EQ(all, expected);
  }
}

TEST_F(FileReaderTest, ReadThatFailsSaysWhy) {
  const auto lost = base::MakeError(absl::StatusCode::kAborted, "GUEST_STARTED", "the view is lost");
  absl::Status why;
  const auto reader = *OpenFile(fs_, folder_.File("disk"), {.why = [&] { return why; }});
  std::byte byte;
  EXPECT_EQ(base::ReasonOf(reader->ReadAt(kSize, {&byte, 1})), "FILE_TOO_SHORT");
  why = lost;
  EXPECT_EQ(reader->ReadAt(kSize, {&byte, 1}), lost);
}

TEST_F(FileReaderTest, ChangesAreUnknownForTheReasonGiven) {
  EXPECT_EQ(base::ReasonOf((*OpenFile(fs_, folder_.File("disk")))->Changes().status()), "CBT_UNSUPPORTED");
  const auto none = base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_NO_BASE", "none");
  EXPECT_EQ((*OpenFile(fs_, folder_.File("disk"), {.no_changes = none}))->Changes().status(), none);
}

}  // namespace
}  // namespace umbra::hypervisor
