// Proves that an intent is durable before OK, that damaged files are reported and left alone, and that healing thaws
// and cleans up everything a dead agent left, is patient with a hypervisor that is away, and leaves live work alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/journal/healing.h"
#include "agent/journal/intent_journal.h"
#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::journal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Intent kIntent{IntentKind::kFrozenPointInTime, "4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f", "job-1-1", "/scratch"};

class IntentJournalTest : public ::testing::Test {
 protected:
  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
};

TEST_F(IntentJournalTest, RecordsListsAndRemoves) {
  IntentJournal journal(files_, dir_.File("journal"));
  ASSERT_TRUE(journal.Open().ok());
  Intent other = kIntent;
  other.kind = IntentKind::kPointInTime;
  other.owner_tag = "job-2-1";
  ASSERT_TRUE(journal.Record(kIntent).ok());
  ASSERT_TRUE(journal.Record(other).ok());
  EXPECT_TRUE(journal.IsLive(kIntent));
  // Another process finds them, and they aren't live there.
  IntentJournal restarted(files_, dir_.File("journal"));
  EXPECT_THAT(restarted.List()->intents, ElementsAre(kIntent, other));
  EXPECT_FALSE(restarted.IsLive(kIntent));
  ASSERT_TRUE(journal.Remove(kIntent).ok());
  EXPECT_FALSE(journal.IsLive(kIntent));
  EXPECT_TRUE(journal.Remove(kIntent).ok());  // again
  EXPECT_THAT(restarted.List()->intents, ElementsAre(other));
}

TEST_F(IntentJournalTest, RemembersCheckpointsAndHowFarTheCommitIs) {
  IntentJournal journal(files_, dir_.File("journal"));
  ASSERT_TRUE(journal.Open().ok());
  Intent intent = kIntent;
  intent.checkpoint = "umbra-job-1-1";
  ASSERT_TRUE(journal.Record(intent).ok());
  EXPECT_THAT(journal.List()->intents, ElementsAre(intent));
  intent.base_checkpoint = "umbra-job-0-1";
  intent.committing = true;
  ASSERT_TRUE(journal.Record(intent).ok());
  EXPECT_THAT(journal.List()->intents, ElementsAre(intent)) << "it took the place of the former";
}

TEST_F(IntentJournalTest, RefusesNamesThatAreNoFileNames) {
  IntentJournal journal(files_, dir_.File("journal"));
  ASSERT_TRUE(journal.Open().ok());
  for (const std::string tag : {"", "../x", "a\nkind=x"}) {
    Intent intent = kIntent;
    intent.owner_tag = tag;
    EXPECT_EQ(base::ReasonOf(journal.Record(intent)), "INVALID_REQUEST");
  }
}

TEST_F(IntentJournalTest, ReportsDamagedFilesAndIgnoresUnfinishedOnes) {
  IntentJournal journal(files_, dir_.File("journal"));
  ASSERT_TRUE(journal.Open().ok());
  ASSERT_TRUE(journal.Record(kIntent).ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("journal/x.y.intent"), "umbra intent 1\nkind=magic\n").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("journal/z.y.intent"), "").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("journal/a.b.intent.tmp"), "half").ok());
  const auto list = journal.List();
  ASSERT_TRUE(list.ok());
  EXPECT_THAT(list->intents, ElementsAre(kIntent));
  EXPECT_THAT(list->damaged, ElementsAre(dir_.File("journal/x.y.intent"), dir_.File("journal/z.y.intent")));
}

// Whatever call fails: Record says so, or the intent is there.
TEST_F(IntentJournalTest, EveryFailureOfTheDiskIsToldBeforeAnythingIsBegun) {
  for (int call = 1;; ++call) {
    umbra::testing::FaultFilesystem faulty(files_);
    IntentJournal journal(faulty, dir_.File("journal" + std::to_string(call)));
    ASSERT_TRUE(journal.Open().ok());
    faulty.FailAt(call, umbra::testing::Fault::kNoSpace, true);
    const absl::Status recorded = journal.Record(kIntent);
    if (!faulty.struck()) {
      EXPECT_TRUE(recorded.ok());
      EXPECT_GT(call, 2);
      break;
    }
    EXPECT_EQ(base::ReasonOf(recorded), "STORAGE_FULL");
    EXPECT_FALSE(journal.IsLive(kIntent));
  }
}

class HealingTest : public ::testing::Test {
 protected:
  HealingTest()
      : hypervisor_(dir_.File("vms"), files_, clock_, random_),
        journal_(files_, dir_.File("journal")),
        scratch_(dir_.File("s")) {
    EXPECT_TRUE(journal_.Open().ok());
    auto vm = hypervisor_.CreateVm({.name = "one", .disks = {{"vda", 1 << 20, {}}}});
    EXPECT_TRUE(vm.ok()) << vm.status();
    vm_ = *vm;
  }

  // What an agent that died with a frozen guest leaves.
  Intent DieFrozen() {
    const Intent intent{IntentKind::kFrozenPointInTime, vm_, "job-1-1", scratch_};
    {
      IntentJournal dead(files_, dir_.File("journal"));
      EXPECT_TRUE(dead.Record(intent).ok());
    }
    EXPECT_TRUE(hypervisor_.Freeze(vm_, absl::Seconds(1)).ok());
    auto view = hypervisor_.BeginPointInTime(vm_, {{"vda"}, scratch_, "job-1-1"});
    EXPECT_TRUE(view.ok()) << view.status();
    hypervisor_.CrashAgent();
    return intent;
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::SteppingClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor hypervisor_;
  IntentJournal journal_;
  const std::string scratch_;
  std::string vm_;
};

TEST_F(HealingTest, ThawsEndsTheJobAndRemovesTheScratchFiles) {
  const Intent intent = DieFrozen();
  ASSERT_TRUE(hypervisor_.IsFrozen(vm_));
  ASSERT_FALSE(hypervisor_.CheckNoJob(vm_).ok());
  const auto report = Heal(hypervisor_, journal_, clock_);
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->healed, ElementsAre(intent));
  EXPECT_THAT(report->open, IsEmpty());
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
  EXPECT_TRUE(hypervisor_.CheckNoJob(vm_).ok());
  EXPECT_THAT(*files_.List(scratch_), IsEmpty());
  EXPECT_THAT(journal_.List()->intents, IsEmpty());
  EXPECT_THAT(Heal(hypervisor_, journal_, clock_)->healed, IsEmpty());  // safe to repeat
}

TEST_F(HealingTest, ResumesWhoWasStoppedToBeSavedAndNobodyElse) {
  for (const bool resume : {true, false}) {
    const Intent intent{IntentKind::kSave, vm_, "job-1-1", scratch_, resume};
    {
      IntentJournal dead(files_, dir_.File("journal"));
      EXPECT_TRUE(dead.Record(intent).ok());
    }
    ASSERT_TRUE(hypervisor_.SaveState(vm_, {scratch_, "job-1-1"}).ok());
    hypervisor_.SetFaults(vm_, {.resume_failures = resume ? 2 : 0});
    EXPECT_THAT(Heal(hypervisor_, journal_, clock_)->healed, ElementsAre(intent));
    EXPECT_EQ(hypervisor_.GetVm(vm_)->state, resume ? hypervisor::VmState::kRunning : hypervisor::VmState::kPaused);
    EXPECT_THAT(*files_.List(scratch_), IsEmpty());
    EXPECT_THAT(journal_.List()->intents, IsEmpty());
  }
}

TEST_F(HealingTest, TriesUntilTheGuestAnswers) {
  DieFrozen();
  hypervisor_.SetFaults(vm_, {.thaw_failures = 5});
  const auto report = Heal(hypervisor_, journal_, clock_);
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->healed, SizeIs(1));
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
}

TEST_F(HealingTest, KeepsTheIntentOfAGuestThatNeverAnswers) {
  const Intent intent = DieFrozen();
  hypervisor_.SetFaults(vm_, {.agent_silent = true});
  const auto report = Heal(hypervisor_, journal_, clock_);
  ASSERT_TRUE(report.ok());
  ASSERT_THAT(report->open, SizeIs(1));
  EXPECT_EQ(report->open[0].intent, intent);
  EXPECT_EQ(base::ReasonOf(report->open[0].why), "GUEST_AGENT_NOT_RUNNING");
  EXPECT_TRUE(hypervisor_.CheckNoJob(vm_).ok());  // what could be cleaned up was
  EXPECT_LE(clock_.Monotonic(), absl::Minutes(2));
  // Later.
  hypervisor_.SetFaults(vm_, {});
  EXPECT_THAT(Heal(hypervisor_, journal_, clock_)->healed, ElementsAre(intent));
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
}

TEST_F(HealingTest, OfAVirtualMachineThatIsGoneNothingIsLeft) {
  const Intent intent{IntentKind::kFrozenPointInTime, "00000000-0000-4000-8000-000000000000", "job-9-1", scratch_};
  ASSERT_TRUE(IntentJournal(files_, dir_.File("journal")).Record(intent).ok());
  EXPECT_THAT(Heal(hypervisor_, journal_, clock_)->healed, ElementsAre(intent));
}

TEST_F(HealingTest, OfAVirtualMachineThatIsOffNothingIsFrozen) {
  const Intent intent = DieFrozen();
  hypervisor_.KillGuest(vm_);
  EXPECT_THAT(Heal(hypervisor_, journal_, clock_)->healed, ElementsAre(intent));
  EXPECT_THAT(*files_.List(scratch_), IsEmpty());
}

// Of two checkpoints of ours one stays: until the commit is asked for the old one, from then on the new one; and never
// one of somebody else is touched.
TEST_F(HealingTest, KeepsTheOneCheckpointThatTheNewestRecoveryPointKnows) {
  for (const bool committing : {false, true}) {
    ASSERT_TRUE(hypervisor_.MakeCheckpoint(vm_, "theirs").ok());
    ASSERT_TRUE(hypervisor_.MakeCheckpoint(vm_, "umbra-old").ok());
    Intent intent{IntentKind::kPointInTime, vm_, "new", scratch_};
    intent.checkpoint = "umbra-new";
    intent.base_checkpoint = "umbra-old";
    intent.committing = committing;
    {
      IntentJournal dead(files_, dir_.File("journal"));
      ASSERT_TRUE(dead.Record(intent).ok());
    }
    hypervisor::PointInTimeOptions options{{"vda"}, scratch_, "new"};
    options.track_changes = true;
    auto view = hypervisor_.BeginPointInTime(vm_, options);
    ASSERT_TRUE(view.ok()) << view.status();
    hypervisor_.CrashAgent();
    const auto report = Heal(hypervisor_, journal_, clock_);
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->healed.size(), 1u);
    EXPECT_THAT(hypervisor_.Checkpoints(vm_), ::testing::ElementsAre("theirs", committing ? "umbra-new" : "umbra-old"));
    EXPECT_TRUE(hypervisor_.RemoveCheckpoints(vm_, "").ok());
  }
}

TEST_F(HealingTest, LeavesLiveWorkAlone) {
  ASSERT_TRUE(journal_.Record({IntentKind::kPointInTime, vm_, "job-1-1", scratch_}).ok());
  auto view = hypervisor_.BeginPointInTime(vm_, {{"vda"}, scratch_, "job-1-1"});
  ASSERT_TRUE(view.ok());
  const auto report = Heal(hypervisor_, journal_, clock_);
  EXPECT_THAT(report->healed, IsEmpty());
  EXPECT_TRUE((*view)->Health().ok());
  EXPECT_THAT(journal_.List()->intents, SizeIs(1));
}

}  // namespace
}  // namespace umbra::journal
