// Proves B9 for sets of several virtual machines: whichever step fails, of whichever one, however each is captured,
// every virtual machine is as it was before, nothing is left, and the next backup works. Every step is failed in turn;
// then random sets with random faults. The seed is printed; UMBRA_SEED=n repeats a run.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/writers/vss_host.h"
#include "storage/base/status.h"
#include "tests/support/guest_ledger.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::writers {
namespace {

using base::ReasonOf;
using hypervisor::VmState;
using ::testing::IsEmpty;
using umbra::testing::GuestLedger;
using umbra::testing::GuestLedgers;
using umbra::testing::LedgerFaults;
using vss::WriterEvent;

// How a virtual machine is found by the backup, and with it how it is captured.
enum class Kind { kChild, kChildWithLedger, kNoAgent, kPaused };
constexpr Kind kKinds[] = {Kind::kChild, Kind::kChildWithLedger, Kind::kNoAgent, Kind::kPaused};

// A virtual machine whose guest can't freeze itself is saved, or cut without its help.
constexpr MechanismPolicy kPolicies[] = {{}, {.forbid_saved_state = true, .allow_crash_consistent = true}};

constexpr WriterEvent kEvents[] = {WriterEvent::kPrepareBackup, WriterEvent::kPrepareSnapshot, WriterEvent::kFreeze,
                                   WriterEvent::kThaw, WriterEvent::kPostSnapshot};

// A host with some virtual machines, and one beside them that isn't in the set.
class Host {
 public:
  Host(const std::vector<Kind>& kinds, uint64_t seed, const MechanismPolicy& policy)
      : policy_(policy), random_(seed), simulated_(dir_.File("vms"), files_, clock_, random_) {
    for (size_t i = 0; i < kinds.size(); ++i) Add(fmt::format("vm{}", i), kinds[i]);
    off_ = *simulated_.CreateVm({.name = "off", .disks = {{"vda", GuestLedger::kBytesNeeded, {}}}, .running = false});
    VssHostOptions options;
    options.scratch_folder = dir_.File("s");
    options.journal_folder = dir_.File("journal");
    options.freeze = {absl::Milliseconds(30), absl::Milliseconds(20), absl::Milliseconds(1), absl::Milliseconds(5),
                      absl::Milliseconds(500)};
    options.guest_writers = &ledgers_;
    auto host = VssHost::Create(hypervisor_, files_, clock_, random_, options);
    UMBRA_CHECK(host.ok());
    host_ = *std::move(host);
  }

  // OK when the set was made; it is given up again at once then.
  absl::Status BackUp() {
    VmBackupOptions options;
    options.vm_uuids = vms_;
    options.mechanism = policy_;
    options.owner_tag = fmt::format("job-{}", ++tags_);
    auto backup = host_->NewBackup(options);
    RETURN_IF_ERROR(backup->Prepare());
    absl::Status made = backup->Snapshot().status();
    for (const std::string& vm : vms_) {
      EXPECT_EQ(backup->OpenDisk(vm, "vda").ok(), made.ok()) << "a part of a set can be read";
    }
    if (!made.ok()) {
      EXPECT_EQ(ReasonOf(backup->Complete()), "VSS_BAD_STATE");
    }
    RETURN_IF_ERROR(made);
    return backup->Abort();
  }

  void ExpectAsBefore() {
    for (size_t i = 0; i < vms_.size(); ++i) {
      EXPECT_EQ(simulated_.GetVm(vms_[i])->state, states_[i]);
      EXPECT_FALSE(simulated_.IsFrozen(vms_[i]));
      EXPECT_TRUE(simulated_.CheckNoJob(vms_[i]).ok());
      if (GuestLedger* ledger = ledger_of(i); ledger != nullptr) {
        EXPECT_FALSE(ledger->frozen());
        EXPECT_TRUE(ledger->Transfer().ok());
      }
    }
    EXPECT_EQ(simulated_.GetVm(off_)->state, VmState::kOff);
    const auto scratch = files_.List(dir_.File("s"));
    if (scratch.ok()) {
      EXPECT_THAT(*scratch, IsEmpty());
    }
    EXPECT_THAT(*files_.List(dir_.File("journal")), IsEmpty());
  }

  GuestLedger* ledger_of(size_t vm) { return ledgers_by_vm_[vm].get(); }
  RecordingHypervisor& hypervisor() { return hypervisor_; }
  hypervisor::SimulatedHypervisor& simulated() { return simulated_; }
  const std::vector<std::string>& vms() const { return vms_; }
  base::Clock& clock() { return clock_; }
  bool saves() const { return !policy_.forbid_saved_state; }

 private:
  void Add(const std::string& name, Kind kind) {
    const std::string vm = *simulated_.CreateVm(
        {.name = name, .disks = {{"vda", GuestLedger::kBytesNeeded, {}}}, .guest_agent = kind != Kind::kNoAgent});
    ledgers_by_vm_.emplace_back();
    if (kind == Kind::kChildWithLedger) {
      ledgers_by_vm_.back() = std::make_unique<GuestLedger>(simulated_, clock_, vm);
      ledgers_.Add(vm, *ledgers_by_vm_.back());
    }
    if (kind == Kind::kPaused) UMBRA_CHECK(simulated_.Pause(vm).ok());
    vms_.push_back(vm);
    states_.push_back(simulated_.GetVm(vm)->state);
  }

  const MechanismPolicy policy_;
  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_;
  GuestLedgers ledgers_;
  hypervisor::SimulatedHypervisor simulated_;
  RecordingHypervisor hypervisor_{simulated_};
  std::vector<std::unique_ptr<GuestLedger>> ledgers_by_vm_;
  std::vector<std::string> vms_;
  std::vector<VmState> states_;
  std::string off_;
  std::unique_ptr<VssHost> host_;
  int tags_ = 0;
};

// Answers the n-th call of the hypervisor with an error, in its place or after it was done.
class NthCall {
 public:
  NthCall(Host& host, int n, const absl::Status& error, bool after = false) : host_(host) {
    auto hook = [this, n, error](const std::string& call) {
      absl::MutexLock lock(&mu_);
      if (++calls_ != n) return absl::OkStatus();
      failed_ = call;
      return error;
    };
    if (after) {
      host.hypervisor().OnAnswer(hook);
    } else {
      host.hypervisor().OnCall(hook);
    }
  }
  ~NthCall() {
    host_.hypervisor().OnCall(nullptr);
    host_.hypervisor().OnAnswer(nullptr);
  }
  // The call that failed; empty when there were fewer.
  std::string failed() const {
    absl::MutexLock lock(&mu_);
    return failed_;
  }

 private:
  Host& host_;
  mutable absl::Mutex mu_;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  std::string failed_ ABSL_GUARDED_BY(mu_);
};

absl::Status Refused() {
  return base::Error(absl::StatusCode::kInternal, "HYPERVISOR_ERROR", "refused by the test");
}
absl::Status Unanswered() {
  return base::Error(absl::StatusCode::kDeadlineExceeded, "GUEST_FREEZE_TIMEOUT", "no answer, says the test");
}

// Fails call 1, 2, 3 ... of the hypervisor, until a backup passes untouched.
void FailEveryCall(const std::vector<Kind>& kinds, const absl::Status& error, bool after,
                   const MechanismPolicy& policy) {
  Host host(kinds, 1, policy);
  for (int n = 1;; ++n) {
    std::string failed;
    {
      NthCall fault(host, n, error, after);
      const absl::Status made = host.BackUp();
      failed = fault.failed();
      SCOPED_TRACE(failed);
      // A thaw or a resume without an answer is asked for again; every other failure is one of the whole set.
      EXPECT_EQ(made.ok(), failed.empty() || failed.starts_with("Thaw") || failed.starts_with("Resume")) << made;
    }
    SCOPED_TRACE(failed);
    host.ExpectAsBefore();
    if (failed.empty()) return;
    ASSERT_TRUE(host.BackUp().ok());
    ASSERT_LT(n, 100);
  }
}

TEST(NoPartialBackup, B9_EveryCallOfTheHypervisorFailedInTurn) {
  const std::vector<Kind> forward(std::begin(kKinds), std::end(kKinds));
  const std::vector<Kind> backward(forward.rbegin(), forward.rend());
  for (const MechanismPolicy& policy : kPolicies) {
    for (const auto& kinds : {forward, backward}) {
      FailEveryCall(kinds, Refused(), false, policy);
      FailEveryCall(kinds, Unanswered(), false, policy);
    }
  }
}

TEST(NoPartialBackup, B9_EveryFreezeAndThawThatHappensWithoutAnAnswer) {
  FailEveryCall({Kind::kChild, Kind::kChildWithLedger, Kind::kNoAgent, Kind::kChild}, Unanswered(), true, {});
}

TEST(NoPartialBackup, B9_EveryEventOfEveryWriterInAGuestFailedInTurn) {
  Host host({Kind::kChildWithLedger, Kind::kPaused, Kind::kChildWithLedger, Kind::kNoAgent, Kind::kChildWithLedger}, 1,
            MechanismPolicy{});
  for (const size_t vm : {0, 2, 4}) {
    for (const WriterEvent event : kEvents) {
      for (const bool dies : {false, true}) {
        SCOPED_TRACE(fmt::format("vm{} {} {}", vm, vss::NameOf(event), dies ? "dies" : "vetoes"));
        LedgerFaults faults;
        (dies ? faults.die : faults.veto) = event;
        host.ledger_of(vm)->SetFaults(faults);
        EXPECT_FALSE(host.BackUp().ok());
        host.ledger_of(vm)->SetFaults({});
        host.ExpectAsBefore();
      }
    }
  }
  EXPECT_TRUE(host.BackUp().ok());
}

// What goes wrong in one round: one fault of one virtual machine, or none.
std::string Break(Host& host, const std::vector<Kind>& kinds, std::mt19937_64& engine, bool* fatal) {
  const size_t vm = engine() % kinds.size();
  const bool child = kinds[vm] == Kind::kChild || kinds[vm] == Kind::kChildWithLedger;
  hypervisor::SimulatedFaults faults;
  LedgerFaults of_ledger;
  std::string name = "nothing";
  *fatal = true;
  switch (engine() % 9) {
    case 0:
      faults.begin_fails = true;
      name = "begin_fails";
      break;
    case 1:
      faults.foreign_job = true;
      name = "foreign_job";
      break;
    case 2:
      faults.freeze_fails = true;
      *fatal = child;
      name = "freeze_fails";
      break;
    case 3:
      faults.freeze_delay = absl::Milliseconds(50);
      *fatal = child;
      name = "freeze_delay";
      break;
    case 4:
      faults.thaw_failures = 3;
      *fatal = false;
      name = "thaw_failures";
      break;
    case 5: {
      const WriterEvent event = kEvents[engine() % std::size(kEvents)];
      (engine() % 2 == 0 ? of_ledger.veto : of_ledger.die) = event;
      *fatal = kinds[vm] == Kind::kChildWithLedger;
      name = fmt::format("ledger at {}", vss::NameOf(event));
      break;
    }
    case 6:
      faults.resume_failures = 2;
      *fatal = false;
      name = "resume_failures";
      break;
    case 7:
      faults.save_fails = true;
      *fatal = !child && host.saves();
      name = "save_fails";
      break;
    default:
      *fatal = false;
  }
  host.simulated().SetFaults(host.vms()[vm], faults);
  if (host.ledger_of(vm) != nullptr) host.ledger_of(vm)->SetFaults(of_ledger);
  return fmt::format("vm{}: {}", vm, name);
}

TEST(NoPartialBackup, B9_RandomSetsWithRandomFaults) {
  const char* given = std::getenv("UMBRA_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  fmt::print("UMBRA_SEED={}\n", seed);
  SCOPED_TRACE(fmt::format("UMBRA_SEED={}", seed));
  std::mt19937_64 engine(seed);
  for (int set = 0; set < 12; ++set) {
    std::vector<Kind> kinds(1 + engine() % 6);
    for (Kind& kind : kinds) kind = kKinds[engine() % std::size(kKinds)];
    Host host(kinds, engine(), kPolicies[engine() % std::size(kPolicies)]);
    for (int round = 0; round < 5; ++round) {
      bool fatal = false;
      SCOPED_TRACE(fmt::format("set {} round {}: {}", set, round, Break(host, kinds, engine, &fatal)));
      const absl::Status made = host.BackUp();
      EXPECT_EQ(made.ok(), !fatal) << made;
      for (size_t vm = 0; vm < kinds.size(); ++vm) {
        host.simulated().SetFaults(host.vms()[vm], {});
        if (host.ledger_of(vm) != nullptr) host.ledger_of(vm)->SetFaults({});
      }
      if (fatal) host.clock().Sleep(absl::Milliseconds(60));  // a freeze that lands late was undone
      host.ExpectAsBefore();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Six are saved four at a time: each save waits until three others are under way, and no fifth begins beside them.
TEST(ParallelSaves, AsManyAtOnceAsAreAllowed) {
  Host host(std::vector<Kind>(6, Kind::kNoAgent), 1, {});
  absl::Mutex mu;
  int begun = 0, resumed = 0;
  const auto four_begun = [&] { return begun >= 4; };
  const auto all_begun = [&] { return begun == 6; };
  host.hypervisor().OnCall([&](const std::string& call) {
    absl::MutexLock lock(&mu);
    if (call.starts_with("Resume")) ++resumed;
    if (!call.starts_with("Save")) return absl::OkStatus();
    EXPECT_EQ(resumed, 0) << "nobody goes on before all are saved";
    // The first four meet; the last two come when one of these is done, and wait for each other.
    const absl::Condition met = ++begun <= 4 ? absl::Condition(&four_begun) : absl::Condition(&all_begun);
    EXPECT_TRUE(mu.AwaitWithTimeout(met, absl::Seconds(20))) << "saved one after another";
    return absl::OkStatus();
  });
  ASSERT_TRUE(host.BackUp().ok());
  host.hypervisor().OnCall(nullptr);
  EXPECT_EQ(begun, 6);
  EXPECT_EQ(resumed, 6);
  host.ExpectAsBefore();
}

TEST(ParallelSaves, NoMoreThanAreAllowed) {
  Host host(std::vector<Kind>(6, Kind::kNoAgent), 1, {});
  for (const std::string& vm : host.vms()) host.simulated().SetFaults(vm, {.save_takes = absl::Milliseconds(20)});
  const absl::Duration start = host.clock().Monotonic();
  ASSERT_TRUE(host.BackUp().ok());
  EXPECT_GE(host.clock().Monotonic() - start, absl::Milliseconds(40)) << "six at once";
}

// One fails while others are being saved: those end first, no further one begins, and all go on.
TEST(ParallelSaves, WhenOneFailsTheOthersGoOn) {
  Host host(std::vector<Kind>(8, Kind::kNoAgent), 1, {});
  for (size_t failing = 0; failing < host.vms().size(); ++failing) {
    for (size_t i = 0; i < host.vms().size(); ++i) {
      host.simulated().SetFaults(host.vms()[i], {.save_fails = i == failing, .save_takes = absl::Milliseconds(i % 3)});
    }
    const absl::Status failed = host.BackUp();
    EXPECT_EQ(ReasonOf(failed), "HYPERVISOR_ERROR");
    EXPECT_THAT(base::MessageOf(failed), ::testing::HasSubstr(fmt::format("vm{}", failing)));
    for (const std::string& vm : host.vms()) host.simulated().SetFaults(vm, {});
    host.ExpectAsBefore();
  }
  EXPECT_TRUE(host.BackUp().ok());
}

}  // namespace
}  // namespace umbra::writers
