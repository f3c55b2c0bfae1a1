#include "storage/repo/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>
#include <vector>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

constexpr size_t kHashSize = 32;
constexpr size_t kNonceSize = 12;

const unsigned char* Raw(base::Bytes bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* Raw(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

// Fetched once: EVP_aes_256_gcm() is looked up again for every key in OpenSSL 3.
const EVP_CIPHER* Aes256Gcm() {
  static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  UMBRA_CHECK(cipher != nullptr);
  return cipher;
}

std::array<unsigned char, kNonceSize> NonceOf(uint64_t value) {
  std::array<unsigned char, kNonceSize> nonce{};
  for (size_t i = 0; i < sizeof value; ++i) nonce[i] = static_cast<unsigned char>(value >> (8 * i));
  return nonce;
}

void Hmac(base::Bytes key, base::Bytes data, unsigned char* out) {
  static constexpr unsigned char kNoKey[1] = {};
  unsigned int length = 0;
  const unsigned char* key_data = key.empty() ? kNoKey : Raw(key);
  UMBRA_CHECK(HMAC(EVP_sha256(), key_data, static_cast<int>(key.size()), Raw(data), data.size(), out, &length) !=
              nullptr);
  UMBRA_CHECK(length == kHashSize);
}

}  // namespace

Key::~Key() {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

void DeriveBytes(base::Bytes secret, base::Bytes salt, std::initializer_list<base::Bytes> info,
                 base::MutableBytes out) {
  UMBRA_CHECK(out.size() <= 2 * kHashSize);
  Key extracted;
  Hmac(salt, secret, Raw(extracted.bytes.data()));
  std::vector<std::byte> block;  // T(i-1) | info | i
  std::array<std::byte, 2 * kHashSize> all;
  for (size_t i = 0; i < 2; ++i) {
    block.clear();
    if (i > 0) block.insert(block.end(), all.begin(), all.begin() + kHashSize);
    for (const base::Bytes part : info) block.insert(block.end(), part.begin(), part.end());
    block.push_back(static_cast<std::byte>(i + 1));
    Hmac(extracted.bytes, block, Raw(all.data() + i * kHashSize));
  }
  std::memcpy(out.data(), all.data(), out.size());
  Wipe(all);
  Wipe(block);
}

Key DeriveKey(base::Bytes secret, base::Bytes salt, std::initializer_list<base::Bytes> info) {
  Key key;
  DeriveBytes(secret, salt, info, key.bytes);
  return key;
}

void Wipe(base::MutableBytes secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
}

Sealer::Sealer() : context_(EVP_CIPHER_CTX_new()) {
  UMBRA_CHECK(context_ != nullptr);
}
Sealer::~Sealer() {
  EVP_CIPHER_CTX_free(context_);
}

void Sealer::SetKey(const Key& key) {
  UMBRA_CHECK(EVP_EncryptInit_ex2(context_, Aes256Gcm(), Raw(key.bytes), nullptr, nullptr) == 1);
}

void Sealer::Seal(uint64_t nonce, base::Bytes aad, base::Bytes plain, std::byte* out) {
  const auto iv = NonceOf(nonce);
  int length = 0;
  bool ok = EVP_EncryptInit_ex2(context_, nullptr, nullptr, iv.data(), nullptr) == 1;
  if (!aad.empty())
    ok = ok && EVP_EncryptUpdate(context_, nullptr, &length, Raw(aad), static_cast<int>(aad.size())) == 1;
  ok = ok && EVP_EncryptUpdate(context_, Raw(out), &length, Raw(plain), static_cast<int>(plain.size())) == 1;
  std::byte* const tag = out + plain.size();
  ok = ok && EVP_EncryptFinal_ex(context_, Raw(tag), &length) == 1 && length == 0;
  ok = ok && EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, kTagSize, tag) == 1;
  UMBRA_CHECK(ok);
}

Opener::Opener() : context_(EVP_CIPHER_CTX_new()) {
  UMBRA_CHECK(context_ != nullptr);
}
Opener::~Opener() {
  EVP_CIPHER_CTX_free(context_);
}

void Opener::SetKey(const Key& key) {
  UMBRA_CHECK(EVP_DecryptInit_ex2(context_, Aes256Gcm(), Raw(key.bytes), nullptr, nullptr) == 1);
}

bool Opener::Open(uint64_t nonce, base::Bytes aad, base::Bytes sealed, std::byte* out) {
  if (sealed.size() < kTagSize) return false;
  const auto iv = NonceOf(nonce);
  const base::Bytes text = sealed.first(sealed.size() - kTagSize);
  std::array<std::byte, kTagSize> tag;
  std::memcpy(tag.data(), sealed.data() + text.size(), kTagSize);
  int length = 0;
  bool ok = EVP_DecryptInit_ex2(context_, nullptr, nullptr, iv.data(), nullptr) == 1;
  if (!aad.empty())
    ok = ok && EVP_DecryptUpdate(context_, nullptr, &length, Raw(aad), static_cast<int>(aad.size())) == 1;
  if (!text.empty())
    ok = ok && EVP_DecryptUpdate(context_, Raw(out), &length, Raw(text), static_cast<int>(text.size())) == 1;
  UMBRA_CHECK(ok && EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, kTagSize, tag.data()) == 1);
  std::array<std::byte, kTagSize> rest;
  return EVP_DecryptFinal_ex(context_, Raw(rest.data()), &length) == 1;
}

void DataKeys::Add(uint32_t epoch, const Key& root) {
  const Key data_key = DeriveKey(root.bytes, {}, {base::AsBytes("umbra data key v2")});
  absl::MutexLock lock(&mu_);
  keys_.insert_or_assign(epoch, data_key);
}

uint32_t DataKeys::epoch() const {
  absl::ReaderMutexLock lock(&mu_);
  UMBRA_CHECK(!keys_.empty());
  return keys_.rbegin()->first;
}

absl::StatusOr<ObjectKey> DataKeys::KeyOf(uint32_t epoch, base::Bytes salt, std::string_view purpose,
                                          base::Bytes header) const {
  Key data_key;
  {
    absl::ReaderMutexLock lock(&mu_);
    const auto at = keys_.find(epoch);
    if (at == keys_.end()) {
      return base::Error(absl::StatusCode::kDataLoss, "KEYS_DAMAGED", "it is of epoch {}, of which there is no key",
                         epoch);
    }
    data_key = at->second;
  }
  std::array<std::byte, 64> both;
  DeriveBytes(data_key.bytes, salt, {base::AsBytes(purpose), header}, both);
  ObjectKey object;
  std::memcpy(object.key.bytes.data(), both.data(), kKeySize);
  std::memcpy(object.commitment.data(), both.data() + kKeySize, object.commitment.size());
  Wipe(both);
  return object;
}

}  // namespace umbra::repo
