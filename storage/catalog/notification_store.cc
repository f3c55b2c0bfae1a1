#include "storage/catalog/notification_store.h"

#include "storage/base/status.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define CHANNEL_COLUMNS                                                                                              \
  "id, description, kind, url, allow_plaintext, host, port, security, username, sender, secret, authority, topics, " \
  "digest_schedule, time_zone, grouping_window_us, messages_per_hour, paused, create_time_us, update_time_us, "      \
  "digest_done_us, rate_used_to_us, overflow_count, revision "

constexpr char kInsert[] = "INSERT INTO notification_channel (" CHANNEL_COLUMNS
                           ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)";
constexpr char kUpdate[] =
    "UPDATE notification_channel SET description = ?2, kind = ?3, url = ?4, allow_plaintext = ?5, host = ?6, port = "
    "?7, "
    "security = ?8, username = ?9, sender = ?10, secret = ?11, authority = ?12, topics = ?13, digest_schedule = ?14, "
    "time_zone = ?15, grouping_window_us = ?16, messages_per_hour = ?17, paused = ?18, update_time_us = ?19, "
    "revision = revision + 1 WHERE id = ?1";
constexpr char kDelete[] = "DELETE FROM notification_channel WHERE id = ?";
constexpr char kGet[] = "SELECT " CHANNEL_COLUMNS "FROM notification_channel WHERE id = ?";
constexpr char kAll[] = "SELECT " CHANNEL_COLUMNS "FROM notification_channel ORDER BY id";
constexpr char kSetProgress[] =
    "UPDATE notification_channel SET digest_done_us = ?2, rate_used_to_us = ?3, overflow_count = ?4 WHERE id = ?1";
constexpr char kDeleteRecipients[] = "DELETE FROM notification_recipient WHERE channel_id = ?";
constexpr char kInsertRecipient[] =
    "INSERT INTO notification_recipient (channel_id, position, address) VALUES (?, ?, ?)";
constexpr char kRecipients[] = "SELECT address FROM notification_recipient WHERE channel_id = ? ORDER BY position";

#define CONDITION_COLUMNS "key, topic, subject, title, message, since_us, due_us, last_us, times, told_us "
constexpr char kConditions[] = "SELECT " CONDITION_COLUMNS "FROM notice_condition ORDER BY key";
constexpr char kPutCondition[] =
    "INSERT OR REPLACE INTO notice_condition (" CONDITION_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kDeleteCondition[] = "DELETE FROM notice_condition WHERE key = ?";

#define WAITING_COLUMNS "key, topic, phase, subject, title, message, first_us, last_us, times "
constexpr char kWaiting[] = "SELECT " WAITING_COLUMNS "FROM notice_waiting WHERE channel_id = ? ORDER BY first_us, key";
constexpr char kFindWaiting[] = "SELECT " WAITING_COLUMNS "FROM notice_waiting WHERE channel_id = ? AND key = ?";
constexpr char kFactsOfWaiting[] = "SELECT COUNT(*), MIN(first_us) FROM notice_waiting WHERE channel_id = ?";
constexpr char kPutWaiting[] =
    "INSERT OR REPLACE INTO notice_waiting (channel_id, " WAITING_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kClearWaiting[] = "DELETE FROM notice_waiting WHERE channel_id = ?";

#define DELIVERY_COLUMNS                                                                                   \
  "d.number, d.id, d.channel_id, d.kind, d.state, d.title, d.notice_count, d.attempts, d.create_time_us, " \
  "d.next_attempt_us, d.end_time_us, d.error_reason, d.error_message"
constexpr char kInsertDelivery[] =
    "INSERT INTO notice_delivery (id, channel_id, kind, state, title, text, json, notice_count, attempts, "
    "create_time_us, "
    "next_attempt_us, end_time_us, error_reason, error_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
#define QUEUED                                                                                                         \
  "FROM notice_delivery AS d JOIN notification_channel AS c ON c.id = d.channel_id WHERE d.state = 1 AND (c.paused = " \
  "0 "                                                                                                                 \
  "OR d.kind = 3) "
constexpr char kDueDeliveries[] = "SELECT " DELIVERY_COLUMNS ", d.text, d.json " QUEUED
                                  "AND d.next_attempt_us <= ? ORDER BY d.next_attempt_us, d.number LIMIT ?";
constexpr char kNextAttempt[] = "SELECT MIN(d.next_attempt_us) " QUEUED;
constexpr char kHasQueued[] = "SELECT COUNT(*) FROM notice_delivery WHERE channel_id = ? AND kind = ? AND state = 1";
constexpr char kSetDelivery[] =
    "UPDATE notice_delivery SET state = ?2, attempts = ?3, next_attempt_us = ?4, end_time_us = ?5, error_reason = ?6, "
    "error_message = ?7 WHERE id = ?1 AND state = 1";
constexpr char kGetDelivery[] = "SELECT " DELIVERY_COLUMNS ", d.text, d.json FROM notice_delivery AS d WHERE d.id = ?";
constexpr char kListDeliveries[] =
    "SELECT " DELIVERY_COLUMNS " FROM notice_delivery AS d WHERE d.number < ? ORDER BY d.number DESC LIMIT ?";
constexpr char kListDeliveriesOf[] =
    "SELECT " DELIVERY_COLUMNS
    " FROM notice_delivery AS d WHERE d.channel_id = ? AND d.number < ? ORDER BY d.number DESC LIMIT ?";
constexpr char kPruneDeliveries[] = "DELETE FROM notice_delivery WHERE end_time_us < ?";

constexpr char kCursor[] = "SELECT sequence FROM notice_cursor WHERE id = 1";
constexpr char kSetCursor[] = "INSERT OR REPLACE INTO notice_cursor (id, sequence) VALUES (1, ?)";
constexpr char kClearCursor[] = "DELETE FROM notice_cursor";
constexpr char kJobsEnded[] =
    "SELECT kind + (prune <> 0) AS k, state, COUNT(*), SUM(new_bytes), SUM(stored_bytes) FROM job "
    "WHERE end_time_us > ? AND end_time_us <= ? GROUP BY k, state ORDER BY k, state";

int64_t MaskOf(const std::vector<NoticeTopic>& topics) {
  int64_t mask = 0;
  for (const NoticeTopic topic : topics) mask |= int64_t{1} << static_cast<int>(topic);
  return mask;
}

std::vector<NoticeTopic> TopicsOf(int64_t mask) {
  std::vector<NoticeTopic> topics;
  for (int i = static_cast<int>(NoticeTopic::kFailure); i <= static_cast<int>(NoticeTopic::kDigest); ++i) {
    if ((mask >> i & 1) != 0) topics.push_back(static_cast<NoticeTopic>(i));
  }
  return topics;
}

Channel ReadChannel(const sqlite::Row& row) {
  Channel c;
  c.id = ChannelId(row.Text(0));
  c.description = row.Text(1);
  c.kind = row.Enum<ChannelKind>(2);
  c.url = row.Text(3);
  c.allow_plaintext = row.Bool(4);
  c.host = row.Text(5);
  c.port = row.Int32(6);
  c.security = row.Enum<SmtpSecurity>(7);
  c.username = row.Text(8);
  c.sender = row.Text(9);
  c.secret = row.Text(10);
  c.authority = row.Text(11);
  c.topics = TopicsOf(row.Int(12));
  c.digest_schedule = row.Text(13);
  c.time_zone = row.Text(14);
  c.grouping_window = row.Duration(15);
  c.messages_per_hour = row.Int32(16);
  c.paused = row.Bool(17);
  c.create_time = row.Time(18);
  c.update_time = row.Time(19);
  c.digest_done = row.Time(20);
  c.rate_used_to = row.Time(21);
  c.overflow_count = row.Int(22);
  c.revision = row.Int(23);
  return c;
}

NoticeCondition ReadCondition(const sqlite::Row& row) {
  return {.key = row.Text(0),
          .topic = row.Enum<NoticeTopic>(1),
          .subject = row.Text(2),
          .title = row.Text(3),
          .message = row.Text(4),
          .since = row.Time(5),
          .due = row.Time(6),
          .last = row.Time(7),
          .times = row.Int(8),
          .told = row.OptionalTime(9)};
}

WaitingNotice ReadWaiting(const sqlite::Row& row) {
  return {.key = row.Text(0),
          .topic = row.Enum<NoticeTopic>(1),
          .phase = row.Enum<NoticePhase>(2),
          .subject = row.Text(3),
          .title = row.Text(4),
          .message = row.Text(5),
          .first = row.Time(6),
          .last = row.Time(7),
          .times = row.Int(8)};
}

Delivery ReadDelivery(const sqlite::Row& row) {
  return {.number = row.Int(0),
          .id = row.Text(1),
          .channel = ChannelId(row.Text(2)),
          .kind = row.Enum<DeliveryKind>(3),
          .state = row.Enum<DeliveryState>(4),
          .title = row.Text(5),
          .text = {},
          .json = {},
          .notice_count = row.Int(6),
          .attempts = row.Int32(7),
          .create_time = row.Time(8),
          .next_attempt = row.Time(9),
          .end_time = row.OptionalTime(10),
          .error = {row.Text(11), row.Text(12)}};
}

Delivery ReadWholeDelivery(const sqlite::Row& row) {
  Delivery delivery = ReadDelivery(row);
  delivery.text = row.Text(13);
  delivery.json = row.Text(14);
  return delivery;
}

absl::Status NotFound(const ChannelId& id) {
  return base::Error(absl::StatusCode::kNotFound, "NOTIFICATION_CHANNEL_NOT_FOUND", "no notification channel {}", id);
}

}  // namespace

absl::Status NotificationStore::Insert(const Channel& c) {
  const absl::Status inserted = db_.Run(
      kInsert, c.id.value, c.description, c.kind, c.url, c.allow_plaintext, c.host, c.port, c.security, c.username,
      c.sender, c.secret, c.authority, MaskOf(c.topics), c.digest_schedule, c.time_zone, c.grouping_window,
      c.messages_per_hour, c.paused, c.create_time, c.update_time, c.digest_done, c.rate_used_to, c.overflow_count);
  if (absl::IsAlreadyExists(inserted)) {
    return base::Error(absl::StatusCode::kAlreadyExists, "NOTIFICATION_CHANNEL_EXISTS",
                       "there is a notification channel {} already", c.id);
  }
  RETURN_IF_ERROR(inserted);
  return WriteRecipients(c);
}

absl::Status NotificationStore::Update(const Channel& c) {
  RETURN_IF_ERROR(db_.Run(kUpdate, c.id.value, c.description, c.kind, c.url, c.allow_plaintext, c.host, c.port,
                          c.security, c.username, c.sender, c.secret, c.authority, MaskOf(c.topics), c.digest_schedule,
                          c.time_zone, c.grouping_window, c.messages_per_hour, c.paused, c.update_time));
  if (db_.ChangedRows() == 0) return NotFound(c.id);
  RETURN_IF_ERROR(db_.Run(kDeleteRecipients, c.id.value));
  return WriteRecipients(c);
}

absl::Status NotificationStore::Delete(const ChannelId& id) {
  RETURN_IF_ERROR(db_.Run(kDelete, id.value));
  return db_.ChangedRows() == 0 ? NotFound(id) : absl::OkStatus();
}

absl::StatusOr<Channel> NotificationStore::Get(const ChannelId& id) const {
  std::optional<Channel> channel;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { channel = ReadChannel(row); }, id.value));
  if (!channel) return NotFound(id);
  RETURN_IF_ERROR(ReadRecipients(*channel));
  return *channel;
}

absl::StatusOr<std::vector<Channel>> NotificationStore::All() const {
  std::vector<Channel> channels;
  RETURN_IF_ERROR(db_.Query(kAll, [&](const sqlite::Row& row) { channels.push_back(ReadChannel(row)); }));
  for (Channel& channel : channels) RETURN_IF_ERROR(ReadRecipients(channel));
  return channels;
}

absl::Status NotificationStore::SetProgress(const Channel& c) {
  return db_.Run(kSetProgress, c.id.value, c.digest_done, c.rate_used_to, c.overflow_count);
}

absl::Status NotificationStore::WriteRecipients(const Channel& channel) {
  int position = 0;
  for (const std::string& address : channel.recipients) {
    RETURN_IF_ERROR(db_.Run(kInsertRecipient, channel.id.value, position++, address));
  }
  return absl::OkStatus();
}

absl::Status NotificationStore::ReadRecipients(Channel& channel) const {
  return db_.Query(
      kRecipients, [&](const sqlite::Row& row) { channel.recipients.push_back(row.Text(0)); }, channel.id.value);
}

absl::StatusOr<std::vector<NoticeCondition>> NotificationStore::Conditions() const {
  std::vector<NoticeCondition> conditions;
  RETURN_IF_ERROR(db_.Query(kConditions, [&](const sqlite::Row& row) { conditions.push_back(ReadCondition(row)); }));
  return conditions;
}

absl::Status NotificationStore::PutCondition(const NoticeCondition& c) {
  return db_.Run(kPutCondition, c.key, c.topic, c.subject, c.title, c.message, c.since, c.due, c.last, c.times, c.told);
}

absl::Status NotificationStore::DeleteCondition(const std::string& key) {
  return db_.Run(kDeleteCondition, key);
}

absl::StatusOr<std::vector<WaitingNotice>> NotificationStore::Waiting(const ChannelId& channel) const {
  std::vector<WaitingNotice> waiting;
  RETURN_IF_ERROR(db_.Query(
      kWaiting, [&](const sqlite::Row& row) { waiting.push_back(ReadWaiting(row)); }, channel.value));
  return waiting;
}

absl::StatusOr<std::optional<WaitingNotice>> NotificationStore::FindWaiting(const ChannelId& channel,
                                                                            const std::string& key) const {
  std::optional<WaitingNotice> found;
  RETURN_IF_ERROR(db_.Query(
      kFindWaiting, [&](const sqlite::Row& row) { found = ReadWaiting(row); }, channel.value, key));
  return found;
}

absl::StatusOr<NotificationStore::WaitingFacts> NotificationStore::FactsOfWaiting(const ChannelId& channel) const {
  WaitingFacts facts;
  RETURN_IF_ERROR(db_.Query(
      kFactsOfWaiting,
      [&](const sqlite::Row& row) {
        facts = {row.Int(0), row.OptionalTime(1)};
      },
      channel.value));
  return facts;
}

absl::Status NotificationStore::PutWaiting(const ChannelId& channel, const WaitingNotice& n) {
  return db_.Run(kPutWaiting, channel.value, n.key, n.topic, n.phase, n.subject, n.title, n.message, n.first, n.last,
                 n.times);
}

absl::Status NotificationStore::ClearWaiting(const ChannelId& channel) {
  return db_.Run(kClearWaiting, channel.value);
}

absl::Status NotificationStore::InsertDelivery(const Delivery& d) {
  return db_.Run(kInsertDelivery, d.id, d.channel.value, d.kind, d.state, d.title, d.text, d.json, d.notice_count,
                 d.attempts, d.create_time, d.next_attempt, d.end_time, d.error.reason, d.error.message);
}

absl::StatusOr<std::vector<Delivery>> NotificationStore::DueDeliveries(absl::Time now, int limit) const {
  std::vector<Delivery> due;
  RETURN_IF_ERROR(db_.Query(
      kDueDeliveries, [&](const sqlite::Row& row) { due.push_back(ReadWholeDelivery(row)); }, now, limit));
  return due;
}

absl::StatusOr<std::optional<absl::Time>> NotificationStore::NextAttempt() const {
  std::optional<absl::Time> next;
  RETURN_IF_ERROR(db_.Query(kNextAttempt, [&](const sqlite::Row& row) { next = row.OptionalTime(0); }));
  return next;
}

absl::StatusOr<bool> NotificationStore::HasQueued(const ChannelId& channel, DeliveryKind kind) const {
  bool has = false;
  RETURN_IF_ERROR(db_.Query(
      kHasQueued, [&](const sqlite::Row& row) { has = row.Int(0) > 0; }, channel.value, kind));
  return has;
}

absl::Status NotificationStore::SetDelivery(const Delivery& d) {
  return db_.Run(kSetDelivery, d.id, d.state, d.attempts, d.next_attempt, d.end_time, d.error.reason, d.error.message);
}

absl::StatusOr<Delivery> NotificationStore::GetDelivery(const std::string& id) const {
  std::optional<Delivery> delivery;
  RETURN_IF_ERROR(db_.Query(
      kGetDelivery, [&](const sqlite::Row& row) { delivery = ReadWholeDelivery(row); }, id));
  if (delivery) return *delivery;
  return base::Error(absl::StatusCode::kNotFound, "NOTIFICATION_NOT_FOUND", "no notification {}", id);
}

absl::StatusOr<Page<Delivery, int64_t>> NotificationStore::ListDeliveries(const std::optional<ChannelId>& channel,
                                                                          const ListOptions<int64_t>& options) const {
  std::vector<Delivery> deliveries;
  const auto on_row = [&](const sqlite::Row& row) { deliveries.push_back(ReadDelivery(row)); };
  const int64_t before = options.after_key.value_or(INT64_MAX);
  RETURN_IF_ERROR(channel ? db_.Query(kListDeliveriesOf, on_row, channel->value, before, RowLimit(options))
                          : db_.Query(kListDeliveries, on_row, before, RowLimit(options)));
  return MakePage(std::move(deliveries), options, [](const Delivery& delivery) { return delivery.number; });
}

absl::Status NotificationStore::PruneDeliveries(absl::Time before) {
  return db_.Run(kPruneDeliveries, before);
}

absl::StatusOr<std::optional<int64_t>> NotificationStore::Cursor() const {
  std::optional<int64_t> cursor;
  RETURN_IF_ERROR(db_.Query(kCursor, [&](const sqlite::Row& row) { cursor = row.Int(0); }));
  return cursor;
}

absl::Status NotificationStore::SetCursor(int64_t sequence) {
  return db_.Run(kSetCursor, sequence);
}

absl::Status NotificationStore::ClearCursor() {
  return db_.Run(kClearCursor);
}

absl::StatusOr<std::vector<EndedJobs>> NotificationStore::JobsEnded(absl::Time from, absl::Time to) const {
  std::vector<EndedJobs> ended;
  RETURN_IF_ERROR(db_.Query(
      kJobsEnded,
      [&](const sqlite::Row& row) {
        ended.push_back({row.Enum<JobKind>(0), row.Enum<JobState>(1), row.Int(2), row.Int(3), row.Int(4)});
      },
      from, to));
  return ended;
}

}  // namespace umbra::catalog
