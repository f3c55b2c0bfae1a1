// What opens a repository: passphrases, key files, recovery keys.
#ifndef UMBRA_STORAGE_REPO_KEYS_H_
#define UMBRA_STORAGE_REPO_KEYS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/random.h"

namespace umbra::repo {

// Persisted; never renumbered.
enum class KeyKind : uint32_t {
  kPassphrase = 1,
  kKeyFile = 2,
  kRecoveryKey = 3,
};

inline constexpr size_t kKeyFileSecretSize = 32;
inline constexpr size_t kRecoverySecretSize = 20;
inline constexpr size_t kPassphraseSizeMin = 12;
inline constexpr size_t kPassphraseSizeMax = 1024;
inline constexpr size_t kKeyLabelSizeMax = 128;

// What a person or a file holds. Wiped when it goes.
struct KeySecret {
  KeyKind kind = KeyKind::kKeyFile;
  std::string bytes;  // passphrase: its UTF-8 text; key file: 32 bytes; recovery key: 20 bytes

  KeySecret() = default;
  KeySecret(KeyKind a_kind, std::string some_bytes) : kind(a_kind), bytes(std::move(some_bytes)) {}
  KeySecret(const KeySecret&) = default;
  KeySecret(KeySecret&&) = default;
  KeySecret& operator=(const KeySecret&) = default;
  KeySecret& operator=(KeySecret&&) = default;
  ~KeySecret();
  bool empty() const { return bytes.empty(); }
};

// How hard it is to try a passphrase.
struct Argon2Cost {
  uint32_t passes = 0;
  uint32_t memory_kib = 0;
  bool operator==(const Argon2Cost&) const = default;
};
// RFC 9106's second choice, for machines with little memory: a quarter of a second of one core.
inline constexpr Argon2Cost kDefaultArgon2Cost{3, 64 * 1024};

// A slot, for people. No secrets.
struct KeyInfo {
  std::string id;  // 16 hexadecimal digits
  KeyKind kind = KeyKind::kPassphrase;
  std::string label;
  absl::Time create_time;
  bool in_use = false;  // the repository was opened with it
  // Empty when it opens the repository; else why not: damaged, or not accepted by the last rotation.
  std::string problem;
};

struct KeyList {
  std::vector<KeyInfo> keys;  // by create time
  uint32_t epoch = 0;
  absl::Time epoch_time;
};

KeySecret NewKeyFileSecret(base::Random& random);
KeySecret NewRecoverySecret(base::Random& random);
// INVALID_ARGUMENT / KEY_INVALID when it is too short or too long.
absl::StatusOr<KeySecret> PassphraseSecret(std::string_view passphrase);

// The text of a key file, and the secret in one. INVALID_ARGUMENT / KEY_INVALID.
std::string PrintKeyFile(const KeySecret& secret, std::string_view comment);
absl::StatusOr<KeySecret> ParseKeyFile(std::string_view text);
// Eight groups of five, each with a check digit. INVALID_ARGUMENT / KEY_INVALID names the group that was mistyped.
std::string PrintRecoveryKey(const KeySecret& secret);
absl::StatusOr<KeySecret> ParseRecoveryKey(std::string_view text);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_KEYS_H_
