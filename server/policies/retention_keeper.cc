#include "server/policies/retention_keeper.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "server/maintenance/rebuild.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::policies {
namespace {

constexpr int kEventsPerRead = 1000;
constexpr int kSubjectsPerRead = 500;
constexpr char kPointCreated[] = "RECOVERY_POINT_CREATED";
constexpr std::string_view kPointPrefix = "recoveryPoints/";
constexpr char kRequester[] = "retention";

std::vector<retention::Point> ToPoints(const std::vector<catalog::PolicyStore::PointFacts>& facts, absl::Time now) {
  std::vector<retention::Point> points;
  for (const auto& f : facts) {
    points.push_back({f.id.value, f.point_time, !f.damaged, f.held, f.lock_until && *f.lock_until > now});
  }
  return points;
}

}  // namespace

absl::StatusOr<std::vector<retention::Verdict>> DecideFor(catalog::Catalog& catalog, const PolicySet& set,
                                                          const catalog::Subject& subject, absl::Time now,
                                                          const retention::RuleSet* instead) {
  std::map<catalog::RepositoryId, std::vector<retention::RuleSet>> rules;
  for (const CompiledPolicy* policy : set.Covering(subject)) {
    const bool tried = instead != nullptr && instead->policy == policy->record().id.value;
    rules[policy->record().repository].push_back(tried ? *instead : policy->Rules());
  }
  std::vector<retention::Verdict> verdicts;
  for (const auto& [repository, sets] : rules) {
    ASSIGN_OR_RETURN(const auto facts, catalog.Read([&, id = repository](const catalog::Stores& s) {
      return s.policies.PointsOf(subject.key, id);
    }));
    for (retention::Verdict& verdict : retention::Decide(ToPoints(facts, now), sets))
      verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

void RetentionKeeper::Start() {
  subscription_ = events_.Subscribe([this] {
    absl::MutexLock lock(&mu_);
    awake_ = true;
  });
  thread_ = threads_.Start([this] { Loop(); });
}

void RetentionKeeper::Stop() {
  subscription_.Cancel();
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    awake_ = true;
  }
  thread_.reset();
}

void RetentionKeeper::Loop() {
  absl::Duration sweep_at = clock_.Monotonic();
  while (true) {
    const bool sweep = clock_.Monotonic() >= sweep_at;
    if (sweep) sweep_at = clock_.Monotonic() + kSweepInterval;
    const absl::StatusOr<int64_t> removed = sweep ? Sweep() : FollowEvents();
    if (!removed.ok()) base::Log("policies")->warn("retention not applied error={}", base::Describe(removed.status()));
    absl::MutexLock lock(&mu_);
    clock_.AwaitFor(mu_, absl::Condition(&awake_), std::max(sweep_at - clock_.Monotonic(), absl::ZeroDuration()));
    if (stopping_) return;
    awake_ = false;
  }
}

absl::StatusOr<int64_t> RetentionKeeper::Sweep() {
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  int64_t removed = 0;
  catalog::ListOptions<catalog::VmKey> options{.page_size = kSubjectsPerRead};
  while (true) {
    ASSIGN_OR_RETURN(const auto page,
                     catalog_.Read([&](const catalog::Stores& s) { return s.policies.PointSubjects(options); }));
    for (const catalog::Subject& subject : page.items) {
      {
        absl::MutexLock lock(&mu_);
        if (stopping_) return removed;
      }
      ASSIGN_OR_RETURN(const int64_t count, Apply(set, subject));
      removed += count;
    }
    if (!page.next_key) return removed;
    options.after_key = page.next_key;
  }
}

absl::StatusOr<int64_t> RetentionKeeper::FollowEvents() {
  std::map<catalog::VmKey, catalog::Subject> subjects;
  while (true) {
    const catalog::ListOptions<int64_t> options{.page_size = kEventsPerRead, .after_key = last_event_};
    ASSIGN_OR_RETURN(const auto page,
                     catalog_.Read([&](const catalog::Stores& s) { return s.events.List("", options); }));
    for (const catalog::Event& event : page.items) {
      last_event_ = event.sequence;
      if (event.type != kPointCreated || !event.resource.starts_with(kPointPrefix)) continue;
      const catalog::RecoveryPointId id(event.resource.substr(kPointPrefix.size()));
      const auto point = catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); });
      if (absl::IsNotFound(point.status())) continue;
      RETURN_IF_ERROR(point.status());
      const auto host = catalog_.Read([&](const catalog::Stores& s) { return s.hosts.Get(point->vm.host); });
      subjects[point->vm] = {point->vm, point->vm_display_name, host.ok() ? host->display_name : ""};
    }
    if (!page.next_key) break;
  }
  if (subjects.empty()) return 0;
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  int64_t removed = 0;
  for (const auto& [key, subject] : subjects) {
    ASSIGN_OR_RETURN(const int64_t count, Apply(set, subject));
    removed += count;
  }
  return removed;
}

absl::StatusOr<int64_t> RetentionKeeper::Apply(const PolicySet& set, const catalog::Subject& subject) {
  ASSIGN_OR_RETURN(const auto verdicts, DecideFor(catalog_, set, subject, clock_.Now()));
  int64_t removed = 0;
  for (const retention::Verdict& verdict : verdicts) {
    if (verdict.keeps()) continue;
    const absl::Status status = Remove(catalog::RecoveryPointId(verdict.id));
    if (status.ok()) {
      ++removed;
    } else {
      // A hold or a lock that came meanwhile, a repository that is read only: the next time.
      base::Log("policies")->warn("recovery point not removed point={} error={}", verdict.id, base::Describe(status));
    }
  }
  return removed;
}

// The repository is the truth: a crash after it is put right by the next start.
absl::Status RetentionKeeper::Remove(const catalog::RecoveryPointId& id) {
  ASSIGN_OR_RETURN(const catalog::RecoveryPoint point,
                   catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); }));
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* open, repositories_.Find(point.repository));
  ASSIGN_OR_RETURN(const repo::PointProtection now,
                   open->repository->RemoveRecoveryPoint(id.value, {kRequester, undelete_window_}));
  const catalog::RecoveryPointProtection protection = maintenance::ToRecord(now);
  return catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.recovery_points.SetProtection(id, protection));
    return s.events
        .Append({.time = clock_.Now(),
                 .type = "RECOVERY_POINT_REMOVED",
                 .resource = fmt::format("{}{}", kPointPrefix, id),
                 .severity = catalog::Severity::kInfo,
                 .message = fmt::format("recovery point {} of {}, by retention", id, point.vm_display_name)})
        .status();
  });
}

}  // namespace umbra::policies
