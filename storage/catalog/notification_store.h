// Notifications: channels, what is wrong, what waits to be told, messages and their delivery. Used inside Catalog::Read
// and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_NOTIFICATION_STORE_H_
#define UMBRA_STORAGE_CATALOG_NOTIFICATION_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/notification_records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class NotificationStore {
 public:
  explicit NotificationStore(sqlite::Database& db) : db_(db) {}

  // ---- Channels ----

  // ALREADY_EXISTS / NOTIFICATION_CHANNEL_EXISTS.
  absl::Status Insert(const Channel& channel);
  // What it says: everything but id, create_time and the last three; raises the revision.
  // NOT_FOUND / NOTIFICATION_CHANNEL_NOT_FOUND.
  absl::Status Update(const Channel& channel);
  // With all that waits for it and its deliveries. NOT_FOUND / NOTIFICATION_CHANNEL_NOT_FOUND.
  absl::Status Delete(const ChannelId& id);
  absl::StatusOr<Channel> Get(const ChannelId& id) const;
  // Ordered by id; there are few.
  absl::StatusOr<std::vector<Channel>> All() const;
  // How far it is: digest_done, rate_used_to and overflow_count. No effect on a channel that is gone.
  absl::Status SetProgress(const Channel& channel);

  // ---- What is wrong ----

  // Ordered by key.
  absl::StatusOr<std::vector<NoticeCondition>> Conditions() const;
  // Replaces the one of this key.
  absl::Status PutCondition(const NoticeCondition& condition);
  absl::Status DeleteCondition(const std::string& key);

  // ---- What waits to be told ----

  // Ordered by time, then key.
  absl::StatusOr<std::vector<WaitingNotice>> Waiting(const ChannelId& channel) const;
  absl::StatusOr<std::optional<WaitingNotice>> FindWaiting(const ChannelId& channel, const std::string& key) const;
  struct WaitingFacts {
    int64_t count = 0;
    std::optional<absl::Time> oldest;
  };
  absl::StatusOr<WaitingFacts> FactsOfWaiting(const ChannelId& channel) const;
  // Replaces the one of this key.
  absl::Status PutWaiting(const ChannelId& channel, const WaitingNotice& notice);
  absl::Status ClearWaiting(const ChannelId& channel);

  // ---- Messages ----

  absl::Status InsertDelivery(const Delivery& delivery);
  // Queued ones of channels that aren't paused (tests go all the same), the longest due first.
  absl::StatusOr<std::vector<Delivery>> DueDeliveries(absl::Time now, int limit) const;
  // When the next of them is due; absent: none is queued.
  absl::StatusOr<std::optional<absl::Time>> NextAttempt() const;
  absl::StatusOr<bool> HasQueued(const ChannelId& channel, DeliveryKind kind) const;
  // Writes attempts, state, times and error. No effect when it's gone or ended.
  absl::Status SetDelivery(const Delivery& delivery);
  // NOT_FOUND / NOTIFICATION_NOT_FOUND.
  absl::StatusOr<Delivery> GetDelivery(const std::string& id) const;
  // Newest first, without text and json; of one channel when given. The key is the number.
  absl::StatusOr<Page<Delivery, int64_t>> ListDeliveries(const std::optional<ChannelId>& channel,
                                                         const ListOptions<int64_t>& options) const;
  // Forgets what ended before.
  absl::Status PruneDeliveries(absl::Time before);

  // ---- Where the reading of events has got to ----

  absl::StatusOr<std::optional<int64_t>> Cursor() const;
  absl::Status SetCursor(int64_t sequence);
  absl::Status ClearCursor();

  // Jobs that ended after `from`, not after `to`.
  absl::StatusOr<std::vector<EndedJobs>> JobsEnded(absl::Time from, absl::Time to) const;

 private:
  absl::Status WriteRecipients(const Channel& channel);
  absl::Status ReadRecipients(Channel& channel) const;

  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_NOTIFICATION_STORE_H_
