// Proves what the looks at states find: missed promises, agents that are gone, space that runs out, known damage; and
// what they leave alone.
#include "server/notifications/state_checks.h"

#include "tests/unit/server/notifications/fixture.h"

namespace umbra::notifications {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StateChecksTest : public policies::PoliciesTest {
 protected:
  std::vector<Finding> Look(NoticeTopic topic, bool open = false) {
    for (const StateCheck& check : MakeStateChecks({*catalog_, agents_, *repositories_, clock_}, 10)) {
      if (check.topic != topic) continue;
      const auto findings = check.look([open](const std::string&) { return open; });
      EXPECT_TRUE(findings.ok()) << findings.status();
      return *findings;
    }
    ADD_FAILURE() << "no such check";
    return {};
  }

  dispatch::AgentRegistry agents_;
};

TEST_F(StateChecksTest, APromiseIsMissedByItsAgeAndANewMachineHasTheTimeOfTheFirst) {
  AddHost("h1", {"a"});
  EXPECT_THAT(Look(NoticeTopic::kRpoMissed), IsEmpty()) << "no promise";
  catalog::Policy policy = MakePolicy("p", "all");
  policy.rpo = absl::Hours(26);
  Insert(policy);
  ASSERT_EQ(Look(NoticeTopic::kRpoMissed).size(), 1u);
  EXPECT_EQ(Look(NoticeTopic::kRpoMissed)[0].grace, absl::Hours(26));
  EXPECT_EQ(Look(NoticeTopic::kRpoMissed)[0].subject, "hosts/h1/virtualMachines/u-a");
  const catalog::RecoveryPoint point{.id = catalog::RecoveryPointId("p1"),
                                     .vm = Key("h1", "a"),
                                     .vm_display_name = "a",
                                     .repository = catalog::RepositoryId("main"),
                                     .job = catalog::JobId("j0"),
                                     .point_time = clock_.Now(),
                                     .create_time = clock_.Now()};
  Write([&](catalog::Stores& s) { return s.recovery_points.Insert(point).status(); });
  EXPECT_THAT(Look(NoticeTopic::kRpoMissed), IsEmpty());
  clock_.Advance(absl::Hours(27));
  ASSERT_EQ(Look(NoticeTopic::kRpoMissed).size(), 1u);
  EXPECT_EQ(Look(NoticeTopic::kRpoMissed)[0].grace, absl::ZeroDuration());
  EXPECT_THAT(Look(NoticeTopic::kRpoMissed)[0].message, HasSubstr("27h old, promised are 26h"));
}

TEST_F(StateChecksTest, AnAgentIsGoneUnlessConnectedOrInMaintenance) {
  AddHost("h1", {});
  AddHost("h2", {});
  ASSERT_EQ(Look(NoticeTopic::kAgentOffline).size(), 2u);
  EXPECT_EQ(Look(NoticeTopic::kAgentOffline)[0].title, "name of h1");
  EXPECT_GE(Look(NoticeTopic::kAgentOffline)[0].grace, absl::Minutes(1)) << "a restart is no news";
  agents_.SetOnline(catalog::HostId("h1"), nullptr, {});
  ASSERT_EQ(Look(NoticeTopic::kAgentOffline).size(), 1u);
  Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Host host, s.hosts.Get(catalog::HostId("h2")));
    host.drained = true;
    return s.hosts.Update(host);
  });
  EXPECT_THAT(Look(NoticeTopic::kAgentOffline), IsEmpty());
  EXPECT_EQ(Look(NoticeTopic::kAgentOffline, true).size(), 1u) << "it isn't back because it is in maintenance";
}

TEST_F(StateChecksTest, ARepositoryIsNearlyFullUntilThereIsClearlyMore) {
  repository_->stats.stored_bytes = 1000;
  repository_->stats.free_bytes = 1000;
  EXPECT_THAT(Look(NoticeTopic::kRepositoryNearlyFull), IsEmpty());
  repository_->stats.stored_bytes = 91;
  repository_->stats.free_bytes = 9;
  EXPECT_EQ(Look(NoticeTopic::kRepositoryNearlyFull).size(), 1u);
  repository_->stats.stored_bytes = 89;
  repository_->stats.free_bytes = 11;
  EXPECT_THAT(Look(NoticeTopic::kRepositoryNearlyFull), IsEmpty());
  EXPECT_EQ(Look(NoticeTopic::kRepositoryNearlyFull, true).size(), 1u);
  repository_->stats.stored_bytes = 87;
  repository_->stats.free_bytes = 13;
  EXPECT_THAT(Look(NoticeTopic::kRepositoryNearlyFull, true), IsEmpty());
}

TEST_F(StateChecksTest, DamageIsKnownByRecoveryPointUntilItIsHealed) {
  AddPoint("p1", clock_.Now(), "mail01");
  EXPECT_THAT(Look(NoticeTopic::kDamage), IsEmpty());
  for (const int64_t offset : {0, 4096}) {
    Write([&](catalog::Stores& s) {
      return s.verify.AddDamage({.repository = catalog::RepositoryId("main"),
                                 .recovery_point = catalog::RecoveryPointId("p1"),
                                 .disk = "vda",
                                 .offset_bytes = offset,
                                 .chunk_id = "00",
                                 .length_bytes = 4096,
                                 .reason = "CHUNK_DAMAGED",
                                 .message = "a chunk is damaged",
                                 .found_time = clock_.Now(),
                                 .healed_time = std::nullopt});
    });
  }
  const auto found = Look(NoticeTopic::kDamage);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].subject, "recoveryPoints/p1");
  EXPECT_THAT(found[0].title, HasSubstr("mail01"));
  EXPECT_EQ(found[0].message, "2 damaged places with 8192 bytes; first: a chunk is damaged");
  Write([&](catalog::Stores& s) { return s.verify.Heal(catalog::RepositoryId("main"), "00", clock_.Now()); });
  EXPECT_THAT(Look(NoticeTopic::kDamage), IsEmpty());
}

}  // namespace
}  // namespace umbra::notifications
