// Proves that schema steps run once, in order, each all or nothing, and that a file of a newer program is refused or
// accepted as that program said.
#include "storage/sqlite/migrator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::sqlite {
namespace {

constexpr Migration kFirst = {1, 1, "0001_first", "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);"};
constexpr Migration kSecond = {2, 1, "0002_second", "INSERT INTO a VALUES (2);"};
constexpr Migration kBroken = {2, 1, "0002_broken", "INSERT INTO a VALUES (2); INSERT INTO nowhere VALUES (1);"};
constexpr Migration kBreaking = {3, 3, "0003_breaking", "INSERT INTO a VALUES (3);"};

class MigratorTest : public ::testing::Test {
 protected:
  std::vector<int64_t> Rows() {
    std::vector<int64_t> rows;
    EXPECT_TRUE(db_->Query("SELECT x FROM a ORDER BY x", [&](const Row& row) { rows.push_back(row.Int(0)); }).ok());
    return rows;
  }

  testing::TempDir dir_;
  std::unique_ptr<Database> db_ = *Database::Open(dir_.File("test.db"), {});
};

TEST_F(MigratorTest, StepsRunOnceAndInOrder) {
  const Migration one[] = {kFirst};
  ASSERT_TRUE(Migrate(*db_, one).ok());
  const Migration two[] = {kFirst, kSecond};
  ASSERT_TRUE(Migrate(*db_, two).ok());
  ASSERT_TRUE(Migrate(*db_, two).ok());
  EXPECT_THAT(Rows(), ::testing::ElementsAre(1, 2));
  EXPECT_EQ(ReadSchemaVersion(*db_)->version, 2);
}

TEST_F(MigratorTest, AStepThatFailsLeavesTheStepBefore) {
  const Migration steps[] = {kFirst, kBroken};
  const absl::Status status = Migrate(*db_, steps);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(base::MessageOf(status), ::testing::HasSubstr("0002_broken"));
  EXPECT_THAT(Rows(), ::testing::ElementsAre(1));
  EXPECT_EQ(ReadSchemaVersion(*db_)->version, 1);
  const Migration repaired[] = {kFirst, kSecond};
  EXPECT_TRUE(Migrate(*db_, repaired).ok());
  EXPECT_THAT(Rows(), ::testing::ElementsAre(1, 2));
}

TEST_F(MigratorTest, ANewerCompatibleSchemaIsUsedAsItIs) {
  const Migration newer[] = {kFirst, kSecond};
  ASSERT_TRUE(Migrate(*db_, newer).ok());
  const Migration older[] = {kFirst};
  EXPECT_TRUE(Migrate(*db_, older).ok());
  EXPECT_EQ(ReadSchemaVersion(*db_)->version, 2);
}

TEST_F(MigratorTest, ANewerIncompatibleSchemaIsRefused) {
  const Migration newer[] = {kFirst, kSecond, kBreaking};
  ASSERT_TRUE(Migrate(*db_, newer).ok());
  const Migration older[] = {kFirst, kSecond};
  const absl::Status status = Migrate(*db_, older);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(status), "CATALOG_NEWER");
}

}  // namespace
}  // namespace umbra::sqlite
