// How many connections there are, from where, and who gives way when there are too many.
#ifndef UMBRA_SERVER_REST_CONNECTION_BOOK_H_
#define UMBRA_SERVER_REST_CONNECTION_BOOK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace umbra::rest {

struct ConnectionLimits {
  size_t all_max = 10'000;
  // A proxy in front is one address, and so are all the browsers of a site behind one router.
  size_t per_address_max = 5'000;
  // Connections that haven't sent a whole request yet: hand-shakes, and slow or silent clients. Past this the oldest of
  // them is dropped for the newcomer, so whoever opens many only drops his own first.
  size_t pending_max = 512;
  size_t pending_per_address_max = 128;
};

// Thread-safe.
class ConnectionBook {
 public:
  explicit ConnectionBook(const ConnectionLimits& limits) : limits_(limits) {}

  // A number for the connection, which is pending; nullopt: refused, there are too many. `drop` is called at most once,
  // from within another call of Admit, to ask that the connection be closed (and then Left): it must not block or call
  // back.
  std::optional<uint64_t> Admit(const std::string& address, std::function<void()> drop);
  // It sent a whole request: not pending any more.
  void Served(uint64_t id);
  void Left(uint64_t id);

  size_t all_count() const;
  size_t pending_count() const;

 private:
  struct Address {
    size_t count = 0;
    std::list<uint64_t> pending;  // oldest first
  };
  struct Entry {
    std::string address;
    std::function<void()> drop;  // null: not pending
    std::list<uint64_t>::iterator in_address;
    std::list<uint64_t>::iterator in_all;
  };
  void NotPendingLocked(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::function<void()> TakeOldestLocked(std::list<uint64_t>& pending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ConnectionLimits limits_;
  mutable absl::Mutex mu_;  // counts and lists say the same
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::unordered_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Address> addresses_ ABSL_GUARDED_BY(mu_);
  std::list<uint64_t> pending_ ABSL_GUARDED_BY(mu_);  // oldest first
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_CONNECTION_BOOK_H_
