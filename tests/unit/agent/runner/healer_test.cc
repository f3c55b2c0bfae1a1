// Proves that a thaw which nobody answered is not forgotten while the agent lives: the healer makes it good as soon as the guest
// answers again, and leaves running work alone.
#include "agent/runner/healer.h"

#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::runner {
namespace {

class HealerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    writers::VssHostOptions options{.scratch_folder = folder_.File("s"), .journal_folder = folder_.File("intents")};
    options.freeze.freeze_timeout = absl::Milliseconds(20);
    options.freeze.thaw_timeout = absl::Milliseconds(10);
    options.freeze.first_wait = absl::Milliseconds(1);
    options.freeze.longest_wait = absl::Milliseconds(5);
    options.freeze.patience = absl::Milliseconds(50);
    ASSERT_TRUE(ledgers_.Open().ok());
    host_ = *writers::VssHost::Create(hypervisor_, files_, clock_, random_, options);
    vm_ = *hypervisor_.CreateVm({.name = "db", .disks = {{"vda", base::kMiB, {}}}});
  }

  std::unique_ptr<writers::VmBackup> Backup() {
    writers::VmBackupOptions options;
    options.vm_uuids = {vm_};
    options.owner_tag = "job-1-1";
    return host_->NewBackup(options);
  }
  size_t Intents() { return files_.List(folder_.File("intents"))->size(); }

  testing::TempDir folder_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  RestoreLedgers ledgers_{files_, folder_.path()};
  base::SeededRandom random_{5};
  hypervisor::SimulatedHypervisor hypervisor_{folder_.File("vms"), files_, clock_, random_};
  std::unique_ptr<writers::VssHost> host_;
  std::string vm_;
};

TEST_F(HealerTest, AThawThatIsOwedIsMadeGoodWhileTheAgentLives) {
  Healer healer(*host_, hypervisor_, ledgers_, clock_, absl::Milliseconds(5));
  healer.Start();
  hypervisor_.SetFaults(vm_, {.freeze_delay = absl::Milliseconds(40), .thaw_failures = 1000});
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_EQ(base::ReasonOf(backup->Snapshot().status()), "GUEST_FREEZE_TIMEOUT");
  backup.reset();
  EXPECT_EQ(Intents(), 1u);
  hypervisor_.SetFaults(vm_, {});  // the guest answers again
  for (int i = 0; i < 2000 && Intents() > 0; ++i) clock_.Sleep(absl::Milliseconds(5));
  EXPECT_EQ(Intents(), 0u);
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
}

TEST_F(HealerTest, RunningWorkIsLeftAlone) {
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  Healer healer(*host_, hypervisor_, ledgers_, clock_, absl::Milliseconds(2));
  healer.Start();
  clock_.Sleep(absl::Milliseconds(50));
  EXPECT_TRUE(backup->Health(vm_).ok());
  EXPECT_EQ(Intents(), 1u);
}

}  // namespace
}  // namespace umbra::runner
