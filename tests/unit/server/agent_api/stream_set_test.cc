// Proves that no more streams are served at a time than a set allows, that others get their turn in the order they came,
// and that a stopping daemon ends them all.
#include "server/api/agent/stream_set.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::api {
namespace {

struct Stream final : Stoppable {
  void Stop(const absl::Status& status) override { stopped = status; }
  void TurnCame() override { ++begun; }

  int begun = 0;
  absl::Status stopped;
};

TEST(StreamSetTest, ABegunStreamMakesRoomForTheOneThatCameFirst) {
  StreamSet set(1, 2);
  Stream streams[4];
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(set.Add(&streams[i]).ok());
  EXPECT_EQ(base::ReasonOf(set.Add(&streams[3])), "SERVER_BUSY");
  EXPECT_EQ(streams[0].begun, 1);
  EXPECT_EQ(streams[1].begun, 0);
  set.Remove(&streams[0]);
  EXPECT_EQ(streams[1].begun, 1);
  EXPECT_EQ(streams[2].begun, 0);
  ASSERT_TRUE(set.Add(&streams[3]).ok()) << "there is room to wait again";
  set.Remove(&streams[1]);
  EXPECT_EQ(streams[2].begun, 1);
  set.Remove(&streams[2]);
  EXPECT_EQ(streams[3].begun, 1);
  set.Remove(&streams[3]);
}

TEST(StreamSetTest, AStreamThatGoesWhileItWaitsGetsNoTurn) {
  StreamSet set(1, 2);
  Stream streams[3];
  for (Stream& stream : streams) ASSERT_TRUE(set.Add(&stream).ok());
  set.Remove(&streams[1]);
  EXPECT_EQ(streams[2].begun, 0) << "the one that is served still is";
  set.Remove(&streams[0]);
  EXPECT_EQ(streams[1].begun, 0);
  EXPECT_EQ(streams[2].begun, 1);
  set.Remove(&streams[2]);
}

TEST(StreamSetTest, WithoutRoomToWaitAStreamIsRefused) {
  StreamSet set(1);
  Stream first, second;
  ASSERT_TRUE(set.Add(&first).ok());
  EXPECT_EQ(base::ReasonOf(set.Add(&second)), "SERVER_BUSY");
  set.Remove(&first);
  EXPECT_EQ(second.begun, 0);
  EXPECT_TRUE(set.Add(&second).ok());
  set.Remove(&second);
}

TEST(StreamSetTest, AStopEndsThoseThatWaitToo) {
  StreamSet set(1, 1);
  Stream served, waits, late;
  ASSERT_TRUE(set.Add(&served).ok());
  ASSERT_TRUE(set.Add(&waits).ok());
  set.StopAll();  // none of them goes by itself: it gives up after kStopTimeout
  EXPECT_EQ(base::ReasonOf(served.stopped), "SERVER_STOPPING");
  EXPECT_EQ(base::ReasonOf(waits.stopped), "SERVER_STOPPING");
  EXPECT_EQ(base::ReasonOf(set.Add(&late)), "SERVER_STOPPING");
  set.Remove(&served);
  set.Remove(&waits);
}

}  // namespace
}  // namespace umbra::api
