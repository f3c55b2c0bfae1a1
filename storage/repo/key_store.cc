#include "storage/repo/key_store.h"

#include <sodium.h>

#include <algorithm>

#include "storage/base/log.h"
#include "storage/base/secret_equals.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

static_assert(crypto_box_SEEDBYTES == kKeySize && crypto_box_PUBLICKEYBYTES == sizeof(PublicKey));
static_assert(kKeySize + crypto_box_SEALBYTES == kSealedRootSize && crypto_pwhash_SALTBYTES == kSlotSaltSize);

constexpr std::string_view kKeyPurpose = "umbra key v2";
constexpr std::string_view kSlotPurpose = "umbra slot v2";
constexpr char kCopies[] = {'a', 'b'};

const unsigned char* Raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* Raw(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

absl::Status Damaged(std::string message) {
  return base::MakeError(absl::StatusCode::kDataLoss, "KEYS_DAMAGED", std::move(message));
}

absl::Status Refused(std::string_view reason, std::string message) {
  return base::MakeError(absl::StatusCode::kFailedPrecondition, reason, std::move(message));
}

struct KeyPair {
  PublicKey public_key;
  Key secret_key;
};

KeyPair PairOf(const Key& seed) {
  KeyPair pair;
  UMBRA_CHECK(crypto_box_seed_keypair(Raw(pair.public_key.data()), Raw(pair.secret_key.bytes.data()),
                                      Raw(seed.bytes.data())) == 0);
  return pair;
}

SealedRoot SealRoot(const PublicKey& to, const Key& root) {
  // Looks for the best implementations, and for randomness of its own; once, and needed before anything is sealed.
  static const int ready = sodium_init();
  UMBRA_CHECK(ready >= 0);
  SealedRoot sealed;
  UMBRA_CHECK(crypto_box_seal(Raw(sealed.data()), Raw(root.bytes.data()), kKeySize, Raw(to.data())) == 0);
  return sealed;
}

bool OpenRoot(const SealedRoot& sealed, const KeyPair& pair, Key& root) {
  return crypto_box_seal_open(Raw(root.bytes.data()), Raw(sealed.data()), sealed.size(), Raw(pair.public_key.data()),
                              Raw(pair.secret_key.bytes.data())) == 0;
}

absl::StatusOr<Key> SeedOf(const KeySecret& secret, const KeySlot& slot) {
  const base::Bytes bytes = base::AsBytes(secret.bytes);
  if (secret.kind != KeyKind::kPassphrase) return DeriveKey(bytes, slot.salt, {base::AsBytes(kKeyPurpose)});
  Key seed;
  const int derived =
      crypto_pwhash(Raw(seed.bytes.data()), kKeySize, secret.bytes.data(), secret.bytes.size(), Raw(slot.salt.data()),
                    slot.argon2.passes, uint64_t{slot.argon2.memory_kib} * base::kKiB, crypto_pwhash_ALG_ARGON2ID13);
  if (derived == 0) return seed;
  return base::Error(absl::StatusCode::kResourceExhausted, "INTERNAL",
                     "there is no memory ({} KiB) to try the passphrase", slot.argon2.memory_kib);
}

std::array<std::byte, 32> AuthenticityOf(const KeySlot& slot, const Key& root) {
  const std::string body = EncodeSlotBody(slot);
  return DeriveKey(root.bytes, {}, {base::AsBytes(kSlotPurpose), base::AsBytes(body)}).bytes;
}

absl::Status CheckLabel(const std::string& label) {
  const bool printable =
      std::none_of(label.begin(), label.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (label.size() <= kKeyLabelSizeMax && printable) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInvalidArgument, "KEY_INVALID",
                     "a label has at most {} bytes, and no control characters", kKeyLabelSizeMax);
}

}  // namespace

absl::StatusOr<KeySlot> KeyStore::NewSlot(const Place& place, const KeySecret& secret, const std::string& label,
                                          uint32_t epoch, const Key& root) {
  if (secret.empty()) return Refused("KEY_MISSING", "no key was given");
  RETURN_IF_ERROR(CheckLabel(label));
  KeySlot slot;
  slot.repository = place.repository;
  place.random.Fill(slot.id);
  slot.kind = secret.kind;
  slot.create_time_us = absl::ToUnixMicros(place.clock.Now());
  slot.epoch = epoch;
  if (slot.kind == KeyKind::kPassphrase) slot.argon2 = place.passphrase_cost;
  place.random.Fill(slot.salt);
  slot.label = label;
  ASSIGN_OR_RETURN(const Key seed, SeedOf(secret, slot));
  slot.public_key = PairOf(seed).public_key;
  slot.sealed_root = SealRoot(slot.public_key, root);
  slot.authenticity = AuthenticityOf(slot, root);
  return slot;
}

absl::Status KeyStore::PutRing(const Place& place, uint32_t epoch, const std::string& bytes) {
  const absl::Status first = place.store.PutIfAbsent(RingName(epoch, kCopies[0]), base::AsBytes(bytes));
  if (!first.ok()) {
    (void)place.store.Delete(RingName(epoch, kCopies[0]));  // it may be there all the same; then nobody uses its epoch
    return base::Annotate(first, "write key ring");
  }
  const absl::Status second = place.store.PutIfAbsent(RingName(epoch, kCopies[1]), base::AsBytes(bytes));
  if (!second.ok())
    base::Log("repo")->warn("second copy of a key ring not written epoch={} error={}", epoch, base::Describe(second));
  return absl::OkStatus();
}

absl::Status KeyStore::Create(const Place& place, const KeySecret& secret, const std::string& label) {
  ASSIGN_OR_RETURN(const auto left, place.store.List(kKeyPrefix));
  for (const std::string& name : left) RETURN_IF_ERROR(place.store.Delete(name));
  Key root;
  place.random.Fill(root.bytes);
  ASSIGN_OR_RETURN(const KeySlot slot, NewSlot(place, secret, label, 1, root));
  RETURN_IF_ERROR(
      base::Annotate(place.store.PutIfAbsent(SlotName(slot.id), base::AsBytes(EncodeSlot(slot))), "write key slot"));
  Ring ring{place.repository, slot.create_time_us, 1, {{slot.id, slot.sealed_root}}};
  RingBody body;
  body.header_hash = place.header_hash;
  place.random.Fill(body.id_key.bytes);
  return PutRing(place, 1, EncodeRing(ring, body, root));
}

absl::StatusOr<std::vector<KeyStore::StoredSlot>> KeyStore::ReadSlots(const Place& place) {
  ASSIGN_OR_RETURN(const auto names, place.store.List(kKeyPrefix));
  std::vector<StoredSlot> slots;
  for (const std::string& name : names) {
    SlotId id;
    if (!ParseSlotName(name, id)) continue;
    const auto bytes = place.store.Get(name, kSlotSizeMax);
    if (absl::IsNotFound(bytes.status())) continue;
    if (!bytes.ok() && !absl::IsResourceExhausted(bytes.status())) return bytes.status();
    auto slot = bytes.ok() ? DecodeSlot(place.repository, *bytes) : Damaged("a key slot is too long");
    if (slot.ok() && slot->id != id) slot = Damaged("a key slot has another slot's name");
    slots.push_back({id, std::move(slot)});
  }
  return slots;
}

absl::StatusOr<SealedRing> KeyStore::ReadNewestRing(const Place& place) {
  ASSIGN_OR_RETURN(const auto names, place.store.List(kKeyPrefix));
  uint32_t newest = 0;
  for (const std::string& name : names) {
    uint32_t epoch = 0;
    if (ParseRingName(name, epoch)) newest = std::max(newest, epoch);
  }
  if (newest == 0) return Damaged("the repository has no key ring");
  absl::StatusOr<SealedRing> intact = Damaged("");
  std::vector<char> bad;
  for (const char copy : kCopies) {
    const auto bytes = place.store.Get(RingName(newest, copy), kRingSizeMax);
    if (!bytes.ok() && !absl::IsNotFound(bytes.status()) && !absl::IsResourceExhausted(bytes.status()))
      return bytes.status();
    auto ring = bytes.ok() ? DecodeRing(place.repository, *bytes) : bytes.status();
    if (ring.ok() && ring->ring.epoch != newest) ring = Damaged("a key ring has another epoch than its name says");
    if (ring.ok())
      intact = *std::move(ring);
    else
      bad.push_back(copy);
  }
  if (!intact.ok()) return Damaged(fmt::format("both copies of the key ring of epoch {} are damaged", newest));
  for (const char copy : bad) {
    const std::string name = RingName(newest, copy);
    absl::Status put = place.store.Delete(name);
    if (put.ok() || absl::IsNotFound(put)) put = place.store.PutIfAbsent(name, base::AsBytes(intact->bytes));
    base::Log("repo")->warn("copy of a key ring was missing or damaged name={} written_again={}", name, put.ok());
  }
  return intact;
}

absl::StatusOr<std::unique_ptr<KeyStore>> KeyStore::Open(const Place& place, const KeySecret& secret) {
  if (secret.empty()) return Refused("KEY_MISSING", "the repository is encrypted, and no key was given");
  ASSIGN_OR_RETURN(const auto slots, ReadSlots(place));
  ASSIGN_OR_RETURN(const SealedRing ring, ReadNewestRing(place));
  std::unique_ptr<KeyStore> keys(new KeyStore(place));
  RETURN_IF_ERROR(keys->OpenWith(ring, slots, secret));
  return keys;
}

absl::Status KeyStore::OpenWith(const SealedRing& ring, const std::vector<StoredSlot>& slots, const KeySecret& secret) {
  size_t damaged = 0;
  for (const StoredSlot& stored : slots) {
    if (!stored.slot.ok()) ++damaged;
    if (!stored.slot.ok() || stored.slot->kind != secret.kind) continue;
    ASSIGN_OR_RETURN(const Key seed, SeedOf(secret, *stored.slot));
    if (PairOf(seed).public_key == stored.slot->public_key) return Unlock(ring, *stored.slot, seed);
  }
  if (damaged > 0)
    return Damaged(fmt::format("the key opens no slot of the repository, and {} of its slots are damaged", damaged));
  return Refused("KEY_WRONG", "the key is wrong: it opens no slot of the repository");
}

absl::Status KeyStore::Unlock(const SealedRing& sealed, const KeySlot& slot, const Key& seed) {
  const Ring& ring = sealed.ring;
  const SealedRoot* sealed_root = slot.epoch == ring.epoch ? &slot.sealed_root : nullptr;
  const auto member = std::ranges::find(ring.members, slot.id, &RingMember::slot);
  if (sealed_root == nullptr && member != ring.members.end()) sealed_root = &member->sealed_root;
  if (sealed_root == nullptr) {
    return Refused("KEY_WRONG",
                   fmt::format("the key of slot {} is no longer accepted: it was removed before the keys were rotated",
                               base::ToHex(slot.id)));
  }
  Key root;
  if (!OpenRoot(*sealed_root, PairOf(seed), root)) return Damaged("the key is right, but what it opens was changed");
  ASSIGN_OR_RETURN(const RingBody body, OpenRing(sealed, root));
  if (body.header_hash != place_.header_hash)
    return Damaged("the repository's header isn't the one that it was made with");
  id_key_ = body.id_key;
  absl::MutexLock lock(&mu_);
  own_slot_ = slot.id;
  ring_ = ring;
  for (const auto& [epoch, key] : body.earlier_roots) roots_.insert_or_assign(epoch, key);
  roots_.insert_or_assign(ring.epoch, root);
  if (const std::string problem = ProblemOf({slot.id, slot}); !problem.empty()) {
    return Damaged(fmt::format("the key slot {} was changed: {}", base::ToHex(slot.id), problem));
  }
  for (const auto& [epoch, key] : roots_) data_keys_.Add(epoch, key);
  return absl::OkStatus();
}

std::string KeyStore::ProblemOf(const StoredSlot& stored) const {
  if (!stored.slot.ok()) return base::MessageOf(stored.slot.status());
  const KeySlot& slot = *stored.slot;
  const auto root = roots_.find(slot.epoch);
  if (root == roots_.end() || !base::SecretEquals(AuthenticityOf(slot, root->second), slot.authenticity)) {
    return "it wasn't made by somebody who had the repository's keys";
  }
  const bool member = std::ranges::find(ring_.members, slot.id, &RingMember::slot) != ring_.members.end();
  return slot.epoch == ring_.epoch || member ? "" : "it was removed before the keys were rotated";
}

KeyInfo KeyStore::InfoOf(const StoredSlot& stored) const {
  KeyInfo info;
  info.id = base::ToHex(stored.id);
  info.problem = ProblemOf(stored);
  info.in_use = stored.id == own_slot_;
  if (!stored.slot.ok()) return info;
  info.kind = stored.slot->kind;
  info.label = stored.slot->label;
  info.create_time = absl::FromUnixMicros(stored.slot->create_time_us);
  return info;
}

absl::StatusOr<KeyList> KeyStore::ListLocked() const {
  ASSIGN_OR_RETURN(const auto slots, ReadSlots(place_));
  KeyList list;
  list.epoch = ring_.epoch;
  list.epoch_time = absl::FromUnixMicros(ring_.create_time_us);
  for (const StoredSlot& slot : slots) list.keys.push_back(InfoOf(slot));
  std::ranges::sort(list.keys, [](const KeyInfo& a, const KeyInfo& b) {
    return std::tie(a.create_time, a.id) < std::tie(b.create_time, b.id);
  });
  return list;
}

absl::StatusOr<KeyList> KeyStore::List() {
  absl::MutexLock lock(&mu_);
  return ListLocked();
}

absl::StatusOr<KeyInfo> KeyStore::Add(const KeySecret& secret, const std::string& label) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const auto there, ReadSlots(place_));
  if (there.size() >= kRingMembersMax)
    return Refused("KEY_INVALID", fmt::format("the repository has {} keys already", there.size()));
  ASSIGN_OR_RETURN(KeySlot slot, NewSlot(place_, secret, label, ring_.epoch, roots_.at(ring_.epoch)));
  const absl::Status put = place_.store.PutIfAbsent(SlotName(slot.id), base::AsBytes(EncodeSlot(slot)));
  if (!put.ok()) {
    (void)place_.store.Delete(SlotName(slot.id));  // it may be there all the same, but nobody was given the key
    return base::Annotate(put, "write key slot");
  }
  base::Log("repo")->info("key added slot={} kind={} epoch={}", base::ToHex(slot.id), static_cast<uint32_t>(slot.kind),
                          slot.epoch);
  return InfoOf({slot.id, std::move(slot)});
}

absl::Status KeyStore::Remove(const std::string& id) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const KeyList list, ListLocked());
  const auto found = std::ranges::find(list.keys, id, &KeyInfo::id);
  if (found == list.keys.end())
    return base::Error(absl::StatusCode::kNotFound, "KEY_NOT_FOUND", "there is no key {}", id);
  const bool others =
      std::ranges::any_of(list.keys, [&](const KeyInfo& key) { return key.id != id && key.problem.empty(); });
  if (!others) return Refused("KEY_LAST", fmt::format("{} is the last key that opens the repository", id));
  if (found->in_use) return Refused("KEY_IN_USE", fmt::format("the daemon opens the repository with key {}", id));
  const std::string raw = *base::FromHex(id);
  SlotId slot;
  std::memcpy(slot.data(), raw.data(), slot.size());
  RETURN_IF_ERROR(base::Annotate(place_.store.Delete(SlotName(slot)), "remove key"));
  base::Log("repo")->info("key removed slot={}", id);
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> KeyStore::NextEpoch() const {
  ASSIGN_OR_RETURN(const auto names, place_.store.List(kKeyPrefix));
  uint32_t newest = 0;
  for (const std::string& name : names) {
    uint32_t epoch = 0;
    // One that we don't have the root key of was never used: its ring was cut short, and reported as failed.
    if (ParseRingName(name, epoch)) newest = std::max(newest, epoch);
  }
  if (newest < kEpochMax) return newest + 1;
  return Refused("KEY_INVALID", fmt::format("the keys were rotated {} times already", newest));
}

absl::StatusOr<KeyList> KeyStore::Rotate() {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const auto slots, ReadSlots(place_));
  Ring ring;
  ring.repository = place_.repository;
  ring.create_time_us = absl::ToUnixMicros(place_.clock.Now());
  ASSIGN_OR_RETURN(ring.epoch, NextEpoch());
  Key root;
  place_.random.Fill(root.bytes);
  bool own = false;
  for (const StoredSlot& stored : slots) {
    if (!ProblemOf(stored).empty()) continue;
    ring.members.push_back({stored.id, SealRoot(stored.slot->public_key, root)});
    own |= stored.id == own_slot_;
  }
  if (!own)
    return Damaged(
        fmt::format("the daemon's own key {} is gone or damaged; add another first", base::ToHex(own_slot_)));
  RingBody body;
  body.header_hash = place_.header_hash;
  body.id_key = id_key_;
  body.earlier_roots.assign(roots_.begin(), roots_.end());
  RETURN_IF_ERROR(PutRing(place_, ring.epoch, EncodeRing(ring, body, root)));
  roots_.insert_or_assign(ring.epoch, root);
  data_keys_.Add(ring.epoch, root);
  ring_ = std::move(ring);
  base::Log("repo")->info("keys rotated epoch={} members={}", ring_.epoch, ring_.members.size());
  return ListLocked();
}

}  // namespace umbra::repo
