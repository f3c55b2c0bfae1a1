// Proves what a file set's mask means for each backup type, which files a set names (recursion, patterns, alternate
// location, exclusion, empty folders, links), and the rules of differenced files; on real folders.
#include "agent/vss/file_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/vss/errors.h"
#include "storage/base/status.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::vss {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using umbra::testing::MemoryFilesystem;

FileSet Set(std::string path, std::string filespec, bool recursive = false) {
  FileSet set;
  set.path = std::move(path);
  set.filespec = std::move(filespec);
  set.recursive = recursive;
  return set;
}

TEST(Masks, SayPerTypeWhatIsCopiedAndFromWhere) {
  struct Case {
    uint32_t mask;
    BackupType type;
    CopyRule rule;
    bool from_snapshot;
  };
  const Case cases[] = {
      {kFileSpecDefault, BackupType::kFull, CopyRule::kAlways, true},
      {kFileSpecDefault, BackupType::kIncremental, CopyRule::kAlways, true},
      {kFileSpecDefault, BackupType::kDifferential, CopyRule::kAlways, true},
      {kFileSpecDefault, BackupType::kLog, CopyRule::kAlways, true},
      {kFileSpecDefault, BackupType::kCopy, CopyRule::kAlways, true},
      {kFileSpecDefault, BackupType::kUndefined, CopyRule::kAlways, true},
      {0, BackupType::kFull, CopyRule::kNever, false},
      {0, BackupType::kLog, CopyRule::kNever, false},
      {0, BackupType::kCopy, CopyRule::kNever, false},
      {0, BackupType::kIncremental, CopyRule::kIfChanged, false},
      {0, BackupType::kDifferential, CopyRule::kIfChanged, false},
      {kFileSpecFullBackupRequired, BackupType::kFull, CopyRule::kAlways, false},
      {kFileSpecFullBackupRequired, BackupType::kCopy, CopyRule::kAlways, false},
      {kFileSpecFullBackupRequired, BackupType::kLog, CopyRule::kNever, false},
      {kFileSpecFullSnapshotRequired, BackupType::kFull, CopyRule::kNever, false},
      {kFileSpecIncrementalSnapshotRequired, BackupType::kIncremental, CopyRule::kIfChanged, true},
      {kFileSpecIncrementalBackupRequired, BackupType::kDifferential, CopyRule::kIfChanged, false},
      {kFileSpecDifferentialBackupRequired | kFileSpecDifferentialSnapshotRequired, BackupType::kDifferential,
       CopyRule::kAlways, true},
      {kFileSpecLogBackupRequired | kFileSpecLogSnapshotRequired, BackupType::kLog, CopyRule::kAlways, true},
  };
  for (const Case& c : cases) {
    const FileSource source = SourceOf(c.mask, c.type);
    EXPECT_EQ(source.rule, c.rule) << c.mask << " type " << static_cast<int>(c.type);
    EXPECT_EQ(source.from_snapshot, c.from_snapshot) << c.mask << " type " << static_cast<int>(c.type);
  }
}

TEST(Patterns, MatchAsOnWindows) {
  struct Case {
    const char* pattern;
    const char* name;
    bool matches;
  };
  for (const Case& c :
       {Case{"*", "", true}, Case{"*", "a.b", true}, Case{"*.*", "a", true}, Case{"*.log", "x.log", true},
        Case{"*.log", "x.log1", false}, Case{"a?c", "abc", true}, Case{"a?c", "ac", false},
        Case{"e*x*", "edb0x1", true}, Case{"*a*b*a", "aababa", true}, Case{"*a*b*a", "aabab", false},
        Case{"name", "name", true}, Case{"name", "Name", false}, Case{"", "x", false}}) {
    EXPECT_EQ(MatchesPattern(c.pattern, c.name, false), c.matches) << c.pattern << " " << c.name;
  }
  EXPECT_TRUE(MatchesPattern("*.LOG", "x.log", true));
  EXPECT_TRUE(HasWildcard("a?"));
  EXPECT_FALSE(HasWildcard("a.b"));
}

TEST(FileSets, ContainByWholeElements) {
  EXPECT_TRUE(Contains(Set("/db", "*"), "/db", "x", false));
  EXPECT_TRUE(Contains(Set("/db/", "*"), "/db", "x", false));
  EXPECT_FALSE(Contains(Set("/db", "*"), "/db/sub", "x", false));
  EXPECT_TRUE(Contains(Set("/db", "*", true), "/db/sub", "x", false));
  EXPECT_FALSE(Contains(Set("/db", "*", true), "/db2", "x", false));
  EXPECT_TRUE(Contains(Set("/", "*", true), "/db", "x", false));
  EXPECT_TRUE(Contains(Set("D:\\Data", "*.MDF", true), "d:\\data\\sub", "a.mdf", true));
}

TEST(FileSets, OverlapIsFoundByFolderAndPattern) {
  EXPECT_TRUE(MayOverlap(Set("/a", "*.log"), Set("/a", "x*"), false));
  EXPECT_FALSE(MayOverlap(Set("/a", "*.log"), Set("/a", "*.dat"), false));
  EXPECT_FALSE(MayOverlap(Set("/a", "*.log"), Set("/b", "*.log"), false));
  EXPECT_FALSE(MayOverlap(Set("/a", "*"), Set("/a/b", "*"), false));
  EXPECT_TRUE(MayOverlap(Set("/a", "*", true), Set("/a/b", "x"), false));
  EXPECT_TRUE(MayOverlap(Set("/a", "a?c"), Set("/a", "*b*"), false));
  EXPECT_FALSE(MayOverlap(Set("/a", "a?c"), Set("/a", "b*"), false));
  // Must not take for ever.
  EXPECT_FALSE(MayOverlap(Set("/a", std::string(200, '*') + "x"), Set("/a", std::string(200, '*') + "y"), false));
}

TEST(DifferencedFiles, AreAFileSetOrTouchNone) {
  Component c;
  c.name = "db";
  c.files = {Set("/db", "*.dat", true)};
  const auto check = [&](std::string path, std::string spec, bool recursive) {
    return CheckDifferenced({std::move(path), std::move(spec), recursive, std::nullopt, ""}, c, false);
  };
  EXPECT_TRUE(check("/db", "*.dat", true).ok());
  EXPECT_TRUE(check("/other", "*", true).ok());
  EXPECT_TRUE(check("/db", "*.log", false).ok());
  EXPECT_EQ(base::ReasonOf(check("/db", "*.dat", false)), "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(check("/db/sub", "a.dat", false)), "INVALID_REQUEST");
}

class ExpandTest : public ::testing::Test {
 protected:
  void Make(const std::string& path) {
    ASSERT_TRUE(files_.MakeDirectories(base::DirectoryOf(path)).ok());
    ASSERT_TRUE(files_.WriteFileAtomic(path, "x").ok());
  }
  std::vector<std::string> Expand(const ExpandOptions& options = {}) {
    const auto files = ExpandFiles(files_, component_, excluded_, differenced_, options);
    EXPECT_TRUE(files.ok()) << files.status();
    std::vector<std::string> lines;
    if (!files.ok()) return lines;
    for (const SelectedFile& file : *files) {
      std::string line = file.destination + (file.is_folder ? "/" : "");
      if (file.source != file.destination) line += " <- " + file.source;
      if (file.how.rule == CopyRule::kIfChanged) line += " if changed";
      if (!file.how.from_snapshot) line += " live";
      if (file.since.has_value()) line += " since";
      lines.push_back(line);
    }
    return lines;
  }

  MemoryFilesystem files_;
  Component component_;
  std::vector<FileSet> excluded_;
  std::vector<DifferencedFile> differenced_;
};

TEST_F(ExpandTest, RecursesMatchesAndLeavesOutTheExcluded) {
  for (const char* path : {"/db/a.dat", "/db/b.log", "/db/sub/c.dat", "/db/sub/tmp/d.dat", "/db2/e.dat"}) Make(path);
  component_.files = {Set("/db", "*.dat", true)};
  EXPECT_THAT(Expand(), ElementsAre("/db/a.dat", "/db/sub/c.dat", "/db/sub/tmp/d.dat"));
  excluded_ = {Set("/db/sub", "*", true)};  // beats every component
  EXPECT_THAT(Expand(), ElementsAre("/db/a.dat"));
  component_.files = {Set("/db", "*.dat")};
  excluded_.clear();
  EXPECT_THAT(Expand(), ElementsAre("/db/a.dat"));
}

TEST_F(ExpandTest, EmptyFoldersOfARecursiveSetAreKept) {
  Make("/db/a.dat");
  ASSERT_TRUE(files_.MakeDirectories("/db/empty/inner").ok());
  component_.files = {Set("/db", "*", true)};
  EXPECT_THAT(Expand(), ElementsAre("/db/a.dat", "/db/empty/inner/"));
}

TEST_F(ExpandTest, AlternateLocationIsWhereABackupReadsAndNothingElse) {
  Make("/stage/a.dat");
  FileSet set = Set("/db", "*", true);
  set.alternate_path = "/stage";
  component_.files = {set};
  EXPECT_THAT(Expand(), ElementsAre("/db/a.dat <- /stage/a.dat"));
}

TEST_F(ExpandTest, ReadsWhereTheCopyIs) {
  Make("/copy7/db/a.dat");
  component_.files = {Set("/db", "a.dat")};
  ExpandOptions options;
  options.read_at = [](const std::string& folder) { return "/copy7" + folder; };
  EXPECT_THAT(Expand(options), ElementsAre("/db/a.dat <- /copy7/db/a.dat"));
}

TEST_F(ExpandTest, NamedFileMustBeThereAPatternMayMatchNothing) {
  ASSERT_TRUE(files_.MakeDirectories("/db").ok());
  component_.files = {Set("/db", "*.dat"), Set("/gone", "*")};
  EXPECT_THAT(Expand(), IsEmpty());
  for (const FileSet& set : {Set("/db", "a.dat"), Set("/gone", "a.dat")}) {
    component_.files = {set};
    EXPECT_EQ(base::ReasonOf(ExpandFiles(files_, component_, {}, {}, {}).status()), "FILE_NOT_FOUND");
  }
  // Excluded isn't missing.
  Make("/db/a.dat");
  component_.files = {Set("/db", "a.dat")};
  excluded_ = {Set("/db", "a.*")};
  EXPECT_THAT(Expand(), IsEmpty());
}

TEST_F(ExpandTest, TypeDecidesAndDifferencedFilesBeatTheMask) {
  for (const char* path : {"/db/a.dat", "/db/b.log", "/x/c.new"}) Make(path);
  FileSet data = Set("/db", "*.dat");
  data.backup_type_mask = kFileSpecFullBackupRequired | kFileSpecFullSnapshotRequired;
  FileSet log = Set("/db", "*.log");
  log.backup_type_mask = kFileSpecLogBackupRequired | kFileSpecIncrementalBackupRequired;
  component_.files = {data};
  component_.log_files = {log};
  ExpandOptions options;
  EXPECT_THAT(Expand(options), ElementsAre("/db/a.dat"));
  options.type = BackupType::kLog;
  EXPECT_THAT(Expand(options), ElementsAre("/db/b.log live"));
  options.type = BackupType::kIncremental;
  EXPECT_THAT(Expand(options), ElementsAre("/db/a.dat if changed live", "/db/b.log live"));
  differenced_ = {{"/db", "*.log", false, absl::FromUnixSeconds(7), ""}, {"/x", "*", false, std::nullopt, "lsn 5"}};
  EXPECT_THAT(Expand(options),
              ElementsAre("/db/a.dat if changed live", "/db/b.log if changed live since", "/x/c.new if changed"));
  differenced_ = {{"/db", "*.d*", false, std::nullopt, ""}};
  EXPECT_EQ(base::ReasonOf(ExpandFiles(files_, component_, {}, differenced_, options).status()), "INVALID_REQUEST");
}

TEST_F(ExpandTest, FileOfTwoSetsIsListedOnceByTheOneThatCopiesMore) {
  Make("/db/a.dat");
  FileSet weak = Set("/db", "*");
  weak.backup_type_mask = 0;
  component_.files = {weak, Set("/db", "a.dat")};
  ExpandOptions options;
  options.type = BackupType::kIncremental;
  EXPECT_THAT(Expand(options), ElementsAre("/db/a.dat"));
}

TEST(ExpandOnDisk, DoesNotFollowLinks) {
  umbra::testing::TempDir folder;
  base::PosixFilesystem files;
  ASSERT_TRUE(files.MakeDirectories(folder.path() + "/db/sub").ok());
  ASSERT_TRUE(files.WriteFileAtomic(folder.path() + "/db/sub/a.dat", "x").ok());
  ASSERT_TRUE(files.Symlink(folder.path(), folder.path() + "/db/round").ok());
  ASSERT_TRUE(files.Symlink(folder.path() + "/db/sub/a.dat", folder.path() + "/db/link.dat").ok());
  EXPECT_THAT(*files.ListEntries(folder.path() + "/db"),
              ElementsAre(base::FolderEntry{"link.dat", base::EntryKind::kOther},
                          base::FolderEntry{"round", base::EntryKind::kOther},
                          base::FolderEntry{"sub", base::EntryKind::kFolder}));
  Component c;
  c.files = {Set(folder.path() + "/db", "*", true)};
  const auto expanded = ExpandFiles(files, c, {}, {}, {});
  ASSERT_TRUE(expanded.ok()) << expanded.status();
  ASSERT_EQ(expanded->size(), 1u);
  EXPECT_EQ((*expanded)[0].source, folder.path() + "/db/sub/a.dat");
  // One that is named is there.
  c.files = {Set(folder.path() + "/db", "link.dat")};
  EXPECT_TRUE(ExpandFiles(files, c, {}, {}, {}).ok());
}

}  // namespace
}  // namespace umbra::vss
