// Proves that prunes and verifications run side by side, each through the whole other, and two of a kind one after the
// other.
#include <atomic>

#include "server/maintenance/prune_runner.h"
#include "server/maintenance/verify_runner.h"
#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

using catalog::JobState;

class PairsTest : public MaintenanceTest {
 protected:
  catalog::JobId SubmitPrune() { return engine_->Submit(catalog::PruneSpec{catalog::RepositoryId("main")})->id; }
  catalog::JobId SubmitVerify() {
    return engine_->Submit(catalog::VerifySpec{.repository = catalog::RepositoryId("main")})->id;
  }
  // In the middle of a job's work.
  void Wait(const std::atomic<bool>& until) {
    const absl::Duration start = clock_.Monotonic();
    while (!until && clock_.Monotonic() - start < kPatience) clock_.Sleep(absl::Milliseconds(2));
    EXPECT_TRUE(until);
  }
  void Start() {
    prunes_ =
        std::make_unique<PruneRunner>(*catalog_, *engine_, *events_, *repositories_, clock_, repo::PruneOptions());
    verifications_ = std::make_unique<VerifyRunner>(*catalog_, *engine_, *events_, *repositories_, clock_);
  }

  std::unique_ptr<PruneRunner> prunes_;
  std::unique_ptr<VerifyRunner> verifications_;
};

TEST_F(PairsTest, AWholePruneInTheMiddleOfAVerification) {
  std::atomic<bool> go_on = false;
  repository_->verifier = [&](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    Wait(go_on);
    return repo::VerifyReport();
  };
  repository_->pruner = [](const auto&, const auto&, std::stop_token) { return repo::PruneReport(); };
  Start();
  const catalog::JobId verify = SubmitVerify();
  Await(verify, JobState::kRunning);
  Await(SubmitPrune(), JobState::kSucceeded);
  EXPECT_EQ(engine_->Get(verify)->state, JobState::kRunning);
  go_on = true;
  Await(verify, JobState::kSucceeded);
}

TEST_F(PairsTest, AWholeVerificationInTheMiddleOfAPruneAndOnePruneAtATime) {
  std::atomic<bool> go_on = false;
  std::atomic<int> prunes = 0;
  repository_->verifier = [](const auto&, const auto&, std::stop_token) { return repo::VerifyReport(); };
  repository_->pruner = [&](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::PruneReport> {
    EXPECT_EQ(++prunes, 1);
    Wait(go_on);
    --prunes;
    return repo::PruneReport();
  };
  Start();
  const catalog::JobId prune = SubmitPrune(), second = SubmitPrune();
  Await(prune, JobState::kRunning);
  Await(SubmitVerify(), JobState::kSucceeded);
  EXPECT_EQ(engine_->Get(prune)->state, JobState::kRunning);
  EXPECT_EQ(engine_->Get(second)->state, JobState::kQueued);
  go_on = true;
  Await(prune, JobState::kSucceeded);
  Await(second, JobState::kSucceeded);
}

}  // namespace
}  // namespace umbra::maintenance
