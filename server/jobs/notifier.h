// Tells listeners that something changed. No facts travel with the call: a listener looks up what it needs, so that a
// lost race or a merged notification costs nothing.
#ifndef UMBRA_SERVER_JOBS_NOTIFIER_H_
#define UMBRA_SERVER_JOBS_NOTIFIER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace umbra::jobs {

// Must return fast and never block: it runs on the thread that made the change, with no lock of this room held.
// It may call back into JobEngine, EventHub and the catalog, and may end its own subscription.
using Listener = std::function<void()>;

namespace internal {
struct ListenerEntry;
}

// A registered listener; destroying (or Cancel) ends it.
class Subscription {
 public:
  Subscription() = default;
  explicit Subscription(std::shared_ptr<internal::ListenerEntry> entry) : entry_(std::move(entry)) {}
  ~Subscription() { Cancel(); }
  Subscription(Subscription&& other) noexcept = default;
  Subscription& operator=(Subscription&& other) noexcept;

  // No call of the listener starts after this returns, and none is under way unless this is called from inside it. So
  // don't hold a lock that the listener takes.
  void Cancel();

 private:
  // Shared by the subscriber, who ends it, and the Notifier, which calls it.
  std::shared_ptr<internal::ListenerEntry> entry_;
};

// Thread-safe. Subscriptions may outlive it.
class Notifier {
 public:
  // Calls of one listener never overlap: changes that come meanwhile lead to one more call afterwards.
  [[nodiscard]] Subscription Subscribe(const std::string& topic, Listener listener) ABSL_LOCKS_EXCLUDED(mu_);
  // Calls the listeners of `topic`.
  void Notify(const std::string& topic) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Mutex mu_;  // the lists are consistent; never held during a call
  absl::flat_hash_map<std::string, std::vector<std::weak_ptr<internal::ListenerEntry>>> topics_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_NOTIFIER_H_
