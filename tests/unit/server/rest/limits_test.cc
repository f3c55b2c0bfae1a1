// Proves who gives way when there are too many connections, and how often somebody may ask; on a clock that the test
// moves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/rest/connection_book.h"
#include "server/rest/rate_limit.h"
#include "tests/support/manual_clock.h"

namespace umbra::rest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Book {
 public:
  explicit Book(const ConnectionLimits& limits) : book_(limits) {}
  // Its number, or 0.
  uint64_t Admit(const std::string& address, const std::string& name) {
    return book_.Admit(address, [this, name] { dropped.push_back(name); }).value_or(0);
  }
  ConnectionBook& operator*() { return book_; }

  std::vector<std::string> dropped;

 private:
  ConnectionBook book_;
};

TEST(ConnectionBook, OldestPendingOfAnAddressGivesWay) {
  Book book({.all_max = 100, .per_address_max = 100, .pending_max = 100, .pending_per_address_max = 2});
  book.Admit("a", "a1");
  book.Admit("a", "a2");
  book.Admit("b", "b1");
  EXPECT_THAT(book.dropped, IsEmpty());
  EXPECT_NE(book.Admit("a", "a3"), 0);
  EXPECT_THAT(book.dropped, ElementsAre("a1"));
  EXPECT_EQ((*book).pending_count(), 3);
}

TEST(ConnectionBook, OldestPendingOfAllGivesWay) {
  Book book({.all_max = 100, .per_address_max = 100, .pending_max = 2, .pending_per_address_max = 100});
  const uint64_t first = book.Admit("a", "a1");
  book.Admit("b", "b1");
  (*book).Served(first);  // has asked for something: nobody's victim any more
  book.Admit("c", "c1");
  EXPECT_THAT(book.dropped, IsEmpty());
  book.Admit("d", "d1");
  EXPECT_THAT(book.dropped, ElementsAre("b1"));
}

TEST(ConnectionBook, SilentOnesDoNotReachThoseWhoGreeted) {
  Book book({.all_max = 100, .per_address_max = 100, .pending_max = 4, .pending_per_address_max = 100});
  const uint64_t honest = book.Admit("a", "honest");
  (*book).Greeted(honest);
  for (int i = 0; i < 1000; ++i) book.Admit("flood", "silent");
  EXPECT_EQ(book.dropped.size(), 997);
  EXPECT_THAT(book.dropped, ::testing::Each("silent"));
  (*book).Served(honest);
  EXPECT_EQ((*book).pending_count(), 3);
}

TEST(ConnectionBook, ThoseWhoGreetedDoNotReachTheSilent) {
  Book book({.all_max = 100, .per_address_max = 100, .pending_max = 4, .pending_per_address_max = 100});
  const uint64_t honest = book.Admit("a", "honest");  // its hello is on its way
  for (int i = 0; i < 1000; ++i) (*book).Greeted(book.Admit("flood", "greeted"));
  EXPECT_EQ(book.dropped.size(), 997);
  EXPECT_THAT(book.dropped, ::testing::Each("greeted"));
  (*book).Greeted(honest);
  (*book).Greeted(honest + 1);  // was dropped
  EXPECT_EQ((*book).pending_count(), 4);
}

TEST(ConnectionBook, SilentOnesCanNotFillASmallHouse) {
  const ConnectionLimits small = ConnectionLimits{}.Within(512);
  EXPECT_EQ(small.all_max, 512);
  EXPECT_LE(small.pending_max, 128);
  EXPECT_LT(small.pending_per_address_max, small.pending_max);
  EXPECT_LT(small.per_address_max, small.all_max);
  Book book(small);
  for (int i = 0; i < 5000; ++i) {
    const uint64_t silent = book.Admit(std::to_string(i), std::to_string(i));
    ASSERT_NE(silent, 0) << i;
    if (i >= 128) (*book).Left(silent - 128);  // those that were dropped
  }
  EXPECT_EQ((*book).pending_count(), small.pending_max);
  EXPECT_EQ(ConnectionLimits{}.Within(1'000'000).all_max, ConnectionLimits{}.all_max);
  EXPECT_GE(ConnectionLimits{}.Within(1).pending_per_address_max, 1);
}

TEST(ConnectionBook, BothLimitsAtOnceDropTwo) {
  Book book({.all_max = 100, .per_address_max = 100, .pending_max = 2, .pending_per_address_max = 1});
  book.Admit("b", "b1");
  book.Admit("a", "a1");
  book.Admit("a", "a2");
  EXPECT_THAT(book.dropped, ElementsAre("a1"));
  EXPECT_EQ((*book).pending_count(), 2);
}

TEST(ConnectionBook, RefusesPastTheWhole) {
  Book book({.all_max = 3, .per_address_max = 2, .pending_max = 100, .pending_per_address_max = 100});
  const uint64_t first = book.Admit("a", "");
  EXPECT_NE(book.Admit("a", ""), 0);
  EXPECT_EQ(book.Admit("a", ""), 0);
  EXPECT_NE(book.Admit("b", ""), 0);
  EXPECT_EQ(book.Admit("c", ""), 0);
  (*book).Left(first);
  (*book).Left(first);  // once counts
  EXPECT_EQ((*book).all_count(), 2);
  EXPECT_NE(book.Admit("c", ""), 0);
}

TEST(ConnectionBook, WhoWaitsGivesWayWhenAllIsFull) {
  Book book({.all_max = 3, .per_address_max = 100, .pending_max = 100, .pending_per_address_max = 100});
  const uint64_t busy = book.Admit("a", "busy");
  const uint64_t first = book.Admit("b", "first");
  const uint64_t second = book.Admit("c", "second");
  for (const uint64_t id : {busy, first, second}) (*book).Served(id);
  EXPECT_EQ(book.Admit("d", ""), 0);  // all are busy
  (*book).Waits(second);
  (*book).Waits(first);
  EXPECT_NE(book.Admit("d", "d"), 0);
  EXPECT_THAT(book.dropped, ElementsAre("second"));  // it has waited longest
  EXPECT_EQ((*book).all_count(), 4);                 // it hasn't left yet
  (*book).Left(second);
  (*book).Served(first);  // asks again: busy
  EXPECT_EQ(book.Admit("e", ""), 0);
  (*book).Left(busy);
  EXPECT_NE(book.Admit("e", "e"), 0);
  EXPECT_THAT(book.dropped, ElementsAre("second"));
}

TEST(ConnectionBook, OfAFullAddressItsOwnGiveWay) {
  Book book({.all_max = 100, .per_address_max = 2, .pending_max = 100, .pending_per_address_max = 100});
  for (const char* address : {"other", "a", "a"}) {
    const uint64_t id = book.Admit(address, address);
    (*book).Served(id);
    (*book).Waits(id);
  }
  EXPECT_NE(book.Admit("a", "new"), 0);
  EXPECT_THAT(book.dropped, ElementsAre("a"));
}

TEST(ConnectionBook, WhoLeavesSlowlyIsBoundedToo) {
  Book book({.all_max = 2, .per_address_max = 9, .pending_max = 1, .pending_per_address_max = 9, .leaving_max = 2});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(book.Admit("a", std::to_string(i)));
  EXPECT_THAT(ids, ::testing::Each(::testing::Ne(0)));
  EXPECT_EQ(book.Admit("a", ""), 0);  // three were dropped and are still there
  for (int i = 0; i < 3; ++i) (*book).Left(ids[i]);
  EXPECT_EQ((*book).all_count(), 1);
  EXPECT_NE(book.Admit("a", ""), 0);
}

TEST(RateLimiter, HoldsABurstAndRefills) {
  testing::ManualClock clock;
  RateLimiter limiter(clock, 10, 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limiter.Allow("a"));
  EXPECT_FALSE(limiter.Allow("a"));
  EXPECT_TRUE(limiter.Allow("b"));
  clock.Advance(absl::Milliseconds(100));
  EXPECT_TRUE(limiter.Allow("a"));
  EXPECT_FALSE(limiter.Allow("a"));
  clock.Advance(absl::Hours(1));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limiter.Allow("a"));
  EXPECT_FALSE(limiter.Allow("a"));
}

TEST(RateLimiter, ZeroIsNoLimit) {
  testing::ManualClock clock;
  RateLimiter limiter(clock, 0, 0);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(limiter.Allow("a"));
}

TEST(RateLimiter, ManyKeysShareABucketAndAreForgotten) {
  testing::ManualClock clock;
  RateLimiter limiter(clock, 1, 2);
  for (int i = 0; i < 20'000; ++i) EXPECT_TRUE(limiter.Allow(std::to_string(i)));
  EXPECT_TRUE(limiter.Allow("x"));
  EXPECT_TRUE(limiter.Allow("y"));
  EXPECT_FALSE(limiter.Allow("z"));
  clock.Advance(absl::Seconds(2));
  for (const char* key : {"x", "y", "z"}) EXPECT_TRUE(limiter.Allow(key));
  EXPECT_TRUE(limiter.Allow("z"));
}

}  // namespace
}  // namespace umbra::rest
