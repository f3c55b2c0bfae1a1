// One life of the agent's process, from its start to its end or its death.
//
// A process that dies does nothing more to the world. Here its code can't be stopped in the middle, so after the death
// it runs to its end without effect: every call that would leave the process is refused, and waiting takes no time.
#ifndef UMBRA_TESTS_SIM_LIFE_H_
#define UMBRA_TESTS_SIM_LIFE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/sim/guests.h"
#include "tests/sim/plan.h"
#include "tests/sim/run_context.h"

namespace umbra::sim {

class Life {
 public:
  // `on_death` runs at the moment of death.
  Life(RunContext& run, std::optional<Death> death, std::function<void()> on_death);

  bool dead() const { return dead_; }
  bool power_cut() const { return death_.has_value() && death_->power_cut; }
  bool healing = false;  // what the process is at
  // From now on, instead of what was planned; absent: it is spared.
  void Arm(std::optional<Death> death) { death_ = std::move(death); }

  // Around everything that leaves the process. An error: it is dead, and the call must not be made, or its answer is
  // lost.
  absl::Status Enter(std::string_view call);
  absl::Status Leave(std::string_view call);

  template <typename F>
  auto Through(std::string_view call, F&& make_call) -> decltype(make_call()) {
    if (absl::Status entered = Enter(call); !entered.ok()) return entered;
    auto result = make_call();
    if (absl::Status left = Leave(call); !left.ok()) return left;
    return result;
  }

 private:
  absl::Status Count(std::string_view call, bool after);

  RunContext& run_;
  std::optional<Death> death_;
  const std::function<void()> on_death_;
  bool dead_ = false;
};

// The process's clock.
class LifeClock final : public base::Clock {
 public:
  LifeClock(RunContext& run, const Life& life) : run_(run), life_(life) {}

  absl::Time Now() override { return run_.scheduler.Now() + skipped_; }
  absl::Duration Monotonic() override { return run_.scheduler.Monotonic() + skipped_; }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override;

 private:
  RunContext& run_;
  const Life& life_;
  absl::Duration skipped_;  // after the death
};

// What goes wrong in the machine, over all lives.
struct MachineTrouble {
  int hypervisor_calls = 0;
  int file_changes = 0;
  int cluster_calls = 0;
  bool calm = false;
  std::function<void()> on_call;  // before each call of the hypervisor or the cluster
};

// The process's files.
class LifeFiles final : public base::Filesystem {
 public:
  LifeFiles(RunContext& run, Life& life, base::Filesystem& real, const Plan& plan, MachineTrouble& trouble)
      : run_(run), life_(life), real_(real), plan_(plan), trouble_(trouble) {}

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status MakeDirectories(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override;
  absl::StatusOr<std::string> VolumeOf(const std::string&) override { return "the host's"; }
  absl::Status AllowTraversal(const std::string&) override { return absl::OkStatus(); }

 private:
  class OpenFile;
  absl::Status Change(std::string_view call, const std::function<absl::Status()>& change);

  RunContext& run_;
  Life& life_;
  base::Filesystem& real_;
  const Plan& plan_;
  MachineTrouble& trouble_;
};

// The process's way to the hypervisor. Calls take time, as the plan says, and tell the guests what happens to them.
class LifeHypervisor final : public hypervisor::Hypervisor {
 public:
  LifeHypervisor(RunContext& run, Life& life, base::Clock& clock, hypervisor::Hypervisor& real, Guests& guests,
                 const Plan& plan, MachineTrouble& trouble)
      : run_(run),
        life_(life),
        clock_(clock),
        real_(real),
        guests_(guests),
        plan_(plan),
        trouble_(trouble),
        dice_(run.dice.Split("calls")) {}

  absl::StatusOr<std::string> Version() override;
  absl::StatusOr<std::vector<hypervisor::VmInfo>> ListVms() override;
  absl::StatusOr<hypervisor::VmInfo> GetVm(const std::string& uuid) override;
  absl::StatusOr<std::string> Configuration(const std::string& uuid) override;
  absl::StatusOr<hypervisor::GuestAgentInfo> QueryGuestAgent(const std::string& uuid, absl::Duration timeout) override;
  absl::StatusOr<int> Freeze(const std::string& uuid, absl::Duration timeout) override;
  absl::StatusOr<int> Thaw(const std::string& uuid, absl::Duration timeout) override;
  absl::Status CheckNoJob(const std::string& uuid) override;
  absl::StatusOr<std::unique_ptr<hypervisor::PreparedPointInTime>> PreparePointInTime(
      const std::string& uuid, const hypervisor::PointInTimeOptions& options) override;
  absl::StatusOr<hypervisor::CleanUpReport> RemoveCheckpoints(const std::string& uuid,
                                                              const std::string& keep) override;
  absl::StatusOr<hypervisor::CleanUpReport> CleanUp(const std::string& uuid, const std::string& scratch_folder,
                                                    const std::string& owner_tag) override;
  absl::Status CheckCanSave(const std::string& uuid, const hypervisor::SaveOptions& options) override;
  absl::StatusOr<hypervisor::SavedState> SaveState(const std::string& uuid,
                                                   const hypervisor::SaveOptions& options) override;
  absl::StatusOr<std::string> ExistingState(const std::string& uuid) override;
  absl::Status StartFromState(const std::string& uuid, const std::string& state_path, bool paused) override;
  absl::Status SyncGuestClock(const std::string& uuid, absl::Duration timeout) override;
  absl::Status Pause(const std::string& uuid) override;
  absl::Status Resume(const std::string& uuid) override;
  absl::Status Start(const std::string& uuid) override;
  absl::Status PowerOff(const std::string& uuid) override;
  absl::Status DeleteVm(const std::string& uuid) override;
  absl::StatusOr<std::unique_ptr<hypervisor::BlockWriter>> CreateDisk(const hypervisor::NewDisk& disk) override;
  absl::StatusOr<hypervisor::DefinedVm> DefineVm(const hypervisor::DefineOptions& options) override;
  std::string DefaultFolder() override { return real_.DefaultFolder(); }

 private:
  class Prepared;
  class View;

  // A call to the hypervisor: takes its time, may find nobody there.
  template <typename F>
  auto Call(std::string_view name, F&& make_call) -> decltype(make_call()) {
    if (absl::Status reached = Reach(); !reached.ok()) return reached;
    return life_.Through(name, std::forward<F>(make_call));
  }
  absl::Status Reach();

  RunContext& run_;
  Life& life_;
  base::Clock& clock_;
  hypervisor::Hypervisor& real_;
  Guests& guests_;
  const Plan& plan_;
  MachineTrouble& trouble_;
  Dice dice_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_LIFE_H_
