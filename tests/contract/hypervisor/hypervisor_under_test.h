// What the contract suite needs around a hypervisor: a virtual machine, and hands inside its guest.
#ifndef UMBRA_TESTS_CONTRACT_HYPERVISOR_HYPERVISOR_UNDER_TEST_H_
#define UMBRA_TESTS_CONTRACT_HYPERVISOR_HYPERVISOR_UNDER_TEST_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"

namespace umbra::hypervisor {

// The VM has a disk "vda" with a file system and a raw disk "vdb" of kDataDiskBytes that nobody in the guest uses, a
// guest agent, and one network adapter. "vdc" of kTrackedDiskBytes can keep track of changes, and nobody in the guest
// uses it either; "vdb" can't. One object serves all tests of a program, since booting takes seconds.
class HypervisorUnderTest {
 public:
  static constexpr uint64_t kDataDiskBytes = 192 * base::kMiB;
  static constexpr uint64_t kTrackedDiskBytes = 64 * base::kMiB;

  virtual ~HypervisorUnderTest() = default;

  virtual Hypervisor& hypervisor() = 0;
  virtual const std::string& uuid() const = 0;
  // The VM runs, its agent answers, and nothing of former tests is left.
  virtual void MakeHealthy() = 0;

  // Inside the guest. Fills a stretch of a disk (multiples of 1 MiB) with one character; durable on return.
  virtual absl::Status Fill(const std::string& disk, uint64_t offset_bytes, uint64_t length_bytes, char c) = 0;
  // The same with zeros, of which nothing need be left on the host.
  virtual absl::Status Discard(const std::string& disk, uint64_t offset_bytes, uint64_t length_bytes) = 0;
  // Keeps a word (letters) in the guest's memory alone; is it still there?
  virtual absl::Status Remember(const std::string& word) = 0;
  virtual bool Remembers(const std::string& word) = 0;
  virtual void SaveByHand() = 0;  // as a person does with the hypervisor's own tool: the VM is kSaved then
  // As a person does; external ones of the first disk only. ForgetCheckpoints ends them all; the VM runs then.
  virtual void KeepCheckpoint(const std::string& name, CheckpointKind kind) = 0;
  virtual void ForgetCheckpoints() = 0;
  // The guest attaches a disk by itself, past the hypervisor, and lets go of it again. Returns its name in the guest; empty
  // when this guest can't.
  virtual std::string AttachInGuest() = 0;
  virtual void DetachInGuest() = 0;
  virtual void DelayFreeze(absl::Duration delay) = 0;
  virtual void MakeFreezeFail() = 0;
  virtual void StopAgent() = 0;

  // Checkpoints, as the hypervisor's own tool sees and changes them. `forget`: it forgets one without undoing what it
  // did.
  virtual std::vector<std::string> Checkpoints() = 0;
  virtual void MakeCheckpoint(const std::string& name) = 0;
  virtual void DeleteCheckpoint(const std::string& name, bool forget) = 0;

  virtual void KillGuest() = 0;                      // as kill -9
  virtual void ShutDownGuest() = 0;                  // starts an orderly shutdown
  virtual void CrashAgent(std::unique_ptr<PointInTime> view) = 0;  // what the agent held is left behind

  virtual std::string ScratchFolder() = 0;
  // One that has room for less than 96 MiB, and how it fails.
  virtual std::string SmallScratchFolder() = 0;
  virtual std::string TargetFolder() = 0;  // exists; for restored disks
  // The configuration with its network replaced by one that doesn't exist.
  virtual std::string WithoutNetwork(std::string configuration) = 0;

  base::SystemClock clock;
  base::PosixFilesystem files;
};

// Each program of the suite has its own. Null with a text in `why_not` when it can't be had here: tests are skipped.
std::unique_ptr<HypervisorUnderTest> MakeHypervisorUnderTest(std::string& why_not);

// A fresh folder for temporary files, with a short path (sockets lie in it).
std::string NewTemporaryFolder();

}  // namespace umbra::hypervisor

#endif  // UMBRA_TESTS_CONTRACT_HYPERVISOR_HYPERVISOR_UNDER_TEST_H_
