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

}  // namespace
}  // namespace umbra::maintenance
