// Proves the streams that follow jobs and events: nothing is missed, nothing comes twice, they end when they should, a
// slow or vanished reader costs nothing but its own stream, and a stopping daemon ends them with a reason.
#include <atomic>
#include <thread>

#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

using ::testing::ElementsAre;

// A reader whose every wait is bounded.
template <typename Message>
class Reader {
 public:
  template <typename Stub, typename Request>
  Reader(const std::unique_ptr<Stub>& stub,
         std::unique_ptr<grpc::ClientReader<Message>> (Stub::*method)(grpc::ClientContext*, const Request&),
         const Request& request) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    reader_ = (stub.get()->*method)(&context_, request);
  }
  bool Next(Message* message) { return reader_->Read(message); }
  std::string End() { return Outcome(reader_->Finish()); }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Message>> reader_;
};

class WatchTest : public ApiTest {
 protected:
  std::unique_ptr<Reader<v1::Job>> WatchJob(const std::string& name) {
    v1::WatchJobRequest request;
    request.set_name(name);
    return std::make_unique<Reader<v1::Job>>(jobs_, &v1::JobService::Stub::WatchJob, request);
  }
  std::unique_ptr<Reader<v1::Event>> WatchEvents(int64_t after, const std::string& resource = "") {
    v1::WatchEventsRequest request;
    request.set_after_sequence(after);
    request.set_resource(resource);
    return std::make_unique<Reader<v1::Event>>(log_, &v1::EventService::Stub::WatchEvents, request);
  }
  void Append(const std::string& resource = "hosts/h1") {
    catalog::Event event;
    event.type = "HOST_ONLINE";
    event.resource = resource;
    ASSERT_TRUE(events_->Append(event).ok());
  }
  // Reads until the job is in `state`.
  v1::Job ReadUntil(Reader<v1::Job>& reader, v1::Job::State state) {
    v1::Job job;
    while (reader.Next(&job)) {
      if (job.state() == state) return job;
    }
    ADD_FAILURE() << "the stream ended before " << v1::Job::State_Name(state) << ": " << reader.End();
    return job;
  }
  std::string EndOf(const std::unique_ptr<Reader<v1::Job>>& reader) {
    v1::Job job;
    EXPECT_FALSE(reader->Next(&job)) << job.ShortDebugString();
    return reader->End();
  }
};

TEST_F(WatchTest, JobIsFollowedThroughEveryStateToItsEnd) {
  AddOneVm();
  const catalog::JobId id = Submit();
  auto watch = WatchJob("jobs/" + id.value);
  ReadUntil(*watch, v1::Job::STATE_QUEUED);
  Apply(id, jobs::JobEvent::kAssign);
  ReadUntil(*watch, v1::Job::STATE_DISPATCHING);
  Apply(id, jobs::JobEvent::kAccept);
  ReadUntil(*watch, v1::Job::STATE_RUNNING);
  jobs::EventFacts progress{.phase = catalog::JobPhase::kTransferring,
                            .progress = catalog::JobProgress{.done_bytes = 7}};
  Apply(id, jobs::JobEvent::kProgress, progress);
  v1::Job job;
  while (job.progress().done_bytes() != 7) ASSERT_TRUE(watch->Next(&job));
  EXPECT_EQ(job.phase(), v1::Job::PHASE_TRANSFERRING);
  Apply(id, jobs::JobEvent::kCancelRequested);
  ReadUntil(*watch, v1::Job::STATE_CANCELLING);
  Apply(id, jobs::JobEvent::kAgentCancelled);
  ReadUntil(*watch, v1::Job::STATE_CANCELLED);
  EXPECT_EQ(EndOf(watch), "OK");
}

TEST_F(WatchTest, EndedJobIsToldOnce) {
  AddOneVm();
  const catalog::JobId id = Submit();
  ASSERT_TRUE(engine_->Cancel(id).ok());
  auto watch = WatchJob("jobs/" + id.value);
  v1::Job job;
  ASSERT_TRUE(watch->Next(&job));
  EXPECT_EQ(job.state(), v1::Job::STATE_CANCELLED);
  EXPECT_EQ(EndOf(watch), "OK");
}

TEST_F(WatchTest, UnknownAndMalformedJobs) {
  EXPECT_EQ(EndOf(WatchJob("jobs/none")), "NOT_FOUND JOB_NOT_FOUND");
  EXPECT_EQ(EndOf(WatchJob("none")), "INVALID_ARGUMENT INVALID_REQUEST");
}

// A burst of progress is thinned out, and the last word is the final state with the final figures.
TEST_F(WatchTest, BurstOfProgressIsThinnedOut) {
  AddOneVm();
  const catalog::JobId id = Submit();
  Apply(id, jobs::JobEvent::kAssign);
  Apply(id, jobs::JobEvent::kAccept);
  auto watch = WatchJob("jobs/" + id.value);
  v1::Job job;
  ASSERT_TRUE(watch->Next(&job));
  const absl::Duration start = clock_.Monotonic();
  for (int i = 1; i <= 1000; ++i) {
    Apply(id, jobs::JobEvent::kProgress, {.progress = catalog::JobProgress{.done_bytes = i, .total_bytes = 1000}});
  }
  Apply(id, jobs::JobEvent::kAgentFailed, {.error = {"GUEST_STOPPED", "the guest stopped"}});
  int messages = 0;
  int64_t done = 0;
  while (watch->Next(&job)) {
    ++messages;
    EXPECT_GE(job.progress().done_bytes(), done);
    done = job.progress().done_bytes();
  }
  const absl::Duration elapsed = clock_.Monotonic() - start;
  EXPECT_EQ(watch->End(), "OK");
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.error().reason(), "GUEST_STOPPED");
  EXPECT_EQ(done, 1000);
  EXPECT_LE(messages, elapsed / kWatchJobPause + 2);
}

// The pause thins out progress; there is nothing to wait for after the final state.
TEST_F(WatchTest, EndFollowsTheFinalStateAtOnce) {
  AddOneVm();
  const catalog::JobId id = Submit();
  Apply(id, jobs::JobEvent::kAssign);
  Apply(id, jobs::JobEvent::kAccept);
  Apply(id, jobs::JobEvent::kAgentFailed, {.error = {"GUEST_STOPPED", "the guest stopped"}});
  constexpr int kWatches = 10;
  const absl::Duration start = clock_.Monotonic();
  for (int i = 0; i < kWatches; ++i) {
    auto watch = WatchJob("jobs/" + id.value);
    v1::Job job;
    ASSERT_TRUE(watch->Next(&job));
    EXPECT_FALSE(watch->Next(&job));
    EXPECT_EQ(watch->End(), "OK");
  }
  EXPECT_LT(clock_.Monotonic() - start, kWatches * kWatchJobPause);
}

TEST_F(WatchTest, EventsFromTheOldestThenNewOnes) {
  for (int i = 0; i < 3; ++i) Append();
  auto watch = WatchEvents(0);
  v1::Event event;
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(watch->Next(&event));
    EXPECT_EQ(event.sequence(), i);
  }
  Append();
  ASSERT_TRUE(watch->Next(&event));
  EXPECT_EQ(event.sequence(), 4);
}

TEST_F(WatchTest, OnlyNewEventsAndOnlyOneResource) {
  Append();
  auto newer = WatchEvents(-1);
  auto resumed = WatchEvents(1);
  auto filtered = WatchEvents(0, "hosts/h2");
  Append("hosts/h1");
  Append("hosts/h2");
  v1::Event event;
  ASSERT_TRUE(filtered->Next(&event));
  EXPECT_EQ(event.sequence(), 3);
  ASSERT_TRUE(resumed->Next(&event));
  EXPECT_EQ(event.sequence(), 2);
  // "Only new ones" begins when the call arrives, which may be before or after these two.
  Append("hosts/h1");
  ASSERT_TRUE(newer->Next(&event));
  EXPECT_GE(event.sequence(), 2);
}

TEST_F(WatchTest, BadStartIsRefused) {
  auto watch = WatchEvents(-2);
  v1::Event event;
  EXPECT_FALSE(watch->Next(&event));
  EXPECT_EQ(watch->End(), "INVALID_ARGUMENT INVALID_REQUEST");
}

// The reader is slower than the writers, and the catalog's pages are smaller than the backlog.
TEST_F(WatchTest, SlowReaderMissesNothingWhileEventsKeepComing) {
  constexpr int kBefore = 350;
  constexpr int kDuring = 150;
  for (int i = 0; i < kBefore; ++i) Append();
  auto watch = WatchEvents(0);
  std::jthread writer([this] {
    for (int i = 0; i < kDuring; ++i) Append();
  });
  v1::Event event;
  for (int i = 1; i <= kBefore + kDuring; ++i) {
    if (i % 50 == 0) clock_.Sleep(absl::Milliseconds(20));
    ASSERT_TRUE(watch->Next(&event));
    ASSERT_EQ(event.sequence(), i);
  }
}

TEST_F(WatchTest, VanishedReadersFreeTheirPlaces) {
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<Reader<v1::Event>>> watches;
    Append();
    for (size_t i = 0; i < kTestStreamsMax; ++i) {
      v1::Event event;
      bool open = false;
      for (int attempt = 0; attempt < 200 && !open; ++attempt) {  // places come back soon, not at once
        watches.push_back(WatchEvents(0));
        open = watches.back()->Next(&event);
        if (!open) clock_.Sleep(absl::Milliseconds(10));
      }
      ASSERT_TRUE(open);
    }
    auto one_more = WatchEvents(0);
    v1::Event event;
    EXPECT_FALSE(one_more->Next(&event));
    EXPECT_EQ(one_more->End(), "UNAVAILABLE SERVER_BUSY");
    for (auto& watch : watches) watch->Cancel();
  }
}

TEST_F(WatchTest, StoppingDaemonEndsStreamsWithAReason) {
  AddOneVm();
  auto job = WatchJob("jobs/" + Submit().value);
  ReadUntil(*job, v1::Job::STATE_QUEUED);
  auto events = WatchEvents(-1);
  const absl::Duration start = clock_.Monotonic();
  StopServer();
  EXPECT_LT(clock_.Monotonic() - start, kStopTimeout);
  v1::Event event;
  while (events->Next(&event)) {
  }
  EXPECT_THAT(events->End(),
              ::testing::AnyOf("UNAVAILABLE SERVER_STOPPING", "UNAVAILABLE"));  // it may not have arrived
  EXPECT_EQ(EndOf(job), "UNAVAILABLE SERVER_STOPPING");
}

}  // namespace
}  // namespace umbra::api
