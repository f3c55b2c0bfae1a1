#include "server/secrets/sealing_key.h"

#include <sodium.h>

#include "absl/strings/ascii.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"

namespace umbra::secrets {
namespace {

constexpr std::string_view kHeader = "umbra-sealed-v1\n";
constexpr int kVariant = sodium_base64_VARIANT_ORIGINAL;
constexpr size_t kNonceSize = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr size_t kTagSize = crypto_aead_xchacha20poly1305_ietf_ABYTES;

static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == 32);

const unsigned char* Raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Raw(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string Base64(const std::string& bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');
  sodium_bin2base64(text.data(), text.size(), Raw(std::string_view(bytes)), bytes.size(), kVariant);
  text.pop_back();  // its zero
  return text;
}

absl::Status Wrong() {
  return base::MakeError(absl::StatusCode::kFailedPrecondition, "SECRETS_KEY_WRONG",
                         "it was sealed with another secrets key, or changed since");
}

}  // namespace

bool IsSealed(std::string_view content) {
  return content.substr(0, kHeader.size()) == kHeader;
}

absl::StatusOr<SealingKey> SealingKey::FromText(std::string_view text) {
  const std::string_view trimmed = base::Sv(absl::StripAsciiWhitespace(base::Av(text)));
  if (trimmed.size() < kKeyTextSizeMin) {
    return base::Error(absl::StatusCode::kInvalidArgument, "SECRETS_KEY_INVALID",
                       "the secrets key has fewer than {} characters; make one: openssl rand -hex 32", kKeyTextSizeMin);
  }
  static const int ready = sodium_init();
  UMBRA_CHECK(ready >= 0);
  SealingKey key;
  key.key_ = base::Sha256(fmt::format("umbra secrets key v1\n{}", trimmed));
  return key;
}

SealingKey::~SealingKey() {
  sodium_memzero(key_.data(), key_.size());
}

std::string SealingKey::Seal(std::string_view plain, base::Random& random) const {
  std::string bytes(kNonceSize + plain.size() + kTagSize, '\0');
  random.Fill(std::as_writable_bytes(std::span(bytes.data(), kNonceSize)));
  UMBRA_CHECK(crypto_aead_xchacha20poly1305_ietf_encrypt(Raw(bytes) + kNonceSize, nullptr, Raw(plain), plain.size(),
                                                         Raw(kHeader), kHeader.size(), nullptr, Raw(bytes),
                                                         reinterpret_cast<const unsigned char*>(key_.data())) == 0);
  return std::string(kHeader) + Base64(bytes) + "\n";
}

absl::StatusOr<std::string> SealingKey::Open(std::string_view sealed) const {
  if (!IsSealed(sealed)) return Wrong();
  sealed.remove_prefix(kHeader.size());
  std::string bytes(sealed.size(), '\0');
  size_t size = 0;
  if (sodium_base642bin(Raw(bytes), bytes.size(), sealed.data(), sealed.size(), "\n", &size, nullptr, kVariant) != 0 ||
      size < kNonceSize + kTagSize) {
    return Wrong();
  }
  std::string plain(size - kNonceSize - kTagSize, '\0');
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(
          Raw(plain), nullptr, nullptr, Raw(std::string_view(bytes)) + kNonceSize, size - kNonceSize, Raw(kHeader),
          kHeader.size(), Raw(std::string_view(bytes)), reinterpret_cast<const unsigned char*>(key_.data())) != 0) {
    return Wrong();
  }
  return plain;
}

}  // namespace umbra::secrets
