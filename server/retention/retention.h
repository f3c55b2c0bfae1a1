// Which recovery points of one virtual machine stay, and why. Pure: a list and rules in, a verdict for each point out.
//
// Rules only ever keep; a point goes when no rule of any policy keeps it. So a higher count, another rule or another
// policy never removes more, and applying the same rules again to what was kept removes nothing.
#ifndef UMBRA_SERVER_RETENTION_RETENTION_H_
#define UMBRA_SERVER_RETENTION_RETENTION_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace umbra::retention {

// Counts of 0 keep nothing. Of each hour, day, ISO week (from Monday), month or year that has points, the newest point
// is kept, for as many of the newest such periods as the count says; periods without a point don't count.
struct Rules {
  int32_t last = 0;  // the newest points
  int32_t hourly = 0;
  int32_t daily = 0;
  int32_t weekly = 0;
  int32_t monthly = 0;
  int32_t yearly = 0;
  // Everything not older than this, counted back from the newest point, not from now: when backups stop, nothing goes.
  absl::Duration within = absl::ZeroDuration();

  // Without any rule everything stays.
  bool KeepsAll() const {
    return last <= 0 && hourly <= 0 && daily <= 0 && weekly <= 0 && monthly <= 0 && yearly <= 0 &&
           within <= absl::ZeroDuration();
  }
  bool operator==(const Rules&) const = default;
};

// One policy's rules and the zone in which its hours and days are.
struct RuleSet {
  std::string policy;  // for the reasons; empty: they name none
  Rules rules;
  absl::TimeZone zone;
};

struct Point {
  std::string id;
  absl::Time time;
  // Nothing is known to be damaged. Damaged points count beside the good ones, never in their place.
  bool good = true;
  bool held = false;
  bool locked = false;
};

struct Verdict {
  std::string id;
  absl::Time time;
  // Why it stays, such as "nightly: daily 3 of 7 (2026-11-24)", "held", "newest good point". Empty: it goes.
  std::vector<std::string> kept_by;

  bool keeps() const { return !kept_by.empty(); }
};

// One verdict for each point, newest first; of the same time, greatest id first. `points` may come in any order.
// Without any rule set, and with one that keeps all, everything stays. The newest good point stays in any case; when
// none is good, the newest.
std::vector<Verdict> Decide(std::span<const Point> points, std::span<const RuleSet> sets);

// Walks from the newest point back in time, for whoever could have very many points: says which of them may be kept at
// all, so that no others need to be looked for. What Decide keeps of all points, and why, it keeps of those that a walk
// goes to. One thread.
class Walk {
 public:
  explicit Walk(const RuleSet& set) : set_(set) {}

  // `point` is there: the newest one before the time that was returned the last time, at first the newest of all.
  // Returns the time before which the next one is to be looked for; absent: nothing would keep an older one.
  std::optional<absl::Time> Before(absl::Time point);

 private:
  static constexpr size_t kPeriodRuleCount = 5;

  const RuleSet set_;
  std::optional<absl::Time> newest_;
  int32_t seen_ = 0;
  int32_t periods_[kPeriodRuleCount] = {};            // that had a point
  std::optional<int64_t> current_[kPeriodRuleCount];  // the last of them
};

}  // namespace umbra::retention

#endif  // UMBRA_SERVER_RETENTION_RETENTION_H_
