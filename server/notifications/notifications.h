// Notifications, whole: finding out, making messages, sending them. Two threads on the injected clock, so that a slow
// mail server holds up nothing but mail.
#ifndef UMBRA_SERVER_NOTIFICATIONS_NOTIFICATIONS_H_
#define UMBRA_SERVER_NOTIFICATIONS_NOTIFICATIONS_H_

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/jobs/event_hub.h"
#include "server/notifications/channel.h"
#include "server/notifications/composer.h"
#include "server/notifications/secrets.h"
#include "server/notifications/sender.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"
#include "storage/catalog/catalog.h"

namespace umbra::notifications {

struct Options {
  std::string daemon;          // the machine's name
  std::string user_agent;      // of webhooks
  std::string secrets_folder;  // see secrets.h
};

// Thread-safe. What it is given outlives it.
class Notifications {
 public:
  Notifications(catalog::Catalog& catalog, jobs::EventHub& events, base::Filesystem& filesystem, base::Clock& clock,
                base::Random& random, std::vector<StateCheck> checks, Options options,
                base::Threads& threads = base::SystemThreads());
  ~Notifications() { Stop(); }
  Notifications(const Notifications&) = delete;
  Notifications& operator=(const Notifications&) = delete;

  void Start();
  // An attempt that is under way is broken off, and repeated by the next start.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);
  // Something about channels changed, or a message was queued.
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether the channel can be used: what it says, and that its secret and certificates are there.
  // As CheckChannel; FAILED_PRECONDITION / NOTIFICATION_SECRET_MISSING.
  absl::Status Check(const catalog::Channel& channel) const;

  // Queues a test message. NOT_FOUND / NOTIFICATION_CHANNEL_NOT_FOUND.
  absl::StatusOr<catalog::Delivery> Test(const catalog::ChannelId& id);

 private:
  void ComposeLoop() ABSL_LOCKS_EXCLUDED(mu_);
  void SendLoop() ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::unique_ptr<Channel>> Make(const catalog::Channel& channel) const;

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  base::Clock& clock_;
  base::Random& random_;
  base::Threads& threads_;
  const Options options_;
  const Secrets secrets_;
  Composer composer_;
  Sender sender_;
  jobs::Subscription subscription_;

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool compose_ ABSL_GUARDED_BY(mu_) = false;
  bool send_ ABSL_GUARDED_BY(mu_) = false;
  std::stop_source stop_;
  std::unique_ptr<base::Thread> composing_;
  std::unique_ptr<base::Thread> sending_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_NOTIFICATIONS_H_
