#include "tests/sim/apps.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::sim {

App::App(RunContext& run, const Plan& plan, int index)
    : run_(run),
      plan_(plan.apps[index]),
      index_(index),
      name_(fmt::format("app{}", index)),
      dice_(run.dice.Split("app")) {
  limit_ = plan_.freeze_limit;
}

App::App(RunContext& run, const Plan& plan, std::string name)
    : run_(run), index_(-1), name_(std::move(name)), dice_(run.dice.Split(name_)) {
  // Its hooks and everybody's freeze limits; after a death or a thaw that failed, healing with its period.
  limit_ = absl::Minutes(3);
  for (const AppPlan& app : plan.apps) limit_ += app.freeze_limit;
  if (plan.service.thaw_failures > 0) limit_ += absl::Minutes(15);
  if (plan.outage.call_count > 0 || plan.file_error_at > 0) limit_ += absl::Minutes(15);
  for (const WriterFault& fault : plan.writer_faults) limit_ += fault.duration;
  for (const ProviderFault& fault : plan.provider_faults) limit_ += fault.duration;
  for (const Death& death : plan.deaths) limit_ += death.downtime + absl::Minutes(5);
  for (const VmPlan& vm : plan.vms) limit_ += vm.silent_for + vm.faults.freeze_delay;
}

App::~App() = default;

void App::Start() {
  program_ = run_.scheduler.Start([this] { Program(); });
}

void App::Stop() {
  stop_ = true;
  program_.reset();
}

void App::Program() {
  const auto stopped = [this] { return stop_; };
  while (!stop_) {
    const absl::Duration pause =
        dice_.Between(absl::Milliseconds(1), dice_.Chance(0.5) ? absl::Milliseconds(20) : absl::Seconds(8));
    if (run_.scheduler.Wait(stopped, run_.scheduler.Monotonic() + pause)) return;
    if (frozen()) continue;
    moving_ = true;
    const int64_t coins = dice_.Between(-5, 5);
    hands_.left += coins;
    run_.Sleep(dice_.Between(absl::Microseconds(10), absl::Milliseconds(200)));
    hands_.right -= coins;
    moving_ = false;
  }
}

bool App::Freeze(absl::Duration called_at, absl::Duration patience) {
  const auto resting = [this] { return !moving_; };
  if (!run_.scheduler.Wait(resting, run_.scheduler.Monotonic() + patience)) return false;
  frozen_since_ = called_at;
  run_.Trace("{} frozen", name_);
  return true;
}

void App::Thaw(absl::Duration excuse) {
  if (!frozen()) return;
  const absl::Duration frozen_for = run_.scheduler.Monotonic() - *frozen_since_;
  frozen_since_.reset();
  run_.Trace("{} thawed", name_);
  // What is measured is the moment at which the handler runs, a little after the engine has decided.
  const absl::Duration limit = limit_ + excuse + absl::Seconds(1);
  if (frozen_for > limit) {
    run_.Violate("{} was frozen for {}, more than {}", name_, absl::FormatDuration(frozen_for),
                 absl::FormatDuration(limit));
  }
}

// --- the writer ---

vss::Guid AppWriter::IdOf(int index) {
  return vss::Guid::Literal(fmt::format("aaaaaaaa-0000-4000-8000-00000000000{}", index));
}

vss::ComponentId AppWriter::ComponentOf(int index) {
  return {IdOf(index), "", "hands"};
}

AppWriter::AppWriter(RunContext& run, Life& life, App& app)
    : run_(run),
      life_(life),
      app_(app),
      identity_{IdOf(app.index()), IdOf(app.index()), fmt::format("app{}", app.index()), "", app.plan().level} {}

vss::WriterLimits AppWriter::limits() const {
  vss::WriterLimits limits;
  limits.freeze = app_.plan().freeze_limit;
  return limits;
}

absl::StatusOr<vss::WriterMetadata> AppWriter::OnIdentify(const vss::EventContext&) {
  vss::WriterMetadata metadata;
  metadata.writer_id = identity_.writer_id;
  metadata.instance_id = identity_.instance_id;
  metadata.writer_name = identity_.name;
  vss::Component component;
  component.name = "hands";
  component.volumes = {app_.volume()};
  metadata.components.push_back(component);
  return metadata;
}

absl::Status AppWriter::OnFreeze(vss::EventContext&) {
  const absl::Duration called_at = run_.scheduler.Monotonic();
  RETURN_IF_ERROR(life_.Enter("app.Freeze"));
  if (!app_.Freeze(called_at, absl::Seconds(5))) return absl::UnavailableError("the application is busy");
  if (life_.dead()) app_.Thaw(absl::InfiniteDuration());  // the connection to the agent is gone
  return life_.Leave("app.Freeze");
}

absl::Status AppWriter::OnThaw(vss::EventContext&) {
  RETURN_IF_ERROR(life_.Enter("app.Thaw"));
  if (app_.frozen()) run_.probes.Hit("app: thawed by Thaw");
  app_.Thaw(std::exchange(excuse_, absl::ZeroDuration()));
  return life_.Leave("app.Thaw");
}

absl::Status AppWriter::OnAbort(vss::EventContext&) {
  RETURN_IF_ERROR(life_.Enter("app.Thaw"));
  if (app_.frozen()) run_.probes.Hit("app: thawed by Abort");
  if (app_.frozen() && excuse_ > absl::ZeroDuration())
    run_.probes.Hit("app: abort came when a hanging handler returned");
  app_.Thaw(std::exchange(excuse_, absl::ZeroDuration()));
  return life_.Leave("app.Thaw");
}

// --- the provider ---

AppProvider::AppProvider(RunContext& run, std::vector<std::unique_ptr<App>>& apps)
    : run_(run),
      apps_(apps),
      identity_{vss::Guid::Literal("bbbbbbbb-0000-4000-8000-000000000001"), "app provider",
                vss::ProviderType::kSystem} {}

absl::StatusOr<AppProvider::Copy> AppProvider::Find(const vss::Guid& set_id, const std::string& volume) const {
  const auto set = sets_.find(set_id);
  if (set == sets_.end()) return absl::NotFoundError("no such set");
  for (const Snapshot& snapshot : set->second) {
    if (snapshot.request.volume == volume && snapshot.copy.has_value()) return *snapshot.copy;
  }
  return absl::NotFoundError("no such copy");
}

absl::StatusOr<bool> AppProvider::IsVolumeSupported(const std::string& volume, uint32_t) {
  return volume.starts_with("/app/");
}

absl::Status AppProvider::BeginPrepareSnapshot(const vss::SnapshotRequest& request) {
  // A set that got no further than this and was given up is never ended otherwise.
  std::erase_if(sets_, [&](const auto& entry) {
    return entry.first != request.set_id &&
           std::none_of(entry.second.begin(), entry.second.end(), [](const Snapshot& s) { return s.copy.has_value(); });
  });
  sets_[request.set_id].push_back({request, std::nullopt});
  return absl::OkStatus();
}

absl::Status AppProvider::EndPrepareSnapshots(const vss::Guid&) {
  return absl::OkStatus();
}
absl::Status AppProvider::PreCommitSnapshots(const vss::Guid&) {
  return absl::OkStatus();
}

absl::Status AppProvider::CommitSnapshots(const vss::Guid& set_id) {
  for (Snapshot& snapshot : sets_[set_id]) {
    for (const auto& app : apps_) {
      if (app->volume() == snapshot.request.volume) snapshot.copy = Copy{app->hands(), app->frozen()};
    }
  }
  run_.Trace("apps copied");
  return absl::OkStatus();
}

absl::Status AppProvider::PostCommitSnapshots(const vss::Guid&, int) {
  return absl::OkStatus();
}
absl::Status AppProvider::PreFinalCommitSnapshots(const vss::Guid&) {
  return absl::OkStatus();
}
absl::Status AppProvider::PostFinalCommitSnapshots(const vss::Guid&) {
  return absl::OkStatus();
}

absl::Status AppProvider::AbortSnapshots(const vss::Guid& set_id) {
  return DeleteSnapshots(set_id);
}

absl::Status AppProvider::DeleteSnapshots(const vss::Guid& set_id) {
  sets_.erase(set_id);
  return absl::OkStatus();
}

absl::StatusOr<vss::SnapshotProperties> AppProvider::GetSnapshotProperties(const vss::Guid& snapshot_id) {
  for (const auto& [set_id, snapshots] : sets_) {
    for (const Snapshot& snapshot : snapshots) {
      if (snapshot.request.snapshot_id != snapshot_id) continue;
      vss::SnapshotProperties properties;
      properties.set_id = set_id;
      properties.snapshot_id = snapshot_id;
      properties.provider_id = identity_.provider_id;
      properties.volume = snapshot.request.volume;
      return properties;
    }
  }
  return absl::NotFoundError("no such snapshot");
}

}  // namespace umbra::sim
