// Proves the backup inside a guest: the order of all its events, that its writers take part with data that is
// consistent only because they do, the limits, and that nothing stays whichever writer, at whichever event, vetoes,
// hangs or dies.
#include "agent/guest/child_backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/backup_components.h"
#include "agent/vss/errors.h"
#include "storage/base/status.h"
#include "tests/support/guest_ledger.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/vss/scripted.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::guest {
namespace {

using base::ReasonOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using umbra::testing::GuestLedger;
using umbra::testing::kLedgerName;
using umbra::testing::kLedgerWriterId;
using umbra::testing::LedgerFaults;
using vss::WriterEvent;

template <typename ClockType>
class ChildBackupFixture : public ::testing::Test {
 protected:
  ChildBackupFixture() : simulated_(dir_.File("vms"), files_, clock_, random_), journal_(files_, dir_.File("journal")) {
    EXPECT_TRUE(journal_.Open().ok());
    vm_ = *simulated_.CreateVm({.name = "one", .disks = {{"vda", GuestLedger::kBytesNeeded, {}}}});
    ledger_.emplace(simulated_, clock_, vm_);
  }

  std::unique_ptr<ChildBackup> Backup(bool with_ledger = true) {
    std::vector<std::unique_ptr<vss::Writer>> writers;
    if (with_ledger) writers.push_back(ledger_->NewWriter());
    ChildBackupRequest request;
    request.point = {vm_, {{"vda"}, dir_.File("s"), "job-1-1"}, true};
    request.filesystems = {{"/data", "ext4", {"vda"}, true}};
    request.freeze = limits_;
    return std::make_unique<ChildBackup>(providers::PointInTimeTools{hypervisor_, journal_, clock_}, random_,
                                         std::move(writers), std::move(request));
  }
  absl::Status Run(ChildBackup& backup) {
    RETURN_IF_ERROR(backup.Prepare());
    return backup.Take();
  }

  // What the backup's view of the disk says about the ledger.
  static absl::StatusOr<int64_t> Verify(hypervisor::PointInTime& view) {
    ASSIGN_OR_RETURN(const auto reader, view.OpenDisk("vda"));
    return GuestLedger::Verify([&](uint64_t offset, uint64_t length) -> absl::StatusOr<std::string> {
      std::string text(length, '\0');
      RETURN_IF_ERROR(reader->ReadAt(offset, std::as_writable_bytes(std::span(text))));
      return text;
    });
  }

  void ExpectNothingLeft() {
    EXPECT_FALSE(simulated_.IsFrozen(vm_));
    EXPECT_FALSE(ledger_->frozen());
    EXPECT_TRUE(simulated_.CheckNoJob(vm_).ok());
    const auto scratch = files_.List(dir_.File("s"));
    if (scratch.ok()) {
      EXPECT_THAT(*scratch, IsEmpty());
    }
    EXPECT_THAT(journal_.List()->intents, IsEmpty());
    EXPECT_TRUE(ledger_->Transfer().ok());
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  ClockType clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor simulated_;
  writers::RecordingHypervisor hypervisor_{simulated_};
  journal::IntentJournal journal_;
  providers::FreezeLimits limits_{absl::Milliseconds(50), absl::Milliseconds(20), absl::Milliseconds(1),
                                  absl::Milliseconds(5), absl::Milliseconds(300)};
  std::optional<GuestLedger> ledger_;
  std::string vm_;
};

class ChildBackupTest : public ChildBackupFixture<base::SystemClock> {};
class ChildBackupLimitsTest : public ChildBackupFixture<umbra::testing::ManualClock> {};

// --- the flow ---

TEST_F(ChildBackupTest, B3_HV11_AllEventsOfTheGuestInTheirOrder) {
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("Identify", "PrepareBackup"));
  EXPECT_THAT(hypervisor_.Take(), ElementsAre("CheckNoJob one", "Prepare one"));

  std::vector<std::string> order;  // of the ledger's and the agent's events: one at a time by the engine's own order
  hypervisor_.OnCall([&](const std::string& call) {
    for (const std::string& event : ledger_->TakeEvents()) order.push_back(event);
    order.push_back(call);
    return absl::OkStatus();
  });
  ASSERT_TRUE(backup->Take().ok());
  for (const std::string& event : ledger_->TakeEvents()) order.push_back(event);
  EXPECT_THAT(order,
              ElementsAre("PrepareSnapshot", "Freeze", "Freeze one", "Begin one", "Thaw one", "Thaw", "PostSnapshot"));
  EXPECT_FALSE(simulated_.IsFrozen(vm_));
  EXPECT_GT(backup->freeze_duration(), absl::ZeroDuration());

  hypervisor_.OnCall(nullptr);
  hypervisor_.Take();
  const auto point = backup->TakePoint();
  ASSERT_NE(point, nullptr);
  EXPECT_THAT(ledger_->TakeEvents(), IsEmpty());
  EXPECT_TRUE(backup->Complete(true).ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("BackupComplete"));
  EXPECT_TRUE(backup->Close().ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("BackupShutdown"));
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());  // the guest's agent isn't asked again

  ASSERT_NE(point->view(), nullptr);  // it belongs to the host now
  EXPECT_TRUE(Verify(*point->view()).ok());
  EXPECT_TRUE(point->Close().ok());
  ExpectNothingLeft();
}

TEST_F(ChildBackupTest, ResultsTellEveryWritersStateAndTheTimeOfEveryEvent) {
  auto backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  const std::vector<ChildWriter> writers = backup->Writers();
  ASSERT_THAT(writers, SizeIs(2));
  EXPECT_EQ(writers[0].name, kFilesystemWriterName);
  EXPECT_EQ(writers[1].name, kLedgerName);
  for (const ChildWriter& writer : writers) {
    EXPECT_EQ(writer.state, vss::WriterState::kWaitingForBackupComplete);
    EXPECT_TRUE(writer.failure.ok());
    ASSERT_THAT(writer.events, SizeIs(6));
    for (const ChildEvent& event : writer.events) EXPECT_TRUE(event.duration.has_value());
    EXPECT_THAT(Describe(writer.events), HasSubstr("PrepareSnapshot 0."));
  }
  EXPECT_EQ(writers[0].events[3].event, WriterEvent::kFreeze);
  EXPECT_GE(backup->freeze_duration(), *writers[0].events[3].duration);
}

TEST_F(ChildBackupTest, DocumentsAreThoseOfTheGuest) {
  auto backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  const vss::BackupDocuments& documents = backup->documents();
  ASSERT_THAT(documents.writer_metadata, SizeIs(2));
  EXPECT_EQ(vss::ParseWriterMetadata(documents.writer_metadata[0])->writer_name, kFilesystemWriterName);
  EXPECT_EQ(vss::ParseWriterMetadata(documents.writer_metadata[1])->writer_name, kLedgerName);
  auto components = vss::ParseBackupComponents(documents.backup_components);
  ASSERT_TRUE(components.ok());
  EXPECT_NE(components->Find({kFilesystemWriterId, "", "/data"}), nullptr);
  EXPECT_NE(components->Find({umbra::testing::kLedgerWriterId, "", "ledger"}), nullptr);
  ASSERT_THAT(components->snapshots, SizeIs(1));
  EXPECT_EQ(components->snapshots[0].volume, "/dev/vda/");
}

// --- writers with data ---

TEST_F(ChildBackupTest, HV12_WriterBringsItsDataBetweenTwoTransactions) {
  ASSERT_TRUE(ledger_->Transfer().ok());
  ASSERT_TRUE(ledger_->Transfer(2).ok());  // in the middle of one
  auto backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  const auto point = backup->TakePoint();
  const auto transfers = Verify(*point->view());
  ASSERT_TRUE(transfers.ok()) << transfers.status();
  EXPECT_EQ(*transfers, 2);
}

// Without the writer the same moment is torn: the test above proves something.
TEST_F(ChildBackupTest, HV12_FrozenFileSystemsAloneDontMakeTheLedgerConsistent) {
  for (int writes = 1; writes < GuestLedger::kWritesPerTransfer; ++writes) {
    ASSERT_TRUE(ledger_->Transfer(writes).ok());
    auto backup = Backup(/*with_ledger=*/false);
    ASSERT_TRUE(Run(*backup).ok());
    EXPECT_TRUE(absl::IsDataLoss(Verify(*backup->TakePoint()->view()).status())) << writes;
    ASSERT_TRUE(ledger_->Transfer().ok());
  }
}

TEST_F(ChildBackupTest, HV12_LedgerThatNeverStopsIsConsistentInEveryBackup) {
  std::atomic<bool> stop = false;
  std::jthread bank([&] {
    while (!stop) {
      ledger_->Transfer().IgnoreError();  // frozen: tries again
      clock_.Sleep(absl::Microseconds(100));
    }
  });
  int64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    auto backup = Backup();
    ASSERT_TRUE(Run(*backup).ok());
    const auto point = backup->TakePoint();
    const auto transfers = Verify(*point->view());
    ASSERT_TRUE(transfers.ok()) << transfers.status();
    EXPECT_GE(*transfers, last);
    last = *transfers;
    EXPECT_TRUE(backup->Complete(true).ok());
  }
  stop = true;
  bank.join();
  ExpectNothingLeft();
}

TEST_F(ChildBackupTest, ComponentOnADiskThatIsNotInTheBackupTakesNoPart) {
  const std::string other = *simulated_.CreateVm(
      {.name = "two", .disks = {{"vda", GuestLedger::kBytesNeeded, {}}, {"vdb", GuestLedger::kBytesNeeded, {}}}});
  ChildBackupRequest request;
  request.point = {other, {{"vdb"}, dir_.File("s"), "job-2-1"}, true};
  std::vector<std::unique_ptr<vss::Writer>> writers;
  writers.push_back(ledger_->NewWriter());
  ChildBackup backup({hypervisor_, journal_, clock_}, random_, std::move(writers), std::move(request));
  ASSERT_TRUE(Run(backup).ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("Identify"));
}

// What comes with another component is never chosen beside it.
TEST_F(ChildBackupTest, ComponentsBelowAChosenOneComeWithIt) {
  vss::testing::Record record;
  auto writer = std::make_unique<vss::testing::ScriptedWriter>("tree", kLedgerWriterId, record);
  writer->AddComponent("set", VolumeOf("vda"));
  writer->AddComponent("part", VolumeOf("vda"));
  writer->metadata.components[1].logical_path = "set";
  ChildBackupRequest request;
  request.point = {vm_, {{"vda"}, dir_.File("s"), "job-2-1"}, true};
  std::vector<std::unique_ptr<vss::Writer>> writers;
  writers.push_back(std::move(writer));
  ChildBackup backup({hypervisor_, journal_, clock_}, random_, std::move(writers), std::move(request));
  ASSERT_TRUE(Run(backup).ok());
  auto document = vss::ParseBackupComponents(backup.documents().backup_components);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_NE(document->Find({kLedgerWriterId, "", "set"}), nullptr);
  EXPECT_EQ(document->Find({kLedgerWriterId, "set", "part"}), nullptr);
  EXPECT_THAT(record.Take(), ::testing::Contains("tree.Freeze"));
}

// --- failures ---

constexpr WriterEvent kEventsOfTake[] = {WriterEvent::kPrepareBackup, WriterEvent::kPrepareSnapshot,
                                         WriterEvent::kFreeze, WriterEvent::kThaw, WriterEvent::kPostSnapshot};

TEST_F(ChildBackupTest, HV40_VetoOfAWriterAtAnyEventFailsTheGuestAndLeavesNothing) {
  for (const WriterEvent event : kEventsOfTake) {
    for (const auto& [code, told] :
         {std::pair{vss::Code::kWriterErrorNonRetryable, vss::Code::kWriterErrorNonRetryable},
          std::pair{vss::Code::kWriterErrorTimeout, vss::Code::kWriterErrorRetryable}}) {
      SCOPED_TRACE(vss::NameOf(event));
      ledger_->SetFaults({.veto = event, .veto_code = code});
      auto backup = Backup();
      const absl::Status failed = Run(*backup);
      EXPECT_EQ(vss::CodeOf(failed), told) << failed;
      EXPECT_EQ(ReasonOf(failed), "VSS_WRITER_FAILED");
      EXPECT_THAT(base::MessageOf(failed), HasSubstr(std::string(kLedgerName)));
      EXPECT_THAT(base::MessageOf(failed), HasSubstr(std::string(vss::NameOf(event))));
      EXPECT_EQ(backup->TakePoint(), nullptr);
      ledger_->SetFaults({});
      ExpectNothingLeft();
      ledger_->TakeEvents();
    }
  }
}

TEST_F(ChildBackupTest, WriterThatFailedBeforeTheCutSparesTheGuestTheCut) {
  ledger_->SetFaults({.veto = WriterEvent::kFreeze});
  auto backup = Backup();
  EXPECT_FALSE(Run(*backup).ok());
  EXPECT_THAT(hypervisor_.Take(), ElementsAre("CheckNoJob one", "Prepare one", "Freeze one", "Thaw one"));
}

TEST_F(ChildBackupTest, WriterThatDiesAtAnyEventFailsTheGuestAndLeavesNothing) {
  for (const WriterEvent event : kEventsOfTake) {
    SCOPED_TRACE(vss::NameOf(event));
    ledger_->SetFaults({.die = event});
    auto backup = Backup();
    const absl::Status failed = Run(*backup);
    EXPECT_EQ(ReasonOf(failed), "GUEST_STOPPED") << failed;
    EXPECT_EQ(vss::CodeOf(failed), vss::Code::kWriterErrorRetryable);
    ledger_->SetFaults({});
    ExpectNothingLeft();
  }
}

TEST_F(ChildBackupTest, WriterThatHangsAtAnyEventFailsTheGuestAndLeavesNothing) {
  ledger_->SetLimit(absl::Milliseconds(200));
  for (const WriterEvent event : kEventsOfTake) {
    SCOPED_TRACE(vss::NameOf(event));
    ledger_->SetFaults({.hang = event, .hang_for = absl::Milliseconds(600)});
    auto backup = Backup();
    const absl::Status failed = Run(*backup);
    EXPECT_EQ(vss::CodeOf(failed), vss::Code::kWriterErrorRetryable) << failed;
    EXPECT_THAT(base::MessageOf(failed), HasSubstr(std::string(vss::NameOf(event))));
    EXPECT_FALSE(simulated_.IsFrozen(vm_));
    ledger_->SetFaults({});
    ExpectNothingLeft();  // Take returned when the handler had: its freeze was undone behind it
  }
}

// As VSS has it: one that doesn't answer Identify isn't there, and the others are backed up without it.
TEST_F(ChildBackupTest, WriterThatFailsIdentifyIsAbsentAndTold) {
  ledger_->SetFaults({.veto = WriterEvent::kIdentify});
  auto backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("Identify"));
  const auto writers = backup->Writers();
  ASSERT_THAT(writers, SizeIs(2));
  EXPECT_EQ(writers[1].state, vss::WriterState::kFailedAtIdentify);
  EXPECT_FALSE(writers[1].failure.ok());
}

TEST_F(ChildBackupTest, FailureAfterTheBackupIsToldAndTheViewStays) {
  ledger_->SetFaults({.veto = WriterEvent::kBackupComplete});
  auto backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  const auto point = backup->TakePoint();
  EXPECT_EQ(ReasonOf(backup->Complete(true)), "VSS_WRITER_FAILED");
  EXPECT_TRUE(backup->Close().ok());
  EXPECT_TRUE(Verify(*point->view()).ok());
}

TEST_F(ChildBackupTest, GivenUpBeforeOrAfterTheSnapshotEverybodyIsTold) {
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  backup.reset();
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("Identify", "PrepareBackup", "Abort", "BackupShutdown"));
  ExpectNothingLeft();
  backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  ledger_->TakeEvents();
  backup.reset();  // never Abort after PostSnapshot
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("BackupShutdown"));
  ExpectNothingLeft();
}

// --- the guest's agent ---

TEST_F(ChildBackupTest, RefusalsAreToldWithTheirReasonAndLeaveNothing) {
  const std::pair<hypervisor::SimulatedFaults, std::string> faults[] = {
      {{.agent_silent = true}, "GUEST_AGENT_NOT_RUNNING"},
      {{.freeze_delay = absl::Milliseconds(100)}, "GUEST_FREEZE_TIMEOUT"},
      {{.freeze_fails = true}, "GUEST_FREEZE_FAILED"},
      {{.foreign_job = true}, "VM_HAS_FOREIGN_JOB"},
      {{.begin_fails = true}, "HYPERVISOR_ERROR"},
  };
  for (const auto& [fault, reason] : faults) {
    SCOPED_TRACE(reason);
    simulated_.SetFaults(vm_, fault);
    auto backup = Backup();
    EXPECT_EQ(ReasonOf(Run(*backup)), reason);
    simulated_.SetFaults(vm_, {});
    clock_.Sleep(absl::Milliseconds(60));  // a freeze that lands late has been undone
    ExpectNothingLeft();
  }
}

TEST_F(ChildBackupTest, ThawIsTriedUntilItIsAnswered) {
  simulated_.SetFaults(vm_, {.thaw_failures = 7});
  auto backup = Backup();
  ASSERT_TRUE(Run(*backup).ok());
  EXPECT_FALSE(simulated_.IsFrozen(vm_));
  EXPECT_GT(backup->freeze_duration(), absl::Milliseconds(20));  // the waits are part of what the guest stood still
}

TEST_F(ChildBackupTest, GuestThatThawedByItselfIsNotConsistent) {
  hypervisor_.OnCall([&](const std::string& call) {
    if (call == "Begin one") simulated_.Thaw(vm_, absl::Seconds(1)).IgnoreError();
    return absl::OkStatus();
  });
  auto backup = Backup();
  EXPECT_EQ(ReasonOf(Run(*backup)), "GUEST_FREEZE_FAILED");
  hypervisor_.OnCall(nullptr);
  ExpectNothingLeft();
}

TEST_F(ChildBackupTest, OwedThawKeepsTheIntentForHealing) {
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  simulated_.SetFaults(vm_, {.thaw_failures = 1'000'000});
  const absl::Status failed = backup->Take();
  EXPECT_EQ(ReasonOf(failed), "GUEST_FREEZE_TIMEOUT");
  EXPECT_THAT(base::MessageOf(failed), HasSubstr("may still be frozen"));
  ASSERT_THAT(journal_.List()->intents, SizeIs(1));
  EXPECT_FALSE(journal_.IsLive(journal_.List()->intents[0]));
  EXPECT_TRUE(simulated_.CheckNoJob(vm_).ok());  // the view is gone
  simulated_.SetFaults(vm_, {});
  backup.reset();
  EXPECT_FALSE(simulated_.IsFrozen(vm_));  // the last try; healing would try on
  EXPECT_THAT(journal_.List()->intents, SizeIs(1));
}

// --- limits ---

TEST_F(ChildBackupLimitsTest, CutThatHangsIsGivenUpAfterTheHoldWindowAndTheGuestIsThawed) {
  absl::Notification cutting, let_go;
  hypervisor_.OnCall([&](const std::string& call) {
    if (call == "Begin one") {
      cutting.Notify();
      let_go.WaitForNotification();
    }
    return absl::OkStatus();
  });
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  absl::Status taken;
  std::jthread taking([&] { taken = backup->Take(); });
  cutting.WaitForNotification();
  EXPECT_TRUE(simulated_.IsFrozen(vm_));
  clock_.Advance(absl::Seconds(9));
  EXPECT_TRUE(simulated_.IsFrozen(vm_));
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while (simulated_.IsFrozen(vm_) && absl::Now() < give_up) {
    clock_.Advance(absl::Seconds(1));
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_FALSE(simulated_.IsFrozen(vm_));
  EXPECT_FALSE(ledger_->frozen());
  let_go.Notify();
  taking.join();
  EXPECT_THAT(base::MessageOf(taken), HasSubstr("CommitSnapshots"));
  hypervisor_.OnCall(nullptr);
  ExpectNothingLeft();  // the view that came too late is closed too
}

TEST_F(ChildBackupLimitsTest, GuestFrozenForLongerThanTheWindowFails) {
  hypervisor_.OnCall([&](const std::string& call) {
    if (call == "Thaw one") clock_.Advance(absl::Seconds(61));
    return absl::OkStatus();
  });
  auto backup = Backup();
  const absl::Status failed = Run(*backup);
  EXPECT_EQ(vss::CodeOf(failed), vss::Code::kWriterErrorRetryable);
  EXPECT_THAT(base::MessageOf(failed), HasSubstr("frozen for"));
  hypervisor_.OnCall(nullptr);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace umbra::guest
