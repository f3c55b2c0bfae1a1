// Proves what the host's writer makes of the backups inside its guests: when their events come (B3), that the copy is
// reverted to what they took while the guest goes on (B7), and what their failure is to the host (B9, HV-40).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "agent/writers/hyperv_writer.h"
#include "storage/base/status.h"
#include "tests/support/guest_ledger.h"
#include "tests/unit/agent/writers/host_fixture.h"

namespace umbra::writers {
namespace {

using base::ReasonOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using umbra::testing::GuestLedger;
using umbra::testing::GuestLedgers;
using vss::WriterEvent;

constexpr vss::Guid kOtherId = vss::Guid::Literal("00000000-0000-4000-8000-0000000000ff");

// Another writer of the host, to see and do things at moments of the host's own flow.
class HostNeighbour final : public vss::Writer {
 public:
  const vss::WriterIdentity& identity() const override { return identity_; }
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext&) override {
    vss::WriterMetadata metadata;
    metadata.writer_id = metadata.instance_id = kOtherId;
    metadata.writer_name = identity_.name;
    vss::Component& component = metadata.components.emplace_back();
    component.name = "neighbour";
    return metadata;
  }
  absl::Status OnFreeze(vss::EventContext&) override {
    if (at_freeze) at_freeze();
    return absl::OkStatus();
  }
  absl::Status OnThaw(vss::EventContext&) override { return absl::OkStatus(); }
  absl::Status OnAbort(vss::EventContext&) override { return absl::OkStatus(); }

  std::function<void()> at_freeze;

 private:
  const vss::WriterIdentity identity_{kOtherId, kOtherId, "neighbour", "", vss::ApplicationLevel::kBackEnd};
};

class ChildCaptureTest : public SimulatedHostTest {
 protected:
  ChildCaptureTest()
      : journal_(files_, dir_.File("journal")),
        provider_({hypervisor_, journal_, clock_}),
        writer_({hypervisor_, journal_, clock_}, provider_, files_, random_, Options()),
        coordinator_(clock_, random_) {
    EXPECT_TRUE(journal_.Open().ok());
    coordinator_.AddWriter(writer_);
    coordinator_.AddWriter(neighbour_);
    coordinator_.AddProvider(provider_);
    vm_ = *simulated_.CreateVm({.name = "one", .disks = {{"vda", GuestLedger::kBytesNeeded, {}}}});
    mute_ =
        *simulated_.CreateVm({.name = "mute", .disks = {{"vda", GuestLedger::kBytesNeeded, {}}}, .guest_agent = false});
    ledger_.emplace(simulated_, clock_, vm_);
    ledgers_.Add(vm_, *ledger_);
  }

  HypervWriterOptions Options() {
    HypervWriterOptions options;
    options.instance_id = vss::Guid::Literal("00000000-0000-4000-8000-000000000001");
    options.scratch_folder = dir_.File("s");
    options.guest_writers = &ledgers_;
    return options;
  }
  static vss::ComponentChoice Choose(const std::string& vm) {
    BackupOptions options;
    options.mechanism = {.forbid_saved_state = true, .allow_crash_consistent = true};
    options.owner_tag = "job-1-1";
    return {ComponentIdOf(vm), Print(options)};
  }
  // From Gather to Prepare, of both virtual machines and the neighbour.
  std::unique_ptr<vss::BackupRequester> Prepared() {
    auto backup = std::make_unique<vss::BackupRequester>(coordinator_.NewSession(), vss::BackupSettings{});
    EXPECT_TRUE(backup->Gather().ok());
    EXPECT_TRUE(backup->Select({Choose(vm_), Choose(mute_), {{kOtherId, "", "neighbour"}, ""}}).ok());
    EXPECT_TRUE(backup->Prepare().ok());
    return backup;
  }
  void MarkAll(vss::BackupRequester& backup, bool vm_succeeded) {
    EXPECT_TRUE(backup.SetBackupSucceeded(ComponentIdOf(vm_), vm_succeeded).ok());
    EXPECT_TRUE(backup.SetBackupSucceeded(ComponentIdOf(mute_), true).ok());
    EXPECT_TRUE(backup.SetBackupSucceeded({kOtherId, "", "neighbour"}, true).ok());
  }
  absl::StatusOr<int64_t> Verify(const vss::Guid& set_id) {
    ASSIGN_OR_RETURN(const auto reader, provider_.OpenDisk(set_id, vm_, "vda"));
    return GuestLedger::Verify([&](uint64_t offset, uint64_t length) -> absl::StatusOr<std::string> {
      std::string text(length, '\0');
      RETURN_IF_ERROR(reader->ReadAt(offset, std::as_writable_bytes(std::span(text))));
      return text;
    });
  }
  void ExpectNothingLeft() {
    EXPECT_FALSE(simulated_.IsFrozen(vm_));
    EXPECT_TRUE(simulated_.CheckNoJob(vm_).ok());
    EXPECT_TRUE(simulated_.CheckNoJob(mute_).ok());
    SimulatedHostTest::ExpectNothingLeft();
    EXPECT_TRUE(ledger_->Transfer().ok());
  }

  GuestLedgers ledgers_;
  RecordingHypervisor hypervisor_{simulated_};
  journal::IntentJournal journal_;
  std::optional<GuestLedger> ledger_;
  providers::CheckpointProvider provider_;
  HypervWriter writer_;
  HostNeighbour neighbour_;
  vss::Coordinator coordinator_;
  std::string vm_, mute_;
};

TEST_F(ChildCaptureTest, B3_HV11_WholeBackupOfTheGuestIsInsideTheHostsPrepareSnapshot) {
  auto backup = Prepared();
  EXPECT_THAT(ledger_->TakeEvents(), IsEmpty());  // nothing in the guest before
  std::vector<std::string> at_freeze;
  neighbour_.at_freeze = [&] { at_freeze = ledger_->TakeEvents(); };
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_THAT(at_freeze, ElementsAre("Identify", "PrepareBackup", "PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot"));
  EXPECT_THAT(ledger_->TakeEvents(), IsEmpty());  // and nothing after, until the host is done
  MarkAll(*backup, true);
  ASSERT_TRUE(backup->Documents().ok());
  EXPECT_THAT(ledger_->TakeEvents(), IsEmpty());
  ASSERT_TRUE(backup->Complete().ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("BackupComplete", "BackupShutdown"));
  ExpectNothingLeft();
}

TEST_F(ChildCaptureTest, GuestIsShutDownWithoutCompleteWhenTheHostGivesUp) {
  auto backup = Prepared();
  ASSERT_TRUE(backup->Snapshot().ok());
  ledger_->TakeEvents();
  ASSERT_TRUE(backup->Abort().ok());
  EXPECT_THAT(ledger_->TakeEvents(), ElementsAre("BackupShutdown"));
  ExpectNothingLeft();
}

TEST_F(ChildCaptureTest, FailureOfAGuestsWriterAfterTheBackupIsToldAndTheBackupStays) {
  ledger_->SetFaults({.veto = WriterEvent::kBackupComplete});
  auto backup = Prepared();
  ASSERT_TRUE(backup->Snapshot().ok());
  MarkAll(*backup, true);
  const absl::Status completed = backup->Complete();
  EXPECT_EQ(ReasonOf(completed), "VSS_WRITER_FAILED");
  EXPECT_THAT(base::MessageOf(completed), HasSubstr("one"));
  ExpectNothingLeft();
}

// What is written in the guest between its own snapshot and the host's commit isn't in the backup; where there is no
// snapshot in the guest, it is.
TEST_F(ChildCaptureTest, B7_HV16_CopyIsRevertedToTheGuestsSnapshot) {
  ASSERT_TRUE(ledger_->Transfer().ok());
  ASSERT_TRUE(simulated_.GuestWrite(mute_, "vda", 0, base::AsBytes("former")).ok());
  neighbour_.at_freeze = [&] {
    EXPECT_TRUE(ledger_->Transfer().ok());
    EXPECT_TRUE(ledger_->Transfer(2).ok());
    EXPECT_TRUE(simulated_.GuestWrite(mute_, "vda", 0, base::AsBytes("latter")).ok());
  };
  auto backup = Prepared();
  const auto set = backup->Snapshot();
  ASSERT_TRUE(set.ok()) << set.status();
  const auto transfers = Verify(set->set_id);
  ASSERT_TRUE(transfers.ok()) << transfers.status();
  EXPECT_EQ(*transfers, 1);
  std::string of_mute(6, '\0');
  ASSERT_TRUE(
      (*provider_.OpenDisk(set->set_id, mute_, "vda"))->ReadAt(0, std::as_writable_bytes(std::span(of_mute))).ok());
  EXPECT_EQ(of_mute, "latter");
  const auto one = provider_.PointTime(set->set_id, vm_), other = provider_.PointTime(set->set_id, mute_);
  EXPECT_LT(*one, *other);
}

TEST_F(ChildCaptureTest, B7_HV17_RevertAsksNobodyInTheGuestAndTheGuestDoesNotSeeIt) {
  auto backup = Prepared();
  std::string at_freeze;
  neighbour_.at_freeze = [&] {
    ASSERT_TRUE(ledger_->Transfer().ok());
    at_freeze = *simulated_.GuestRead(vm_, "vda", 0, GuestLedger::kBytesNeeded);
    ledger_->TakeEvents();
    hypervisor_.Take();
  };
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_THAT(ledger_->TakeEvents(), IsEmpty());
  EXPECT_THAT(hypervisor_.Take(), ElementsAre("Begin mute"));  // of the other one
  EXPECT_EQ(*simulated_.GuestRead(vm_, "vda", 0, GuestLedger::kBytesNeeded), at_freeze);
  EXPECT_EQ(simulated_.GetVm(vm_)->state, hypervisor::VmState::kRunning);
}

TEST_F(ChildCaptureTest, B8_HV18_HV19_NoAutoRecoveryIsRefusedBeforeTheGuestHearsOfIt) {
  vss::BackupRequester backup(coordinator_.NewSession(), {vss::kAttrNoAutoRecovery, {}});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({Choose(mute_), Choose(vm_)}).ok());
  EXPECT_EQ(ReasonOf(backup.Prepare()), "VSS_NO_AUTORECOVERY");
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
  EXPECT_THAT(ledger_->TakeEvents(), IsEmpty());
  EXPECT_THAT(journal_.List()->intents, IsEmpty());
  EXPECT_FALSE(files_.List(dir_.File("s")).ok());  // not even the folder
}

TEST_F(ChildCaptureTest, B9_HV40_VetoInAGuestFailsTheHostsWriterAndTheWholeSet) {
  for (const auto& [code, told] : {std::pair{vss::Code::kWriterErrorNonRetryable, vss::Code::kWriterErrorNonRetryable},
                                   std::pair{vss::Code::kWriterErrorTimeout, vss::Code::kWriterErrorRetryable}}) {
    ledger_->SetFaults({.veto = WriterEvent::kFreeze, .veto_code = code});
    auto backup = Prepared();
    const absl::Status failed = backup->Snapshot().status();
    EXPECT_EQ(vss::CodeOf(failed), told);
    EXPECT_EQ(ReasonOf(failed), "VSS_WRITER_FAILED");
    EXPECT_THAT(base::MessageOf(failed), HasSubstr("Ledger of the bank"));
    const vss::WriterStatus status = coordinator_.LastWriterStatus()[0];
    EXPECT_EQ(status.state, vss::WriterState::kFailedAtPrepareSnapshot);
    EXPECT_EQ(vss::CodeOf(status.failure), told);
    ledger_->SetFaults({});
    ExpectNothingLeft();
  }
}

TEST_F(ChildCaptureTest, GuestsDocumentsComeWithTheCapture) {
  auto session = coordinator_.NewSession();
  const vss::Guid session_id = session->id();
  vss::BackupRequester backup(std::move(session), {});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(backup.Select({Choose(vm_), Choose(mute_)}).ok());
  ASSERT_TRUE(backup.Prepare().ok());
  ASSERT_TRUE(backup.Snapshot().ok());
  const auto captured = writer_.Captured(session_id);
  ASSERT_TRUE(captured.ok());
  ASSERT_THAT(*captured, SizeIs(2));
  EXPECT_THAT((*captured)[0].figures.child_documents.writer_metadata, SizeIs(2));
  EXPECT_THAT((*captured)[0].figures.child_documents.backup_components, HasSubstr("ledger"));
  EXPECT_THAT((*captured)[1].figures.child_documents.writer_metadata, IsEmpty());
  EXPECT_THAT((*captured)[1].figures.child_documents.backup_components, IsEmpty());
}

}  // namespace
}  // namespace umbra::writers
