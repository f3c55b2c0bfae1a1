#include "server/policies/retention_keeper.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "server/maintenance/protection.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::policies {
namespace {

constexpr int kEventsPerRead = 1000;
constexpr int kSubjectsPerRead = 500;
constexpr char kPointCreated[] = "RECOVERY_POINT_CREATED";
constexpr std::string_view kPointPrefix = "recoveryPoints/";
constexpr char kRequester[] = "retention";
// After an error of the catalog.
constexpr absl::Duration kTryAgain = absl::Minutes(1);

// After such an event another rule may speak for any point.
bool ChangesRules(const std::string& event_type) {
  return event_type == "POLICY_CREATED" || event_type == "POLICY_UPDATED" || event_type == "POLICY_DELETED";
}

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
  subscription_ = events_.Subscribe([this] { ticker_.Wake(); });
  ticker_.Start();
}

void RetentionKeeper::Stop() {
  subscription_.Cancel();
  ticker_.Stop();
}

absl::Duration RetentionKeeper::Work() {
  const absl::Duration now = clock_.Monotonic();
  const bool sweep = now >= sweep_at_;
  if (sweep) sweep_at_ = now + kSweepInterval;
  const absl::StatusOr<int64_t> removed = sweep ? Sweep() : FollowEvents();
  if (!removed.ok()) {
    base::Log("policies")->warn("retention not applied error={}", base::Describe(removed.status()));
    sweep_at_ = now + kTryAgain;
  }
  return sweep_at_ - clock_.Monotonic();
}

absl::StatusOr<int64_t> RetentionKeeper::Sweep() {
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  int64_t removed = 0;
  catalog::ListOptions<catalog::VmKey> options{.page_size = kSubjectsPerRead};
  while (true) {
    ASSIGN_OR_RETURN(const auto page,
                     catalog_.Read([&](const catalog::Stores& s) { return s.policies.PointSubjects(options); }));
    for (const catalog::Subject& subject : page.items) {
      if (ticker_.stopping()) return removed;
      ASSIGN_OR_RETURN(const int64_t count, Apply(set, subject));
      removed += count;
    }
    if (!page.next_key) return removed;
    options.after_key = page.next_key;
  }
}

absl::StatusOr<RetentionKeeper::News> RetentionKeeper::ReadEvents() {
  News news;
  while (true) {
    const catalog::ListOptions<int64_t> options{.page_size = kEventsPerRead, .after_key = last_event_};
    ASSIGN_OR_RETURN(const auto page,
                     catalog_.Read([&](const catalog::Stores& s) { return s.events.List("", options); }));
    for (const catalog::Event& event : page.items) {
      last_event_ = event.sequence;
      news.policies = news.policies || ChangesRules(event.type);
      if (event.type != kPointCreated || !event.resource.starts_with(kPointPrefix)) continue;
      const catalog::RecoveryPointId id(event.resource.substr(kPointPrefix.size()));
      const auto point = catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); });
      if (absl::IsNotFound(point.status())) continue;
      RETURN_IF_ERROR(point.status());
      news.with_points.insert(point->vm);
    }
    if (!page.next_key) return news;
  }
}

absl::StatusOr<int64_t> RetentionKeeper::FollowEvents() {
  ASSIGN_OR_RETURN(const News news, ReadEvents());
  if (news.policies) return Sweep();
  if (news.with_points.empty()) return 0;
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  int64_t removed = 0;
  for (const catalog::VmKey& key : news.with_points) {
    ASSIGN_OR_RETURN(const catalog::Subject subject,
                     catalog_.Read([&](const catalog::Stores& s) { return s.policies.PointSubject(key); }));
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

absl::Status RetentionKeeper::Remove(const catalog::RecoveryPointId& id) {
  const auto change = [&](repo::Repository& repository, const std::string& point) {
    return repository.RemoveRecoveryPoint(point, {kRequester, undelete_window_});
  };
  return maintenance::ChangeProtection(catalog_, repositories_, clock_, id,
                                       {change, "RECOVERY_POINT_REMOVED", kRequester})
      .status();
}

}  // namespace umbra::policies
