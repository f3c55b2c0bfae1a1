// Seals small secrets for the disk with a key that isn't there: XChaCha20-Poly1305 by libsodium. docs/adr/0051 says
// what is sealed and why.
#ifndef UMBRA_SERVER_SECRETS_SEALING_KEY_H_
#define UMBRA_SERVER_SECRETS_SEALING_KEY_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/base/random.h"

namespace umbra::secrets {

inline constexpr size_t kKeyTextSizeMin = 32;

// What Seal made begins with a line of its own. Anything else is plain.
bool IsSealed(std::string_view content);

// Thread-safe. Wiped from memory when it goes.
class SealingKey {
 public:
  // Of a text of at least kKeyTextSizeMin characters, white space at its ends aside; one that was made by a generator.
  // INVALID_ARGUMENT / SECRETS_KEY_INVALID.
  static absl::StatusOr<SealingKey> FromText(std::string_view text);
  ~SealingKey();
  SealingKey(const SealingKey&) = default;
  SealingKey& operator=(const SealingKey&) = default;

  // Text; another one each time.
  std::string Seal(std::string_view plain, base::Random& random) const;
  // FAILED_PRECONDITION / SECRETS_KEY_WRONG: it was sealed with another key, or changed since: nothing tells which.
  absl::StatusOr<std::string> Open(std::string_view sealed) const;

 private:
  SealingKey() = default;
  std::array<std::byte, 32> key_{};
};

}  // namespace umbra::secrets

#endif  // UMBRA_SERVER_SECRETS_SEALING_KEY_H_
