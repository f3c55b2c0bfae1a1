#include "storage/repo/keys.h"

#include <openssl/crypto.h>

#include <span>

#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Digits and capitals without those that look or sound alike (I, L, O, U).
constexpr std::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr size_t kGroups = 8;
constexpr size_t kGroupCharacters = 4;  // and a check digit
constexpr size_t kBitsPerCharacter = 5;
constexpr std::string_view kKeyFileMark = "umbra-key-1 ";

absl::Status Invalid(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "KEY_INVALID", std::move(message));
}

KeySecret RandomSecret(base::Random& random, KeyKind kind, size_t size) {
  KeySecret secret(kind, std::string(size, '\0'));
  random.Fill(std::as_writable_bytes(std::span(secret.bytes.data(), size)));
  return secret;
}

// `values` are those of the group's characters, `group` counts from 1.
size_t CheckDigit(std::span<const size_t> values, size_t group) {
  constexpr size_t kWeights[kGroupCharacters] = {1, 3, 5, 7};
  size_t sum = 11 * group;
  for (size_t i = 0; i < kGroupCharacters; ++i) sum += kWeights[i] * values[i];
  return sum % 31;
}

// The alphabet's characters as typed, without separators; 0 for what is no character of it.
std::vector<size_t> ReadCharacters(std::string_view text, bool& ok) {
  std::vector<size_t> values;
  for (char c : text) {
    if (c == '-' || c == ' ' || c == '\t' || c == '\n' || c == '\r') continue;
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == 'O') c = '0';
    if (c == 'I' || c == 'L') c = '1';
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) ok = false;
    values.push_back(value == std::string_view::npos ? 0 : value);
  }
  return values;
}

}  // namespace

KeySecret::~KeySecret() {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

KeySecret NewKeyFileSecret(base::Random& random) {
  return RandomSecret(random, KeyKind::kKeyFile, kKeyFileSecretSize);
}
KeySecret NewRecoverySecret(base::Random& random) {
  return RandomSecret(random, KeyKind::kRecoveryKey, kRecoverySecretSize);
}

absl::StatusOr<KeySecret> PassphraseSecret(std::string_view passphrase) {
  if (passphrase.size() < kPassphraseSizeMin || passphrase.size() > kPassphraseSizeMax) {
    return Invalid(fmt::format("a passphrase has {} to {} bytes, not {}", kPassphraseSizeMin, kPassphraseSizeMax,
                               passphrase.size()));
  }
  return KeySecret(KeyKind::kPassphrase, std::string(passphrase));
}

std::string PrintKeyFile(const KeySecret& secret, std::string_view comment) {
  return fmt::format(
      "# {}\n# Whoever has this file can read the repository. Keep a copy of it, or a recovery key, elsewhere.\n{}{}\n",
      comment, kKeyFileMark, base::ToHex(base::AsBytes(secret.bytes)));
}

absl::StatusOr<KeySecret> ParseKeyFile(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.starts_with(kKeyFileMark)) continue;
    auto bytes = base::FromHex(line.substr(kKeyFileMark.size()));
    if (!bytes.has_value() || bytes->size() != kKeyFileSecretSize) break;
    return KeySecret(KeyKind::kKeyFile, *std::move(bytes));
  }
  return Invalid("this is no key file: it has no line 'umbra-key-1' with 64 hexadecimal digits");
}

std::string PrintRecoveryKey(const KeySecret& secret) {
  UMBRA_CHECK(secret.bytes.size() == kRecoverySecretSize);
  std::string text;
  uint64_t bits = 0;
  size_t count = 0, next = 0;
  for (size_t group = 1; group <= kGroups; ++group) {
    size_t values[kGroupCharacters];
    for (size_t& value : values) {
      for (; count < kBitsPerCharacter; count += 8) bits = bits << 8 | static_cast<unsigned char>(secret.bytes[next++]);
      count -= kBitsPerCharacter;
      value = bits >> count & (kAlphabet.size() - 1);
      text += kAlphabet[value];
    }
    text += kAlphabet[CheckDigit(values, group)];
    if (group < kGroups) text += '-';
  }
  return text;
}

absl::StatusOr<KeySecret> ParseRecoveryKey(std::string_view text) {
  bool ok = true;
  const std::vector<size_t> values = ReadCharacters(text, ok);
  constexpr size_t kCharacters = kGroups * (kGroupCharacters + 1);
  if (!ok) return Invalid("a recovery key has only digits and letters (without U), in eight groups of five");
  if (values.size() != kCharacters) {
    return Invalid(
        fmt::format("a recovery key has {} characters, in eight groups of five, not {}", kCharacters, values.size()));
  }
  KeySecret secret(KeyKind::kRecoveryKey, "");
  secret.bytes.reserve(kRecoverySecretSize);
  uint64_t bits = 0;
  size_t count = 0;
  for (size_t group = 1; group <= kGroups; ++group) {
    const std::span<const size_t> part(values.data() + (group - 1) * (kGroupCharacters + 1), kGroupCharacters + 1);
    if (CheckDigit(part.first(kGroupCharacters), group) != part.back()) {
      return Invalid(fmt::format("group {} of the recovery key is mistyped", group));
    }
    for (const size_t value : part.first(kGroupCharacters)) {
      bits = bits << kBitsPerCharacter | value;
      count += kBitsPerCharacter;
      if (count < 8) continue;
      count -= 8;
      secret.bytes.push_back(static_cast<char>(bits >> count));
    }
  }
  return secret;
}

}  // namespace umbra::repo
