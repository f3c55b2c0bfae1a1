#include "tests/sim/life.h"

namespace umbra::sim {
namespace {

absl::Status Dead() {
  return base::MakeError(absl::StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE", "the process is dead");
}

}  // namespace

// --- life and death ---

Life::Life(RunContext& run, std::optional<Death> death, std::function<void()> on_death)
    : run_(run), death_(std::move(death)), on_death_(std::move(on_death)) {}

absl::Status Life::Count(std::string_view call, bool after) {
  if (dead_) return Dead();
  if (!death_.has_value() || death_->after != after) return absl::OkStatus();
  if (!death_->call.empty() && death_->call != call) return absl::OkStatus();
  if (--death_->countdown > 0) return absl::OkStatus();
  run_.Trace("the agent dies {} {}", after ? "after" : "before", call);
  run_.probes.HitIfListed(after ? "death after" : "death before", call);
  if (healing) run_.probes.Hit("death: while healing");
  dead_ = true;
  on_death_();
  return Dead();
}

absl::Status Life::Enter(std::string_view call) {
  return Count(call, false);
}
absl::Status Life::Leave(std::string_view call) {
  return Count(call, true);
}

bool LifeClock::AwaitFor(absl::Mutex& mu, const absl::Condition& condition,
                         absl::Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  struct Context {
    const absl::Condition& condition;
    const Life& life;
  } context{condition, life_};
  const absl::Condition met_or_dead(
      +[](Context* c) { return c->condition.Eval() || c->life.dead(); }, &context);
  const absl::Duration begin = run_.scheduler.Monotonic();
  run_.scheduler.AwaitFor(mu, met_or_dead, timeout);
  if (condition.Eval()) return true;
  if (life_.dead()) skipped_ += timeout - (run_.scheduler.Monotonic() - begin);
  return false;
}

// --- files ---

class LifeFiles::OpenFile final : public base::File {
 public:
  OpenFile(LifeFiles& owner, std::unique_ptr<base::File> real) : owner_(owner), real_(std::move(real)) {}

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override { return real_->ReadAt(offset, out); }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    return owner_.Change("files.Write", [&] { return real_->WriteAt(offset, data); });
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    return owner_.Change("files.Write", [&] { return real_->Truncate(size_bytes); });
  }
  absl::StatusOr<uint64_t> Size() override { return real_->Size(); }
  absl::Status Sync() override {
    return owner_.Change("files.Sync", [&] { return real_->Sync(); });
  }

 private:
  LifeFiles& owner_;
  const std::unique_ptr<base::File> real_;
};

absl::Status LifeFiles::Change(std::string_view call, const std::function<absl::Status()>& change) {
  return life_.Through(call, [&]() -> absl::Status {
    if (!trouble_.calm && ++trouble_.file_changes == plan_.file_error_at) {
      run_.Trace("{} fails", call);
      run_.probes.Hit("files: an error");
      return base::ErrnoError(ENOSPC, call);
    }
    return change();
  });
}

absl::StatusOr<std::unique_ptr<base::File>> LifeFiles::Open(const std::string& path, base::OpenMode mode) {
  std::unique_ptr<base::File> opened;
  RETURN_IF_ERROR(Change("files.Open", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(opened, real_.Open(path, mode));
    return absl::OkStatus();
  }));
  return std::make_unique<OpenFile>(*this, std::move(opened));
}

absl::Status LifeFiles::Rename(const std::string& from, const std::string& to) {
  return Change("files.Rename", [&] { return real_.Rename(from, to); });
}

absl::Status LifeFiles::Remove(const std::string& path) {
  return Change("files.Remove", [&] { return real_.Remove(path); });
}

absl::Status LifeFiles::MakeDirectories(const std::string& path) {
  if (life_.dead()) return Dead();
  return real_.MakeDirectories(path);
}

absl::StatusOr<std::vector<std::string>> LifeFiles::List(const std::string& path) {
  if (life_.dead()) return Dead();
  return real_.List(path);
}

absl::StatusOr<bool> LifeFiles::Exists(const std::string& path) {
  if (life_.dead()) return Dead();
  return real_.Exists(path);
}

absl::Status LifeFiles::SyncDirectory(const std::string& path) {
  return Change("files.SyncDirectory", [&] { return real_.SyncDirectory(path); });
}

absl::StatusOr<std::unique_ptr<base::File>> LifeFiles::Lock(const std::string& path) {
  if (life_.dead()) return Dead();
  return real_.Lock(path);
}

absl::StatusOr<uint64_t> LifeFiles::FreeSpace(const std::string& path) {
  return real_.FreeSpace(path);
}

// --- the hypervisor ---

class LifeHypervisor::View final : public hypervisor::PointInTime {
 public:
  View(LifeHypervisor& owner, std::unique_ptr<hypervisor::PointInTime> real) : owner_(owner), real_(std::move(real)) {}

  absl::Time time() const override { return real_->time(); }
  hypervisor::Checkpoint checkpoint() const override { return real_->checkpoint(); }
  absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> OpenDisk(const std::string& disk) override {
    return owner_.Call("OpenDisk", [&] { return real_->OpenDisk(disk); });
  }
  absl::Status Health() override {
    return owner_.life_.Through("Health", [&] { return real_->Health(); });
  }
  absl::Status Close() override {
    return owner_.Call("Close", [&] { return real_->Close(); });
  }

 private:
  LifeHypervisor& owner_;
  const std::unique_ptr<hypervisor::PointInTime> real_;
};

class LifeHypervisor::Prepared final : public hypervisor::PreparedPointInTime {
 public:
  Prepared(LifeHypervisor& owner, std::string uuid, std::unique_ptr<hypervisor::PreparedPointInTime> real)
      : owner_(owner), uuid_(std::move(uuid)), real_(std::move(real)) {}

  absl::StatusOr<std::unique_ptr<hypervisor::PointInTime>> Begin() override {
    owner_.guests_.NoteCall(uuid_);
    using Result = absl::StatusOr<std::unique_ptr<hypervisor::PointInTime>>;
    return owner_.Call("Begin", [&]() -> Result {
      Result view = real_->Begin();
      if (!view.ok()) return view;
      owner_.guests_.NoteCut(uuid_);
      return std::make_unique<View>(owner_, *std::move(view));
    });
  }

 private:
  LifeHypervisor& owner_;
  const std::string uuid_;
  const std::unique_ptr<hypervisor::PreparedPointInTime> real_;
};

absl::Status LifeHypervisor::Reach() {
  if (life_.dead()) return Dead();
  if (trouble_.on_call) trouble_.on_call();
  clock_.Sleep(dice_.Between(absl::Nanoseconds(1), trouble_.calm ? absl::Milliseconds(2) : plan_.slowest_call));
  const int number = ++trouble_.hypervisor_calls;
  const int first = plan_.outage.first_call;
  if (trouble_.calm || first == 0 || number < first || number >= first + plan_.outage.call_count)
    return absl::OkStatus();
  run_.probes.Hit("hypervisor: did not answer");
  run_.Trace("the hypervisor doesn't answer");
  return base::MakeError(absl::StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE", "nobody answers");
}

absl::StatusOr<std::string> LifeHypervisor::Version() {
  return real_.Version();
}

absl::StatusOr<std::vector<hypervisor::VmInfo>> LifeHypervisor::ListVms() {
  return Call("ListVms", [&] { return real_.ListVms(); });
}

absl::StatusOr<hypervisor::VmInfo> LifeHypervisor::GetVm(const std::string& uuid) {
  return Call("GetVm", [&] { return real_.GetVm(uuid); });
}

absl::StatusOr<std::string> LifeHypervisor::Configuration(const std::string& uuid) {
  return Call("Configuration", [&] { return real_.Configuration(uuid); });
}

absl::StatusOr<hypervisor::GuestAgentInfo> LifeHypervisor::QueryGuestAgent(const std::string& uuid,
                                                                           absl::Duration timeout) {
  return Call("QueryGuestAgent", [&] { return real_.QueryGuestAgent(uuid, timeout); });
}

absl::StatusOr<int> LifeHypervisor::Freeze(const std::string& uuid, absl::Duration timeout) {
  guests_.NoteCall(uuid);
  return Call("Freeze", [&] {
    const auto frozen = real_.Freeze(uuid, timeout);
    run_.Trace("Freeze {} {}", uuid.substr(0, 4), frozen.ok() ? "OK" : base::ReasonOf(frozen.status()));
    if (frozen.ok()) guests_.NoteFrozen(uuid);
    if (absl::IsAborted(frozen.status())) run_.probes.Hit("guest: freeze refused");
    if (absl::IsDeadlineExceeded(frozen.status())) run_.probes.Hit("guest: freeze landed late");
    return frozen;
  });
}

absl::StatusOr<int> LifeHypervisor::Thaw(const std::string& uuid, absl::Duration timeout) {
  guests_.NoteCall(uuid);
  return Call("Thaw", [&] {
    const auto thawed = real_.Thaw(uuid, timeout);
    if (thawed.ok()) guests_.NoteThawed(uuid, *thawed);
    if (absl::IsDeadlineExceeded(thawed.status())) run_.probes.Hit("guest: thaw unanswered");
    return thawed;
  });
}

absl::Status LifeHypervisor::CheckNoJob(const std::string& uuid) {
  return Call("CheckNoJob", [&] { return real_.CheckNoJob(uuid); });
}

absl::StatusOr<std::unique_ptr<hypervisor::PreparedPointInTime>> LifeHypervisor::PreparePointInTime(
    const std::string& uuid, const hypervisor::PointInTimeOptions& options) {
  using Result = absl::StatusOr<std::unique_ptr<hypervisor::PreparedPointInTime>>;
  return Call("PreparePointInTime", [&]() -> Result {
    ASSIGN_OR_RETURN(auto prepared, real_.PreparePointInTime(uuid, options));
    return std::make_unique<Prepared>(*this, uuid, std::move(prepared));
  });
}

absl::StatusOr<hypervisor::CleanUpReport> LifeHypervisor::RemoveCheckpoints(const std::string& uuid,
                                                                            const std::string& keep) {
  return Call("RemoveCheckpoints", [&] { return real_.RemoveCheckpoints(uuid, keep); });
}

absl::StatusOr<hypervisor::CleanUpReport> LifeHypervisor::CleanUp(const std::string& uuid,
                                                                  const std::string& scratch_folder,
                                                                  const std::string& owner_tag) {
  return Call("CleanUp", [&] { return real_.CleanUp(uuid, scratch_folder, owner_tag); });
}

absl::Status LifeHypervisor::CheckCanSave(const std::string& uuid, const hypervisor::SaveOptions& options) {
  return Call("CheckCanSave", [&] { return real_.CheckCanSave(uuid, options); });
}

absl::StatusOr<hypervisor::SavedState> LifeHypervisor::SaveState(const std::string& uuid,
                                                                 const hypervisor::SaveOptions& options) {
  guests_.NoteCall(uuid);
  return Call("SaveState", [&] {
    auto saved = real_.SaveState(uuid, options);
    run_.Trace("SaveState {} {}", uuid.substr(0, 4), saved.ok() ? "OK" : base::ReasonOf(saved.status()));
    if (saved.ok() && saved->was_running) run_.probes.Hit("guest: stopped and saved");
    return saved;
  });
}

absl::StatusOr<std::string> LifeHypervisor::ExistingState(const std::string& uuid) {
  return Call("ExistingState", [&] { return real_.ExistingState(uuid); });
}

absl::Status LifeHypervisor::StartFromState(const std::string& uuid, const std::string& state_path, bool paused) {
  return Call("StartFromState", [&] { return real_.StartFromState(uuid, state_path, paused); });
}

absl::Status LifeHypervisor::SyncGuestClock(const std::string& uuid, absl::Duration timeout) {
  return Call("SyncGuestClock", [&] { return real_.SyncGuestClock(uuid, timeout); });
}

absl::Status LifeHypervisor::Pause(const std::string& uuid) {
  return Call("Pause", [&] { return real_.Pause(uuid); });
}

absl::Status LifeHypervisor::Resume(const std::string& uuid) {
  return Call("Resume", [&] { return real_.Resume(uuid); });
}

absl::Status LifeHypervisor::Start(const std::string& uuid) {
  return Call("Start", [&] { return real_.Start(uuid); });
}

absl::Status LifeHypervisor::PowerOff(const std::string& uuid) {
  return Call("PowerOff", [&] { return real_.PowerOff(uuid); });
}

absl::Status LifeHypervisor::DeleteVm(const std::string& uuid) {
  return Call("DeleteVm", [&] { return real_.DeleteVm(uuid); });
}

absl::StatusOr<std::unique_ptr<hypervisor::BlockWriter>> LifeHypervisor::CreateDisk(const hypervisor::NewDisk& disk) {
  return Call("CreateDisk", [&] { return real_.CreateDisk(disk); });
}

absl::StatusOr<hypervisor::DefinedVm> LifeHypervisor::DefineVm(const hypervisor::DefineOptions& options) {
  return Call("DefineVm", [&] { return real_.DefineVm(options); });
}

}  // namespace umbra::sim
