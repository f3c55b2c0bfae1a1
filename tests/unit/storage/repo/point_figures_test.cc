// Proves that the sums over all points are right whatever comes, goes and is read while they are counted.
#include "storage/repo/point_figures.h"

#include <gtest/gtest.h>

namespace umbra::repo {
namespace {

using Ids = std::vector<std::string>;

class PointFiguresTest : public ::testing::Test {
 protected:
  void Expect(uint64_t count, uint64_t logical_bytes, uint64_t size_bytes) {
    const PointTotals all = table_.Sum({}).all;
    EXPECT_EQ(all.count, count);
    EXPECT_EQ(all.logical_bytes, logical_bytes);
    EXPECT_EQ(all.size_bytes, size_bytes);
  }

  PointFiguresTable table_;
};

TEST_F(PointFiguresTest, PointsOfAListCountAtOnceAndTheirBytesOnceTheyAreRead) {
  table_.Count({"a", "b"});
  EXPECT_TRUE(table_.counted());
  Expect(2, 0, 0);
  EXPECT_EQ(table_.Unread(), (Ids{"a", "b"}));
  table_.Learn("a", {100, 10});
  Expect(2, 100, 10);
  EXPECT_EQ(table_.Unread(), Ids{"b"});
  table_.Learn("a", {100, 10});
  Expect(2, 100, 10);
  table_.Went("b");
  Expect(1, 100, 10);
  EXPECT_TRUE(table_.Unread().empty());
  table_.Came("c", {1000, 20});
  Expect(2, 1100, 30);
  table_.Went("a");
  Expect(1, 1000, 20);
}

TEST_F(PointFiguresTest, WhatHappensWhileTheListIsMadeWins) {
  table_.Came("in the list", {1, 1});
  table_.Came("not in the list", {10, 10});
  table_.Came("gone and in the list", {100, 100});
  table_.Went("gone and in the list");
  table_.Learn("gone and in the list", {100, 100});  // it was read before it went
  table_.Learn("read", {1000, 1000});
  table_.Learn("read, and not there", {10000, 10000});
  table_.Count({"in the list", "gone and in the list", "read"});
  Expect(3, 1011, 1011);
  EXPECT_TRUE(table_.Unread().empty());
  table_.Count({"another list"});
  Expect(3, 1011, 1011);
}

TEST_F(PointFiguresTest, APointThatIsReadAsItGoesIsNotCountedAgain) {
  table_.Count({"a"});
  table_.Went("a");
  table_.Learn("a", {100, 10});
  Expect(0, 0, 0);
}

TEST_F(PointFiguresTest, SomeAreThoseThatAreThere) {
  table_.Count({"a", "b"});
  table_.Learn("a", {100, 10});
  const PointTotals some = table_.Sum({"a", "b", "elsewhere"}).some;
  EXPECT_EQ(some.count, 2u);
  EXPECT_EQ(some.logical_bytes, 100u);
  EXPECT_EQ(some.size_bytes, 10u);
}

}  // namespace
}  // namespace umbra::repo
