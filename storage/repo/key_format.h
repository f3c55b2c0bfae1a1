// The bytes of keys: slots, rings, key files, recovery keys (docs/formats/repository.md section 9). Pure functions, no
// I/O.
#ifndef UMBRA_STORAGE_REPO_KEY_FORMAT_H_
#define UMBRA_STORAGE_REPO_KEY_FORMAT_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/repo/format.h"
#include "storage/repo/keys.h"
#include "storage/repo/seal.h"

namespace umbra::repo {

using SlotId = std::array<std::byte, 8>;
// A root key, sealed to a public key.
inline constexpr size_t kSealedRootSize = 80;
using SealedRoot = std::array<std::byte, kSealedRootSize>;
using PublicKey = std::array<std::byte, 32>;
inline constexpr size_t kSlotSaltSize = 16;

inline constexpr uint64_t kSlotSizeMax = 4096;
inline constexpr uint32_t kRingMembersMax = 1000;
inline constexpr uint64_t kRingSizeMax = 4 * base::kMiB;
// A rotation a day for a century and a half.
inline constexpr uint32_t kEpochMax = 60'000;

struct KeySlot {
  RawUuid repository{};
  SlotId id{};
  KeyKind kind = KeyKind::kPassphrase;
  int64_t create_time_us = 0;
  uint32_t epoch = 0;  // in which it was made
  Argon2Cost argon2;   // zero for the other kinds
  std::array<std::byte, kSlotSaltSize> salt{};
  PublicKey public_key{};
  SealedRoot sealed_root{};  // of its epoch
  std::string label;
  std::array<std::byte, 32> authenticity{};
};

struct RingMember {
  SlotId slot{};
  SealedRoot sealed_root{};
};

struct Ring {
  RawUuid repository{};
  int64_t create_time_us = 0;
  uint32_t epoch = 0;
  std::vector<RingMember> members;
};

// What a ring keeps secret.
struct RingBody {
  Hash header_hash{};
  Key id_key;
  std::vector<std::pair<uint32_t, Key>> earlier_roots;  // epoch, root key; ascending
};

std::string SlotName(const SlotId& id);
bool ParseSlotName(std::string_view name, SlotId& id);
std::string RingName(uint32_t epoch, char copy);
bool ParseRingName(std::string_view name, uint32_t& epoch);

// What the authenticity of a slot is computed over.
std::string EncodeSlotBody(const KeySlot& slot);
std::string EncodeSlot(const KeySlot& slot);
// DATA_LOSS / KEYS_DAMAGED.
absl::StatusOr<KeySlot> DecodeSlot(const RawUuid& repository, std::string_view bytes);

std::string EncodeRing(const Ring& ring, const RingBody& body, const Key& root);
// A ring that nobody opened yet: its hash is right, and its fields are within bounds.
struct SealedRing {
  Ring ring;
  std::string bytes;
  size_t body_offset = 0;
  size_t body_length = 0;
};
// DATA_LOSS / KEYS_DAMAGED for both.
absl::StatusOr<SealedRing> DecodeRing(const RawUuid& repository, std::string_view bytes);
absl::StatusOr<RingBody> OpenRing(const SealedRing& sealed, const Key& root);

// The plain bytes of a ring's body. For tests of the parser; OpenRing calls it.
absl::StatusOr<RingBody> DecodeRingBody(base::Bytes body);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_KEY_FORMAT_H_
