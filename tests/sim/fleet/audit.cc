#include "tests/sim/fleet/audit.h"

#include <algorithm>
#include <cstring>

#include "server/calendar/plan.h"
#include "server/policies/policy_set.h"
#include "storage/base/status.h"

namespace umbra::sim::fleet {
namespace {

constexpr int kAll = 100'000;
// From a due time to its jobs, while the daemon is there.
constexpr absl::Duration kDueWithin = absl::Seconds(25);

bool IsQueued(const catalog::Event& event) {
  return event.message == "backup queued" || event.message.starts_with("backup queued ");
}

}  // namespace

absl::StatusOr<Guests::Disks> ReadPoint(repo::Repository& repository, const catalog::RecoveryPoint& point) {
  Guests::Disks disks;
  std::vector<std::byte> scratch;
  for (const catalog::RecoveryPointDisk& disk : point.disks) {
    ASSIGN_OR_RETURN(const auto reader, repository.OpenDisk(point.id.value, disk.name));
    std::string& bytes = disks[disk.name];
    bytes.assign(reader->capacity_bytes(), '\0');
    while (true) {
      ASSIGN_OR_RETURN(const auto chunks, reader->Next(base::kMiB));
      if (chunks.empty()) break;
      for (const repo::DiskChunk& chunk : chunks) {
        base::Bytes plain;
        RETURN_IF_ERROR(repo::OpenChunk(repository.hasher(), chunk.chunk.id, chunk.chunk.codec,
                                        chunk.chunk.plain_length, chunk.chunk.data, scratch, plain));
        std::memcpy(bytes.data() + chunk.offset_bytes, plain.data(), plain.size());
      }
    }
  }
  return disks;
}

// ---- What the world tells ----

void Audit::Serving(absl::Time wall) {
  interval_ = Interval{wall, wall, wall_max_};
}

void Audit::NotServing(absl::Time wall) {
  if (!interval_.has_value()) return;
  interval_->end = wall;
  wall_max_ = std::max(wall_max_, wall);
  intervals_.push_back(*interval_);
  interval_.reset();
}

// ---- While it runs ----

void Audit::CheckWorking(Daemon& daemon) {
  const auto working = daemon.engine().Working();
  if (!working.ok()) return;
  std::map<catalog::VmKey, catalog::JobId> taken;
  for (const catalog::ActiveJob& job : *working) {
    for (const catalog::VmKey& vm : job.vms) {
      const auto [it, is_new] = taken.emplace(vm, job.id);
      if (!is_new) run_.Violate("{} is in jobs {} and {} at once", vm.uuid, it->second, job.id);
    }
  }
}

void Audit::ReadEvents(Daemon& daemon) {
  if (events_broken_) return;
  const auto page = daemon.catalog().Read([&](const catalog::Stores& s) {
    return s.events.List("", {.page_size = kAll, .after_key = std::max<int64_t>(0, events_.size() - 1)});
  });
  if (!page.ok()) return;
  for (const catalog::Event& event : page->items) {
    const auto expected = static_cast<int64_t>(events_.size()) + 1;
    if (event.sequence == expected - 1) {
      const catalog::Event& known = events_.back();
      if (known.type == event.type && known.resource == event.resource && known.message == event.message) continue;
    }
    if (event.sequence != expected) {
      run_.Violate("event {} comes where {} should: {} {}", event.sequence, expected, event.type, event.resource);
      events_broken_ = true;
      return;
    }
    by_resource_[event.resource].push_back(events_.size());
    events_.push_back(event);
    run_.Trace("event {} {} {}: {}", event.sequence, event.type, event.resource, event.message);
  }
}

// ---- In the end ----

void Audit::CheckEvents(Daemon& daemon) {
  if (events_broken_) return;
  const auto page =
      daemon.catalog().Read([](const catalog::Stores& s) { return s.events.List("", {.page_size = kAll}); });
  UMBRA_CHECK(page.ok());
  for (size_t i = 0; i < events_.size(); ++i) {
    const bool there = i < page->items.size() && page->items[i].sequence == events_[i].sequence &&
                       page->items[i].message == events_[i].message;
    if (!there) return run_.Violate("event {} is gone: {}", events_[i].sequence, events_[i].message);
  }
}

std::vector<catalog::Job> Audit::Jobs(Daemon& daemon) {
  auto page = daemon.catalog().Read([](const catalog::Stores& s) { return s.jobs.List({}, {.page_size = kAll}); });
  UMBRA_CHECK(page.ok());
  std::reverse(page->items.begin(), page->items.end());
  return std::move(page->items);
}

std::vector<catalog::RecoveryPoint> Audit::Points(Daemon& daemon, bool removed) {
  auto page = daemon.catalog().Read([removed](const catalog::Stores& s) {
    return s.recovery_points.List({.show_removed = removed}, {.page_size = kAll});
  });
  UMBRA_CHECK(page.ok());
  return std::move(page->items);
}

void Audit::CheckJobs(Daemon& daemon) {
  for (const catalog::Job& job : Jobs(daemon)) {
    if (!catalog::IsTerminal(job.state)) {
      run_.Violate("job {} is lost: {} in the end", job.id, catalog::NameOf(job.state));
      continue;
    }
    if (job.state == catalog::JobState::kCancelled && !cancels_.contains(job.id))
      run_.Violate("job {} is cancelled, and nobody wanted it", job.id);
    if (job.attempt > 1) ++reached_["a job of several attempts"];
    if (job.state == catalog::JobState::kFailed) ++reached_["failed: " + job.error.reason];
    if (catalog::KindOf(job.spec) == catalog::JobKind::kBackup) CheckBackup(daemon, job);
  }
}

void Audit::CheckBackup(Daemon& daemon, const catalog::Job& job) {
  std::multiset<std::string> wanted, held;
  for (const catalog::VmKey& vm : std::get<catalog::BackupSpec>(job.spec).vms) wanted.insert(vm.uuid);
  const auto ids = daemon.catalog().Read([&](const catalog::Stores& s) { return s.recovery_points.IdsOfJob(job.id); });
  UMBRA_CHECK(ids.ok());
  for (const catalog::RecoveryPointId& id : *ids) {
    const auto point = daemon.catalog().Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); });
    if (point.ok()) held.insert(point->vm.uuid);
  }
  if (job.state == catalog::JobState::kSucceeded) {
    ++reached_["backup succeeded"];
    if (held != wanted)
      run_.Violate("job {} has succeeded with {} recovery points of {} machines", job.id, held.size(), wanted.size());
  } else if (!held.empty()) {
    run_.Violate("job {} is {} and has {} recovery points", job.id, catalog::NameOf(job.state), held.size());
  }
}

const Guests::Disks* Audit::CutOf(const catalog::RecoveryPoint& point, const Guests::Disks& found) const {
  const auto cuts = committed_.find({point.job.value, point.vm.uuid});
  if (cuts == committed_.end()) return nullptr;
  // Only one of its attempts can have been committed; which one, an agent that died can't have told.
  for (const CommittedCut& cut : cuts->second) {
    if (cut.disks == found) return &cut.disks;
  }
  return &cuts->second.back().disks;
}

void Audit::CheckPoint(Daemon& daemon, const catalog::RecoveryPoint& point) {
  // What retention removed can be had again for a while, and must be whole.
  if (point.protection.remove_time.has_value()) {
    const auto back = daemon.repository().UndeleteRecoveryPoint(point.id.value);
    if (!back.ok()) run_.Violate("recovery point {} doesn't come back: {}", point.id, base::Describe(back.status()));
  }
  const auto disks = ReadPoint(daemon.repository(), point);
  if (!disks.ok()) {
    run_.Violate("recovery point {} of {} can't be read: {}", point.id, point.vm_display_name,
                 base::Describe(disks.status()));
    return;
  }
  const Guests::Disks* const cut = CutOf(point, *disks);
  if (cut == nullptr) {
    run_.Violate("recovery point {} of {} was committed by nobody", point.id, point.vm_display_name);
  } else if (*disks != *cut) {
    run_.Violate("recovery point {} of {} (job {}) isn't what the machine held when it was cut", point.id,
                 point.vm_display_name, point.job);
  }
}

void Audit::CheckPoints(Daemon& daemon) {
  const auto list = daemon.repository().ListRecoveryPoints();
  if (!list.ok()) return run_.Violate("the repository can't be listed: {}", base::Describe(list.status()));
  for (const std::string& problem : list->problems) run_.Violate("a point of the repository: {}", problem);
  std::set<std::string> in_repository, in_catalog;
  std::set<std::pair<std::string, std::string>> once;
  for (const auto* points : {&list->points, &list->removed}) {
    for (const repo::Manifest& manifest : *points) {
      // What was taken back from a job that had ended was shown to nobody.
      const auto protection = list->protections.find(manifest.recovery_point_id());
      if (protection != list->protections.end() && protection->second.removed_by == "umbrad") {
        ++reached_["a commit taken back"];
        continue;
      }
      in_repository.insert(manifest.recovery_point_id());
      if (!once.emplace(manifest.job_id(), manifest.vm_uuid()).second)
        run_.Violate("job {} has made two recovery points of {}", manifest.job_id(), manifest.vm_display_name());
    }
  }
  for (const catalog::RecoveryPoint& point : Points(daemon, true)) {
    if (point.protection.removed_by == "umbrad") continue;
    in_catalog.insert(point.id.value);
    CheckPoint(daemon, point);
  }
  for (const std::string& id : in_repository) {
    if (!in_catalog.contains(id)) run_.Violate("recovery point {} is in the repository and not in the catalog", id);
  }
  for (const std::string& id : in_catalog) {
    if (!in_repository.contains(id)) run_.Violate("recovery point {} is in the catalog and not in the repository", id);
  }
}

// ---- Policies ----

std::vector<Audit::PolicyRun> Audit::RunsOf(const catalog::Policy& policy) {
  std::vector<PolicyRun> runs;
  for (const size_t index : by_resource_[fmt::format("policies/{}", policy.id)]) {
    const catalog::Event& event = events_[index];
    if (event.type != "POLICY_RUN") continue;
    PolicyRun run{event.sequence, {}};
    const size_t end = event.message.find(": ");
    std::string error;
    UMBRA_CHECK(event.message.starts_with("due ") &&
                absl::ParseTime("%Y-%m-%d %H:%M:%S%Ez", event.message.substr(4, end - 4), &run.due, &error));
    if (event.message.find("for all that was due before") != std::string::npos) ++reached_["a run that caught up"];
    runs.push_back(run);
  }
  return runs;
}

void Audit::CheckDueTimes(const catalog::Policy& policy, const std::vector<PolicyRun>& runs, absl::Time now) {
  std::set<absl::Time> ran;
  for (const PolicyRun& run : runs) {
    if (!ran.insert(run.due).second) run_.Violate("{}: {} ran twice", policy.id, absl::FormatTime(run.due));
    if (!ran.empty() && run.due < *ran.rbegin()) run_.Violate("{}: {} ran late", policy.id, absl::FormatTime(run.due));
  }
  const auto plan = calendar::Plan::Parse(policy.schedules, policy.time_zone, policy.windows, policy.closed);
  UMBRA_CHECK(plan.ok());
  for (auto due = plan->Next(policy.create_time); due && due->due < now; due = plan->Next(due->due)) {
    if (ran.contains(due->due)) {
      ++reached_["a due time ran by itself"];
      continue;
    }
    if (ran.lower_bound(due->due) == ran.end()) {
      run_.Violate("{}: {} never ran", policy.id, absl::FormatTime(due->due));
    }
    for (const Interval& interval : intervals_) {
      if (interval.begin < due->due && interval.seen_before < due->due && interval.end > due->due + kDueWithin)
        run_.Violate("{}: {} did not run by itself, although the daemon was there", policy.id,
                     absl::FormatTime(due->due));
    }
  }
  for (const absl::Time due : ran) {
    const auto run = plan->Next(due - absl::Seconds(1));
    if (!run || run->due != due) run_.Violate("{}: {} ran and was never due", policy.id, absl::FormatTime(due));
  }
}

// Whether the run whose event is `at`, after the one whose event is `previous`, has this job: made for it, or waiting.
bool Audit::HadJob(const catalog::Job& job, int64_t previous, int64_t at) const {
  const auto found = by_resource_.find("jobs/" + job.id.value);
  if (found == by_resource_.end()) return false;
  const catalog::Event* last = nullptr;
  for (const size_t index : found->second) {
    const catalog::Event& event = events_[index];
    if (event.sequence > at) break;
    if (event.type == "JOB_STATE_CHANGED") last = &event;
  }
  return last != nullptr && (events_[found->second.front()].sequence > previous || IsQueued(*last));
}

void Audit::CheckRunJobs(const catalog::Policy& policy, const std::vector<PolicyRun>& runs,
                         const std::vector<catalog::Job>& jobs) {
  for (const catalog::VmKey& vm : policy.selection.members) {
    int64_t previous = 0;
    for (const PolicyRun& run : runs) {
      int had = 0, made = 0;
      for (const catalog::Job& job : jobs) {
        if (job.terms.policy != policy.id) continue;
        const auto& members = std::get<catalog::BackupSpec>(job.spec).vms;
        if (std::find(members.begin(), members.end(), vm) == members.end()) continue;
        had += HadJob(job, previous, run.sequence);
        const auto events = by_resource_.find("jobs/" + job.id.value);
        if (events == by_resource_.end() || !job.terms.due_time.has_value()) continue;
        const int64_t created = events_[events->second.front()].sequence;
        made += created > previous && created < run.sequence;
      }
      if (had == 0) {
        run_.Violate("{}: the run of {} has no job for {}", policy.id, absl::FormatTime(run.due), vm.uuid);
      }
      if (made > 1) {
        run_.Violate("{}: the run of {} has {} jobs for {}", policy.id, absl::FormatTime(run.due), made, vm.uuid);
      }
      previous = run.sequence;
    }
  }
}

void Audit::CheckPolicies(Daemon& daemon) {
  const auto policies = daemon.catalog().Read([](const catalog::Stores& s) { return s.policies.All(); });
  UMBRA_CHECK(policies.ok());
  if (events_broken_) return;
  const std::vector<catalog::Job> jobs = Jobs(daemon);
  // The scheduler's last look before the policies were paused.
  const absl::Time now = intervals_.empty() ? absl::InfinitePast() : intervals_.back().end - kDueWithin;
  for (const catalog::Policy& policy : *policies) {
    const std::vector<PolicyRun> runs = RunsOf(policy);
    CheckDueTimes(policy, runs, now);
    CheckRunJobs(policy, runs, jobs);
  }
}

void Audit::CheckRetention(Daemon& daemon) {
  const auto set = policies::PolicySet::Load(daemon.catalog());
  UMBRA_CHECK(set.ok());
  std::map<catalog::VmKey, std::pair<int, int>> counts;  // visible, all
  std::map<catalog::VmKey, std::string> names;
  for (const catalog::RecoveryPoint& point : Points(daemon, true)) {
    if (point.protection.removed_by == "umbrad") continue;
    auto& [visible, all] = counts[point.vm];
    ++all;
    if (!point.protection.remove_time.has_value()) ++visible;
    if (point.protection.removed_by == "retention") ++reached_["a point removed by retention"];
    names[point.vm] = point.vm_display_name;
  }
  for (const auto& [vm, count] : counts) {
    if (count.first == 0) run_.Violate("{} has no recovery point any more, of {}", names[vm], count.second);
    const auto verdicts = policies::DecideFor(daemon.catalog(), *set, {vm, names[vm], vm.host.value}, daemon.Now());
    if (!verdicts.ok()) continue;
    for (const retention::Verdict& verdict : *verdicts) {
      if (!verdict.keeps()) run_.Violate("recovery point {} of {} is kept by no rule", verdict.id, names[vm]);
    }
  }
}

}  // namespace umbra::sim::fleet
