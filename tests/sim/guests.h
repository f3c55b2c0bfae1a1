// What goes on inside the virtual machines: programs that keep writing, a model of what they wrote, and an eye on how
// long each guest stands still.
#ifndef UMBRA_TESTS_SIM_GUESTS_H_
#define UMBRA_TESTS_SIM_GUESTS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "tests/sim/plan.h"
#include "tests/sim/run_context.h"

namespace umbra::sim {

class Guests {
 public:
  // Makes the virtual machines of the plan, with something on their disks; their names are numbers after `prefix`.
  Guests(RunContext& run, hypervisor::SimulatedHypervisor& hypervisor, base::Filesystem& files, const Plan& plan,
         std::string_view prefix = "vm");
  ~Guests();

  void Start();
  void Stop();
  // From here on nothing goes wrong any more: faults end, silent agents answer.
  void Calm();

  // The content of a machine's disks when it was last cut.
  struct Cut {
    std::map<std::string, std::string> disks;
    bool frozen = false;
    absl::Time time;
  };

  size_t count() const { return guests_.size(); }
  const std::string& uuid(size_t index) const { return guests_[index].uuid; }
  const std::map<std::string, std::string>& disks(const std::string& uuid) { return Find(uuid).disks; }
  // As it should be when nobody works on it.
  hypervisor::VmState ExpectedState(size_t index) const { return guests_[index].expected; }
  bool agent_configured(size_t index) const { return guests_[index].plan.guest_agent; }
  const std::optional<Cut>& LastCut(const std::string& uuid) { return Find(uuid).cut; }
  bool IsFrozen(const std::string& uuid);

  using Disks = std::map<std::string, std::string>;
  // A restore in place begins that would put these on the disks. Until it is settled, they hold either these or what
  // was there.
  void BeginRestore(const std::string& uuid, const Disks& disks);
  bool InRestore(const std::string& uuid) { return Find(uuid).restoring.has_value(); }
  // The restore is over as far as the machine goes: it is registered, and its disks hold the one or the other, whole.
  // `finished`: nobody will do anything more to it. A rule is broken when that isn't so.
  void SettleRestore(const std::string& uuid, bool finished);
  // The agent says so itself: whatever is there is what it will be.
  void EndRestore(const std::string& uuid);
  // What the disks' files hold now; nothing when the machine is not registered.
  std::optional<Disks> OnDisk(const std::string& uuid);
  // The host's power is cut: nobody runs any more. After the files lost what wasn't synced, the disks are what is left.
  void PowerCut();
  void TakeWhatIsOnDisk();

  // What the agent's calls make known. Each also gives the guest's programs a chance to write.
  void NoteCall(const std::string& uuid);
  void NoteFrozen(const std::string& uuid);
  void NoteThawed(const std::string& uuid, int count);
  void NoteCut(const std::string& uuid);

 private:
  struct Guest {
    VmPlan plan;
    std::string uuid;
    std::string name;
    Disks disks;
    hypervisor::VmState expected = hypervisor::VmState::kRunning;
    hypervisor::SimulatedFaults faults;
    std::optional<absl::Duration> frozen_since;
    absl::Duration answers_again_at = absl::InfiniteDuration();
    std::optional<Cut> cut;
    std::optional<Disks> restoring;
    bool wake = false;
    int pause_factor = 1;  // programs get slower while the agent does nothing with the guest
  };

  Guest& Find(const std::string& uuid);
  void Program(Guest& guest);
  void Write(Guest& guest);
  void Burst(Guest& guest);
  void Watch(Guest& guest);
  void FallSilent(Guest& guest);
  absl::Duration NextEvent(const Guest& guest) const;
  void Events(Guest& guest);
  absl::Duration FrozenLimit(const Guest& guest) const;

  RunContext& run_;
  hypervisor::SimulatedHypervisor& hypervisor_;
  base::Filesystem& files_;
  const Plan& plan_;
  Dice dice_;
  std::vector<Guest> guests_;
  bool stop_ = false;
  bool calm_ = false;
  std::vector<std::unique_ptr<base::Thread>> programs_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_GUESTS_H_
