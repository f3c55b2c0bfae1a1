// How many messages a channel gets: so many an hour in the long run, a quarter of them at once. Pure; all that is
// remembered is one time (the generic cell rate algorithm, ITU-T I.371 annex A, in its virtual scheduling form).
#ifndef UMBRA_SERVER_NOTIFICATIONS_RATE_LIMIT_H_
#define UMBRA_SERVER_NOTIFICATIONS_RATE_LIMIT_H_

#include "absl/time/time.h"

namespace umbra::notifications {

class RateLimit {
 public:
  explicit RateLimit(int per_hour);

  int burst() const { return burst_; }
  absl::Duration interval() const { return interval_; }

  // From when the next message may go. `used_to` is what Use gave for the last one; before the first: any past time.
  absl::Time AllowedFrom(absl::Time used_to, absl::Time now) const;
  // A message goes now: what to remember.
  absl::Time Use(absl::Time used_to, absl::Time now) const;

 private:
  // A clock that was set back must not silence a channel.
  absl::Time Sane(absl::Time used_to, absl::Time now) const;

  absl::Duration interval_;
  int burst_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_RATE_LIMIT_H_
