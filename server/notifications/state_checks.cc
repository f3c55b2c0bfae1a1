#include "server/notifications/state_checks.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "server/policies/coverage.h"
#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr int kRowsPerRead = 1000;
constexpr absl::Duration kEveryMinute = absl::Minutes(1);
// Walks over the whole inventory, or over a repository's index.
constexpr absl::Duration kEveryFiveMinutes = absl::Minutes(5);
constexpr int kHysteresisPercent = 2;

using Findings = std::vector<Finding>;
using IsOpen = StateCheck::IsOpen;

std::string AgeText(std::optional<absl::Time> last_good, absl::Time now) {
  if (!last_good) return "there is no good recovery point";
  return fmt::format("the newest good recovery point is {} old",
                     absl::FormatDuration(absl::Trunc(now - *last_good, absl::Minutes(1))));
}

absl::StatusOr<Findings> MissedPromises(const StateSources& sources) {
  ASSIGN_OR_RETURN(const auto set, policies::PolicySet::Load(sources.catalog));
  Findings findings;
  if (std::ranges::none_of(set.All(), [](const auto& p) { return p.record().rpo > absl::ZeroDuration(); })) {
    return findings;
  }
  const absl::Time now = sources.clock.Now();
  catalog::ListOptions<catalog::VmKey> options{.page_size = kRowsPerRead};
  while (true) {
    ASSIGN_OR_RETURN(const auto page,
                     policies::ListCoverage(sources.catalog, set, policies::CoverageFilter::kRpoMissed, now, options));
    for (const policies::CoverageEntry& entry : page.items) {
      const absl::Duration rpo = entry.rpo.value_or(absl::ZeroDuration());
      // A machine that has just joined has the promised time for its first backup.
      findings.push_back({SubjectOf(entry.subject.key), entry.subject.display_name,
                          fmt::format("{}, promised are {}", AgeText(entry.last_good, now), absl::FormatDuration(rpo)),
                          entry.last_good ? absl::ZeroDuration() : rpo});
    }
    if (!page.next_key) return findings;
    options.after_key = page.next_key;
  }
}

absl::StatusOr<Findings> OfflineAgents(const StateSources& sources, const IsOpen& is_open) {
  const auto online_list = sources.agents.Online();
  const absl::flat_hash_set<catalog::HostId> online(online_list.begin(), online_list.end());
  Findings findings;
  catalog::ListOptions<catalog::HostId> options{.page_size = kRowsPerRead};
  while (true) {
    ASSIGN_OR_RETURN(const auto page,
                     sources.catalog.Read([&](const catalog::Stores& s) { return s.hosts.List(options); }));
    for (const catalog::Host& host : page.items) {
      const std::string subject = fmt::format("hosts/{}", host.id);
      // Maintenance begins with a restart more often than not; what was told before is not over by it.
      if (online.contains(host.id) || (host.drained && !is_open(subject))) continue;
      findings.push_back({subject, host.display_name,
                          fmt::format("its agent was last heard of at {}",
                                      absl::FormatTime("%Y-%m-%d %H:%M UTC", host.last_seen_time, absl::UTCTimeZone())),
                          RuleOf(NoticeTopic::kAgentOffline).grace});
    }
    if (!page.next_key) return findings;
    options.after_key = page.next_key;
  }
}

absl::StatusOr<Findings> FullRepositories(const StateSources& sources, int percent, const IsOpen& is_open) {
  Findings findings;
  if (percent == 0) return findings;
  for (const maintenance::OpenRepository& open : sources.repositories.All()) {
    ASSIGN_OR_RETURN(const repo::RepositoryStats stats, open.repository->Stats());
    const std::string subject = fmt::format("repositories/{}", open.id);
    const int limit = is_open(subject) ? percent + kHysteresisPercent : percent;
    const double whole = static_cast<double>(stats.stored_bytes) + static_cast<double>(stats.free_bytes);
    if (static_cast<double>(stats.free_bytes) * 100 >= whole * limit) continue;
    findings.push_back({subject, fmt::format("repository {}", open.id),
                        fmt::format("{} are free where {} are stored", base::FormatSize(stats.free_bytes),
                                    base::FormatSize(stats.stored_bytes)),
                        absl::ZeroDuration()});
  }
  return findings;
}

struct DamagedPoint {
  int64_t places = 0;
  int64_t bytes = 0;
  std::string first;
};

std::string TitleOfPoint(catalog::Catalog& catalog, const catalog::RecoveryPointId& id) {
  const auto point = catalog.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); });
  if (!point.ok()) return fmt::format("recovery point {}", id);
  return fmt::format("{}, recovery point of {}", point->vm_display_name,
                     absl::FormatTime("%Y-%m-%d %H:%M UTC", point->point_time, absl::UTCTimeZone()));
}

absl::StatusOr<Findings> KnownDamage(const StateSources& sources, const IsOpen& is_open) {
  Findings findings;
  for (const maintenance::OpenRepository& open : sources.repositories.All()) {
    ASSIGN_OR_RETURN(const auto damages,
                     sources.catalog.Read([&](const catalog::Stores& s) { return s.verify.OpenDamage(open.id); }));
    std::map<catalog::RecoveryPointId, DamagedPoint> points;
    for (const catalog::Damage& damage : damages) {
      DamagedPoint& point = points[damage.recovery_point];
      if (point.places++ == 0) point.first = damage.message;
      point.bytes += damage.length_bytes;
    }
    for (const auto& [id, point] : points) {
      const std::string subject =
          id.empty() ? fmt::format("repositories/{}", open.id) : fmt::format("recoveryPoints/{}", id);
      std::string title = fmt::format("repository {}", open.id);
      // Only what is new is told, and needs a name.
      if (!id.empty() && !is_open(subject)) title = TitleOfPoint(sources.catalog, id);
      findings.push_back(
          {subject, std::move(title),
           fmt::format("{} damaged places with {} bytes; first: {}", point.places, point.bytes, point.first),
           absl::ZeroDuration()});
    }
  }
  return findings;
}

}  // namespace

std::string KeyOf(NoticeTopic topic, const std::string& subject) {
  return fmt::format("{}:{}", WordOf(topic), subject);
}

std::vector<StateCheck> MakeStateChecks(const StateSources& sources, int repository_free_percent) {
  return {
      {NoticeTopic::kRpoMissed, kEveryFiveMinutes, [sources](const IsOpen&) { return MissedPromises(sources); }},
      {NoticeTopic::kAgentOffline, kEveryMinute,
       [sources](const IsOpen& is_open) { return OfflineAgents(sources, is_open); }},
      {NoticeTopic::kRepositoryNearlyFull, kEveryFiveMinutes,
       [sources, repository_free_percent](const IsOpen& is_open) {
         return FullRepositories(sources, repository_free_percent, is_open);
       }},
      {NoticeTopic::kDamage, kEveryMinute, [sources](const IsOpen& is_open) { return KnownDamage(sources, is_open); }},
  };
}

}  // namespace umbra::notifications
