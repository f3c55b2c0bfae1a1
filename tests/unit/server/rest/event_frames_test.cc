// Proves what an event looks like on its way, that streams with the same event share its text, and that what is kept is
// bounded.
#include "server/rest/event_frames.h"

#include <gtest/gtest.h>

#include "umbra/v1/event.pb.h"
#include "umbra/v1/job.pb.h"

namespace umbra::rest {
namespace {

std::string EventBytes(int64_t sequence, const std::string& message = "") {
  v1::Event event;
  event.set_sequence(sequence);
  event.set_message(message);
  return event.SerializeAsString();
}

TEST(EventFrames, AreMadeOnce) {
  EventFrames frames;
  const auto one = frames.Of(*v1::Event::descriptor(), EventBytes(7, "x"));
  EXPECT_TRUE(one->starts_with("id: 7\n")) << *one;
  EXPECT_NE(one->find("\ndata: {\"sequence\":\"7\""), std::string::npos) << *one;
  EXPECT_TRUE(one->ends_with("\n\n")) << *one;
  EXPECT_EQ(frames.Of(*v1::Event::descriptor(), EventBytes(7, "x")), one);
  EXPECT_NE(frames.Of(*v1::Event::descriptor(), EventBytes(8, "x")), one);
}

TEST(EventFrames, TheSameBytesOfAnotherTypeAreSomethingElse) {
  EventFrames frames;
  v1::Job job;
  job.set_name("jobs/j1");
  const auto as_job = frames.Of(*v1::Job::descriptor(), job.SerializeAsString());
  EXPECT_NE(as_job->find("jobs/j1"), std::string::npos);
  EXPECT_NE(frames.Of(*v1::Event::descriptor(), job.SerializeAsString()), as_job);
}

TEST(EventFrames, AreForgottenTheOldestFirst) {
  EventFrames frames(2, 100);
  const auto first = frames.Of(*v1::Event::descriptor(), EventBytes(1));
  const auto second = frames.Of(*v1::Event::descriptor(), EventBytes(2));
  (void)frames.Of(*v1::Event::descriptor(), EventBytes(3));
  EXPECT_EQ(frames.kept_count(), 2);
  EXPECT_EQ(frames.Of(*v1::Event::descriptor(), EventBytes(2)), second);
  EXPECT_NE(frames.Of(*v1::Event::descriptor(), EventBytes(1)), first);
  const std::string large = EventBytes(4, std::string(200, 'x'));
  EXPECT_NE(frames.Of(*v1::Event::descriptor(), large)->find("xxx"), std::string::npos);
  EXPECT_EQ(frames.kept_count(), 2);
}

}  // namespace
}  // namespace umbra::rest
