// A coordinator with two writers that record what they are asked, one of the front end and one of the system, each with
// a component, and a provider; on a clock that only handlers move.
#ifndef UMBRA_TESTS_UNIT_AGENT_VSS_TWO_WRITERS_H_
#define UMBRA_TESTS_UNIT_AGENT_VSS_TWO_WRITERS_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "absl/synchronization/notification.h"
#include "agent/vss/coordinator.h"
#include "storage/base/random.h"
#include "tests/unit/agent/vss/scripted.h"

namespace umbra::vss::testing {

inline constexpr Guid kFront = Guid::Literal("00000000-0000-4000-8000-000000000001");
inline constexpr Guid kSystem = Guid::Literal("00000000-0000-4000-8000-000000000002");
inline constexpr Guid kProvider = Guid::Literal("00000000-0000-4000-8000-000000000009");

class TwoWritersTest : public ::testing::Test {
 protected:
  TwoWritersTest() {
    front_.AddComponent("A", "/a/");
    system_.AddComponent("B", "/b/");
    system_.identity_.level = ApplicationLevel::kSystem;
    coordinator_.emplace(clock_, random_);
    coordinator_->AddWriter(front_);
    coordinator_->AddWriter(system_);
    coordinator_->AddProvider(provider_);
  }
  ~TwoWritersTest() override {
    LetGo();
    coordinator_.reset();
  }

  std::unique_ptr<Session> Gathered() {
    auto session = coordinator_->NewSession();
    EXPECT_TRUE(session->InitializeForBackup().ok());
    EXPECT_TRUE(session->SetBackupState({}).ok());
    EXPECT_TRUE(session->GatherWriterMetadata().ok());
    return session;
  }
  // With both components, up to and with PrepareForBackup; what was recorded so far is taken.
  std::unique_ptr<Session> Prepared(const std::vector<std::string>& volumes) {
    auto session = Gathered();
    EXPECT_TRUE(session->AddComponent({kFront, "", "A"}).ok());
    EXPECT_TRUE(session->AddComponent({kSystem, "", "B"}).ok());
    EXPECT_TRUE(session->StartSnapshotSet().ok());
    for (const std::string& volume : volumes) EXPECT_TRUE(session->AddToSnapshotSet(volume, Guid()).ok());
    EXPECT_TRUE(session->PrepareForBackup().ok());
    record_.Take();
    return session;
  }
  static WriterStatus StatusOf(Session& session, const Guid& writer) {
    const auto statuses = session.GatherWriterStatus();
    for (const WriterStatus& status : *statuses) {
      if (status.identity.writer_id == writer) return status;
    }
    ADD_FAILURE() << "writer is absent";
    return {};
  }

  // What a handler does that takes so long, and returns only when the test lets go.
  absl::Status Hang(absl::Duration time) {
    clock_.AdvanceWhileAwaited(time);
    release_.WaitForNotification();
    return absl::OkStatus();
  }
  void LetGo() {
    if (!release_.HasBeenNotified()) release_.Notify();
  }

  StillClock clock_;
  base::SeededRandom random_{1};
  Record record_{&clock_};
  ScriptedWriter front_{"front", kFront, record_}, system_{"system", kSystem, record_};
  ScriptedProvider provider_{"p", kProvider, record_};
  std::optional<Coordinator> coordinator_;
  absl::Notification release_;
};

}  // namespace umbra::vss::testing

#endif  // UMBRA_TESTS_UNIT_AGENT_VSS_TWO_WRITERS_H_
