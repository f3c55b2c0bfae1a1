// Runs the contract suite on libvirt with a real guest. Needs a running lab (deploy/lab/lab): UMBRA_LAB_ROOT names its
// folder; without it every test is skipped.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <vector>

#include <gtest/gtest.h>

#include "agent/hypervisor/libvirt/daemon_network.h"
#include "agent/hypervisor/libvirt/libvirt_hypervisor.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/contract/hypervisor/hypervisor_under_test.h"
#include "tests/contract/hypervisor/socket_proxy.h"

namespace umbra::hypervisor {
namespace {

constexpr char kLab[] = UMBRA_SOURCE_DIR "/deploy/lab/lab";
constexpr char kNoLab[] = "no lab: set UMBRA_LAB_ROOT to the folder of a running one (deploy/lab/lab --root DIR start)";

// Empty when there is none.
std::string LabRoot() {
  const char* root = std::getenv("UMBRA_LAB_ROOT");
  return root == nullptr ? "" : root;
}

// A VM of the lab, made for this program and removed with it.
class LibvirtUnderTest final : public HypervisorUnderTest {
 public:
  explicit LibvirtUnderTest(std::string root)
      : root_(std::move(root)),
        name_("contract-" + std::to_string(getpid())),
        folder_(NewTemporaryFolder()),
        hypervisor_({"qemu:///system?socket=" + root_ + "/sock/libvirt-sock", folder_}, files, clock, random_) {
    Must("vm create " + name_ + " --fill-mib 0 --extra-disk " + std::to_string(kDataDiskBytes / base::kMiB) +
         ":raw --extra-disk " + std::to_string(kTrackedDiskBytes / base::kMiB) + ":qcow2");
    const std::vector<VmInfo> all = hypervisor_.ListVms().value();
    for (const VmInfo& vm : all) {
      if (vm.name == name_) uuid_ = vm.uuid;
    }
    UMBRA_CHECK(!uuid_.empty());
  }

  ~LibvirtUnderTest() override {
    Lab("vm destroy " + name_);
    Lab("enter umount -l " + folder_ + "/small 2>/dev/null");
    std::filesystem::remove_all(folder_);
  }

  Hypervisor& hypervisor() override { return hypervisor_; }
  const std::string& uuid() const override { return uuid_; }

  void MakeHealthy() override {
    EndShutdown();
    UMBRA_CHECK(hypervisor_.Start(uuid_).ok());
    Must("vm wait-agent " + name_);
    if (dirty_) UMBRA_CHECK(Guest("rm -f /run/hookhang /run/hookfail") == 0);
    dirty_ = false;
  }

  absl::Status Fill(const std::string& disk, uint64_t offset, uint64_t length, char c) override {
    const std::string command =
        fmt::format("tr \"\\\\000\" {} </dev/zero | dd of=/dev/{} bs=1M iflag=fullblock conv=notrunc,fsync seek={} count={}", c, disk,
                    offset / base::kMiB, length / base::kMiB);
    if (Guest(command) == 0) return absl::OkStatus();
    return absl::UnavailableError("the guest could not write");
  }
  absl::Status Discard(const std::string& disk, uint64_t offset, uint64_t length) override {
    // The guest has no blkdiscard; to QEMU zeros are the same as long as they are data.
    const std::string command = fmt::format("dd if=/dev/zero of=/dev/{} bs=1M conv=notrunc,fsync seek={} count={}",
                                            disk, offset / base::kMiB, length / base::kMiB);
    return Guest(command) == 0 ? absl::OkStatus() : absl::UnavailableError("the guest could not write");
  }
  std::vector<std::string> Checkpoints() override {
    const std::string path = folder_ + "/checkpoints";
    UMBRA_CHECK(
        std::system(
            fmt::format("{} --root {} virsh checkpoint-list {} --name >{}", kLab, root_, name_, path).c_str()) == 0);
    std::vector<std::string> names;
    std::ifstream file(path);
    for (std::string name; file >> name;) names.push_back(name);
    return names;
  }
  void MakeCheckpoint(const std::string& name) override {
    const std::string path = folder_ + "/checkpoint.xml";
    std::ofstream(path)
        << "<domaincheckpoint><name>" << name << "</name><disks><disk name='vdb' checkpoint='no'/>"
        << "<disk name='vda' checkpoint='bitmap'/><disk name='vdc' checkpoint='bitmap'/></disks></domaincheckpoint>";
    Must("virsh checkpoint-create " + name_ + " " + path);
  }
  void DeleteCheckpoint(const std::string& name, bool forget) override {
    Must("virsh checkpoint-delete " + name_ + " " + name + (forget ? " --metadata" : ""));
  }
  absl::Status Remember(const std::string& word) override {
    if (Guest("echo " + word + " >/run/remembered") == 0) return absl::OkStatus();
    return absl::UnavailableError("the guest could not remember");
  }
  bool Remembers(const std::string& word) override {
    Must("vm wait-agent " + name_);
    return Guest("grep -q " + word + " /run/remembered") == 0;
  }
  void SaveByHand() override { Must("virsh managedsave " + name_); }
  // A raw image has no room for an internal one, which takes every disk that is attached.
  void KeepCheckpoint(const std::string& name, CheckpointKind kind) override {
    if (kind == CheckpointKind::kExternal) {
      Must(fmt::format("virsh snapshot-create-as {} {} --disk-only --diskspec vdb,snapshot=no --diskspec "
                       "vda,snapshot=external,file={}/overlay.{}", name_, name, folder_, name));
      return;
    }
    UMBRA_CHECK(hypervisor_.PowerOff(uuid_).ok());
    const std::string raw = hypervisor_.GetVm(uuid_)->disks.at(1).path;
    Must(fmt::format("virsh detach-disk {} vdb --config", name_));
    Must(fmt::format("virsh snapshot-create-as {} {}", name_, name));
    Must(fmt::format("virsh attach-disk {} {} vdb --config --subdriver raw", name_, raw));
    MakeHealthy();
  }
  void ForgetCheckpoints() override {
    Must(fmt::format("virsh blockcommit {} vda --active --pivot --wait", name_));
    while (Lab(fmt::format("virsh snapshot-delete {} --current --metadata 2>/dev/null", name_)) == 0) {
    }
  }
  // The kernel's own software SCSI adapter looks as that of an iSCSI initiator does: a SCSI disk on no PCI device. Its modules
  // come as an archive on a disk of their own.
  std::string AttachInGuest() override {
    const char* cache = std::getenv("UMBRA_LAB_CACHE");
    const std::string tree = (cache == nullptr ? root_ + "/images" : std::string(cache)) + "/debian/kernel/lib/modules";
    const std::string archive = folder_ + "/modules.tar";
    const std::string pack = fmt::format(
        "cd {}/*/kernel/drivers/scsi && tar cf {} scsi_common.ko scsi_mod.ko sd_mod.ko scsi_debug.ko && truncate -s %1M {}", tree,
        archive, archive);
    if (std::system(pack.c_str()) != 0) return "";
    Must(fmt::format("virsh attach-disk {} {} vdd --live --subdriver raw", name_, archive));
    const char* load = "cd /run; for i in 1 2 3 4 5 6 7 8 9; do [ -e /dev/vdd ] || sleep 1; done; tar xf /dev/vdd || exit 1; "
        "for m in scsi_common scsi_mod sd_mod scsi_debug; do insmod $m.ko || exit 1; done; sleep 1; [ -e /sys/block/sda ]";
    UMBRA_CHECK(Guest(load) == 0);
    return "/dev/sda";
  }
  void DetachInGuest() override {
    UMBRA_CHECK(Guest("rmmod scsi_debug sd_mod scsi_mod scsi_common") == 0);
    Must(fmt::format("virsh detach-disk {} vdd --live", name_));
  }
  void DelayFreeze(absl::Duration delay) override {
    dirty_ = true;
    UMBRA_CHECK(Guest(fmt::format("echo {} >/run/hookhang", absl::ToInt64Seconds(delay))) == 0);
  }
  void MakeFreezeFail() override {
    dirty_ = true;
    UMBRA_CHECK(Guest("touch /run/hookfail") == 0);
  }
  void StopAgent() override {
    Guest("(sleep 0.2; kill $(cat /run/ga.pid)) >/dev/null 2>&1 &");  // it answers this one first
    clock.Sleep(absl::Seconds(1));
  }
  void KillGuest() override {
    UMBRA_CHECK(kill(ReadPid(root_ + "/run/qemu/" + name_ + ".pid"), SIGKILL) == 0);
  }
  void ShutDownGuest() override { Must("virsh shutdown " + name_ + " --mode agent"); }
  void CrashAgent(std::unique_ptr<PointInTime> view) override { left_behind_.push_back(view.release()); }

  std::string ScratchFolder() override { return folder_ + "/scratch"; }
  std::string SmallScratchFolder() override {
    // A file system that QEMU and we both see, though the lab has its own mounts: mounted there, reached through /proc.
    const std::string small = folder_ + "/small";
    UMBRA_CHECK(files.MakeDirectories(small).ok());
    Must("enter mount -t tmpfs -o size=80m tmpfs " + small);
    return fmt::format("/proc/{}/root{}", ReadPid(root_ + "/sock/libvirtd.pid"), small);
  }
  std::string TargetFolder() override {
    UMBRA_CHECK(files.MakeDirectories(folder_ + "/target").ok());
    return folder_ + "/target";
  }
  std::string WithoutNetwork(std::string configuration) override {
    return configuration.replace(configuration.find("fbr0"), 4, "gone0");
  }

 private:
  static pid_t ReadPid(const std::string& path) {
    std::ifstream file(path);
    pid_t pid = 0;
    UMBRA_CHECK(static_cast<bool>(file >> pid) && pid > 1);
    return pid;
  }

  // Returns the lab's exit status; its talk goes to standard error.
  int Lab(const std::string& arguments) {
    const std::string command = fmt::format("{} --root {} {} >/dev/null", kLab, root_, arguments);
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Must(const std::string& arguments) {
    const int status = Lab(arguments);
    if (status != 0) std::cerr << "lab " << arguments << " ended with " << status << "\n";
    UMBRA_CHECK(status == 0);
  }
  // `script` has no single quotes.
  int Guest(const std::string& script) { return Lab(fmt::format("vm exec {} -- /bin/sh -c '{}' 2>/dev/null", name_, script)); }

  // QEMU may take up to 30 s to go after its guest was shut down with a view open.
  void EndShutdown() {
    if (Lab("virsh domstate " + name_ + " | grep -q shutdown") == 0) UMBRA_CHECK(hypervisor_.PowerOff(uuid_).ok());
  }

  const std::string root_;
  const std::string name_;
  const std::string folder_;
  base::SystemRandom random_;
  LibvirtHypervisor hypervisor_;
  std::string uuid_;
  bool dirty_ = false;
  std::vector<PointInTime*> left_behind_;  // never destroyed, as the dead can't
};

}  // namespace

std::unique_ptr<HypervisorUnderTest> MakeHypervisorUnderTest(std::string& why_not) {
  const std::string root = LabRoot();
  if (root.empty()) {
    why_not = kNoLab;
    return nullptr;
  }
  return std::make_unique<LibvirtUnderTest>(root);
}

// What only this driver promises.
class LibvirtConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (LabRoot().empty()) GTEST_SKIP() << kNoLab;
  }
  ~LibvirtConnectionTest() override { std::filesystem::remove_all(folder_); }

  std::string Socket() const { return LabRoot() + "/sock/libvirt-sock"; }

  const std::string folder_ = NewTemporaryFolder();
  base::SystemClock clock_;
  base::PosixFilesystem files_;
  base::SystemRandom random_;
};

TEST_F(LibvirtConnectionTest, IsOpenedAgainWhenTheDaemonWasRestarted) {
  SocketProxy proxy(folder_ + "/sock", Socket());
  LibvirtHypervisor hypervisor({"qemu:///system?socket=" + folder_ + "/sock", folder_}, files_, clock_, random_);
  ASSERT_TRUE(hypervisor.ListVms().ok());
  ASSERT_TRUE(hypervisor.ListVms().ok());
  EXPECT_EQ(proxy.accepted(), 1);
  for (int i = 2; i < 5; ++i) {
    proxy.CutAll();
    const auto vms = hypervisor.ListVms();
    EXPECT_TRUE(vms.ok()) << base::Describe(vms.status());
    EXPECT_EQ(proxy.accepted(), i);
  }
}

TEST_F(LibvirtConnectionTest, SaysThatNobodyListens) {
  LibvirtHypervisor hypervisor({"qemu:///system?socket=" + folder_ + "/none", folder_}, files_, clock_, random_);
  const absl::Status status = hypervisor.ListVms().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(status), "HYPERVISOR_UNAVAILABLE");
}

// The lab's bridge is in the lab's network namespace only, and that is where a VM would look for it.
TEST_F(LibvirtConnectionTest, SeesBridgesFromWhereTheDaemonStands) {
  EXPECT_EQ(DaemonSocket("qemu:///system?socket=" + Socket(), files_), Socket());
  EXPECT_EQ(DaemonSocket("qemu+ssh://host/system", files_), "");
  EXPECT_EQ(DaemonSeesDevice(Socket(), "fbr0", files_), true);
  EXPECT_EQ(DaemonSeesDevice(Socket(), "fbr", files_), false);
  EXPECT_EQ(DaemonSeesDevice(Socket(), "gone0", files_), false);
  EXPECT_EQ(DaemonSeesDevice(folder_ + "/none", "fbr0", files_), std::nullopt);
}

}  // namespace umbra::hypervisor
