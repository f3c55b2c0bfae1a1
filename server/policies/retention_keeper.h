// Applies retention: removes the recovery points that no rule of any policy keeps, as a person would remove them, so
// that they can be undeleted for a while. After each new recovery point of what it is of; of everything after a change
// of a policy, and now and then.
//
// The rules of every policy that selects a machine speak for all of its points in the policy's repository, whoever
// asked for them; what no policy selects keeps all (docs/adr/0041).
#ifndef UMBRA_SERVER_POLICIES_RETENTION_KEEPER_H_
#define UMBRA_SERVER_POLICIES_RETENTION_KEEPER_H_

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/jobs/event_hub.h"
#include "server/maintenance/repository_set.h"
#include "server/policies/policy_set.h"
#include "storage/base/clock.h"
#include "storage/base/ticker.h"
#include "storage/catalog/catalog.h"

namespace umbra::policies {

inline constexpr absl::Duration kSweepInterval = absl::Hours(6);

// What would become of the points of `subject` in the repository of each policy that selects it. `instead`, when given,
// stands for the rules of the policy of its name. Points in repositories of no such policy have no verdict.
absl::StatusOr<std::vector<retention::Verdict>> DecideFor(catalog::Catalog& catalog, const PolicySet& set,
                                                          const catalog::Subject& subject, absl::Time now,
                                                          const retention::RuleSet* instead = nullptr);

// Thread-safe. What it is given outlives it.
class RetentionKeeper {
 public:
  // A removed point can be undeleted for `undelete_window`.
  RetentionKeeper(catalog::Catalog& catalog, jobs::EventHub& events, const maintenance::RepositorySet& repositories,
                  base::Clock& clock, absl::Duration undelete_window, base::Threads& threads = base::SystemThreads())
      : catalog_(catalog),
        events_(events),
        repositories_(repositories),
        clock_(clock),
        undelete_window_(undelete_window),
        last_event_(events.Newest()),
        ticker_(clock, threads, [this] { return Work(); }) {}
  ~RetentionKeeper() { Stop(); }
  RetentionKeeper(const RetentionKeeper&) = delete;
  RetentionKeeper& operator=(const RetentionKeeper&) = delete;

  // Begins, by a thread of its own, with everything.
  void Start();
  void Stop();

  // Applies the rules to everything that has points; returns how many were removed. Both are for the thread, and for
  // tests.
  absl::StatusOr<int64_t> Sweep();
  // To what has got points since the last call, or to everything when policies changed since then.
  absl::StatusOr<int64_t> FollowEvents();

 private:
  // What is due; how long nothing will be.
  absl::Duration Work();
  // What events since the last call are about.
  struct News {
    std::set<catalog::VmKey> with_points;
    bool policies = false;
  };
  absl::StatusOr<News> ReadEvents();
  absl::StatusOr<int64_t> Apply(const PolicySet& set, const catalog::Subject& subject);
  absl::Status Remove(const catalog::RecoveryPointId& id);

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  const maintenance::RepositorySet& repositories_;
  base::Clock& clock_;
  const absl::Duration undelete_window_;
  // Used by one thread at a time.
  int64_t last_event_;  // looked at
  absl::Duration sweep_at_ = -absl::InfiniteDuration();

  base::Ticker ticker_;
  jobs::Subscription subscription_;  // wakes the ticker
};

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_RETENTION_KEEPER_H_
