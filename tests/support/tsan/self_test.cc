// Proves that ThreadSanitizer understands absl::Mutex here: guarded accesses are silent, and a race (argument "race") is still found.
#include <cstring>
#include <thread>

#include "absl/synchronization/mutex.h"

namespace {

struct Counter {
  absl::Mutex mutex;
  int guarded = 0;
  int unguarded = 0;
};

void Count(Counter& counter, int parity, bool race) {
  for (int i = 0; i < 100; ++i) {
    const auto my_turn = [&] { return counter.guarded % 2 == parity; };
    counter.mutex.Lock();
    counter.mutex.Await(absl::Condition(&my_turn));
    ++counter.guarded;
    counter.mutex.Unlock();
  }
  if (race) ++counter.unguarded;  // after the last release, so nothing orders it with the other thread's
}

}  // namespace

int main(int argc, char** argv) {
  const bool race = argc > 1 && std::strcmp(argv[1], "race") == 0;
  static Counter counter;
  std::thread other([&] { Count(counter, 1, race); });
  Count(counter, 0, race);
  other.join();
  return counter.guarded == 200 ? 0 : 1;
}
