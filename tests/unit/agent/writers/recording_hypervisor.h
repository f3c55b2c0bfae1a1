// A hypervisor in front of another one that notes in which order it is asked: "Freeze one", by virtual machine; a test
// may answer in its place.
#ifndef UMBRA_TESTS_UNIT_AGENT_WRITERS_RECORDING_HYPERVISOR_H_
#define UMBRA_TESTS_UNIT_AGENT_WRITERS_RECORDING_HYPERVISOR_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/hypervisor/hypervisor.h"

namespace umbra::writers {

// Thread-safe. Only calls that do something to a guest or its views are noted.
class RecordingHypervisor final : public hypervisor::Hypervisor {
 public:
  explicit RecordingHypervisor(hypervisor::Hypervisor& real) : real_(real) {}

  std::vector<std::string> Take() {
    absl::MutexLock lock(&mu_);
    return std::exchange(calls_, {});
  }
  // Called with what was noted, before the call goes on; may block. An error is answered in place of the call.
  // Set hooks while nobody calls.
  using Hook = std::function<absl::Status(const std::string&)>;
  void OnCall(Hook hook) { on_call_ = std::move(hook); }
  // The same for the answer of a freeze or thaw that worked: an error is told although the deed is done.
  void OnAnswer(Hook hook) { on_answer_ = std::move(hook); }

  // Changes what is told of every virtual machine, or by the agent of every guest. Null: nothing.
  void OnDescribe(std::function<void(hypervisor::VmInfo&)> change) { on_describe_ = std::move(change); }
  void OnAgent(std::function<void(hypervisor::GuestAgentInfo&)> change) { on_agent_ = std::move(change); }

  absl::StatusOr<std::string> Version() override { return real_.Version(); }
  absl::StatusOr<std::vector<hypervisor::VmInfo>> ListVms() override {
    auto vms = real_.ListVms();
    if (!vms.ok() || !on_describe_) return vms;
    for (hypervisor::VmInfo& vm : *vms) on_describe_(vm);
    return vms;
  }
  absl::StatusOr<hypervisor::VmInfo> GetVm(const std::string& uuid) override {
    auto vm = real_.GetVm(uuid);
    if (vm.ok() && on_describe_) on_describe_(*vm);
    return vm;
  }
  absl::StatusOr<std::string> Configuration(const std::string& uuid) override {
    if (absl::Status told = Note("Configuration", uuid); !told.ok()) return told;
    return real_.Configuration(uuid);
  }
  absl::StatusOr<hypervisor::GuestAgentInfo> QueryGuestAgent(const std::string& uuid, absl::Duration timeout) override {
    auto agent = real_.QueryGuestAgent(uuid, timeout);
    if (agent.ok() && on_agent_) on_agent_(*agent);
    return agent;
  }
  absl::StatusOr<int> Freeze(const std::string& uuid, absl::Duration timeout) override {
    if (absl::Status told = Note("Freeze", uuid); !told.ok()) return told;
    return Answer("Freeze", uuid, real_.Freeze(uuid, timeout));
  }
  absl::StatusOr<int> Thaw(const std::string& uuid, absl::Duration timeout) override {
    if (absl::Status told = Note("Thaw", uuid); !told.ok()) return told;
    return Answer("Thaw", uuid, real_.Thaw(uuid, timeout));
  }
  absl::Status CheckNoJob(const std::string& uuid) override {
    if (absl::Status told = Note("CheckNoJob", uuid); !told.ok()) return told;
    return real_.CheckNoJob(uuid);
  }
  absl::StatusOr<std::unique_ptr<hypervisor::PreparedPointInTime>> PreparePointInTime(
      const std::string& uuid, const hypervisor::PointInTimeOptions& options) override {
    if (absl::Status told = Note("Prepare", uuid); !told.ok()) return told;
    auto prepared = real_.PreparePointInTime(uuid, options);
    if (!prepared.ok()) return prepared.status();
    return std::make_unique<Prepared>(*this, uuid, *std::move(prepared));
  }
  absl::StatusOr<hypervisor::CleanUpReport> RemoveCheckpoints(const std::string& uuid,
                                                              const std::string& keep) override {
    return real_.RemoveCheckpoints(uuid, keep);
  }
  absl::StatusOr<hypervisor::CleanUpReport> CleanUp(const std::string& uuid, const std::string& scratch_folder,
                                                    const std::string& owner_tag) override {
    if (absl::Status told = Note("CleanUp", uuid); !told.ok()) return told;
    return real_.CleanUp(uuid, scratch_folder, owner_tag);
  }
  absl::Status CheckCanSave(const std::string& uuid, const hypervisor::SaveOptions& options) override {
    if (absl::Status told = Note("CheckCanSave", uuid); !told.ok()) return told;
    return real_.CheckCanSave(uuid, options);
  }
  absl::StatusOr<hypervisor::SavedState> SaveState(const std::string& uuid,
                                                   const hypervisor::SaveOptions& options) override {
    if (absl::Status told = Note("Save", uuid); !told.ok()) return told;
    return real_.SaveState(uuid, options);
  }
  absl::StatusOr<std::string> ExistingState(const std::string& uuid) override { return real_.ExistingState(uuid); }
  absl::Status StartFromState(const std::string& uuid, const std::string& state_path, bool paused) override {
    if (absl::Status told = Note("StartFromState", uuid); !told.ok()) return told;
    return real_.StartFromState(uuid, state_path, paused);
  }
  absl::Status SyncGuestClock(const std::string& uuid, absl::Duration timeout) override {
    return real_.SyncGuestClock(uuid, timeout);
  }
  absl::Status Pause(const std::string& uuid) override { return real_.Pause(uuid); }
  absl::Status Resume(const std::string& uuid) override {
    if (absl::Status told = Note("Resume", uuid); !told.ok()) return told;
    return real_.Resume(uuid);
  }
  absl::Status Start(const std::string& uuid) override { return real_.Start(uuid); }
  absl::Status PowerOff(const std::string& uuid) override { return real_.PowerOff(uuid); }
  absl::Status DeleteVm(const std::string& uuid) override {
    if (absl::Status told = Note("Delete", uuid); !told.ok()) return told;
    return real_.DeleteVm(uuid);
  }
  absl::StatusOr<std::unique_ptr<hypervisor::BlockWriter>> CreateDisk(const hypervisor::NewDisk& disk) override {
    return real_.CreateDisk(disk);
  }
  absl::StatusOr<hypervisor::DefinedVm> DefineVm(const hypervisor::DefineOptions& options) override {
    return real_.DefineVm(options);
  }
  std::string DefaultFolder() override { return real_.DefaultFolder(); }

 private:
  class Prepared final : public hypervisor::PreparedPointInTime {
   public:
    Prepared(RecordingHypervisor& owner, std::string uuid, std::unique_ptr<hypervisor::PreparedPointInTime> real)
        : owner_(owner), uuid_(std::move(uuid)), real_(std::move(real)) {}
    absl::StatusOr<std::unique_ptr<hypervisor::PointInTime>> Begin() override {
      if (absl::Status told = owner_.Note("Begin", uuid_); !told.ok()) return told;
      return real_->Begin();
    }

   private:
    RecordingHypervisor& owner_;
    const std::string uuid_;
    const std::unique_ptr<hypervisor::PreparedPointInTime> real_;
  };

  std::string Text(const std::string& call, const std::string& uuid) {
    const auto vm = real_.GetVm(uuid);
    return call + " " + (vm.ok() ? vm->name : uuid);
  }

  absl::Status Note(const std::string& call, const std::string& uuid) {
    const std::string text = Text(call, uuid);
    {
      absl::MutexLock lock(&mu_);
      calls_.push_back(text);
    }
    return on_call_ ? on_call_(text) : absl::OkStatus();
  }

  absl::StatusOr<int> Answer(const std::string& call, const std::string& uuid, absl::StatusOr<int> answer) {
    if (!answer.ok() || !on_answer_) return answer;
    absl::Status told = on_answer_(Text(call, uuid));
    if (told.ok()) return answer;
    return told;
  }

  hypervisor::Hypervisor& real_;
  Hook on_call_, on_answer_;
  std::function<void(hypervisor::VmInfo&)> on_describe_;
  std::function<void(hypervisor::GuestAgentInfo&)> on_agent_;
  absl::Mutex mu_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::writers

#endif  // UMBRA_TESTS_UNIT_AGENT_WRITERS_RECORDING_HYPERVISOR_H_
