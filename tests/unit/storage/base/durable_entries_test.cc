// Proves that an entry is durable before OK, that a failing disk is told and leaves the former text or the new one,
// that what a dead process never finished goes at the next start, and that live entries and files of others are left
// alone.
#include "storage/base/durable_entries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::base {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class DurableEntriesTest : public ::testing::Test {
 protected:
  DurableEntries Entries(Filesystem& files) { return DurableEntries(files, dir_.File("list"), ".deed", 16); }
  // "name=text"
  static std::vector<std::string> Texts(DurableEntries& entries) {
    const absl::StatusOr<DurableEntries::Listing> listing = entries.List();
    if (!listing.ok()) return {base::Describe(listing.status())};
    std::vector<std::string> texts;
    for (const auto& [name, text] : listing->entries) texts.push_back(name + "=" + text);
    return texts;
  }

  umbra::testing::TempDir dir_;
  PosixFilesystem files_;
};

TEST_F(DurableEntriesTest, RecordsReplacesListsAndRemoves) {
  DurableEntries entries = Entries(files_);
  ASSERT_TRUE(entries.Open().ok());
  ASSERT_TRUE(entries.Record("b", "1").ok());
  ASSERT_TRUE(entries.Record("a.x", "2").ok());
  ASSERT_TRUE(entries.Record("b", "3").ok());
  EXPECT_TRUE(entries.IsLive("b"));
  DurableEntries later = Entries(files_);
  ASSERT_TRUE(later.Open().ok());
  EXPECT_THAT(Texts(later), ElementsAre("a.x=2", "b=3"));
  EXPECT_FALSE(later.IsLive("b"));
  ASSERT_TRUE(entries.Remove("b").ok());
  EXPECT_FALSE(entries.IsLive("b"));
  EXPECT_TRUE(entries.Remove("b").ok());
  entries.Abandon("a.x");
  EXPECT_FALSE(entries.IsLive("a.x"));
  EXPECT_THAT(Texts(later), ElementsAre("a.x=2"));
}

TEST_F(DurableEntriesTest, RefusesNamesThatAreNoFileNames) {
  DurableEntries entries = Entries(files_);
  ASSERT_TRUE(entries.Open().ok());
  for (const std::string& name : {std::string(), std::string("../x"), std::string("a\nb"), std::string("a\0b", 3)}) {
    EXPECT_EQ(ReasonOf(entries.Record(name, "")), "INVALID_REQUEST");
    EXPECT_FALSE(entries.IsLive(name));
  }
}

TEST_F(DurableEntriesTest, WhatWasNeverFinishedGoesAtTheStart) {
  ASSERT_TRUE(files_.MakeDirectories(dir_.File("list")).ok());
  for (const char* name : {"half.deed.tmp", "whole.deed", "others", "others.tmp", ".deed"}) {
    ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("list/") + name, "x").ok());
  }
  DurableEntries entries = Entries(files_);
  EXPECT_THAT(Texts(entries), ElementsAre("whole=x")) << "it has begun nothing";
  ASSERT_TRUE(entries.Open().ok());
  EXPECT_THAT(*files_.List(dir_.File("list")), ElementsAre(".deed", "others", "others.tmp", "whole.deed"));
}

TEST_F(DurableEntriesTest, NamesWhatCanNotBeRead) {
  DurableEntries entries = Entries(files_);
  ASSERT_TRUE(entries.Open().ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("list/large.deed"), std::string(17, 'x')).ok());
  ASSERT_TRUE(files_.MakeDirectories(dir_.File("list/folder.deed")).ok());
  EXPECT_THAT(entries.List()->entries, IsEmpty());
  EXPECT_THAT(entries.List()->unreadable, ElementsAre(dir_.File("list/folder.deed"), dir_.File("list/large.deed")));
}

// Every call of the disk in turn: an error is told, and the entry is the former one or the new one.
TEST_F(DurableEntriesTest, EveryFailureOfTheDiskIsTold) {
  for (int call = 1;; ++call) {
    DurableEntries good = Entries(files_);
    ASSERT_TRUE(good.Open().ok());
    ASSERT_TRUE(good.Record("a", "former").ok());
    umbra::testing::FaultFilesystem faulty(files_);
    DurableEntries entries = Entries(faulty);
    ASSERT_TRUE(entries.Open().ok());
    faulty.FailAt(call, umbra::testing::Fault::kIoError, /*for_good=*/true);
    const absl::Status recorded = entries.Record("a", "new");
    EXPECT_EQ(recorded.ok(), !faulty.struck()) << call;
    EXPECT_EQ(entries.IsLive("a"), recorded.ok());
    if (recorded.ok()) {
      EXPECT_GT(call, 3);
      break;
    }
    EXPECT_THAT(Texts(good), ElementsAre(::testing::AnyOf("a=former", "a=new")));
  }
}

TEST_F(DurableEntriesTest, TakesLinesOffATextOfLines) {
  std::string_view text = "head\nkey=value\nrest";
  EXPECT_EQ(TakeLine("head", &text), "");
  EXPECT_EQ(TakeLine("other=", &text), std::nullopt);
  EXPECT_EQ(TakeLine("key=", &text), "value");
  EXPECT_EQ(TakeLine("rest", &text), std::nullopt) << "a line ends";
  EXPECT_EQ(text, "rest");
}

}  // namespace
}  // namespace umbra::base
