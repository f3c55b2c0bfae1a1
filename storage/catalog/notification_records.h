// Notifications as plain structs. Enum values are stored, equal those of umbra.v1 and are never renumbered.
#ifndef UMBRA_STORAGE_CATALOG_NOTIFICATION_RECORDS_H_
#define UMBRA_STORAGE_CATALOG_NOTIFICATION_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/catalog/records.h"

namespace umbra::catalog {

using ChannelId = Id<struct ChannelTag>;  // the {channel} of "notificationChannels/{channel}"

enum class NoticeTopic {
  kFailure = 1,
  kRecovery = 2,  // that a cause of another topic has ended
  kRpoMissed = 3,
  kAgentOffline = 4,
  kRepositoryNearlyFull = 5,
  kDamage = 6,
  kDigest = 7
};

// What became of a cause since the last message.
enum class NoticePhase {
  kStarted = 1,
  kEnded = 2,
  kPassed = 3,  // started and ended
  kOnce = 4     // nothing that could end
};

enum class ChannelKind { kSmtp = 1, kWebhook = 2 };
enum class SmtpSecurity { kUnspecified = 0, kStartTls = 1, kTls = 2, kNone = 3 };
enum class DeliveryKind { kNotices = 1, kDigest = 2, kTest = 3 };
enum class DeliveryState { kQueued = 1, kDelivered = 2, kGivenUp = 3 };

// Meaning as in umbra.v1.NotificationChannel.
struct Channel {
  ChannelId id;
  std::string description;
  ChannelKind kind = ChannelKind::kWebhook;
  std::string url;  // webhook
  bool allow_plaintext = false;
  std::string host;  // SMTP, also the next five
  int32_t port = 0;
  SmtpSecurity security = SmtpSecurity::kUnspecified;
  std::string username;
  std::string sender;
  std::vector<std::string> recipients;
  std::string secret;               // name of a file in the daemon's folder of secrets; empty: none
  std::string authority;            // the same of certificates to trust; empty: the machine's own
  std::vector<NoticeTopic> topics;  // ordered; none: all
  std::string digest_schedule;      // empty: no digest
  std::string time_zone;
  absl::Duration grouping_window;
  int32_t messages_per_hour = 1;
  bool paused = false;
  absl::Time create_time;
  absl::Time update_time;
  int64_t revision = 0;     // rises with every change of what it says; set by the store
  absl::Time digest_done;   // digests up to this due time are made
  absl::Time rate_used_to;  // see notifications::RateLimit
  int64_t overflow_count = 0;
};

// Something that is wrong at present.
struct NoticeCondition {
  std::string key;
  NoticeTopic topic = NoticeTopic::kFailure;
  std::string subject;  // resource name
  std::string title;    // for people
  std::string message;
  absl::Time since;
  absl::Time due;  // told when it still holds then
  absl::Time last;
  int64_t times = 1;
  std::optional<absl::Time> told;
};

// What the next message of a channel will tell of one cause.
struct WaitingNotice {
  std::string key;
  NoticeTopic topic = NoticeTopic::kFailure;
  NoticePhase phase = NoticePhase::kStarted;
  std::string subject;
  std::string title;
  std::string message;
  absl::Time first;
  absl::Time last;
  int64_t times = 1;
};

struct Delivery {
  int64_t number = 0;  // set by the store
  std::string id;      // a uuid; the same at every attempt
  ChannelId channel;
  DeliveryKind kind = DeliveryKind::kNotices;
  DeliveryState state = DeliveryState::kQueued;
  std::string title;
  std::string text;
  std::string json;
  int64_t notice_count = 0;
  int32_t attempts = 0;
  absl::Time create_time;
  absl::Time next_attempt;
  std::optional<absl::Time> end_time;
  JobMessage error;  // of the last attempt; reason empty: none
};

// Jobs that ended in a time, of one kind and state.
struct EndedJobs {
  JobKind kind = JobKind::kBackup;
  JobState state = JobState::kSucceeded;
  int64_t count = 0;
  int64_t new_bytes = 0;
  int64_t stored_bytes = 0;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_NOTIFICATION_RECORDS_H_
