// A host whose hypervisor is simulated but for its files, for tests that go through the door that a runner uses
// (HostTest) or through the engine's parts (WriterTest). Waits are real and short.
#ifndef UMBRA_TESTS_UNIT_AGENT_WRITERS_HOST_FIXTURE_H_
#define UMBRA_TESTS_UNIT_AGENT_WRITERS_HOST_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/coordinator.h"
#include "agent/writers/hyperv_writer.h"
#include "agent/writers/vss_host.h"
#include "storage/base/status.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::writers {

class SimulatedHostTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kDiskBytes = 1 << 20;

  // One disk, vda, when `spec` names none.
  std::string Vm(const std::string& name, hypervisor::SimulatedVmSpec spec = {}) {
    spec.name = name;
    if (spec.disks.empty()) spec.disks = {{"vda", kDiskBytes, {}}};
    auto vm = simulated_.CreateVm(spec);
    EXPECT_TRUE(vm.ok()) << vm.status();
    return *vm;
  }
  void Write(const std::string& vm, const std::string& text) {
    ASSERT_TRUE(simulated_.GuestWrite(vm, "vda", 0, base::AsBytes(text)).ok());
  }
  hypervisor::VmState StateOf(const std::string& vm) { return simulated_.GetVm(vm)->state; }

  // No scratch file, saved state or intent.
  void ExpectNothingLeft() {
    const auto scratch = files_.List(dir_.File("s"));
    if (scratch.ok()) {
      EXPECT_THAT(*scratch, ::testing::IsEmpty());
    }
    EXPECT_THAT(*files_.List(dir_.File("journal")), ::testing::IsEmpty());
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor simulated_{dir_.File("vms"), files_, clock_, random_};
};

// The whole host. Start makes it, as a new agent process does.
class HostTest : public SimulatedHostTest {
 protected:
  void Start(base::Filesystem& agent_files, VssHostOptions options) {
    host_.reset();
    options.scratch_folder = dir_.File("s");
    options.journal_folder = dir_.File("journal");
    auto host = VssHost::Create(simulated_, agent_files, clock_, random_, options);
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }

  std::unique_ptr<VmBackup> BackupBy(const MechanismPolicy& policy, std::vector<std::string> vms) {
    VmBackupOptions options;
    options.vm_uuids = std::move(vms);
    options.mechanism = policy;
    options.owner_tag = fmt::format("job-{}-1", ++tags_);
    return host_->NewBackup(options);
  }
  // The reason for which preparing or taking the snapshots fails; empty when it doesn't.
  static std::string RefusalOf(VmBackup& backup) {
    const absl::Status prepared = backup.Prepare();
    return base::ReasonOf(prepared.ok() ? backup.Snapshot().status() : prepared);
  }
  static std::string ReadDisk(VmBackup& backup, const std::string& vm, size_t length) {
    auto reader = backup.OpenDisk(vm, "vda");
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::string text(length, '\0');
    EXPECT_TRUE((*reader)->ReadAt(0, std::as_writable_bytes(std::span(text))).ok());
    return text;
  }

  std::unique_ptr<VssHost> host_;
  int tags_ = 0;
};

// The engine in its parts, with a virtual machine "one" and one, "mute", without a guest agent.
class WriterTest : public SimulatedHostTest {
 protected:
  explicit WriterTest(uint64_t disk_bytes = kDiskBytes, guest::GuestWriters* guest_writers = nullptr)
      : writer_({hypervisor_, journal_, clock_}, provider_, files_, random_, Options(guest_writers)) {
    EXPECT_TRUE(journal_.Open().ok());
    coordinator_.AddWriter(writer_);
    coordinator_.AddProvider(provider_);
    vm_ = Vm("one", {.disks = {{"vda", disk_bytes, {}}}});
    mute_ = Vm("mute", {.disks = {{"vda", disk_bytes, {}}}, .guest_agent = false});
  }

  // What a requester tells the writer of a virtual machine that must not be saved.
  static std::string Told() {
    BackupOptions options;
    options.mechanism = {.forbid_saved_state = true, .allow_crash_consistent = true};
    options.owner_tag = "job-1-1";
    return Print(options);
  }

  RecordingHypervisor hypervisor_{simulated_};
  journal::IntentJournal journal_{files_, dir_.File("journal")};
  providers::CheckpointProvider provider_{{hypervisor_, journal_, clock_}};
  HypervWriter writer_;
  std::string vm_, mute_;
  vss::Coordinator coordinator_{clock_, random_};

 private:
  HypervWriterOptions Options(guest::GuestWriters* guest_writers) {
    HypervWriterOptions options;
    options.instance_id = vss::Guid::Literal("00000000-0000-4000-8000-000000000001");
    options.scratch_folder = dir_.File("s");
    options.guest_agent_timeout = absl::Seconds(1);
    options.guest_writers = guest_writers;
    return options;
  }
};

}  // namespace umbra::writers

#endif  // UMBRA_TESTS_UNIT_AGENT_WRITERS_HOST_FIXTURE_H_
