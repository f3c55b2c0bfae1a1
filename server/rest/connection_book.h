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
  // Past these the oldest connection that waits (it has its answer, or still reads it slowly, and asked for nothing
  // since) is dropped for the newcomer: of his address, or of all. Only where all of them are busy, he is refused.
  size_t all_max = 10'000;
  // A proxy in front is one address, and so are all the browsers of a site behind one router.
  size_t per_address_max = 5'000;
  // Connections that haven't sent a whole request yet: hand-shakes, and slow or silent clients. Past this one of them
  // is dropped for the newcomer, so whoever opens many only drops his own first: the oldest of those that haven't
  // greeted yet, or of those that have, whichever have more than half of the places. Who is honest greets at once, so a
  // flood of silent ones doesn't reach him however fast it comes, and one that greets comes no faster than hand-shakes
  // do.
  size_t pending_max = 512;
  size_t pending_per_address_max = 128;
  // Dropped ones that aren't closed yet, as far as they go beyond `all_max`: they still have a socket.
  size_t leaving_max = 1'000;

  // The same proportions where there is room for no more than `count`: else those who ask for nothing could fill it
  // all.
  ConnectionLimits Within(size_t count) const;
};

// Thread-safe.
class ConnectionBook {
 public:
  explicit ConnectionBook(const ConnectionLimits& limits) : limits_(limits) {}

  // A number for the connection, which is pending; nullopt: refused, there are too many. `drop` is called at most once,
  // from within another call of Admit, to ask that the connection be closed (and then Left): it must not block or call
  // back.
  std::optional<uint64_t> Admit(const std::string& address, std::function<void()> drop);
  // It began to speak in earnest: its half of a hand-shake's greeting is there.
  void Greeted(uint64_t id);
  // It sent a whole request: it is busy until it waits, and never dropped meanwhile.
  void Served(uint64_t id);
  // Its answer is made: it waits for the client to read it, and for the next request.
  void Waits(uint64_t id);
  void Left(uint64_t id);

  size_t all_count() const;
  size_t pending_count() const;

 private:
  enum class Place { kSilent, kGreeted, kBusy, kWaiting, kLeaving };  // the first two are pending
  // Who could give way, the oldest first.
  struct Lists {
    std::list<uint64_t> silent;
    std::list<uint64_t> greeted;
    std::list<uint64_t> waiting;

    std::list<uint64_t>& Of(Place place);
    size_t pending_count() const { return silent.size() + greeted.size(); }
    const std::list<uint64_t>& first_pending() const { return silent.size() > greeted.size() ? silent : greeted; }
  };
  struct Address {
    size_t count = 0;  // without those that are leaving
    size_t leaving = 0;
    Lists lists;
  };
  struct Entry {
    std::string address;
    std::function<void()> drop;
    Place place = Place::kSilent;
    // Of kSilent, kGreeted and kWaiting.
    std::list<uint64_t>::iterator in_address;
    std::list<uint64_t>::iterator in_all;
  };
  using Drops = std::vector<std::function<void()>>;

  void PutLocked(uint64_t id, Entry& entry, Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeLocked(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False: there is nobody in `list`.
  bool DropOldestLocked(const std::list<uint64_t>& list, Drops& drops) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MakeRoomLocked(const std::string& address, Drops& drops) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ConnectionLimits limits_;
  mutable absl::Mutex mu_;  // counts and lists say the same
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::unordered_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Address> addresses_ ABSL_GUARDED_BY(mu_);
  Lists lists_ ABSL_GUARDED_BY(mu_);
  size_t count_ ABSL_GUARDED_BY(mu_) = 0;  // without those that are leaving
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_CONNECTION_BOOK_H_
