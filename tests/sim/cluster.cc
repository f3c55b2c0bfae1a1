#include "tests/sim/cluster.h"

#include "storage/base/status.h"

namespace umbra::sim {
namespace {

// When nobody calls anybody. Its looks between the agent's calls are what counts.
constexpr absl::Duration kMonitorPeriod = absl::Seconds(20);
constexpr double kLooksAtACall = 0.25;

}  // namespace

Cluster::Cluster(RunContext& run, hypervisor::SimulatedHypervisor& here, Guests& guests, base::Filesystem& files,
                 base::Random& random, const Plan& plan)
    : run_(run),
      there_("/vms-there", files, run.scheduler, random),
      cluster_({{"here", here}, {"there", there_}}, run.scheduler),
      guests_(guests),
      dice_(run.dice.Split("monitor")) {
  for (size_t i = 0; i < plan.vms.size(); ++i) {
    if (!plan.vms[i].clustered) continue;
    const auto id = cluster_.AddVm(guests.uuid(i), "here");
    UMBRA_CHECK(id.ok());
    resources_.push_back({static_cast<int>(i), *id});
  }
}

void Cluster::Start() {
  if (resources_.empty()) return;
  monitor_ = run_.scheduler.Start([this] {
    while (!stop_) {
      run_.scheduler.Wait([this] { return stop_; }, run_.scheduler.Monotonic() + kMonitorPeriod);
      if (!stop_) Look();
    }
  });
}

void Cluster::Stop() {
  stop_ = true;
  monitor_.reset();
}

void Cluster::NoteCall() {
  if (!resources_.empty() && !stop_ && dice_.Chance(kLooksAtACall)) Look();
}

void Cluster::Look() {
  for (const Resource& resource : resources_) {
    if (cluster_.InMaintenance(resource.id)) run_.probes.Hit("cluster: looked away from a planned save");
  }
  cluster_.Monitor();
  for (const Resource& resource : resources_) {
    if (cluster_.Failovers(resource.id) == 0 || failed_over_) continue;
    failed_over_ = true;  // one is enough: what follows follows from it
    run_.Violate("the cluster has failed vm{} over", resource.vm);
  }
}

void Cluster::CheckAsBefore() {
  if (resources_.empty()) return;
  const auto now = cluster_.ListResources();
  UMBRA_CHECK(now.ok());
  for (const Resource& resource : resources_) {
    if (cluster_.InMaintenance(resource.id)) run_.Violate("the cluster still looks away from vm{}", resource.vm);
    const auto vm = cluster_.FindVm(guests_.uuid(resource.vm), "");
    const bool online = vm.ok() && vm->has_value() && (*vm)->state == cluster::ResourceState::kOnline;
    if (!online) run_.Violate("vm{} is no longer online in its cluster", resource.vm);
    if (there_.GetVm(guests_.uuid(resource.vm)).ok()) run_.Violate("vm{} is on the other node", resource.vm);
  }
}

// --- the process's way ---

absl::Status LifeCluster::Reach() {
  if (life_.dead())
    return base::MakeError(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE", "the process is dead");
  if (trouble_.on_call) trouble_.on_call();
  clock_.Sleep(dice_.Between(absl::Nanoseconds(1), trouble_.calm ? absl::Milliseconds(2) : plan_.slowest_call));
  const ClusterPlan& plan = plan_.cluster;
  const int number = ++trouble_.cluster_calls;
  const bool silent =
      plan.silent_call > 0 && number >= plan.silent_call && number < plan.silent_call + plan.silent_count;
  if (trouble_.calm || !silent) return absl::OkStatus();
  run_.probes.Hit("cluster: did not answer");
  run_.Trace("the cluster doesn't answer");
  return base::MakeError(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE", "no node answers");
}

absl::StatusOr<std::string> LifeCluster::Describe() {
  return real_.Describe();
}

absl::StatusOr<std::vector<cluster::ClusterResource>> LifeCluster::ListResources() {
  return Call("cluster.List", [&] { return real_.ListResources(); });
}

absl::StatusOr<cluster::Deed> LifeCluster::Plan(cluster::DeedKind kind, const std::string& resource) {
  return Call("cluster.Plan", [&] { return real_.Plan(kind, resource); });
}

absl::Status LifeCluster::Begin(const cluster::Deed& deed) {
  return Call("cluster.Begin", [&] {
    run_.Trace("the cluster is told: {} of {}", cluster::NameOf(deed.kind), deed.resource);
    return real_.Begin(deed);
  });
}

absl::Status LifeCluster::End(const cluster::Deed& deed) {
  return Call("cluster.End", [&] {
    absl::Status ended = real_.End(deed);
    run_.Trace("the cluster is told: {} of {} is over, {}", cluster::NameOf(deed.kind), deed.resource,
               ended.ok() ? "OK" : base::ReasonOf(ended));
    if (ended.ok()) {
      run_.probes.Hit(deed.kind == cluster::DeedKind::kOffline ? "cluster: a resource came back online"
                                                               : "cluster: a planned save ended");
    }
    return ended;
  });
}

}  // namespace umbra::sim
