// Sends queued messages, again and again with growing pauses until they are taken, for a day. At least once: an attempt
// whose end wasn't written down is repeated, with the same id.
#ifndef UMBRA_SERVER_NOTIFICATIONS_SENDER_H_
#define UMBRA_SERVER_NOTIFICATIONS_SENDER_H_

#include <stop_token>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/notifications/channel.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::notifications {

inline constexpr absl::Duration kBackoffFirst = absl::Seconds(30);
inline constexpr absl::Duration kBackoffMax = absl::Minutes(30);
inline constexpr absl::Duration kGiveUpAfter = absl::Hours(24);
// Messages that ended are remembered this long.
inline constexpr absl::Duration kDeliveriesKeptFor = absl::Hours(24 * 30);

// How long to wait after the attempt of this number, from 1: doubled each time.
absl::Duration BackoffAfter(int attempts);

// One thread at a time. What it is given outlives it.
class Sender {
 public:
  Sender(catalog::Catalog& catalog, base::Clock& clock, ChannelMaker make_channel)
      : catalog_(catalog), clock_(clock), make_channel_(std::move(make_channel)) {}

  struct Ticked {
    absl::Duration wait;  // nothing more is due for so long; at most kSendAgain
    int attempts = 0;
  };
  // Sends what is due. Blocks as long as the attempts take, about a second when `stop` is asked for.
  absl::StatusOr<Ticked> Tick(std::stop_token stop);

 private:
  absl::Status Send(catalog::Delivery delivery, std::stop_token stop);
  absl::Status Attempt(const catalog::Delivery& delivery, std::stop_token stop);
  // Writes down how the attempt ended.
  absl::Status Record(catalog::Delivery& delivery, const absl::Status& sent);
  absl::Status GiveUp(catalog::Stores& stores, const catalog::Delivery& delivery);

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  const ChannelMaker make_channel_;
  absl::Time pruned_ = absl::InfinitePast();
};

// The queue is looked at this often at least.
inline constexpr absl::Duration kSendAgain = absl::Seconds(20);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_SENDER_H_
