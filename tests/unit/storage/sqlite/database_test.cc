// Proves that the SQLite room keeps its word: types round trip, transactions are all or nothing, every kind of failure
// has its reason, and what was committed is there after the process died without goodbye.
#include "storage/sqlite/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <optional>
#include <thread>

#include "storage/base/status.h"
#include "storage/sqlite/transaction.h"
#include "tests/support/temp_dir.h"

namespace umbra::sqlite {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

enum class Colour { kRed = 1, kBlue = 7 };

class DatabaseTest : public ::testing::Test {
 protected:
  DatabaseTest() : db_(Open()) {
    EXPECT_TRUE(db_->Execute("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL) STRICT").ok());
  }

  std::unique_ptr<Database> Open() {
    auto db = Database::Open(path_, {.busy_timeout = absl::Milliseconds(20)});
    UMBRA_CHECK(db.ok());
    return *std::move(db);
  }
  int64_t Count(Database& db) {
    int64_t count = -1;
    EXPECT_TRUE(db.Query("SELECT COUNT(*) FROM t", [&](const Row& row) { count = row.Int(0); }).ok());
    return count;
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.File("test.db");
  std::unique_ptr<Database> db_;
};

TEST_F(DatabaseTest, ValuesRoundTrip) {
  ASSERT_TRUE(db_->Execute("CREATE TABLE v (n INTEGER, s TEXT, b INTEGER, t INTEGER, d INTEGER, e INTEGER, o INTEGER,"
                           "z TEXT) STRICT")
                  .ok());
  const absl::Time time = absl::FromUnixMicros(1'800'000'000'123'456);
  const std::string text("a\0b \xc3\xa4", 6);
  ASSERT_TRUE(db_->Run("INSERT INTO v VALUES (?, ?, ?, ?, ?, ?, ?, ?)", int64_t{-5}, text, true, time,
                       absl::Microseconds(7), Colour::kBlue, std::optional<absl::Time>(), std::string_view())
                  .ok());
  int rows = 0;
  ASSERT_TRUE(db_->Query("SELECT * FROM v",
                         [&](const Row& row) {
                           ++rows;
                           EXPECT_EQ(row.Int(0), -5);
                           EXPECT_EQ(row.Text(1), text);
                           EXPECT_TRUE(row.Bool(2));
                           EXPECT_EQ(row.Time(3), time);
                           EXPECT_EQ(row.Duration(4), absl::Microseconds(7));
                           EXPECT_EQ(row.Enum<Colour>(5), Colour::kBlue);
                           EXPECT_EQ(row.OptionalTime(6), std::nullopt);
                           EXPECT_FALSE(row.IsNull(7));
                           EXPECT_EQ(row.Text(7), "");
                         })
                  .ok());
  EXPECT_EQ(rows, 1);
}

TEST_F(DatabaseTest, OneSqlTextMayBeInUseTwice) {
  ASSERT_TRUE(db_->Execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')").ok());
  constexpr char kAll[] = "SELECT id FROM t ORDER BY id";
  std::vector<int64_t> seen;
  ASSERT_TRUE(
      db_->Query(
             kAll,
             [&](const Row& outer) {
               EXPECT_TRUE(
                   db_->Query(kAll, [&](const Row& inner) { seen.push_back(outer.Int(0) * 10 + inner.Int(0)); }).ok());
             })
          .ok());
  EXPECT_THAT(seen, ElementsAre(11, 12, 21, 22));
}

TEST_F(DatabaseTest, TransactionRollsBackUnlessCommitted) {
  {
    Transaction transaction(*db_);
    ASSERT_TRUE(transaction.Begin(Transaction::Kind::kWrite).ok());
    ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (1, 'a')").ok());
  }
  EXPECT_EQ(Count(*db_), 0);
  {
    Transaction transaction(*db_);
    ASSERT_TRUE(transaction.Begin(Transaction::Kind::kWrite).ok());
    ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (1, 'a')").ok());
    ASSERT_TRUE(transaction.Commit().ok());
  }
  EXPECT_EQ(Count(*db_), 1);
}

TEST_F(DatabaseTest, ReadersSeeTheLastCommitWhileAWriterWorks) {
  std::unique_ptr<Database> reader = Open();
  Transaction transaction(*db_);
  ASSERT_TRUE(transaction.Begin(Transaction::Kind::kWrite).ok());
  ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (1, 'a')").ok());
  EXPECT_EQ(Count(*reader), 0);
  ASSERT_TRUE(transaction.Commit().ok());
  EXPECT_EQ(Count(*reader), 1);
}

TEST_F(DatabaseTest, ASecondWriterIsBusy) {
  std::unique_ptr<Database> other = Open();
  Transaction first(*db_);
  ASSERT_TRUE(first.Begin(Transaction::Kind::kWrite).ok());
  Transaction second(*other);
  const absl::Status status = second.Begin(Transaction::Kind::kWrite);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(status), "CATALOG_BUSY");
}

TEST_F(DatabaseTest, ConstraintsHaveReasons) {
  ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (1, 'a')").ok());
  const absl::Status twice = db_->Run("INSERT INTO t VALUES (1, 'b')");
  EXPECT_EQ(twice.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(base::ReasonOf(twice), "CATALOG_EXISTS");
  const absl::Status null = db_->Run("INSERT INTO t VALUES (2, NULL)");
  EXPECT_EQ(null.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(null), "CATALOG_CONSTRAINT");
  EXPECT_EQ(base::ReasonOf(db_->Execute("SELEKT 1")), "INTERNAL");
}

TEST_F(DatabaseTest, ForeignKeysAreOn) {
  ASSERT_TRUE(db_->Execute("CREATE TABLE child (t INTEGER NOT NULL REFERENCES t (id)) STRICT").ok());
  EXPECT_EQ(base::ReasonOf(db_->Run("INSERT INTO child VALUES (9)")), "CATALOG_CONSTRAINT");
}

TEST_F(DatabaseTest, FullStorageIsSaidAndLeavesTheOldContent) {
  ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (1, 'a')").ok());
  ASSERT_TRUE(db_->Execute("PRAGMA max_page_count = 4").ok());
  const std::string large(100'000, 'x');
  {
    Transaction transaction(*db_);
    ASSERT_TRUE(transaction.Begin(Transaction::Kind::kWrite).ok());
    ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (2, 'b')").ok());
    const absl::Status status = db_->Run("INSERT INTO t VALUES (3, ?)", large);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(base::ReasonOf(status), "STORAGE_FULL");
  }
  EXPECT_EQ(Count(*db_), 1);
  ASSERT_TRUE(db_->Execute("PRAGMA max_page_count = 1000000").ok());
  EXPECT_TRUE(db_->Run("INSERT INTO t VALUES (3, ?)", large).ok());
}

TEST_F(DatabaseTest, DamageIsFound) {
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (?, ?)", i, std::string(100, 'x')).ok());
  EXPECT_TRUE(db_->CheckIntegrity().ok());
  db_.reset();
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096 * 3);
  file << std::string(4096, '\xff');
  file.close();
  db_ = Open();
  const absl::Status status = db_->CheckIntegrity();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(base::ReasonOf(status), "CATALOG_CORRUPT");
}

TEST_F(DatabaseTest, ACopyShowsOneInstantWhileOthersWrite) {
  const std::string large(3000, 'x');
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (?, ?)", i, large).ok());
  std::unique_ptr<Database> source = Open();
  int steps = 0;
  const std::string path = dir_.File("copy.db");
  ASSERT_TRUE(source
                  ->CopyTo(path,
                           [&] {
                             // Doesn't wait, and isn't in the copy.
                             ++steps;
                             return db_->Run("INSERT INTO t VALUES (?, ?)", 1000 + steps, large);
                           })
                  .ok());
  EXPECT_GT(steps, 2);
  EXPECT_EQ(Count(*db_), 1000 + steps);
  auto copy = Database::Open(path, {});
  ASSERT_TRUE(copy.ok());
  EXPECT_TRUE((*copy)->CheckIntegrity().ok());
  EXPECT_EQ(Count(**copy), 1000);
}

TEST_F(DatabaseTest, ACopyEndsWhenItIsTold) {
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (?, ?)", i, std::string(3000, 'x')).ok());
  const absl::Status status = db_->CopyTo(dir_.File("copy.db"), [] { return absl::AbortedError("enough"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(db_->Run("INSERT INTO t VALUES (5000, 'y')").ok()) << "nothing is left open";
  EXPECT_EQ(base::ReasonOf(db_->CopyTo(dir_.File("none/copy.db"), [] { return absl::OkStatus(); })), "IO_ERROR");
}

TEST_F(DatabaseTest, ACheckCanBeCutShort) {
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(db_->Run("INSERT INTO t VALUES (?, ?)", i, std::string(3000, 'x')).ok());
  // Interrupted again and again, so that one of them comes in the middle.
  std::atomic<bool> done = false;
  std::jthread other([&] {
    while (!done) db_->Interrupt();
  });
  const absl::Status status = db_->CheckIntegrity();
  done = true;
  other.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(base::ReasonOf(status), "CANCELLED");
  EXPECT_TRUE(db_->CheckIntegrity().ok()) << "and then it works as before";
}

TEST_F(DatabaseTest, AnotherKindOfFileIsRefused) {
  const std::string path = dir_.File("letter.txt");
  std::ofstream(path) << std::string(5000, 'A');
  const auto db = Database::Open(path, {});
  EXPECT_EQ(db.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(base::ReasonOf(db.status()), "CATALOG_CORRUPT");
  EXPECT_THAT(base::MessageOf(db.status()), HasSubstr("letter.txt"));
}

TEST_F(DatabaseTest, AMissingFolderIsAnIoError) {
  EXPECT_EQ(base::ReasonOf(Database::Open(dir_.File("none/x.db"), {}).status()), "IO_ERROR");
}

// The child commits rows, tells of each after its commit, and dies in the middle of the next transaction.
[[noreturn]] void CommitAndDie(const std::string& path, int pipe, int committed) {
  auto db = Database::Open(path, {});
  for (int i = 0; i <= committed; ++i) {
    Transaction transaction(**db);
    if (!transaction.Begin(Transaction::Kind::kWrite).ok()) _exit(1);
    if (!(*db)->Run("INSERT INTO t VALUES (?, ?)", i, std::string(5000, 'x')).ok()) _exit(2);
    if (i == committed) kill(getpid(), SIGKILL);
    if (!transaction.Commit().ok()) _exit(3);
    if (write(pipe, "x", 1) != 1) _exit(4);
  }
  _exit(5);
}

TEST_F(DatabaseTest, ACommitSurvivesAKillAndNothingElseDoes) {
  db_.reset();
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t child = fork();
  if (child == 0) CommitAndDie(path_, fds[1], 10);
  close(fds[1]);
  int told = 0;
  char byte;
  while (read(fds[0], &byte, 1) == 1) ++told;
  close(fds[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  db_ = Open();
  EXPECT_TRUE(db_->CheckIntegrity().ok());
  EXPECT_EQ(told, 10);
  EXPECT_EQ(Count(*db_), told);
}

}  // namespace
}  // namespace umbra::sqlite
