#include "tests/sim/fleet/daemon.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "server/api/agent/wire.h"
#include "server/jobs/job_recovery.h"
#include "server/maintenance/rebuild.h"
#include "storage/base/status.h"
#include "tests/support/repository_key.h"

namespace umbra::sim::fleet {
namespace {

constexpr absl::Duration kUndeleteWindow = absl::Hours(24 * 7);

// In memory where there is such a place: SQLite's syncs cost nothing there.
std::string PlaceForFolders() {
  return std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path().string();
}

absl::Status Dead() {
  return base::MakeError(absl::StatusCode::kUnavailable, "IO_ERROR", "the process is dead");
}

}  // namespace

RealFolder::RealFolder() : path_(PlaceForFolders() + "/umbra-sim-XXXXXX") {
  UMBRA_CHECK(mkdtemp(path_.data()) != nullptr);
}

RealFolder::~RealFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

// ---- The repository's disk, as this process sees it ----

class Daemon::Disk final : public base::Filesystem {
 public:
  explicit Disk(Daemon& owner) : owner_(owner), real_(owner.machine_.disk) {}

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return Change("files.Rename", false, [&] { return real_.Rename(from, to); });
  }
  absl::Status Remove(const std::string& path) override {
    return Change("files.Remove", false, [&] { return real_.Remove(path); });
  }
  absl::Status MakeDirectories(const std::string& path) override {
    return Change("files.MakeDirectories", true, [&] { return real_.MakeDirectories(path); });
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    if (owner_.dead_) return Dead();
    return real_.List(path);
  }
  absl::StatusOr<std::vector<base::FolderEntry>> ListEntries(const std::string& path) override {
    if (owner_.dead_) return Dead();
    return real_.ListEntries(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override {
    if (owner_.dead_) return Dead();
    return real_.Exists(path);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    return Sync([&] { return real_.SyncDirectory(path); });
  }
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override { return real_.Lock(path); }
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override {
    if (owner_.machine_.disk_full) return 0;
    return real_.FreeSpace(path);
  }

 private:
  class OpenFile;

  absl::Status Change(std::string_view call, bool grows, const std::function<absl::Status()>& change) {
    if (!owner_.dead_) owner_.Step(call);
    if (owner_.dead_) return Dead();
    if (grows && owner_.machine_.disk_full) return base::ErrnoError(ENOSPC, call);
    return change();
  }
  absl::Status Sync(const std::function<absl::Status()>& sync) {
    return Change("files.Sync", false,
                  [&] { return owner_.machine_.flaw == Flaw::kNoSync ? absl::OkStatus() : sync(); });
  }

  Daemon& owner_;
  base::Filesystem& real_;
};

class Daemon::Disk::OpenFile final : public base::File {
 public:
  OpenFile(Disk& owner, std::unique_ptr<base::File> real) : owner_(owner), real_(std::move(real)) {}

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override { return real_->ReadAt(offset, out); }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    return owner_.Change("files.Write", true, [&] { return real_->WriteAt(offset, data); });
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    return owner_.Change("files.Truncate", false, [&] { return real_->Truncate(size_bytes); });
  }
  absl::StatusOr<uint64_t> Size() override { return real_->Size(); }
  absl::Status Sync() override {
    return owner_.Sync([&] { return real_->Sync(); });
  }

 private:
  Disk& owner_;
  const std::unique_ptr<base::File> real_;
};

absl::StatusOr<std::unique_ptr<base::File>> Daemon::Disk::Open(const std::string& path, base::OpenMode mode) {
  std::unique_ptr<base::File> opened;
  const auto open = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(opened, real_.Open(path, mode));
    return absl::OkStatus();
  };
  const bool makes = mode == base::OpenMode::kCreate || mode == base::OpenMode::kTruncate;
  if (makes) {
    RETURN_IF_ERROR(Change("files.Create", true, open));
  } else if (owner_.dead_) {
    return Dead();
  } else {
    RETURN_IF_ERROR(open());
  }
  return std::make_unique<OpenFile>(*this, std::move(opened));
}

// ---- A stream ----

class Daemon::Session final : public dispatch::AgentSession {
 public:
  Session(Daemon& owner, Line& line, std::shared_ptr<Pipe> pipe)
      : owner_(owner),
        line_(line),
        pipe_(std::move(pipe)),
        peer_{catalog::HostId(fmt::format("h{}", pipe_->host)), fmt::format("host {}", pipe_->host)} {}

  const dispatch::Peer& peer() const override { return peer_; }
  void Send(agent::v1::DaemonMessage message) override {
    if (!owner_.dead_) line_.SendDown(*pipe_, std::move(message));
  }
  void ReadNext() override {
    reading_ = true;
    ++pipe_->changes;
  }
  void Close(absl::Status status) override { line_.DaemonLeaves(*pipe_, status); }

  // The next message, when one is wanted; absent: the stream is over.
  std::optional<agent::v1::AgentMessage> Next() {
    auto& way = pipe_->up;
    RunContext& run = owner_.run_;
    while (true) {
      const absl::Duration now = run.scheduler.Monotonic();
      if (owner_.dead_ || owner_.stopping_ || pipe_->daemon_left || way.Over(now)) return std::nullopt;
      if (reading_ && way.Arrived(now)) {
        reading_ = false;
        agent::v1::AgentMessage message = std::move(way.queue.front().second);
        way.queue.pop_front();
        return message;
      }
      const int64_t seen = pipe_->changes;
      const auto changed = [&] { return owner_.dead_ || owner_.stopping_ || pipe_->changes != seen; };
      run.scheduler.Wait(changed, reading_ ? way.NextTime() : way.over_at);
    }
  }

 private:
  Daemon& owner_;
  Line& line_;
  const std::shared_ptr<Pipe> pipe_;
  const dispatch::Peer peer_;
  bool reading_ = false;
};

void Daemon::Accept(std::shared_ptr<Pipe> pipe) {
  Line& line = *machine_.lines[pipe->host];
  if (!serving()) return line.DaemonLeaves(*pipe, absl::UnavailableError("nobody listens"));
  auto session = std::make_shared<Session>(*this, line, std::move(pipe));
  sessions_.push_back(run_.scheduler.Start([this, session] { Serve(session); }));
}

void Daemon::Serve(const std::shared_ptr<Session>& session) {
  dispatcher_->Opened(session);
  while (auto message = session->Next()) {
    Step("message");
    if (dead_) break;
    if (machine_.flaw == Flaw::kUnfenced) Tamper(*message);
    dispatcher_->Received(session, *std::move(message));
  }
  session->Close(absl::OkStatus());
  dispatcher_->Closed(session);
}

// As if messages had no attempt number: they are taken for the newest one's.
void Daemon::Tamper(agent::v1::AgentMessage& message) {
  if (!message.has_result()) return;
  agent::v1::AssignmentId& id = *message.mutable_result()->mutable_id();
  const auto job = engine_->Get(catalog::JobId(id.job_id()));
  if (job.ok()) id.set_attempt(job->attempt);
}

// ---- Calls of the data service ----

absl::Duration Daemon::DiskDelay() {
  if (run_.scheduler.Monotonic() >= machine_.slow_until) return absl::ZeroDuration();
  return machine_.dice.Between(absl::Milliseconds(10), absl::Seconds(6));
}

int Daemon::BeginReading(const catalog::HostId& host, const store::v1::ReadDiskRequest& request) {
  grpc::ByteBuffer first;
  api::Print(request, first);
  readings_[++reading_count_] =
      std::make_unique<api::DiskSource>([host] { return host; }, assignments_, *repositories_, std::move(first));
  return reading_count_;
}

absl::StatusOr<bool> Daemon::ReadNext(int reading, store::v1::ReadDiskResponse* message) {
  grpc::ByteBuffer buffer;
  ASSIGN_OR_RETURN(const bool more, readings_.at(reading)->Next(buffer));
  if (more) RETURN_IF_ERROR(api::Parse(buffer, *message));
  return more;
}

// ---- Life and death ----

Daemon::Daemon(DaemonMachine& machine, std::function<void()> on_state_change)
    : machine_(machine),
      run_(machine.run),
      life_(machine.life_count),
      on_state_change_(std::move(on_state_change)),
      clock_(
          run_, [this] { return dead_; }, machine.wall_ahead, [this] { Step("wait"); }),
      random_(machine.dice.Next()),
      disk_(std::make_unique<Disk>(*this)) {}

// In the order of a stop: streams end, then what runs, from the outside in.
Daemon::~Daemon() {
  stopping_ = true;
  serving_ = false;
  sessions_.clear();
  readings_.clear();
  if (store_ != nullptr) store_->AbortAll();
  wrong_scheduler_.reset();
  scheduler_.reset();
  retention_.reset();
  housekeeper_.reset();
  dispatcher_.reset();
}

void Daemon::Step(std::string_view name) {
  if (dead_ || !death_.has_value() || (!death_->point.empty() && death_->point != name)) return;
  if (--death_->countdown > 0) return;
  run_.Trace("the daemon dies at {}", name);
  Die();
}

void Daemon::Die() {
  if (dead_) return;
  dead_ = true;
  namespace fs = std::filesystem;
  const fs::path now = machine_.CatalogPath(life_), next = machine_.CatalogPath(life_ + 1);
  fs::create_directories(next.parent_path());
  for (const char* ending : {"", "-wal"}) {
    if (fs::exists(now.string() + ending)) fs::copy_file(now.string() + ending, next.string() + ending);
  }
  ++machine_.life_count;
  if (death_.has_value() && death_->power_cut) {
    base::SeededRandom luck(machine_.dice.Next());
    machine_.disk.CutPower(&luck);
  }
  for (const auto& line : machine_.lines) line->DaemonDied();
}

absl::Status Daemon::OpenStorage() {
  RETURN_IF_ERROR(real_files_.MakeDirectories(base::DirectoryOf(machine_.CatalogPath(life_))));
  ASSIGN_OR_RETURN(catalog_, catalog::Catalog::Open(real_files_, machine_.CatalogPath(life_)));
  Step("daemon.catalog_open");
  repo::RepositoryOptions options;
  options.chunk_size_bytes = repo::kMinChunkSizeBytes;
  std::vector<maintenance::OpenRepository> all;
  ASSIGN_OR_RETURN(auto repository, repo::Repository::OpenOrCreate(*disk_, clock_, random_, "/repository",
                                                                   testing::WithTestKey(options)));
  all.push_back({catalog::RepositoryId(kRepository), "/repository", std::move(repository)});
  repositories_ = std::make_unique<maintenance::RepositorySet>(std::move(all));
  return absl::OkStatus();
}

absl::Status Daemon::Start() {
  RETURN_IF_ERROR(OpenStorage());
  events_ = std::make_unique<jobs::EventHub>(*catalog_, clock_);
  engine_ = std::make_unique<jobs::JobEngine>(*catalog_, clock_, random_);
  watch_ = engine_->SubscribeStates([this] {
    if (!dead_) on_state_change_();
  });
  engine_->SetLimits({.jobs_max = 0, .per_host_max = 2, .per_repository_max = 0});
  if (machine_.flaw != Flaw::kNoJobRecovery) {
    maintenance::PointsOfJobs points(*repositories_);
    RETURN_IF_ERROR(
        jobs::RecoverJobs(*catalog_, *engine_, [&](const catalog::Job& job) { return points.Of(job); }).status());
  }
  Step("daemon.jobs_recovered");
  for (const maintenance::OpenRepository& repository : repositories_->All()) {
    RETURN_IF_ERROR(
        maintenance::RebuildCatalog(*catalog_, repository, clock_, maintenance::RebuildMode::kAddOnly).status());
  }
  Step("daemon.catalog_rebuilt");
  if (dead_) return Dead();
  base::Threads& threads = run_.scheduler;
  store_ = std::make_unique<api::StoreCalls>(*catalog_, *engine_, assignments_, *repositories_, random_,
                                             api::StoreOptions{}, [](const std::function<void()>& task) { task(); });
  dispatch::DispatcherOptions options;
  options.daemon_version = "1.0.0";
  dispatcher_ =
      std::make_unique<dispatch::Dispatcher>(*catalog_, *engine_, clock_, agents_, assignments_, options, threads);
  dispatcher_->Start();
  housekeeper_ = std::make_unique<maintenance::Housekeeper>(*catalog_, *engine_, *events_, clock_,
                                                            std::vector<maintenance::HousekeepingTask>{},
                                                            maintenance::HistoryKept{}, threads);
  retention_ = std::make_unique<policies::RetentionKeeper>(*catalog_, *events_, *repositories_, clock_, kUndeleteWindow,
                                                           threads);
  retention_->Start();
  scheduler_ = std::make_unique<policies::Scheduler>(*catalog_, *engine_, clock_, threads);
  if (machine_.flaw == Flaw::kDueBeforeSubmit) {
    wrong_scheduler_ = threads.Start([this] {
      while (!stopping_ && !dead_) {
        RunDueWrongly().IgnoreError();
        clock_.Sleep(absl::Seconds(5));
      }
    });
  } else {
    scheduler_->Start();
  }
  serving_ = true;
  return absl::OkStatus();
}

absl::Status Daemon::RunDueWrongly() {
  ASSIGN_OR_RETURN(const policies::PolicySet set, policies::PolicySet::Load(*catalog_));
  for (const policies::CompiledPolicy& policy : set.All()) {
    const catalog::Policy& record = policy.record();
    const auto run = policy.plan().Ready(record.done_time, clock_.Now());
    if (record.paused || !run) continue;
    RETURN_IF_ERROR(catalog_->Write([&](catalog::Stores& s) -> absl::Status {
      RETURN_IF_ERROR(s.policies.SetProgress(record.id, record.done_time, run->due, run->due, clock_.Now()));
      const std::string due = absl::FormatTime("%Y-%m-%d %H:%M:%S%Ez", run->due, policy.plan().zone());
      return s.events
          .Append({.time = clock_.Now(),
                   .type = "POLICY_RUN",
                   .resource = fmt::format("policies/{}", record.id),
                   .severity = catalog::Severity::kInfo,
                   .message = fmt::format("due {}: some jobs", due)})
          .status();
    }));
    Step("policy.submitted");
    if (dead_) return Dead();
    RETURN_IF_ERROR(scheduler_->RunNow(record.id, fmt::format("{}", absl::ToUnixSeconds(run->due))).status());
  }
  return absl::OkStatus();
}

}  // namespace umbra::sim::fleet
