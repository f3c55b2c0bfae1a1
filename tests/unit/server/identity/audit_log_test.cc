// Proves that the audit log only grows, that whatever is done to its rows from outside is found and named, that pruning
// leaves what can be verified, and that nobody can flood it.
#include "server/identity/audit_log.h"

#include <thread>

#include "storage/base/sha256.h"
#include "storage/sqlite/database.h"
#include "tests/unit/server/identity/fixture.h"

namespace umbra::identity {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AuditLogTest : public IdentityTest {
 protected:
  AuditEntry Entry(const std::string& object) {
    return {.principal = "users/alice",
            .peer = "192.0.2.1",
            .method = "JobService.CreateJob",
            .object = object,
            .summary = "kind=backup"};
  }
  void Append(int count) {
    for (int i = 0; i < count; ++i) {
      clock_.Advance(absl::Seconds(1));
      ASSERT_TRUE(log_.Append(Entry("jobs/" + std::to_string(i))).ok());
    }
  }
  AuditCheck Verify(const std::optional<catalog::AuditAnchor>& known = std::nullopt) {
    const auto check = log_.Verify(known);
    EXPECT_TRUE(check.ok()) << base::Describe(check.status());
    return check.value_or(AuditCheck{.problem = "no check"});
  }
  // As somebody with a database shell would.
  absl::Status Sql(const std::string& sql) {
    auto db = sqlite::Database::Open(catalog_->path(), {});
    return (*db)->Execute(sql);
  }
  void DropTriggers() {
    for (const char* name :
         {"audit_appends", "audit_stays", "audit_keeps", "audit_anchor_moves_forward", "audit_anchor_stays"}) {
      ASSERT_TRUE(Sql(std::string("DROP TRIGGER ") + name).ok()) << name;
    }
  }

  AuditLog log_{*catalog_, clock_};
};

TEST_F(AuditLogTest, EntriesAreKeptInTheirOrder) {
  EXPECT_TRUE(Verify().sound());
  EXPECT_EQ(Verify().entry_count, 0);
  Append(5);
  const auto page = log_.List({}, {.page_size = 3});
  ASSERT_THAT(page->items, SizeIs(3));
  EXPECT_EQ(page->items[0].number, 5) << "newest first";
  EXPECT_EQ(page->items[0].object, "jobs/4");
  EXPECT_EQ(page->items[0].summary, "kind=backup");
  EXPECT_EQ(page->items[0].time, absl::FromUnixMicros(absl::ToUnixMicros(clock_.Now())));
  const auto rest = log_.List({}, {.page_size = 3, .after_key = page->next_key});
  EXPECT_THAT(rest->items, SizeIs(2));
  EXPECT_FALSE(rest->next_key.has_value());
  const AuditCheck check = Verify();
  EXPECT_TRUE(check.sound()) << check.problem;
  EXPECT_EQ(check.first_number, 1);
  EXPECT_EQ(check.entry_count, 5);
  EXPECT_EQ(check.head.number, 5);
  EXPECT_EQ(check.head.hash, page->items[0].hash);
}

TEST_F(AuditLogTest, TheHashIsTheDocumentedOne) {
  const AuditEntry entry{.number = 1,
                         .time = absl::FromUnixMicros(0x0102),
                         .principal = "p",
                         .peer = "q",
                         .method = "m",
                         .object = "o",
                         .summary = "s",
                         .code = 7,
                         .reason = "R"};
  using std::string_literals::operator""s;
  const std::string bytes = "umbra audit v1"s + "\0\0\0\2"s + "ab" + "\0\0\0\0\0\0\0\1"s + "\0\0\0\0\0\0\1\2"s +
                            "\0\0\0\1p"s + "\0\0\0\1q"s + "\0\0\0\1m"s + "\0\0\0\1o"s + "\0\0\0\1s"s + "\0\0\0\1R"s +
                            "\0\0\0\7"s;
  EXPECT_EQ(AuditHash("ab", entry), base::ToHex(base::Sha256(bytes)));
}

TEST_F(AuditLogTest, NoTwoEntriesHaveTheSameBytes) {
  AuditEntry one{.principal = "ab", .peer = "c"};
  AuditEntry two{.principal = "a", .peer = "bc"};
  EXPECT_NE(AuditHash("", one), AuditHash("", two));
}

TEST_F(AuditLogTest, Filters) {
  Append(1);
  AuditEntry token = Entry("hosts/h1/virtualMachines/v");
  token.principal = "users/alice/tokens/ab";
  token.code = 7;
  token.reason = "PERMISSION_DENIED";
  ASSERT_TRUE(log_.Append(token).ok());
  AuditEntry other = Entry("hosts/h11");
  other.principal = "users/alicia";
  other.method = "HostService.GetHost";
  ASSERT_TRUE(log_.Append(other).ok());
  const auto numbers = [&](const AuditFilter& filter) {
    std::vector<int64_t> found;
    const auto page = log_.List(filter, {});
    for (const AuditEntry& entry : page->items) found.push_back(entry.number);
    return found;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(numbers({}), ElementsAre(3, 2, 1));
  EXPECT_THAT(numbers({.principal = "users/alice"}), ElementsAre(2, 1))
      << "with his tokens, without others of a longer name";
  EXPECT_THAT(numbers({.object = "hosts/h1"}), ElementsAre(2));
  EXPECT_THAT(numbers({.method = "HostService.GetHost"}), ElementsAre(3));
  EXPECT_THAT(numbers({.failed_only = true}), ElementsAre(2));
  EXPECT_THAT(numbers({.from = clock_.Now() + absl::Seconds(1)}), IsEmpty());
  EXPECT_THAT(numbers({.to = clock_.Now()}), IsEmpty());
}

TEST_F(AuditLogTest, TheDatabaseRefusesWhatIsNoAppend) {
  Append(3);
  for (const char* sql : {"UPDATE audit SET summary = 'x' WHERE number = 2", "DELETE FROM audit WHERE number = 2",
                          "DELETE FROM audit", "INSERT INTO audit VALUES (9, 0, '', '', '', '', '', 0, '', '')",
                          "INSERT INTO audit VALUES (2, 0, '', '', '', '', '', 0, '', '')",
                          "INSERT OR REPLACE INTO audit VALUES (2, 0, '', '', '', '', '', 0, '', '')",
                          "UPDATE audit_anchor SET number = 3, hash = 'x'", "UPDATE audit_anchor SET number = 7",
                          "DELETE FROM audit_anchor"}) {
    EXPECT_FALSE(Sql(sql).ok()) << sql;
  }
  EXPECT_TRUE(Verify().sound());
  EXPECT_EQ(Verify().entry_count, 3);
}

TEST_F(AuditLogTest, EveryTamperingIsFoundAndNamed) {
  struct Case {
    const char* sql;
    int64_t broken;
  };
  const Case cases[] = {
      {"UPDATE audit SET summary = 'x' WHERE number = 5", 5},
      {"UPDATE audit SET principal = 'users/bob' WHERE number = 1", 1},
      {"UPDATE audit SET code = 7 WHERE number = 10", 10},
      {"UPDATE audit SET time_us = time_us + 1 WHERE number = 5", 5},
      {"UPDATE audit SET peer = '' WHERE number = 5", 5},
      {"UPDATE audit SET reason = 'X' WHERE number = 5", 5},
      {"UPDATE audit SET object = method, method = object WHERE number = 5", 5},
      {"UPDATE audit SET hash = (SELECT hash FROM audit WHERE number = 4) WHERE number = 5", 5},
      {"DELETE FROM audit WHERE number = 5", 5},
      {"DELETE FROM audit WHERE number < 5", 1},
      {"DELETE FROM audit WHERE number = 5; UPDATE audit SET number = number - 1 WHERE number > 5", 5},
      {"UPDATE audit SET number = -5 WHERE number = 5; UPDATE audit SET number = 5 WHERE number = 6; "
       "UPDATE audit SET number = 6 WHERE number = -5",
       5},
      {"INSERT INTO audit SELECT 11, time_us, principal, peer, method, object, summary, code, reason, hash FROM audit "
       "WHERE number = 10",
       11},
      {"UPDATE audit_anchor SET number = 4", 5},
      {"DELETE FROM audit WHERE number < 5; UPDATE audit_anchor SET number = 4", 5},
  };
  Append(10);
  DropTriggers();
  ASSERT_TRUE(Verify().sound());
  const std::string whole = *filesystem_.ReadFile(catalog_->path());
  for (const Case& c : cases) {
    SCOPED_TRACE(c.sql);
    ASSERT_TRUE(
        Sql("CREATE TABLE saved AS SELECT * FROM audit; CREATE TABLE saved_anchor AS SELECT * FROM audit_anchor").ok());
    ASSERT_TRUE(Sql(c.sql).ok());
    const AuditCheck check = Verify();
    EXPECT_FALSE(check.sound());
    EXPECT_EQ(check.broken_number, c.broken) << check.problem;
    EXPECT_THAT(check.problem, HasSubstr(std::to_string(c.broken)));
    ASSERT_TRUE(Sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM saved; DELETE FROM audit_anchor; "
                    "INSERT INTO audit_anchor SELECT * FROM saved_anchor; DROP TABLE saved; DROP TABLE saved_anchor")
                    .ok());
    ASSERT_TRUE(Verify().sound());
  }
}

TEST_F(AuditLogTest, AHeadThatWasNotedProvesWhatHashesMadeAnewDont) {
  Append(5);
  const catalog::AuditAnchor noted = Verify().head;
  Append(2);
  EXPECT_TRUE(Verify(noted).sound());
  DropTriggers();
  // Cut off at the end: sound by itself.
  ASSERT_TRUE(Sql("DELETE FROM audit WHERE number > 4").ok());
  EXPECT_TRUE(Verify().sound());
  const AuditCheck cut = Verify(noted);
  EXPECT_FALSE(cut.sound());
  EXPECT_EQ(cut.broken_number, 5);
  // Written anew: sound by itself.
  ASSERT_TRUE(Sql("DELETE FROM audit").ok());
  Append(9);
  EXPECT_TRUE(Verify().sound());
  const AuditCheck anew = Verify(noted);
  EXPECT_FALSE(anew.sound());
  EXPECT_EQ(anew.broken_number, 5);
}

TEST_F(AuditLogTest, WhatIsPrunedLeavesAChainThatHolds) {
  Append(10);
  const catalog::AuditAnchor noted = Verify().head;
  const absl::Time middle = log_.List({}, {})->items[4].time;  // of number 6
  EXPECT_EQ(*log_.Prune(middle), 5);
  AuditCheck check = Verify(noted);
  EXPECT_TRUE(check.sound()) << check.problem;
  EXPECT_EQ(check.first_number, 6);
  EXPECT_EQ(check.entry_count, 5);
  EXPECT_EQ(*log_.Prune(middle), 0);
  Append(1);
  EXPECT_EQ(Verify().head.number, 11);
  EXPECT_EQ(*log_.Prune(absl::InfiniteFuture()), 5) << "the newest stays";
  EXPECT_EQ(Verify().entry_count, 1);
  Append(1);
  EXPECT_TRUE(Verify().sound());
  EXPECT_EQ(Verify().head.number, 12) << "numbers go on";
  EXPECT_TRUE(Verify(noted).sound()) << "a head that was pruned can't be compared any more";
  ASSERT_TRUE(log_.Keep(absl::Hours(1)).ok());
  EXPECT_EQ(Verify().entry_count, 2);
}

TEST_F(AuditLogTest, AClockThatWasSetBackHoldsUpWhatFollows) {
  Append(3);
  DropTriggers();
  // The second was written while the clock was a day ahead.
  ASSERT_TRUE(Sql("UPDATE audit SET time_us = time_us + 86400000000 WHERE number = 2").ok());
  EXPECT_EQ(*catalog_->Write([&](catalog::Stores& s) { return s.audit.Prune(clock_.Now() + absl::Seconds(1), 100); }),
            1);
}

TEST_F(AuditLogTest, OldestFirstIsAnExportThatProvesItself) {
  Append(5);
  std::string previous(64, '0');
  int64_t count = 0;
  catalog::ListOptions<int64_t> options{.page_size = 2};
  do {
    const auto page = log_.List({.oldest_first = true}, options);
    for (const AuditEntry& entry : page->items) {
      EXPECT_EQ(entry.number, ++count);
      EXPECT_EQ(AuditHash(previous, entry), entry.hash);
      previous = entry.hash;
    }
    options.after_key = page->next_key;
  } while (options.after_key.has_value());
  EXPECT_EQ(count, 5);
}

TEST_F(AuditLogTest, WhatComesFromOutsideIsCutAndTidied) {
  AuditEntry entry = Entry("jobs/\nforged \xff line");
  entry.summary = std::string(100'000, 's');
  ASSERT_TRUE(log_.Append(entry).ok());
  const AuditEntry written = log_.List({}, {})->items[0];
  EXPECT_EQ(written.object, "jobs/ forged ? line");
  EXPECT_EQ(written.summary.size(), kAuditSummarySizeMax);
  EXPECT_TRUE(Verify().sound());
}

TEST_F(AuditLogTest, NobodyCantFloodIt) {
  AuditEntry nobody = Entry("");
  nobody.principal = "";
  nobody.code = 16;
  nobody.reason = "UNAUTHENTICATED";
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(log_.Append(nobody).ok());
  EXPECT_THAT(log_.List({}, {.page_size = 2000})->items, SizeIs(60));
  Append(3);
  EXPECT_THAT(log_.List({}, {.page_size = 2000})->items, SizeIs(63)) << "somebody's are always written";
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(log_.Append(nobody).ok());
  EXPECT_THAT(log_.List({}, {})->items[0].summary, HasSubstr("940 more"));
  EXPECT_TRUE(Verify().sound());
}

TEST_F(AuditLogTest, ManyAtOnceMakeOneChain) {
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 25; ++i) EXPECT_TRUE(log_.Append(Entry("jobs/j")).ok());
      });
    }
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(Verify().sound());
  }
  EXPECT_EQ(Verify().entry_count, 100);
  EXPECT_TRUE(Verify().sound());
}

TEST_F(AuditLogTest, AnEntryIsPartOfTheTransactionThatItTellsOf) {
  const absl::Status failed = catalog_->Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(AuditLog::AppendIn(s, Entry("jobs/j"), clock_.Now()));
    return absl::CancelledError("no");
  });
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(Verify().entry_count, 0);
}

}  // namespace
}  // namespace umbra::identity
