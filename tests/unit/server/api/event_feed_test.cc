// Proves that the shared feed gives every reader every event once and in order, wherever he begins: in memory, far
// behind, where the log was cut, and while events come faster than they are held.
#include "server/api/event_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::api {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class EventFeedTest : public ::testing::Test {
 protected:
  EventFeedTest() {
    catalog_ = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
    hub_ = std::make_unique<jobs::EventHub>(*catalog_, clock_);
    feed_ = std::make_unique<EventFeed>(*catalog_, *hub_);
  }

  // In one transaction; every tenth is about hosts/h10.
  void Append(int count) {
    const absl::Status written = catalog_->Write([&](catalog::Stores& stores) -> absl::Status {
      for (int i = 0; i < count; ++i) {
        catalog::Event event;
        event.time = clock_.Now();
        event.type = "HOST_ONLINE";
        event.resource = ++appended_ % 10 == 0 ? "hosts/h10" : "hosts/h1";
        RETURN_IF_ERROR(stores.events.Append(event).status());
      }
      return absl::OkStatus();
    });
    ASSERT_TRUE(written.ok()) << base::Describe(written);
  }

  // Everything after `sequence`, as a stream reads it.
  std::vector<int64_t> ReadAll(int64_t sequence, const std::string& resource = "") {
    std::vector<int64_t> numbers;
    for (;;) {
      const auto page = feed_->After(sequence, resource);
      EXPECT_TRUE(page.ok()) << base::Describe(page.status());
      if (!page.ok()) return numbers;
      EXPECT_LE(page->events.size(), static_cast<size_t>(kFeedPageSize));
      for (const EventFeed::SharedEvent& event : page->events) numbers.push_back(event->sequence());
      if (page->events.empty() && page->seen == sequence) return numbers;
      sequence = page->seen;
    }
  }
  static std::vector<int64_t> Numbers(int64_t first, int64_t last, int64_t step = 1) {
    std::vector<int64_t> numbers;
    for (int64_t i = first; i <= last; i += step) numbers.push_back(i);
    return numbers;
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  testing::ManualClock clock_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<jobs::EventHub> hub_;
  std::unique_ptr<EventFeed> feed_;
  int64_t appended_ = 0;
};

TEST_F(EventFeedTest, FromAnywhereNothingIsMissedAndNothingComesTwice) {
  EXPECT_THAT(ReadAll(0), IsEmpty());
  for (const int more : {1, 3, 150, 600, 1, 513, 2}) {
    Append(more);
    for (const int64_t from :
         {int64_t{0}, appended_ - 700, appended_ - 513, appended_ - 512, appended_ - 100, appended_ - 1, appended_}) {
      if (from < 0) continue;
      EXPECT_EQ(ReadAll(from), Numbers(from + 1, appended_)) << "from " << from;
      EXPECT_EQ(ReadAll(from, "hosts/h10"), Numbers(from / 10 * 10 + 10, appended_, 10)) << "from " << from;
    }
  }
}

TEST_F(EventFeedTest, ReadersGetTheSameMessage) {
  Append(2);
  const auto one = feed_->After(0, "");
  const auto other = feed_->After(1, "");
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(one->events.at(1), other->events.at(0));
}

TEST_F(EventFeedTest, GoesOnWhereTheLogWasCut) {
  Append(5);
  EXPECT_EQ(ReadAll(0), Numbers(1, 5));
  Append(5);
  clock_.Advance(absl::Hours(1));
  Append(1);
  ASSERT_TRUE(hub_->Prune(absl::Minutes(30)).ok());
  EXPECT_THAT(ReadAll(5), ElementsAre(11));
  EXPECT_THAT(ReadAll(0), ElementsAre(11));
  Append(1);
  EXPECT_THAT(ReadAll(10), ElementsAre(11, 12));
}

TEST_F(EventFeedTest, ANumberThatIsStillToComeIsWaitedFor) {
  Append(1);
  EXPECT_THAT(ReadAll(7), IsEmpty());
}

}  // namespace
}  // namespace umbra::api
