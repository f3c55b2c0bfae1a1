// Keys and authenticated encryption: AES-256-GCM, HKDF-SHA-256 (docs/formats/repository.md sections 4, 6 and 9).
#ifndef UMBRA_STORAGE_REPO_SEAL_H_
#define UMBRA_STORAGE_REPO_SEAL_H_

#include <array>
#include <compare>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/bytes.h"

struct evp_cipher_ctx_st;

namespace umbra::repo {

inline constexpr size_t kKeySize = 32;
// What sealing adds to the length: the tag.
inline constexpr size_t kTagSize = 16;

// A secret of 32 bytes; wiped when it goes.
struct Key {
  std::array<std::byte, kKeySize> bytes{};

  Key() = default;
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;
  ~Key();
  bool operator==(const Key&) const = default;
};

// HKDF-SHA-256 (RFC 5869); `info` is the parts, one after another. At most 64 bytes of `out`.
void DeriveBytes(base::Bytes secret, base::Bytes salt, std::initializer_list<base::Bytes> info, base::MutableBytes out);
Key DeriveKey(base::Bytes secret, base::Bytes salt, std::initializer_list<base::Bytes> info);

// Overwrites a secret that is no longer needed.
void Wipe(base::MutableBytes secret);

// AES-256-GCM under one key at a time. Keeps its OpenSSL context and allocates nothing per call. One thread at a time.
class Sealer {
 public:
  Sealer();
  ~Sealer();
  Sealer(const Sealer&) = delete;

  void SetKey(const Key& key);
  // Writes plain.size() + kTagSize bytes to `out`, which may be `plain` itself. A nonce is never used twice under one
  // key.
  void Seal(uint64_t nonce, base::Bytes aad, base::Bytes plain, std::byte* out);

 private:
  evp_cipher_ctx_st* const context_;
};

class Opener {
 public:
  Opener();
  ~Opener();
  Opener(const Opener&) = delete;

  void SetKey(const Key& key);
  // Writes sealed.size() - kTagSize bytes to `out`, which may be `sealed` itself. False when the tag is wrong; what was
  // written is worth nothing then.
  bool Open(uint64_t nonce, base::Bytes aad, base::Bytes sealed, std::byte* out);

 private:
  evp_cipher_ctx_st* const context_;
};

// The key of one pack or point, and what its header has to prove that it is the right one.
struct ObjectKey {
  Key key;
  std::array<std::byte, 32> commitment{};
};

// The data keys of an open repository, by epoch. Thread-safe.
class DataKeys {
 public:
  // The newest epoch that was added is the one for new objects.
  void Add(uint32_t epoch, const Key& root);
  uint32_t epoch() const;

  // The key of the object that starts with `header` (up to its commitment, with the salt in it).
  // DATA_LOSS / KEYS_DAMAGED when the epoch isn't known: a ring is missing, or the header is damaged.
  absl::StatusOr<ObjectKey> KeyOf(uint32_t epoch, base::Bytes salt, std::string_view purpose, base::Bytes header) const;

 private:
  mutable absl::Mutex mu_;
  std::map<uint32_t, Key> keys_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_SEAL_H_
