// Proves that housekeeping starts by itself, forgets only what is old, and never holds up a stop.
#include "server/maintenance/housekeeper.h"

#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

class HousekeeperTest : public MaintenanceTest {
 protected:
  void AddToken(const std::string& hash, absl::Duration expired_since) {
    catalog::EnrolmentToken token;
    token.hash = hash;
    token.expire_time = clock_.Now() - expired_since;
    token.create_time = token.expire_time - absl::Hours(1);
    ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) { return s.tokens.Insert(token); }).ok());
  }
  bool HasToken(const std::string& hash) {
    return catalog_->Read([&](const catalog::Stores& s) { return s.tokens.Get(hash); }).ok();
  }
};

TEST_F(HousekeeperTest, ForgetsOldTokensAndStopsAtOnce) {
  AddToken(std::string(64, 'a'), absl::Hours(24 * 8));
  AddToken(std::string(64, 'b'), absl::Hours(24));
  const absl::Duration start = clock_.Monotonic();
  {
    const Housekeeper housekeeper(*catalog_, *engine_, *events_, clock_);
    while (HasToken(std::string(64, 'a')) && clock_.Monotonic() - start < absl::Seconds(20)) {
      clock_.Sleep(absl::Milliseconds(5));
    }
  }
  EXPECT_LT(clock_.Monotonic() - start, absl::Seconds(10));
  EXPECT_FALSE(HasToken(std::string(64, 'a')));
  EXPECT_TRUE(HasToken(std::string(64, 'b')));
}

TEST_F(HousekeeperTest, ForgetsOldEventsAndJobs) {
  const auto add = [&](const char* id, absl::Duration age) {
    return catalog_->Write([&](catalog::Stores& s) -> absl::Status {
      catalog::Job job{.id = catalog::JobId(id),
                       .spec = catalog::VerifySpec{.repository = catalog::RepositoryId("main")},
                       .create_time = clock_.Now() - age};
      RETURN_IF_ERROR(s.jobs.Insert(job).status());
      job.state = catalog::JobState::kFailed;
      job.end_time = job.create_time;
      RETURN_IF_ERROR(s.jobs.Update(job));
      return s.events.Append({.time = job.create_time, .type = id}).status();
    });
  };
  ASSERT_TRUE(add("old", absl::Hours(24 * 4)).ok());
  ASSERT_TRUE(add("young", absl::Hours(24 * 2)).ok());
  const auto has = [&](const char* id) { return engine_->Get(catalog::JobId(id)).ok(); };
  const absl::Duration start = clock_.Monotonic();
  {
    const Housekeeper housekeeper(*catalog_, *engine_, *events_, clock_, {},
                                  {.events = absl::Hours(24 * 3), .jobs = absl::Hours(24 * 3)});
    while (has("old") && clock_.Monotonic() - start < absl::Seconds(20)) clock_.Sleep(absl::Milliseconds(5));
  }
  EXPECT_FALSE(has("old"));
  EXPECT_TRUE(has("young"));
  const auto events = catalog_->Read([](const catalog::Stores& s) { return s.events.List("", {}); });
  ASSERT_EQ(events->items.size(), 1u);
  EXPECT_EQ(events->items[0].type, "young");
}

}  // namespace
}  // namespace umbra::maintenance
