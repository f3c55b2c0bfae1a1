// Proves that ThreadSanitizer understands absl::Mutex and absl::Status here: guarded accesses and copies of one status that end in
// several threads are silent, and a race (argument "race") is still found.
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/status/status.h"
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

// Reads a copy, and may be the last one to have it.
void Read(absl::Status copy, size_t length) {
  if (copy.message().size() != length || copy.message()[length - 1] != 'd') std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  const bool race = argc > 1 && std::strcmp(argv[1], "race") == 0;
  static Counter counter;
  std::thread other([&] { Count(counter, 1, race); });
  Count(counter, 0, race);
  other.join();
  for (int i = 0; i < 200; ++i) {
    absl::Status shared = absl::NotFoundError("a text for both of them to read");
    const size_t length = shared.message().size();
    std::thread reader(Read, shared, length);
    Read(std::move(shared), length);
    reader.join();
  }
  return counter.guarded == 200 ? 0 : 1;
}
