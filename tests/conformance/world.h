// The world in which the rules are proven: a hypervisor that is simulated but for its files, guests with an application
// each, and the engine of the host, whole (VssHost) or in its parts.
//
// Every test is named after its rule and belongs to one suite, Conformance; rules.txt says which test proves what.
#ifndef UMBRA_TESTS_CONFORMANCE_WORLD_H_
#define UMBRA_TESTS_CONFORMANCE_WORLD_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "agent/writers/hyperv_writer.h"
#include "agent/writers/vss_host.h"
#include "storage/base/status.h"
#include "tests/conformance/two_nodes.h"
#include "tests/support/guest_ledger.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/vss/scripted.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::conformance {

inline constexpr uint64_t kDiskBytes = testing::GuestLedger::kBytesNeeded;
inline constexpr vss::Guid kNeighbourId = vss::Guid::Literal("00000000-0000-4000-8000-0000000000ff");

// The host's engine in its parts. Another writer takes part, frozen last and thawed first: what its script does happens
// at that moment of the host's own flow.
struct Engine {
  Engine(hypervisor::Hypervisor& hypervisor, base::Filesystem& files, base::Clock& clock, base::Random& random,
         const writers::VssHostOptions& options);

  // Asks every writer what it has and chooses these virtual machines and the neighbour.
  std::unique_ptr<vss::BackupRequester> Select(const std::vector<std::string>& vms,
                                               uint32_t context = vss::kContextBackup);
  // The Hyper-V writer as its last session left it.
  vss::WriterStatus Status() const { return coordinator.LastWriterStatus()[0]; }

  journal::IntentJournal journal;
  providers::CheckpointProvider provider;
  writers::HypervWriter writer;
  vss::testing::Record record;  // of the neighbour: "neighbour.Freeze"
  vss::testing::ScriptedWriter neighbour;
  vss::Coordinator coordinator;
};

// What goes wrong with one virtual machine, and the reason that is told.
struct Trouble {
  std::string reason;
  hypervisor::SimulatedFaults faults;
  testing::LedgerFaults application;
};

// A recovery point, as the daemon would keep it.
struct StoredPoint {
  writers::VmRestoreOptions options;         // in place
  std::map<std::string, std::string> disks;  // name -> content
};

class Conformance : public ::testing::Test {
 protected:
  Conformance();

  // Fulfils every condition of child snapshot unless `spec` says otherwise. One disk, vda, when it names none.
  std::string Vm(const std::string& name, hypervisor::SimulatedVmSpec spec = {});
  // The same with an application in its guest, which has a writer.
  std::string Bank(const std::string& name);
  testing::GuestLedger& ledger(const std::string& vm) { return *applications_.at(vm); }

  // Both are made at their first use, with `options_`.
  writers::VssHost& host();
  Engine& engine();

  // Makes a failover cluster whose resource the virtual machine is; the host knows of it or not. Before host().
  enum class Host { kKnows, kKnowsNot };
  TwoNodes& Cluster(const std::string& vm, Host host);

  // As the inventory shows it.
  writers::VmDescription Described(const std::string& vm);
  // There, and in the caption of its component: child snapshot, or the saved state for this reason and no other.
  void ExpectChild(const std::string& vm);
  void ExpectSaved(const std::string& vm, const std::string& reason);
  // What the guests' agents tell of their first file system, and where snapshots go, from now on.
  void ChangeGuest(const std::function<void(hypervisor::GuestFilesystem&)>& change);
  void SnapshotsGoTo(const std::string& folder);

  std::unique_ptr<writers::VmBackup> Backup(std::vector<std::string> vms);
  // The reason for which there is no snapshot set; empty when there is one.
  static std::string RefusalOf(writers::VmBackup& backup);
  // Makes a whole backup. What the test does to it later is as if the daemon had it.
  StoredPoint Store(const std::string& vm);
  // Puts the files of the point where the options say; whoever restores does it between PreRestore and PostRestore.
  void WriteFiles(const StoredPoint& point, const writers::VmRestoreOptions& options);
  absl::StatusOr<hypervisor::DefinedVm> Restore(const StoredPoint& point, const writers::VmRestoreOptions& options);

  hypervisor::VmState StateOf(const std::string& vm) { return simulated_.GetVm(vm)->state; }
  void Write(const std::string& vm, const std::string& text);
  std::string Read(const std::string& vm, size_t length);
  // The copy holds this many whole transfers; one that was taken in the middle of a transfer holds none.
  void ExpectTransfers(const vss::Guid& set_id, const std::string& vm, int64_t count);
  // Each trouble with each of them in turn, whose backup must fail. `look` comes when the trouble is over.
  void FailInTurn(const std::vector<std::string>& vms, const std::vector<Trouble>& troubles,
                  const std::function<void(writers::VmBackup&)>& look);

  // They run and work, and no job, scratch file or intent is left.
  void ExpectAsBefore(const std::vector<std::string>& vms);

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  testing::GuestLedgers ledgers_;
  hypervisor::SimulatedHypervisor simulated_;
  writers::RecordingHypervisor hypervisor_{simulated_};
  writers::VssHostOptions options_;

 private:
  std::string CaptionOf(const std::string& vm);

  std::map<std::string, std::unique_ptr<testing::GuestLedger>> applications_;
  std::unique_ptr<TwoNodes> nodes_;
  std::unique_ptr<writers::VssHost> host_;
  std::unique_ptr<Engine> engine_;
  int tags_ = 0;
};

}  // namespace umbra::conformance

#endif  // UMBRA_TESTS_CONFORMANCE_WORLD_H_
