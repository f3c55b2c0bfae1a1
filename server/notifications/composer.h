// Finds out what is wrong and what is over, and makes messages of it: follows the events by their numbers, looks at
// states now and then, groups what belongs to one moment, keeps to each channel's rate, makes digests.
//
// Everything that it knows is in the catalog: the number of the last event that changed something, open conditions,
// what waits for each channel, messages that wait to be sent. Each step is one transaction, so that a daemon that dies
// at any point loses nothing and tells nothing twice.
#ifndef UMBRA_SERVER_NOTIFICATIONS_COMPOSER_H_
#define UMBRA_SERVER_NOTIFICATIONS_COMPOSER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/notifications/change.h"
#include "server/notifications/ledger.h"
#include "server/notifications/message.h"
#include "server/notifications/state_checks.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"

namespace umbra::notifications {

// Due times are looked for at least this often: the clock may have been set, the machine may have slept.
inline constexpr absl::Duration kLookAgain = absl::Seconds(20);

// Thread-safe. What it is given outlives it.
class Composer {
 public:
  // `daemon`: the machine's name in messages.
  Composer(catalog::Catalog& catalog, base::Clock& clock, base::Random& random, std::vector<StateCheck> checks,
           std::string daemon);

  // Does what there is to do now; returns how long nothing more will be (unless something happens), at most kLookAgain.
  absl::StatusOr<absl::Duration> Tick() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Check {
    StateCheck check;
    absl::Duration due;  // on the monotonic clock
  };

  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Without a channel nobody is told: what happens meanwhile is skipped.
  absl::Status StandBy() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status FollowEvents() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status LookAtStates() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Look(const StateCheck& check) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Enters changes in bounded transactions; with the last one, that events up to `cursor` are done with.
  absl::Status Enter(const std::vector<Change>& changes, std::optional<int64_t> cursor)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status TellWhatIsDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // `work` in one transaction, with a ledger of what is open that is finished after it.
  absl::Status InLedger(absl::FunctionRef<absl::Status(catalog::Stores&, Ledger&)> work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Each makes a message when one is due; returns when the next could be.
  absl::StatusOr<absl::Time> ComposeNotices(const catalog::ChannelId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<absl::Time> ComposeDigest(const catalog::Channel& channel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteNotices(catalog::Stores& stores, catalog::Channel channel, absl::Time now, bool held_back);
  // Of `facts` all but the jobs are there.
  absl::Status WriteDigest(catalog::Stores& stores, catalog::Channel channel, DigestFacts facts, absl::Time now);
  Envelope NewEnvelope(const catalog::Channel& channel, absl::Time now);
  absl::Duration WaitFrom(absl::Time now, absl::Time next) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  base::Random& random_;
  const std::string daemon_;

  absl::Mutex mu_;  // one tick at a time
  std::vector<Check> checks_ ABSL_GUARDED_BY(mu_);
  bool loaded_ ABSL_GUARDED_BY(mu_) = false;
  OpenConditions open_ ABSL_GUARDED_BY(mu_);  // as in the catalog, while loaded_
  int64_t cursor_ ABSL_GUARDED_BY(mu_) = 0;   // events up to it are done with
  int64_t stored_cursor_ ABSL_GUARDED_BY(mu_) = 0;
};

// A message that is new, for the queue.
catalog::Delivery NewDelivery(const catalog::Channel& channel, catalog::DeliveryKind kind, const Envelope& envelope,
                              Rendered rendered);

// Of the channel's messages; UTC when its zone isn't known on this machine any more.
absl::TimeZone ZoneOf(const catalog::Channel& channel);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_COMPOSER_H_
