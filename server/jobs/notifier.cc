#include "server/jobs/notifier.h"

#include <thread>
#include <utility>

namespace umbra::jobs {
namespace internal {

// A listener and who is calling it. `mu` is never held during the call.
struct ListenerEntry {
  explicit ListenerEntry(Listener l) : listener(std::move(l)) {}

  void Call() ABSL_LOCKS_EXCLUDED(mu) {
    {
      absl::MutexLock lock(&mu);
      again = true;
      if (running || cancelled) return;  // whoever runs it now runs it once more
      running = true;
      runner = std::this_thread::get_id();
    }
    while (TakeTurn()) listener();
  }

  void Cancel() ABSL_LOCKS_EXCLUDED(mu) {
    absl::MutexLock lock(&mu);
    cancelled = true;
    if (running && runner == std::this_thread::get_id()) return;  // called from inside the listener
    mu.Await(absl::Condition(
        +[](bool* r) { return !*r; }, &running));
  }

 private:
  // True: call the listener now. False: the turn of this thread is over.
  bool TakeTurn() ABSL_LOCKS_EXCLUDED(mu) {
    absl::MutexLock lock(&mu);
    if (again && !cancelled) {
      again = false;
      return true;
    }
    running = false;
    return false;
  }

  const Listener listener;
  absl::Mutex mu;
  bool again ABSL_GUARDED_BY(mu) = false;
  bool running ABSL_GUARDED_BY(mu) = false;
  bool cancelled ABSL_GUARDED_BY(mu) = false;
  std::thread::id runner ABSL_GUARDED_BY(mu);
};

}  // namespace internal

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    Cancel();
    entry_ = std::move(other.entry_);
  }
  return *this;
}

void Subscription::Cancel() {
  if (auto entry = std::exchange(entry_, nullptr)) entry->Cancel();
}

Subscription Notifier::Subscribe(const std::string& topic, Listener listener) {
  auto entry = std::make_shared<internal::ListenerEntry>(std::move(listener));
  absl::MutexLock lock(&mu_);
  auto& list = topics_[topic];
  std::erase_if(list, [](const auto& weak) { return weak.expired(); });
  list.push_back(entry);
  return Subscription(std::move(entry));
}

void Notifier::Notify(const std::string& topic) {
  std::vector<std::shared_ptr<internal::ListenerEntry>> entries;
  {
    absl::MutexLock lock(&mu_);
    auto it = topics_.find(topic);
    if (it == topics_.end()) return;
    std::erase_if(it->second, [&](const auto& weak) {
      auto entry = weak.lock();
      if (entry != nullptr) entries.push_back(std::move(entry));
      return weak.expired();
    });
    if (it->second.empty()) topics_.erase(it);
  }
  for (const auto& entry : entries) entry->Call();
}

}  // namespace umbra::jobs
