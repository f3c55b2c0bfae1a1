// Proves that a power cut of the in-memory filesystem keeps all that was synced, whatever the luck, and that what
// wasn't is lost, torn, reordered and kept in every way that a disk could show.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "storage/base/status.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::testing {
namespace {

using base::AsBytes;
using base::OpenMode;

constexpr uint64_t kSector = MemoryFilesystem::kSectorBytes;

void Write(base::Filesystem& fs, const std::string& path, uint64_t offset, const std::string& content, bool sync) {
  auto file = fs.Open(path, OpenMode::kReadWrite);
  if (!file.ok()) file = fs.Open(path, OpenMode::kCreate);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->WriteAt(offset, AsBytes(content)).ok());
  const absl::Status synced = sync ? (*file)->Sync() : absl::OkStatus();
  ASSERT_TRUE(synced.ok()) << synced;
}

std::string Read(base::Filesystem& fs, const std::string& path) {
  const auto content = fs.ReadFile(path);
  return content.ok() ? *content : "(none)";
}

std::string Sectors(const std::string& letters) {
  std::string content;
  for (const char letter : letters) content += std::string(kSector, letter);
  return content;
}

// First letter of each sector, '.' for zeros, and what is left of the last one as its length.
std::string Letters(const std::string& content) {
  if (content == "(none)") return content;
  std::string letters;
  for (size_t at = 0; at < content.size(); at += kSector) {
    const std::string sector = content.substr(at, kSector);
    EXPECT_EQ(sector, std::string(sector.size(), sector[0])) << "a sector is whole";
    letters += sector[0] == '\0' ? '.' : sector[0];
  }
  return letters;
}

// What `look` sees after power cuts of many kinds in a file system that `prepare` made.
std::set<std::string> Outcomes(const std::function<void(MemoryFilesystem&)>& prepare,
                               const std::function<std::string(MemoryFilesystem&)>& look) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    MemoryFilesystem fs;
    prepare(fs);
    base::SeededRandom luck(seed);
    fs.CutPower(&luck);
    seen.insert(look(fs));
  }
  return seen;
}

TEST(PowerCut, WithoutLuckOnlyWhatWasSyncedStays) {
  MemoryFilesystem fs;
  Write(fs, "/kept", 0, "old", true);
  Write(fs, "/unsynced", 0, "data", false);
  ASSERT_TRUE(fs.SyncDirectory("/").ok());
  Write(fs, "/kept", 0, "newer", false);
  Write(fs, "/unnamed", 0, "data", true);
  ASSERT_TRUE(fs.MakeDirectories("/folder").ok());
  ASSERT_TRUE(fs.Remove("/unsynced").ok());
  auto open = *fs.Open("/kept", OpenMode::kReadWrite);
  fs.CutPower();
  EXPECT_EQ(*fs.List("/"), (std::vector<std::string>{"kept", "unsynced"}));
  EXPECT_EQ(Read(fs, "/kept"), "old");
  EXPECT_EQ(Read(fs, "/unsynced"), "");
  ASSERT_TRUE(open->WriteAt(0, AsBytes("ghost")).ok());
  EXPECT_EQ(Read(fs, "/kept"), "old") << "a file from before the cut reaches nothing";
}

TEST(PowerCut, WhatWasSyncedAlwaysStays) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        ASSERT_TRUE(fs.MakeDirectories("/a/b").ok());
        Write(fs, "/a/b/file", 0, Sectors("xy"), true);
        for (const char* folder : {"/", "/a", "/a/b"}) ASSERT_TRUE(fs.SyncDirectory(folder).ok());
        Write(fs, "/a/other", 0, Sectors("z"), false);
      },
      [](MemoryFilesystem& fs) { return Letters(Read(fs, "/a/b/file")); });
  EXPECT_EQ(seen, std::set<std::string>{"xy"});
}

TEST(PowerCut, UnsyncedDataIsLostTornReorderedOrKept) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        Write(fs, "/file", 0, Sectors("aaaa"), true);
        ASSERT_TRUE(fs.SyncDirectory("/").ok());
        Write(fs, "/file", 0, Sectors("bb"), false);
        Write(fs, "/file", kSector, Sectors("cc"), false);
      },
      [](MemoryFilesystem& fs) { return Letters(Read(fs, "/file")); });
  // Each of the three changed sectors in each of its versions, the last one never touched: all but for nothing else.
  EXPECT_EQ(seen, (std::set<std::string>{"aaaa", "aaca", "abaa", "abca", "acaa", "acca", "baaa", "baca", "bbaa", "bbca",
                                         "bcaa", "bcca"}));
}

TEST(PowerCut, AGrownFileHasAnySizeAndZerosWhereNothingWasWritten) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        Write(fs, "/file", 0, Sectors("a"), true);
        ASSERT_TRUE(fs.SyncDirectory("/").ok());
        Write(fs, "/file", kSector, Sectors("bb"), false);
      },
      [](MemoryFilesystem& fs) { return Letters(Read(fs, "/file")); });
  EXPECT_EQ(seen, (std::set<std::string>{"a", "a.", "ab", "a..", "ab.", "a.b", "abb"}));
}

TEST(PowerCut, ATruncatedFileMayHaveItsOldBytes) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        Write(fs, "/file", 0, Sectors("ab"), true);
        ASSERT_TRUE(fs.SyncDirectory("/").ok());
        ASSERT_TRUE(fs.Open("/file", OpenMode::kTruncate).ok());
      },
      [](MemoryFilesystem& fs) { return Letters(Read(fs, "/file")); });
  EXPECT_TRUE(seen.contains("ab"));
  EXPECT_TRUE(seen.contains(""));
  EXPECT_TRUE(seen.contains("a"));
}

TEST(PowerCut, AnUnsyncedMoveShowsAnyOfBothNames) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        ASSERT_TRUE(fs.MakeDirectories("/from").ok());
        ASSERT_TRUE(fs.MakeDirectories("/to").ok());
        Write(fs, "/from/file", 0, "content", true);
        for (const char* folder : {"/", "/from", "/to"}) ASSERT_TRUE(fs.SyncDirectory(folder).ok());
        ASSERT_TRUE(fs.Rename("/from/file", "/to/file").ok());
      },
      [](MemoryFilesystem& fs) { return Read(fs, "/from/file") + " " + Read(fs, "/to/file"); });
  EXPECT_EQ(seen, (std::set<std::string>{"(none) (none)", "(none) content", "content (none)", "content content"}));
}

TEST(PowerCut, AReplacedFileIsOldOrNewAndNeverGone) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        Write(fs, "/file", 0, "old", true);
        Write(fs, "/temporary", 0, "new", true);
        ASSERT_TRUE(fs.SyncDirectory("/").ok());
        ASSERT_TRUE(fs.Rename("/temporary", "/file").ok());
      },
      [](MemoryFilesystem& fs) { return Read(fs, "/file"); });
  EXPECT_EQ(seen, (std::set<std::string>{"old", "new"}));
}

TEST(PowerCut, AJournalKeepsTheOrderAndOthersDoNot) {
  // Made one after another: with a journal a later one is there only with the earlier ones.
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        for (const char* name : {"/1", "/2", "/3"}) Write(fs, name, 0, "x", true);
      },
      [](MemoryFilesystem& fs) {
        std::string names;
        const auto listed = fs.List("/");
        for (const std::string& name : *listed) names += name;
        return names;
      });
  EXPECT_EQ(seen, (std::set<std::string>{"", "1", "12", "123", "13", "2", "23", "3"}));
}

TEST(PowerCut, ALostFolderTakesAlongWhatIsInIt) {
  const auto seen = Outcomes(
      [](MemoryFilesystem& fs) {
        ASSERT_TRUE(fs.MakeDirectories("/folder").ok());
        Write(fs, "/folder/file", 0, "content", true);
        ASSERT_TRUE(fs.SyncDirectory("/folder").ok());
      },
      [](MemoryFilesystem& fs) {
        const auto names = fs.List("/folder");
        return !names.ok() ? std::string("no folder") : names->empty() ? "empty" : names->at(0);
      });
  EXPECT_TRUE(seen.contains("no folder"));
  EXPECT_TRUE(seen.contains("file"));
  EXPECT_FALSE(seen.contains("empty"));
}

TEST(PowerCut, OneSeedIsOneOutcome) {
  std::vector<std::string> outcomes;
  for (int round = 0; round < 2; ++round) {
    MemoryFilesystem fs;
    for (int i = 0; i < 20; ++i) Write(fs, "/file" + std::to_string(i), 0, Sectors("abcdef"), i % 3 == 0);
    base::SeededRandom luck(5);
    fs.CutPower(&luck);
    std::string& all = outcomes.emplace_back();
    for (const std::string& path : fs.AllFiles("")) all += path + "=" + Letters(Read(fs, path)) + "\n";
  }
  EXPECT_EQ(outcomes[0], outcomes[1]);
  EXPECT_FALSE(outcomes[0].empty());
}

}  // namespace
}  // namespace umbra::testing
