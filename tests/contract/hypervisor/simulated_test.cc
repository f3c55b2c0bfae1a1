// Runs the contract suite on the simulated hypervisor.
#include <filesystem>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/contract/hypervisor/hypervisor_under_test.h"

namespace umbra::hypervisor {
namespace {

class SimulatedUnderTest final : public HypervisorUnderTest {
 public:
  SimulatedUnderTest() : folder_(NewTemporaryFolder()), hypervisor_(folder_ + "/vms", files, clock, random_) {
    const SimulatedVmSpec spec{.name = "contract",
                               .disks = {{"vda", 16 * base::kMiB},
                                         {"vdb", kDataDiskBytes, DiskExclusion::kNone, false},
                                         {"vdc", kTrackedDiskBytes}},
                               .adapters = {{"52:54:00:00:00:01", "switch0"}}};
    uuid_ = hypervisor_.CreateVm(spec).value();
  }
  ~SimulatedUnderTest() override { std::filesystem::remove_all(folder_); }

  Hypervisor& hypervisor() override { return hypervisor_; }
  const std::string& uuid() const override { return uuid_; }

  void MakeHealthy() override {
    hypervisor_.SetFaults(uuid_, {});
    UMBRA_CHECK(hypervisor_.Start(uuid_).ok());
    UMBRA_CHECK(hypervisor_.Thaw(uuid_, absl::Seconds(60)).ok());
    scratch_limited_ = false;
  }

  absl::Status Fill(const std::string& disk, uint64_t offset, uint64_t length, char c) override {
    if (scratch_limited_) hypervisor_.SetFaults(uuid_, {.scratch_limit_bytes = 80 * base::kMiB});
    const std::string data(base::kMiB, c);
    for (uint64_t done = 0; done < length; done += data.size()) {
      RETURN_IF_ERROR(hypervisor_.GuestWrite(uuid_, disk, offset + done, base::AsBytes(data)));
    }
    return absl::OkStatus();
  }
  absl::Status Discard(const std::string& disk, uint64_t offset, uint64_t length) override {
    return Fill(disk, offset, length, '\0');
  }
  std::vector<std::string> Checkpoints() override { return hypervisor_.Checkpoints(uuid_); }
  void MakeCheckpoint(const std::string& name) override { UMBRA_CHECK(hypervisor_.MakeCheckpoint(uuid_, name).ok()); }
  void DeleteCheckpoint(const std::string& name, bool) override {
    UMBRA_CHECK(hypervisor_.DeleteCheckpoint(uuid_, name).ok());
  }
  absl::Status Remember(const std::string& word) override { return hypervisor_.GuestRemember(uuid_, word); }
  bool Remembers(const std::string& word) override { return hypervisor_.GuestMemory(uuid_).value_or("") == word; }
  void SaveByHand() override { UMBRA_CHECK(hypervisor_.SaveByHand(uuid_).ok()); }
  void KeepCheckpoint(const std::string& name, CheckpointKind kind) override {
    UMBRA_CHECK(hypervisor_.KeepCheckpoint(uuid_, name, kind).ok());
  }
  void ForgetCheckpoints() override { hypervisor_.ForgetCheckpoints(uuid_); }
  std::string AttachInGuest() override {
    hypervisor_.SetGuestDisks(uuid_, {{"/dev/sda", "iscsi"}});
    return "/dev/sda";
  }
  void DetachInGuest() override { hypervisor_.SetGuestDisks(uuid_, {}); }
  void DelayFreeze(absl::Duration delay) override { hypervisor_.SetFaults(uuid_, {.freeze_delay = delay}); }
  void MakeFreezeFail() override { hypervisor_.SetFaults(uuid_, {.freeze_fails = true}); }
  void StopAgent() override { hypervisor_.SetFaults(uuid_, {.agent_silent = true}); }
  void KillGuest() override { hypervisor_.KillGuest(uuid_); }
  void ShutDownGuest() override { hypervisor_.KillGuest(uuid_); }
  void CrashAgent(std::unique_ptr<PointInTime> view) override {
    hypervisor_.CrashAgent();
    view.reset();
  }

  std::string ScratchFolder() override { return folder_ + "/scratch"; }
  std::string SmallScratchFolder() override {
    scratch_limited_ = true;
    return folder_ + "/small";
  }
  std::string TargetFolder() override {
    UMBRA_CHECK(files.MakeDirectories(folder_ + "/target").ok());
    return folder_ + "/target";
  }
  std::string WithoutNetwork(std::string configuration) override {
    return configuration.replace(configuration.find("switch0"), 7, "gone");
  }

 private:
  const std::string folder_;
  base::SystemRandom random_;
  SimulatedHypervisor hypervisor_;
  std::string uuid_;
  bool scratch_limited_ = false;
};

}  // namespace

std::unique_ptr<HypervisorUnderTest> MakeHypervisorUnderTest(std::string&) {
  return std::make_unique<SimulatedUnderTest>();
}

}  // namespace umbra::hypervisor
