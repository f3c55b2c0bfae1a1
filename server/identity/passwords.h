// Passwords: which are good enough, and what is kept of them (Argon2id by libsodium).
#ifndef UMBRA_SERVER_IDENTITY_PASSWORDS_H_
#define UMBRA_SERVER_IDENTITY_PASSWORDS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"

namespace umbra::identity {

inline constexpr size_t kPasswordCharactersMin = 12;
inline constexpr size_t kPasswordBytesMax = 1024;

// At least kPasswordCharactersMin characters of UTF-8 without control characters, at most kPasswordBytesMax bytes, and
// not made of the user's name or of one character alone. INVALID_ARGUMENT / PASSWORD_UNFIT: says which, never the
// password.
absl::Status CheckPassword(std::string_view password, std::string_view user_name);

// Between libsodium's "interactive" and "moderate": a quarter of a second of one processor.
struct PasswordCost {
  uint64_t passes = 3;
  uint64_t memory_bytes = 64 * base::kMiB;
};

// Thread-safe. Calls block while they compute, and wait for their turn before: of memory and processors only so much is
// ever used for this, however many ask. Call them where nobody else waits for the thread.
class PasswordHasher {
 public:
  struct Options {
    PasswordCost cost = {};
    int at_once = 2;
    int waiting_max = 16;
    absl::Duration wait_max = absl::Seconds(10);
  };
  PasswordHasher(base::Clock& clock, const Options& options);

  // RESOURCE_EXHAUSTED / SIGN_IN_THROTTLED    too many wait already, or the turn didn't come; try again.
  // RESOURCE_EXHAUSTED / INTERNAL             there is no memory for it.
  absl::StatusOr<std::string> Hash(const std::string& password) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether `hash` is of the password. An empty one is of none, and takes as long to find out. Errors as Hash.
  absl::StatusOr<bool> Verify(const std::string& hash, const std::string& password) ABSL_LOCKS_EXCLUDED(mu_);
  // It was made at another cost.
  bool IsOutdated(const std::string& hash) const;

 private:
  class Turn;

  base::Clock& clock_;
  const Options options_;
  const std::string decoy_;  // of a password that nobody knows
  absl::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_PASSWORDS_H_
