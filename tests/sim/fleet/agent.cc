#include "tests/sim/fleet/agent.h"

#include <algorithm>
#include <optional>
#include <set>

#include "server/api/agent/upload_sink.h"
#include "server/api/agent/wire.h"
#include "storage/base/status.h"

namespace umbra::sim::fleet {
namespace {

constexpr char kDataFolder[] = "/data";
constexpr char kScratch[] = "/scratch";
// How long a call that nobody answers is waited for.
constexpr absl::Duration kCallTimeout = absl::Seconds(20);

absl::Status Unreachable(std::string_view what) {
  return base::Error(absl::StatusCode::kUnavailable, "PEER_UNREACHABLE", "{}", what);
}

}  // namespace

AgentHost::AgentHost(RunContext& context, const Plan& machine_plan, int host_number, Line& host_line, Port& daemon_port,
                     DaemonNow daemon_now, CommittedCuts& cuts, Flaw broken)
    : run(context),
      plan(machine_plan),
      number(host_number),
      line(host_line),
      port(daemon_port),
      daemon(std::move(daemon_now)),
      committed(cuts),
      flaw(broken),
      random(context.dice.Next()),
      hypervisor(fmt::format("/vms{}", host_number), files, context.scheduler, random),
      guests(context, hypervisor, files, plan, fmt::format("h{}vm", host_number)) {
  // The machines are older than the run: their disks are there after a power cut.
  for (const std::string& path : files.AllFiles(fmt::format("/vms{}", host_number))) {
    const auto file = files.Open(path, base::OpenMode::kReadWrite);
    UMBRA_CHECK(file.ok() && (*file)->Sync().ok());
    for (std::string folder = base::DirectoryOf(path);; folder = base::DirectoryOf(folder)) {
      UMBRA_CHECK(files.SyncDirectory(folder).ok());
      if (folder == "/") break;
    }
  }
}

// ---- Calls of the data service ----

// Each call takes its time on the line both ways; it, or its answer, may get lost.
class FleetAgent::Store final : public transfer::ChunkStoreClient {
 public:
  Store(FleetAgent& agent, transfer::Cancellation& cancellation) : agent_(agent), cancellation_(cancellation) {}

  absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest& request) override {
    job_id_ = request.job_id();
    attempt_ = request.attempt();
    return Plain<store::v1::OpenSessionResponse>(&api::StoreCalls::OpenSession, request);
  }
  absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& request) override {
    return Plain<store::v1::CheckBaseResponse>(&api::StoreCalls::CheckBase, request);
  }
  absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& request) override {
    return Plain<store::v1::NegotiateResponse>(&api::StoreCalls::Negotiate, request);
  }
  absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& batch) override {
    return Stream<api::UploadSink, store::v1::UploadResponse>(std::vector{batch});
  }
  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const transfer::DiskMapTarget& target,
                                                           base::Bytes ids) override {
    store::v1::PutDiskMapRequest request = MapOf(target);
    request.set_chunk_ids(std::string(base::AsText(ids)));
    return Stream<api::DiskMapSink, store::v1::PutDiskMapResponse>(std::vector{request});
  }
  absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const transfer::DiskMapTarget& target,
                                                              const std::string& base_recovery_point_id,
                                                              std::span<const transfer::ChangedIds> changes) override {
    store::v1::PutDiskMapRequest request = MapOf(target);
    request.set_base_recovery_point_id(base_recovery_point_id);
    for (const transfer::ChangedIds& change : changes) {
      if (host().flaw == Flaw::kLostChanges) break;
      store::v1::ChangedRun& run = *request.add_changes();
      run.set_first_chunk(static_cast<int64_t>(change.first_chunk));
      run.set_chunk_ids(std::string(base::AsText(change.ids)));
    }
    return Stream<api::DiskMapSink, store::v1::PutDiskMapResponse>(std::vector{request});
  }
  absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& request) override {
    NoteCuts(request);
    return Plain<store::v1::CommitResponse>(&api::StoreCalls::Commit, request);
  }
  absl::Status AbortSession(const store::v1::AbortSessionRequest& request) override {
    return Plain<store::v1::AbortSessionResponse>(&api::StoreCalls::AbortSession, request).status();
  }
  absl::StatusOr<std::unique_ptr<transfer::DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) override;

 private:
  class Reading;

  AgentHost& host() { return agent_.host_; }
  catalog::HostId host_id() { return catalog::HostId(fmt::format("h{}", host().number)); }

  // Runs `work` at the daemon. OK: it ran, and its answer is here.
  absl::Status Call(const std::function<absl::Status(Daemon&)>& work);
  absl::Status Travel();

  template <typename Response, typename Request>
  absl::StatusOr<Response> Plain(absl::Status (api::StoreCalls::*method)(const catalog::HostId&, const Request&,
                                                                         Response&),
                                 const Request& request) {
    Response response;
    RETURN_IF_ERROR(Call([&](Daemon& daemon) { return (daemon.store().*method)(host_id(), request, response); }));
    return response;
  }

  template <typename Sink, typename Response, typename Request>
  absl::StatusOr<Response> Stream(const std::vector<Request>& messages) {
    Response response;
    RETURN_IF_ERROR(Call([&](Daemon& daemon) -> absl::Status {
      Sink sink([&](const std::string& id) { return daemon.store().Find(host_id(), id); });
      grpc::ByteBuffer buffer;
      for (const Request& message : messages) {
        api::Print(message, buffer);
        RETURN_IF_ERROR(sink.Take(buffer));
      }
      RETURN_IF_ERROR(sink.Finish(buffer));
      return api::Parse(buffer, response);
    }));
    return response;
  }

  static store::v1::PutDiskMapRequest MapOf(const transfer::DiskMapTarget& target) {
    store::v1::PutDiskMapRequest request;
    request.set_session_id(target.session_id);
    request.set_vm_uuid(target.vm_uuid);
    request.set_disk(target.disk);
    request.set_capacity_bytes(static_cast<int64_t>(target.capacity_bytes));
    return request;
  }

  // What the points of this commit must hold.
  void NoteCuts(const store::v1::CommitRequest& request) {
    for (const auto& manifest : request.manifests()) {
      const auto& cut = host().guests.LastCut(manifest.vm_uuid());
      if (!cut.has_value()) {
        host().run.Violate("{} is committed and was never cut", manifest.vm_display_name());
        continue;
      }
      auto& cuts = host().committed[{job_id_, manifest.vm_uuid()}];
      std::erase_if(cuts, [&](const CommittedCut& c) { return c.attempt == attempt_; });
      cuts.push_back({attempt_, cut->disks});
    }
  }

  FleetAgent& agent_;
  transfer::Cancellation& cancellation_;
  std::string job_id_;
  int32_t attempt_ = 0;
};

absl::Status FleetAgent::Store::Travel() {
  if (agent_.dead()) return Unreachable("the process is dead");
  const absl::Duration latency = host().line.Latency();
  if (latency > kCallTimeout) {
    agent_.clock_.Sleep(kCallTimeout);
    return Unreachable("no answer in time");
  }
  agent_.clock_.Sleep(latency);
  if (agent_.dead()) return Unreachable("the process is dead");
  return host().line.up() ? absl::OkStatus() : Unreachable("the line is cut");
}

absl::Status FleetAgent::Store::Call(const std::function<absl::Status(Daemon&)>& work) {
  const int64_t cuts = host().line.cuts();
  RETURN_IF_ERROR(cancellation_.Check());
  RETURN_IF_ERROR(Travel());
  if (host().line.Loses()) return Unreachable("the call got lost");
  Daemon* daemon = host().daemon();
  if (daemon == nullptr || !daemon->serving()) return Unreachable("nobody listens");
  daemon->Step("call");
  if (daemon->dead()) return Unreachable("reset");
  const absl::Status status = work(*daemon);
  if (daemon->dead()) return Unreachable("reset");
  const int life = daemon->life();
  agent_.clock_.Sleep(daemon->DiskDelay());
  RETURN_IF_ERROR(Travel());
  daemon = host().daemon();
  const bool reset = daemon == nullptr || daemon->life() != life || daemon->dead();
  if (reset || host().line.cuts() != cuts || host().line.Loses()) return Unreachable("the answer got lost");
  return status;
}

// A stream of a disk's chunks; the daemon's end lives with the daemon.
class FleetAgent::Store::Reading final : public transfer::DiskStream {
 public:
  Reading(Store& store, store::v1::ReadDiskRequest request) : store_(store), request_(std::move(request)) {}
  ~Reading() override {
    Daemon* const daemon = store_.host().daemon();
    if (life_.has_value() && daemon != nullptr && daemon->life() == *life_) daemon->EndReading(number_);
  }

  absl::StatusOr<bool> Next(store::v1::ReadDiskResponse* message) override {
    bool more = false;
    RETURN_IF_ERROR(store_.Call([&](Daemon& daemon) -> absl::Status {
      if (!life_.has_value()) {
        life_ = daemon.life();
        number_ = daemon.BeginReading(store_.host_id(), request_);
      }
      if (*life_ != daemon.life()) return Unreachable("reset");
      ASSIGN_OR_RETURN(more, daemon.ReadNext(number_, message));
      return absl::OkStatus();
    }));
    return more;
  }

 private:
  Store& store_;
  const store::v1::ReadDiskRequest request_;
  std::optional<int> life_;
  int number_ = 0;
};

absl::StatusOr<std::unique_ptr<transfer::DiskStream>> FleetAgent::Store::ReadDisk(
    const store::v1::ReadDiskRequest& request) {
  return std::make_unique<Reading>(*this, request);
}

// ---- What the daemon says ----

// In front of the runner: sees that nobody is told to work on a machine that another job of the daemon's still has.
class FleetAgent::Handler final : public link::LinkHandler {
 public:
  Handler(FleetAgent& agent, runner::JobRunner& runner) : agent_(agent), runner_(runner) {}

  std::vector<agent::v1::AssignmentId> Running() override { return runner_.Running(); }
  void OnConnected(const agent::v1::Welcome& welcome) override { runner_.OnConnected(welcome); }
  void OnAssignment(const agent::v1::Assignment& assignment) override {
    if (agent_.dead()) return;
    const link::AssignmentKey key = link::AssignmentKey::Of(assignment.id());
    CheckMachinesFree(key, assignment);
    machines_[key] = MachinesOf(assignment);
    agent_.run_.Trace("h{} gets {} attempt {}", agent_.host_.number, key.job_id.substr(0, 8), key.attempt);
    runner_.OnAssignment(assignment);
  }
  void OnCancel(const agent::v1::AssignmentId& id) override {
    stopped_.insert(link::AssignmentKey::Of(id));
    runner_.OnCancel(id);
  }
  void OnRefreshInventory() override { runner_.OnRefreshInventory(); }
  void OnLeaseExpired() override {
    for (const auto& [key, machines] : machines_) stopped_.insert(key);
    runner_.OnLeaseExpired();
  }

 private:
  static std::set<std::string> MachinesOf(const agent::v1::Assignment& assignment) {
    const auto& uuids = assignment.backup().virtual_machines();
    return {uuids.begin(), uuids.end()};
  }

  void CheckMachinesFree(const link::AssignmentKey& key, const agent::v1::Assignment& assignment) {
    const std::set<std::string> wanted = MachinesOf(assignment);
    for (const agent::v1::AssignmentId& id : runner_.Running()) {
      const link::AssignmentKey other = link::AssignmentKey::Of(id);
      if (other == key || stopped_.contains(other)) continue;
      for (const std::string& uuid : machines_[other]) {
        if (!wanted.contains(uuid)) continue;
        agent_.run_.Violate("a machine is in two jobs at once: {} attempt {} and {} attempt {}", other.job_id,
                            other.attempt, key.job_id, key.attempt);
      }
    }
  }

  FleetAgent& agent_;
  runner::JobRunner& runner_;
  std::map<link::AssignmentKey, std::set<std::string>> machines_;
  std::set<link::AssignmentKey> stopped_;  // told to stop
};

// ---- Life and death ----

FleetAgent::FleetAgent(AgentHost& host)
    : host_(host),
      run_(host.run),
      life_(host.run, std::nullopt,
            [this] {
              host_.hypervisor.CrashAgent();
              host_.line.AgentDied();
              if (!life_.power_cut()) return;
              host_.guests.PowerCut();
              host_.files.CutPower();
              host_.guests.TakeWhatIsOnDisk();
              ++host_.boots;
            }),
      clock_(
          run_, [this] { return life_.dead(); }, host.wall_ahead, [] {}),
      files_(run_, life_, host.files, host.plan, host.trouble),
      hypervisor_(run_, life_, clock_, host.hypervisor, host.guests, host.plan, host.trouble),
      random_(run_.dice.Next()),
      ledgers_(files_, kDataFolder),
      outbox_(clock_) {}

void FleetAgent::Die() {
  if (life_.dead()) return;
  life_.Arm(Death{.countdown = 1, .power_cut = life_.power_cut()});
  life_.Enter("nothing").IgnoreError();
}

absl::Status FleetAgent::Start() {
  base::Threads* const threads = &run_.scheduler;
  RETURN_IF_ERROR(files_.MakeDirectories(kDataFolder));
  RETURN_IF_ERROR(files_.MakeDirectories(kScratch));
  ASSIGN_OR_RETURN(vss_, writers::VssHost::Create(hypervisor_, files_, clock_, random_,
                                                  {.scratch_folder = kScratch,
                                                   .journal_folder = fmt::format("{}/intents", kDataFolder),
                                                   .threads = threads}));
  RETURN_IF_ERROR(ledgers_.Open());
  healer_ = std::make_unique<runner::Healer>(*vss_, hypervisor_, ledgers_, clock_, runner::kHealPeriod, *threads);
  if (host_.flaw != Flaw::kNoHealing) healer_->Start();
  inventory_ = std::make_unique<runner::InventoryReporter>(*vss_, outbox_, clock_, runner::InventoryReporter::Options{},
                                                           *threads);
  runner::RunnerSettings settings;
  settings.backup = {.memory_bytes = base::kMiB, .workers = 1, .askers = 1, .uploaders = 2};
  settings.backup.upload_batch_bytes = 128 * base::kKiB;
  settings.backup.thread_times = [] { return base::ThreadTimes{}; };
  settings.backup.threads = threads;
  settings.restore.workers = 1;
  settings.restore.queue_messages = 2;
  settings.restore.threads = threads;
  runner_ = std::make_unique<runner::JobRunner>(
      runner::RunnerContext{
          .hypervisor = hypervisor_,
          .host = *vss_,
          .files = files_,
          .clock = clock_,
          .random = random_,
          .outbox = outbox_,
          .ledgers = ledgers_,
          .make_store = [this](transfer::Cancellation& c) { return std::make_unique<Store>(*this, c); },
          .settings = settings,
          .threads = *threads},
      *inventory_);
  handler_ = std::make_unique<Handler>(*this, *runner_);
  link::ControlLinkOptions options;
  options.address = "daemon";
  options.hello.set_agent_version("1.0.0");
  options.hello.set_host_name(fmt::format("h{}", host_.number));
  options.hello.set_process_id(fmt::format("h{}-{}", host_.number, ++host_.processes));
  options.hello.set_machine_id(fmt::format("machine-{}", host_.number));
  options.hello.set_boot_id(fmt::format("boot-{}-{}", host_.number, host_.boots));
  link_ = std::make_unique<link::ControlLink>(
      [this] { return std::make_unique<SimLinkStream>(run_, host_.line, host_.port, [this] { return life_.dead(); }); },
      options, outbox_, *handler_, clock_, random_, *threads);
  link_->Start();
  return absl::OkStatus();
}

FleetAgent::~FleetAgent() {
  if (runner_ != nullptr) {
    runner_->Shutdown(base::MakeError(absl::StatusCode::kAborted, "AGENT_RESTARTED", "the agent was stopped"));
    outbox_.AwaitAcknowledged(absl::Seconds(3));
  }
  link_.reset();
  runner_.reset();
  inventory_.reset();
  healer_.reset();
  vss_.reset();
}

}  // namespace umbra::sim::fleet
