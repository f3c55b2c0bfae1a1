#include "server/identity/passwords.h"

#include <sodium.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "storage/base/retry_after.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::identity {
namespace {

template <typename... Args>
absl::Status Unfit(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kInvalidArgument, "PASSWORD_UNFIT", format, std::forward<Args>(args)...);
}

size_t CharactersOf(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Nothing of `text` is left when each `part` goes.
bool ConsistsOf(std::string_view text, std::string_view part) {
  if (part.empty() || text.size() % part.size() != 0) return false;
  for (; !text.empty(); text.remove_prefix(part.size())) {
    if (!absl::EqualsIgnoreCase(base::Av(text.substr(0, part.size())), base::Av(part))) return false;
  }
  return true;
}

absl::StatusOr<std::string> Compute(std::string_view password, const PasswordCost& cost) {
  std::array<char, crypto_pwhash_STRBYTES> text{};
  if (crypto_pwhash_str_alg(text.data(), password.data(), password.size(), cost.passes, cost.memory_bytes,
                            crypto_pwhash_ALG_ARGON2ID13) != 0) {
    return base::Error(absl::StatusCode::kResourceExhausted, "INTERNAL", "there is no memory ({}) to hash a password",
                       base::FormatSize(cost.memory_bytes));
  }
  return std::string(text.data());
}

// What a hash at this cost looks like, of no password: to check against it takes as long.
std::string MakeDecoy(const PasswordCost& cost) {
  static const int ready = sodium_init();
  UMBRA_CHECK(ready >= 0);
  const auto random_text = []<size_t kBytes>(std::array<unsigned char, kBytes> bytes) {
    constexpr int kVariant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
    std::array<char, sodium_base64_ENCODED_LEN(kBytes, kVariant)> text{};
    randombytes_buf(bytes.data(), bytes.size());
    return std::string(sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), kVariant));
  };
  return fmt::format("$argon2id$v=19$m={},t={},p=1${}${}", cost.memory_bytes / base::kKiB, cost.passes,
                     random_text(std::array<unsigned char, 16>{}), random_text(std::array<unsigned char, 32>{}));
}

}  // namespace

absl::Status CheckPassword(std::string_view password, std::string_view user_name) {
  if (password.size() > kPasswordBytesMax) return Unfit("the password has more than {} bytes", kPasswordBytesMax);
  if (base::ValidUtf8(password) != password) return Unfit("the password isn't valid UTF-8");
  if (std::any_of(password.begin(), password.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return Unfit("the password has control characters");
  }
  if (CharactersOf(password) < kPasswordCharactersMin) {
    return Unfit("the password has fewer than {} characters", kPasswordCharactersMin);
  }
  if (ConsistsOf(password, user_name)) return Unfit("the password is made of the user's name");
  if (ConsistsOf(password, password.substr(0, 1))) return Unfit("the password is one character again and again");
  return absl::OkStatus();
}

// The right to compute; ends with it.
class PasswordHasher::Turn {
 public:
  explicit Turn(PasswordHasher& hasher) : hasher_(hasher) {}
  ~Turn() {
    if (!taken_) return;
    absl::MutexLock lock(&hasher_.mu_);
    --hasher_.running_;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  absl::Status Take() ABSL_LOCKS_EXCLUDED(hasher_.mu_) {
    absl::MutexLock lock(&hasher_.mu_);
    if (hasher_.waiting_ >= hasher_.options_.waiting_max) return Busy();
    ++hasher_.waiting_;
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(hasher_.mu_) {
      return hasher_.running_ < hasher_.options_.at_once;
    };
    taken_ = hasher_.clock_.AwaitFor(hasher_.mu_, absl::Condition(&free), hasher_.options_.wait_max);
    --hasher_.waiting_;
    if (!taken_) return Busy();
    ++hasher_.running_;
    return absl::OkStatus();
  }

 private:
  static absl::Status Busy() {
    return base::WithRetryAfter(base::Error(absl::StatusCode::kResourceExhausted, "SIGN_IN_THROTTLED",
                                            "too many passwords are being checked; try again in a second"),
                                absl::Seconds(1));
  }

  PasswordHasher& hasher_;
  bool taken_ = false;
};

PasswordHasher::PasswordHasher(base::Clock& clock, const Options& options)
    : clock_(clock), options_(options), decoy_(MakeDecoy(options.cost)) {}

absl::StatusOr<std::string> PasswordHasher::Hash(const std::string& password) {
  Turn turn(*this);
  RETURN_IF_ERROR(turn.Take());
  return Compute(password, options_.cost);
}

absl::StatusOr<bool> PasswordHasher::Verify(const std::string& hash, const std::string& password) {
  // Nobody else's processor pays for a text that can't be a password.
  const std::string tried = password.substr(0, kPasswordBytesMax + 1);
  Turn turn(*this);
  RETURN_IF_ERROR(turn.Take());
  const bool same = crypto_pwhash_str_verify((hash.empty() ? decoy_ : hash).c_str(), tried.data(), tried.size()) == 0;
  return same && !hash.empty();
}

bool PasswordHasher::IsOutdated(const std::string& hash) const {
  return crypto_pwhash_str_needs_rehash(hash.c_str(), options_.cost.passes, options_.cost.memory_bytes) != 0;
}

}  // namespace umbra::identity
