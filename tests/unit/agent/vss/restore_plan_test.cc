// Proves ranges in both forms, and where each restore method, restore target and new target puts the files.
#include "agent/vss/restore_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "storage/base/status.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::vss {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// --- ranges ---

TEST(Ranges, TextIsReadInDecimalAndHexadecimal) {
  const auto parsed = ParseRanges("0:512, 0x1000:0x200,18446744073709551615:0");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->ranges, ElementsAre(FileRange{0, 512}, FileRange{4096, 512}, FileRange{~0ull, 0}));
  EXPECT_EQ(PrintRanges(parsed->ranges), "0:512,4096:512,18446744073709551615:0");
  EXPECT_EQ(ParseRanges("File=D:\\r.bin")->file, "D:\\r.bin");
  EXPECT_THAT(ParseRanges("")->ranges, IsEmpty());
}

TEST(Ranges, TextThatIsNoneIsRefused) {
  for (const char* text : {"1", "1:", ":1", "1:2,", ",", "1:2;3:4", "-1:2", "1:0xg", "0x:1", "18446744073709551616:1",
                           "18446744073709551615:1", "File=", "1:2:3"}) {
    EXPECT_EQ(base::ReasonOf(ParseRanges(text).status()), "INVALID_REQUEST") << text;
  }
}

TEST(Ranges, FileHasCountThenPairs) {
  const std::vector<FileRange> ranges = {{1, 2}, {0x0102030405060708, 9}};
  const std::string bytes = PrintRangesFile(ranges);
  EXPECT_EQ(bytes.size(), 40u);
  EXPECT_EQ(bytes.substr(0, 9), std::string("\x02\0\0\0\0\0\0\0\x01", 9));
  EXPECT_EQ(bytes.substr(24, 2), "\x08\x07");
  EXPECT_EQ(*ParseRangesFile(bytes), ranges);
  EXPECT_THAT(*ParseRangesFile(std::string(8, '\0')), IsEmpty());
  for (const std::string& bad : {std::string(), bytes.substr(1), bytes + "x", std::string(8, '\xff')}) {
    EXPECT_EQ(base::ReasonOf(ParseRangesFile(bad).status()), "INVALID_REQUEST");
  }
}

TEST(Ranges, AreReadFromTheFileThatTheTextNames) {
  umbra::testing::MemoryFilesystem files;
  ASSERT_TRUE(files.WriteFileAtomic("/ranges", PrintRangesFile({{5, 6}})).ok());
  EXPECT_THAT(*ReadRanges(files, "File=/ranges"), ElementsAre(FileRange{5, 6}));
  EXPECT_THAT(*ReadRanges(files, "7:8"), ElementsAre(FileRange{7, 8}));
  EXPECT_EQ(base::ReasonOf(ReadRanges(files, "File=/gone").status()), "FILE_NOT_FOUND");
}

TEST(Ranges, PairByteByByteHoweverTheyAreCut) {
  EXPECT_THAT(*PairRanges({{0, 10}, {100, 5}}, {{50, 4}, {70, 0}, {60, 11}}),
              ElementsAre(RangeCopy{0, 50, 4}, RangeCopy{4, 60, 6}, RangeCopy{100, 66, 5}));
  EXPECT_THAT(*PairRanges({}, {}), IsEmpty());
  EXPECT_FALSE(PairRanges({{0, 10}}, {{0, 9}}).ok());
  EXPECT_FALSE(PairRanges({{0, 9}}, {{0, 10}}).ok());
}

// --- where files go ---

class PlanTest : public ::testing::Test {
 protected:
  PlanTest() {
    saved_.writer_name = "w";
    FileSet set;
    set.path = "/db";
    set.filespec = "*";
    set.recursive = true;
    component_.name = "c";
    component_.files = {set};
    probe_.exists = [this](const std::string& path) { return there_.contains(path); };
    probe_.can_replace = [this](const std::string& path) { return !in_use_.contains(path); };
  }

  absl::StatusOr<RestorePlan> Plan(RestoreMethod method) {
    saved_.restore_method.method = method;
    return PlanRestore(files_, {saved_, component_, explicit_, {"/db/a", "/db/sub/b"}, knows_writer_, false}, probe_);
  }
  // "file -> target", with "at reboot".
  std::vector<std::string> Lines(RestoreMethod method) {
    const auto plan = Plan(method);
    if (!plan.ok()) return {base::ReasonOf(plan.status())};
    std::vector<std::string> lines;
    for (const PlannedFile& file : plan->files) {
      lines.push_back(file.target + (file.action == FileAction::kRestoreAtReboot ? " at reboot" : ""));
    }
    return lines;
  }
  void MapTo(const std::string& folder) { saved_.restore_method.alternate_mappings = {{"/db", "*", true, folder}}; }

  umbra::testing::MemoryFilesystem files_;
  WriterMetadata saved_;
  Component component_;
  BackupComponent explicit_;
  RestoreProbe probe_;
  std::set<std::string> there_, in_use_;
  bool knows_writer_ = false;
};

TEST_F(PlanTest, IfNotThereRestoresAllOrNone) {
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfNotThere), ElementsAre("/db/a", "/db/sub/b"));
  there_ = {"/db/a"};
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfNotThere), IsEmpty());
  MapTo("/alt");
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfNotThere), ElementsAre("/alt/a", "/alt/sub/b"));
}

TEST_F(PlanTest, IfCanReplaceGoesElsewhereOrFails) {
  there_ = {"/db/a"};
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("/db/a", "/db/sub/b"));
  in_use_ = {"/db/sub/b"};
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("VSS_NOT_SUPPORTED"));
  MapTo("/alt");
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("/alt/a", "/alt/sub/b"));
  EXPECT_THAT(Plan(RestoreMethod::kRestoreIfCanReplace)->used_mappings,
              ElementsAre(FileMapping{"/db", "*", true, "/alt"}));
}

TEST_F(PlanTest, ServicesStopAndStartAroundIt) {
  saved_.restore_method.service = "svc";
  auto plan = Plan(RestoreMethod::kStopRestoreStart);
  EXPECT_EQ(plan->stop_service_before, "svc");
  EXPECT_EQ(plan->start_service_after, "svc");
  EXPECT_EQ(plan->restart_service_after, "");
  plan = Plan(RestoreMethod::kRestoreStopStart);
  EXPECT_EQ(plan->stop_service_before, "");
  EXPECT_EQ(plan->restart_service_after, "svc");
}

TEST_F(PlanTest, AlternateOnlyNeedsAMapping) {
  EXPECT_THAT(Lines(RestoreMethod::kRestoreToAlternateLocation), ElementsAre("VSS_NOT_SUPPORTED"));
  MapTo("/alt");
  EXPECT_THAT(Lines(RestoreMethod::kRestoreToAlternateLocation), ElementsAre("/alt/a", "/alt/sub/b"));
}

TEST_F(PlanTest, AtRebootNoTargetChangesIt) {
  in_use_ = {"/db/a"};
  EXPECT_THAT(Lines(RestoreMethod::kRestoreAtReboot), ElementsAre("/db/a at reboot", "/db/sub/b at reboot"));
  EXPECT_THAT(Lines(RestoreMethod::kRestoreAtRebootIfCannotReplace), ElementsAre("/db/a at reboot", "/db/sub/b"));
  EXPECT_TRUE(Plan(RestoreMethod::kRestoreAtReboot)->reboot_required);
  explicit_.restore_target = RestoreTarget::kAlternate;
  MapTo("/alt");
  EXPECT_THAT(Lines(RestoreMethod::kRestoreAtReboot), ElementsAre("/db/a at reboot", "/db/sub/b at reboot"));
}

TEST_F(PlanTest, CustomAndMissingMethodsAreRefused) {
  EXPECT_THAT(Lines(RestoreMethod::kUndefined), ElementsAre("VSS_NOT_SUPPORTED"));
  EXPECT_THAT(Lines(RestoreMethod::kCustom), ElementsAre("VSS_NOT_SUPPORTED"));
  knows_writer_ = true;
  EXPECT_THAT(Lines(RestoreMethod::kCustom), ElementsAre("/db/a", "/db/sub/b"));
}

TEST_F(PlanTest, WritersTargetBeatsTheMethod) {
  in_use_ = {"/db/a"};
  explicit_.restore_target = RestoreTarget::kOriginalLocation;
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("/db/a", "/db/sub/b"));
  explicit_.restore_target = RestoreTarget::kAlternate;
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("VSS_NOT_SUPPORTED"));
  MapTo("/alt/");
  saved_.restore_method.alternate_mappings[0].path = "/db/";
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("/alt/a", "/alt/sub/b"));
}

TEST_F(PlanTest, RequestersNewTargetBeatsBoth) {
  explicit_.new_targets = {{"/db/sub", "*", false, "/new"}};
  in_use_ = {"/db/sub/b"};  // isn't touched
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("/db/a", "/new/b"));
  explicit_.restore_target = RestoreTarget::kAlternate;
  MapTo("/alt");
  EXPECT_THAT(Lines(RestoreMethod::kRestoreIfCanReplace), ElementsAre("/alt/a", "/new/b"));
}

TEST_F(PlanTest, DirectedFilesGoInPieces) {
  explicit_.restore_target = RestoreTarget::kDirected;
  explicit_.directed_targets = {{"/db", "a", "0:10", "/log", "old", "100:4,200:6"}};
  const auto plan = Plan(RestoreMethod::kRestoreIfCanReplace);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->files.size(), 2u);
  EXPECT_EQ(plan->files[0].action, FileAction::kDirected);
  EXPECT_THAT(plan->files[0].directed,
              ElementsAre(DirectedCopy{"/log/old", {RangeCopy{0, 100, 4}, RangeCopy{4, 200, 6}}}));
  EXPECT_EQ(plan->files[1].target, "/db/sub/b");
  explicit_.directed_targets[0].destination_ranges = "100:4";
  EXPECT_EQ(base::ReasonOf(Plan(RestoreMethod::kRestoreIfCanReplace).status()), "INVALID_REQUEST");
}

}  // namespace
}  // namespace umbra::vss
