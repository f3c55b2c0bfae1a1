#include "server/jobs/job_queue.h"

#include <algorithm>

#include "server/jobs/job_state.h"
#include "storage/base/status.h"

namespace umbra::jobs {

using catalog::ActiveJob;
using catalog::HostId;
using catalog::JobId;
using catalog::PolicyId;
using catalog::RepositoryId;
using catalog::VmKey;

namespace {

absl::Time DueTime(const ActiveJob& job) {
  return job.terms.due_time.value_or(job.create_time);
}

bool IsReached(int count, int limit) {
  return limit > 0 && count >= limit;
}

}  // namespace

void JobQueue::SetLimits(const QueueLimits& limits) {
  if (limits == limits_) return;
  limits_ = limits;
  for (auto& [id, host] : hosts_) IndexHost(host);
}

// ---- Coming and going ----

void JobQueue::Put(const ActiveJob& job, absl::Time now) {
  std::unique_ptr<Entry>& slot = entries_[job.id];
  if (slot == nullptr) slot = std::make_unique<Entry>();
  Entry& entry = *slot;
  Take(entry);
  if (catalog::IsTerminal(job.state)) {
    hosts_[job.host].jobs.erase(job.id);
    entries_.erase(job.id);
    return;
  }
  entry.job = job;
  entry.rank = {-job.terms.priority, DueTime(job), job.number};
  entry.begin =
      std::max(job.terms.due_time.value_or(absl::InfinitePast()), job.next_attempt_time.value_or(absl::InfinitePast()));
  hosts_[job.host].jobs.insert(job.id);
  LearnLimits(job);
  HoldsVms(job.state) ? PutWorking(entry) : PutQueued(entry, now);
}

void JobQueue::Take(Entry& entry) {
  const Place place = std::exchange(entry.place, Place::kNowhere);
  const ActiveJob& job = entry.job;
  if (place == Place::kNowhere) return;
  if (job.terms.not_after) windows_.erase({*job.terms.not_after, job.number});
  if (place == Place::kTimed) timed_.erase({entry.begin, job.number});
  if (place == Place::kOwn) own_[job.kind].erase(entry.rank);
  if (entry.lane != nullptr) LeaveLane(entry);
  if (place == Place::kBehind || place == Place::kReady) {
    for (const VmKey& vm : job.vms) claims_[vm].waiting.erase(entry.rank);
  }
  if (place == Place::kWorking) {
    working_.erase(job.number);
    cancelling_.erase(job.number);
    for (const VmKey& vm : job.vms) claims_[vm].holder = nullptr;
    if (!job.host.empty()) {
      Host& host = hosts_[job.host];
      --agents_working_;
      --host.working;
      --host.working_of[job.terms.policy];
      --policies_[job.terms.policy].working;
      --repositories_[job.repository];
      IndexHost(host);
    }
  }
  for (const VmKey& vm : job.vms) Recheck(vm);
}

void JobQueue::PutQueued(Entry& entry, absl::Time now) {
  const ActiveJob& job = entry.job;
  if (job.terms.not_after) windows_[{*job.terms.not_after, job.number}] = &entry;
  if (job.host.empty()) {
    entry.place = Place::kOwn;
    own_[job.kind][entry.rank] = &entry;
  } else if (entry.begin > now) {
    entry.place = Place::kTimed;
    timed_[{entry.begin, job.number}] = &entry;
  } else {
    Claims(entry);
  }
}

void JobQueue::PutWorking(Entry& entry) {
  const ActiveJob& job = entry.job;
  entry.place = Place::kWorking;
  working_[job.number] = &entry;
  if (job.state == JobState::kCancelling) cancelling_[job.number] = &entry;
  for (const VmKey& vm : job.vms) {
    claims_[vm].holder = &entry;
    Recheck(vm);
  }
  if (job.host.empty()) return;
  Host& host = hosts_[job.host];
  ++agents_working_;
  ++host.working;
  ++host.working_of[job.terms.policy];
  ++policies_[job.terms.policy].working;
  ++repositories_[job.repository];
  IndexHost(host);
}

void JobQueue::LearnLimits(const ActiveJob& job) {
  Policy& policy = policies_[job.terms.policy];
  if (job.terms.policy.empty() || job.number <= policy.limits_of) return;
  policy.limits_of = job.number;
  policy.jobs_max = job.terms.policy_jobs_max;
  policy.weight = std::max(job.terms.policy_weight, 1);
  if (std::exchange(policy.host_jobs_max, job.terms.policy_host_jobs_max) == job.terms.policy_host_jobs_max) return;
  for (auto& [key, lane] : policy.lanes) Index(*lane);
}

void JobQueue::SetHost(const HostId& id, const std::string& reason, absl::Time now) {
  hosts_[id].link = reason;
  Close(hosts_[id], now);
}

void JobQueue::SetDrained(const HostId& id, bool drained, absl::Time now) {
  hosts_[id].drained = drained;
  Close(hosts_[id], now);
}

void JobQueue::Close(Host& host, absl::Time now) {
  std::string closed = host.link.empty() && host.drained ? "HOST_DRAINED" : host.link;
  if (host.closed == closed && host.closed_since != absl::InfinitePast()) return;
  host.closed = std::move(closed);
  host.closed_since = now;
  host.has_unreported = true;
  IndexHost(host);
}

void JobQueue::Advance(absl::Time now) {
  while (!timed_.empty() && timed_.begin()->first.first <= now) {
    Entry& entry = *timed_.begin()->second;
    timed_.erase(timed_.begin());
    Claims(entry);
  }
}

// ---- Claims on virtual machines ----

void JobQueue::Claims(Entry& entry) {
  entry.place = Place::kBehind;
  for (const VmKey& vm : entry.job.vms) claims_[vm].waiting[entry.rank] = &entry;
  if (entry.job.vms.empty()) return EnterLane(entry);  // a restore to a new virtual machine
  for (const VmKey& vm : entry.job.vms) Recheck(vm);
}

bool JobQueue::IsFirst(const Entry& entry) const {
  return std::all_of(entry.job.vms.begin(), entry.job.vms.end(), [&](const VmKey& vm) {
    const auto it = claims_.find(vm);
    return it->second.holder == nullptr && it->second.waiting.begin()->second == &entry;
  });
}

void JobQueue::Recheck(const VmKey& vm) {
  const auto it = claims_.find(vm);
  if (it == claims_.end()) return;
  Claim& claim = it->second;
  if (claim.waiting.empty()) {
    if (claim.holder == nullptr) claims_.erase(it);
    return;
  }
  Entry& first = *claim.waiting.begin()->second;
  // At most one of those that wait is in a lane: the one that was first until now is the first or the second.
  const auto second = std::next(claim.waiting.begin());
  if (second != claim.waiting.end() && second->second->place == Place::kReady) {
    LeaveLane(*second->second);
    second->second->place = Place::kBehind;
  }
  const bool ready = IsFirst(first);
  if (ready && first.place == Place::kBehind) EnterLane(first);
  if (!ready && first.place == Place::kReady) {
    LeaveLane(first);
    first.place = Place::kBehind;
  }
}

// ---- Lanes ----

void JobQueue::EnterLane(Entry& entry) {
  const ActiveJob& job = entry.job;
  LaneKey key{entry.rank.below, job.terms.policy, job.repository, job.host};
  Lane& lane = lanes_[key];
  if (lane.jobs.empty()) {
    lane.key = key;
    hosts_[job.host].lanes[key] = &lane;
    policies_[job.terms.policy].lanes[key] = &lane;
  }
  lane.jobs[entry.rank] = &entry;
  entry.lane = &lane;
  entry.place = Place::kReady;
  hosts_[job.host].has_unreported = true;
  Index(lane);
}

void JobQueue::LeaveLane(Entry& entry) {
  Lane& lane = *std::exchange(entry.lane, nullptr);
  lane.jobs.erase(entry.rank);
  Index(lane);
  if (!lane.jobs.empty()) return;
  const LaneKey key = lane.key;
  hosts_[key.host].lanes.erase(key);
  policies_[key.policy].lanes.erase(key);
  lanes_.erase(key);
}

bool JobQueue::HasRoom(const Lane& lane) const {
  const Host& host = hosts_.at(lane.key.host);
  if (!host.closed.empty() || IsReached(host.working, limits_.per_host_max)) return false;
  const auto of_policy = host.working_of.find(lane.key.policy);
  const int working = of_policy == host.working_of.end() ? 0 : of_policy->second;
  return !IsReached(working, policies_.at(lane.key.policy).host_jobs_max);
}

void JobQueue::Index(Lane& lane) {
  const LaneKey& key = lane.key;
  const bool open = !lane.jobs.empty() && HasRoom(lane);
  if (lane.indexed && open && lane.indexed_at == lane.jobs.begin()->first) return;
  if (lane.indexed) {
    OpenPolicies& policies = open_[key.below];
    auto& repositories = policies[key.policy];
    OpenLanes& lanes = repositories[key.repository];
    lanes.erase(lane.indexed_at);
    if (lanes.empty()) repositories.erase(key.repository);
    if (repositories.empty()) policies.erase(key.policy);
    if (policies.empty()) open_.erase(key.below);
  }
  lane.indexed = open;
  if (!open) return;
  lane.indexed_at = lane.jobs.begin()->first;
  open_[key.below][key.policy][key.repository][lane.indexed_at] = &lane;
}

void JobQueue::IndexHost(Host& host) {
  for (auto& [key, lane] : host.lanes) Index(*lane);
}

// ---- Which is next ----

bool JobQueue::IsFull(const RepositoryId& repository) const {
  const auto it = repositories_.find(repository);
  return it != repositories_.end() && IsReached(it->second, limits_.per_repository_max);
}

bool JobQueue::IsFull(const PolicyId& policy) const {
  const Policy& p = policies_.at(policy);
  return IsReached(p.working, p.jobs_max);
}

// Of equal ones the first name stays.
bool JobQueue::HasBetterClaim(const Policy& a, const Policy& b) {
  const int64_t share_a = int64_t{a.working} * b.weight;
  const int64_t share_b = int64_t{b.working} * a.weight;
  return share_a != share_b ? share_a < share_b : a.served < b.served;
}

JobQueue::Lane* JobQueue::FirstOf(const OpenPolicies& policies) const {
  Lane* best = nullptr;
  const Policy* best_policy = nullptr;
  for (const auto& [id, repositories] : policies) {
    const Policy& policy = policies_.at(id);
    if (IsFull(id) || (best != nullptr && !HasBetterClaim(policy, *best_policy))) continue;
    Lane* first = nullptr;
    for (const auto& [repository, lanes] : repositories) {
      if (IsFull(repository)) continue;
      Lane* lane = lanes.begin()->second;
      if (first == nullptr || lane->indexed_at < first->indexed_at) first = lane;
    }
    if (first == nullptr) continue;
    best = first;
    best_policy = &policy;
  }
  return best;
}

std::optional<JobId> JobQueue::Next() const {
  if (IsReached(agents_working_, limits_.jobs_max)) return std::nullopt;
  for (const auto& [below, policies] : open_) {
    if (const Lane* lane = FirstOf(policies)) return lane->jobs.begin()->second->job.id;
  }
  return std::nullopt;
}

void JobQueue::Served(const JobId& id) {
  if (const Entry* entry = Find(id)) policies_[entry->job.terms.policy].served = ++turn_;
}

std::optional<JobId> JobQueue::NextOwn(catalog::JobKind kind, absl::Time now) const {
  const auto it = own_.find(kind);
  if (it == own_.end()) return std::nullopt;
  for (const auto& [rank, entry] : it->second) {
    if (entry->begin <= now) return entry->job.id;
  }
  return std::nullopt;
}

// ---- Looking ----

const JobQueue::Entry* JobQueue::Find(const JobId& id) const {
  const auto it = entries_.find(id);
  return it == entries_.end() ? nullptr : it->second.get();
}

std::optional<JobId> JobQueue::HolderOf(const VmKey& vm) const {
  const auto it = claims_.find(vm);
  if (it == claims_.end() || it->second.holder == nullptr) return std::nullopt;
  return it->second.holder->job.id;
}

std::string JobQueue::WaitReason(const JobId& id, absl::Time now) const {
  const Entry* entry = Find(id);
  if (entry == nullptr || entry->place == Place::kWorking) return "";
  const ActiveJob& job = entry->job;
  if (job.next_attempt_time && *job.next_attempt_time > now) return "RETRY_LATER";
  if (entry->begin > now) return "NOT_DUE";
  if (job.host.empty()) return "";
  const Host& host = hosts_.at(job.host);
  const Policy& policy = policies_.at(job.terms.policy);
  if (!host.closed.empty()) return host.closed;
  if (entry->place == Place::kBehind) return "VM_BUSY";
  if (IsReached(host.working, limits_.per_host_max)) return "HOST_BUSY";
  const auto of_policy = host.working_of.find(job.terms.policy);
  const int on_host = of_policy == host.working_of.end() ? 0 : of_policy->second;
  if (IsFull(job.terms.policy) || IsReached(on_host, policy.host_jobs_max)) return "POLICY_BUSY";
  if (IsFull(job.repository)) return "REPOSITORY_BUSY";
  return IsReached(agents_working_, limits_.jobs_max) ? "DAEMON_BUSY" : "";
}

std::vector<JobId> JobQueue::MissedWindows(absl::Time now, size_t count_max) const {
  std::vector<JobId> missed;
  for (auto it = windows_.begin(); it != windows_.end() && it->first.first <= now && missed.size() < count_max; ++it) {
    missed.push_back(it->second->job.id);
  }
  return missed;
}

std::vector<std::pair<JobId, std::string>> JobQueue::Unreported(absl::Time now, absl::Duration grace,
                                                                size_t count_max) {
  std::vector<std::pair<JobId, std::string>> found;
  for (auto& [id, host] : hosts_) {
    if (host.closed_since == absl::InfinitePast()) host.closed_since = now;  // first heard of by its jobs
    if (host.closed.empty() || !host.has_unreported || now - host.closed_since < grace) continue;
    host.has_unreported = false;
    for (const auto& [key, lane] : host.lanes) {
      for (const auto& [rank, entry] : lane->jobs) {
        if (entry->job.wait_reason == host.closed) continue;
        if (found.size() >= count_max) {
          host.has_unreported = true;
          return found;
        }
        found.emplace_back(entry->job.id, host.closed);
      }
    }
  }
  return found;
}

absl::Time JobQueue::NextTime() const {
  absl::Time next = absl::InfiniteFuture();
  if (!timed_.empty()) next = timed_.begin()->first.first;
  if (!windows_.empty()) next = std::min(next, windows_.begin()->first.first);
  return next;
}

std::vector<ActiveJob> JobQueue::Working() const {
  std::vector<ActiveJob> jobs;
  for (const auto& [number, entry] : working_) jobs.push_back(entry->job);
  return jobs;
}

std::vector<ActiveJob> JobQueue::Cancelling() const {
  std::vector<ActiveJob> jobs;
  for (const auto& [number, entry] : cancelling_) jobs.push_back(entry->job);
  return jobs;
}

int JobQueue::WorkingOn(const HostId& host) const {
  const auto it = hosts_.find(host);
  return it == hosts_.end() ? 0 : it->second.working;
}

std::vector<JobId> JobQueue::JobsOf(const HostId& host) const {
  const auto it = hosts_.find(host);
  if (it == hosts_.end()) return {};
  return {it->second.jobs.begin(), it->second.jobs.end()};
}

}  // namespace umbra::jobs
