// The book of what is wrong: enters changes, and what each channel has to be told of them, into the catalog, in the
// caller's transaction.
#ifndef UMBRA_SERVER_NOTIFICATIONS_LEDGER_H_
#define UMBRA_SERVER_NOTIFICATIONS_LEDGER_H_

#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/notifications/change.h"
#include "storage/catalog/catalog.h"

namespace umbra::notifications {

// Most causes that wait for one channel; more are only counted.
inline constexpr int64_t kWaitingMax = 10'000;

// Lives as long as one transaction. `open` mirrors the catalog: when the transaction fails it must be read anew.
class Ledger {
 public:
  // `channels` as the transaction finds them; their counts of what overflowed are kept up to date, and written.
  Ledger(catalog::Stores& stores, std::vector<catalog::Channel>& channels, OpenConditions& open, absl::Time now)
      : stores_(stores), channels_(channels), open_(open), now_(now) {}

  absl::Status Enter(const Change& change);
  // Tells of those whose grace is over, at most `limit`; returns how many. `Enter` doesn't tell by itself.
  absl::StatusOr<int> TellWhatIsDue(int limit);
  // Writes what was only counted. Last in the transaction.
  absl::Status Finish();

 private:
  absl::Status Begin(const Change& change);
  absl::Status End(const Change& change);
  // Puts it to what waits for every channel that wants it.
  absl::Status Tell(const catalog::WaitingNotice& notice, NoticeChange change, absl::Time told);
  absl::Status TellOne(catalog::Channel& channel, catalog::WaitingNotice notice, NoticeChange change);
  // Whether one more may wait; counts it.
  absl::StatusOr<bool> MakeRoom(catalog::Channel& channel);

  catalog::Stores& stores_;
  std::vector<catalog::Channel>& channels_;
  OpenConditions& open_;
  const absl::Time now_;
  std::map<catalog::ChannelId, int64_t> waiting_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_LEDGER_H_
