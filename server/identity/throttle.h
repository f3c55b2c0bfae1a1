// Slows guessing of passwords down: after a few failures each further attempt has to wait longer than the one before.
// Bounds how often one user signs in, too.
#ifndef UMBRA_SERVER_IDENTITY_THROTTLE_H_
#define UMBRA_SERVER_IDENTITY_THROTTLE_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::identity {

struct ThrottleOptions {
  // So many failures cost nothing: people mistype.
  int free_failures = 5;
  // The wait after the next one; doubled by each that follows, up to the limits.
  absl::Duration first_wait = absl::Seconds(1);
  // Of a user. Anybody can fail in his name, so it must not lock him out.
  absl::Duration user_wait_max = absl::Seconds(30);
  // Of an address.
  absl::Duration address_wait_max = absl::Minutes(15);
  // Failures are forgotten when there was none for so long.
  absl::Duration forget_after = absl::Hours(1);
  // Sign-ins of one user that succeed: so many at once, and one more after each interval. A program that signs in for
  // every call should have a token instead.
  int successes_at_once = 60;
  absl::Duration success_interval = absl::Seconds(2);
  // Users and addresses that are remembered. More: those with the oldest failure are forgotten.
  size_t entries_max = 20'000;
};

// Thread-safe. Nothing of it is durable: a restart forgets.
class Throttle {
 public:
  explicit Throttle(base::Clock& clock, ThrottleOptions options = {}) : clock_(clock), options_(options) {}

  // Call before an attempt. When it returns OK the attempt counts as failed, until Succeeded: attempts side by side
  // don't slip through. An empty `address` isn't counted (the unix socket). RESOURCE_EXHAUSTED / SIGN_IN_THROTTLED: too
  // soon; base::RetryAfterOf says when.
  absl::Status Begin(const std::string& user, const std::string& address) ABSL_LOCKS_EXCLUDED(mu_);
  // The user's failures are forgotten. Of the address only this attempt: whoever has one account must not wash away
  // failures with others.
  void Succeeded(const std::string& user, const std::string& address) ABSL_LOCKS_EXCLUDED(mu_);
  // There was no attempt after all: nobody looked at the password.
  void Undo(const std::string& user, const std::string& address) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Entry {
    int failures = 0;
    absl::Duration last;     // monotonic time of the last failure
    absl::Duration blocked;  // no attempt before
  };
  using Entries = absl::flat_hash_map<std::string, Entry>;
  struct Successes {
    double left = 0;
    absl::Duration at;  // monotonic time of the last look
  };

  absl::Duration WaitLocked(const std::string& key, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // How long until the user may sign in once more.
  absl::Duration SuccessWaitLocked(const std::string& user, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SucceedLocked(const std::string& user, absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  double SuccessesLeft(const Successes& successes, absl::Duration now) const;
  void FailLocked(const std::string& key, absl::Duration wait_max, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void UndoLocked(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeRoomLocked(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Clock& clock_;
  const ThrottleOptions options_;
  absl::Mutex mu_;
  absl::flat_hash_map<std::string, Successes> successes_ ABSL_GUARDED_BY(mu_);  // by user; only real ones are in it
  Entries entries_ ABSL_GUARDED_BY(mu_);  // by "u:" and the user, or "a:" and the network
};

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_THROTTLE_H_
