#include "storage/repo/key_format.h"

#include "storage/base/status.h"
#include "storage/repo/wire.h"

namespace umbra::repo {
namespace {

constexpr std::string_view kSlotMagic = "UMBRAKS2";
constexpr std::string_view kRingMagic = "UMBRAKR2";
constexpr std::string_view kSlotSuffix = ".slot";
constexpr std::string_view kRingSuffix = ".ring";
constexpr std::string_view kRingPurpose = "umbra ring v2";
constexpr uint32_t kVersion = 2;
// Beyond these a slot is a trap for whoever tries a passphrase, not a slot.
constexpr uint32_t kArgon2PassesMax = 64;
constexpr uint32_t kArgon2MemoryKibMin = 8;
constexpr uint32_t kArgon2MemoryKibMax = 1024 * 1024;

absl::Status Damaged(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "KEYS_DAMAGED", "{}", what);
}

// `bytes` without the hash at its end; empty when that is wrong.
base::Bytes WithoutHash(std::string_view bytes) {
  const base::Bytes all = base::AsBytes(bytes);
  if (all.size() < sizeof(Hash)) return {};
  const base::Bytes body = all.first(all.size() - sizeof(Hash));
  const Hash want = HashOf(body);
  return std::memcmp(want.data(), all.data() + body.size(), want.size()) == 0 ? body : base::Bytes();
}

// "keys/" + `digits` hexadecimal digits + `rest`.
bool HexOfName(std::string_view name, size_t digits, std::string& raw) {
  if (!name.starts_with(kKeyPrefix)) return false;
  name.remove_prefix(sizeof(kKeyPrefix) - 1);
  auto parsed = base::FromHex(name.substr(0, std::min(digits, name.size())));
  if (!parsed.has_value() || parsed->size() * 2 != digits) return false;
  raw = *std::move(parsed);
  return true;
}

bool Argon2IsSane(const KeySlot& slot) {
  if (slot.kind != KeyKind::kPassphrase) return slot.argon2 == Argon2Cost{};
  return slot.argon2.passes >= 1 && slot.argon2.passes <= kArgon2PassesMax &&
         slot.argon2.memory_kib >= kArgon2MemoryKibMin && slot.argon2.memory_kib <= kArgon2MemoryKibMax;
}

}  // namespace

std::string SlotName(const SlotId& id) {
  return fmt::format("{}{}{}", kKeyPrefix, base::ToHex(id), kSlotSuffix);
}

bool ParseSlotName(std::string_view name, SlotId& id) {
  std::string raw;
  if (!HexOfName(name, 2 * id.size(), raw)) return false;
  std::memcpy(id.data(), raw.data(), id.size());
  return SlotName(id) == name;
}

std::string RingName(uint32_t epoch, char copy) {
  return fmt::format("{}{:08x}-{}{}", kKeyPrefix, epoch, copy, kRingSuffix);
}

bool ParseRingName(std::string_view name, uint32_t& epoch) {
  std::string raw;
  if (!HexOfName(name, 8, raw)) return false;
  epoch = 0;
  for (const char c : raw) epoch = epoch << 8 | static_cast<unsigned char>(c);
  return name == RingName(epoch, 'a') || name == RingName(epoch, 'b');
}

std::string EncodeSlotBody(const KeySlot& slot) {
  ByteWriter out;
  out.Text(kSlotMagic).Int(kVersion).Int(static_cast<uint32_t>(slot.kind)).Raw(slot.repository).Raw(slot.id);
  out.Int(slot.create_time_us).Int(slot.epoch).Int(slot.argon2.passes).Int(slot.argon2.memory_kib);
  out.Raw(slot.salt).Raw(slot.public_key).Raw(slot.sealed_root);
  out.Int(static_cast<uint32_t>(slot.label.size())).Text(slot.label);
  return out.Take();
}

std::string EncodeSlot(const KeySlot& slot) {
  ByteWriter out;
  out.Text(EncodeSlotBody(slot)).Raw(slot.authenticity);
  out.Raw(HashOf(base::AsBytes(out.str())));
  return out.Take();
}

absl::StatusOr<KeySlot> DecodeSlot(const RawUuid& repository, std::string_view bytes) {
  const base::Bytes whole = WithoutHash(bytes);
  if (whole.empty()) return Damaged("the hash of a key slot is wrong");
  ByteReader in(whole);
  if (!in.Magic(kSlotMagic) || in.Int<uint32_t>() != kVersion)
    return Damaged("a key slot has an unknown magic number or version");
  KeySlot slot;
  const auto kind = in.Int<uint32_t>();
  slot.kind = static_cast<KeyKind>(kind);
  slot.repository = in.Array<16>();
  slot.id = in.Array<8>();
  slot.create_time_us = in.Int<int64_t>();
  slot.epoch = in.Int<uint32_t>();
  slot.argon2.passes = in.Int<uint32_t>();
  slot.argon2.memory_kib = in.Int<uint32_t>();
  slot.salt = in.Array<kSlotSaltSize>();
  slot.public_key = in.Array<32>();
  slot.sealed_root = in.Array<kSealedRootSize>();
  const auto label = in.Int<uint32_t>();
  if (label > kKeyLabelSizeMax) return Damaged("a key slot has too long a label");
  slot.label = base::AsText(in.Raw(label));
  slot.authenticity = in.Array<32>();
  if (!in.ok() || in.left() != 0) return Damaged("a key slot has another length than it says");
  if (slot.repository != repository) return Damaged("a key slot belongs to another repository");
  if (kind < 1 || kind > 3 || !Argon2IsSane(slot) || slot.epoch < 1 || slot.epoch > kEpochMax) {
    return Damaged("a key slot has an unknown kind, or numbers that make no sense");
  }
  return slot;
}

std::string EncodeRing(const Ring& ring, const RingBody& body, const Key& root) {
  ByteWriter plain;
  plain.Raw(body.header_hash).Raw(body.id_key.bytes).Int(static_cast<uint32_t>(body.earlier_roots.size()));
  for (const auto& [epoch, key] : body.earlier_roots) plain.Int(epoch).Raw(key.bytes);
  std::string secret = plain.Take();
  ByteWriter out;
  out.Text(kRingMagic).Int(kVersion).Int(ring.epoch).Raw(ring.repository).Int(ring.create_time_us);
  out.Int(static_cast<uint32_t>(ring.members.size())).Int(static_cast<uint32_t>(secret.size() + kTagSize));
  for (const RingMember& member : ring.members) out.Raw(member.slot).Raw(member.sealed_root);
  std::string sealed(secret.size() + kTagSize, '\0');
  Sealer sealer;
  sealer.SetKey(DeriveKey(root.bytes, {}, {base::AsBytes(kRingPurpose)}));
  sealer.Seal(0, base::AsBytes(out.str()), base::AsBytes(secret), reinterpret_cast<std::byte*>(sealed.data()));
  Wipe(std::as_writable_bytes(std::span(secret.data(), secret.size())));
  out.Text(sealed);
  out.Raw(HashOf(base::AsBytes(out.str())));
  return out.Take();
}

absl::StatusOr<SealedRing> DecodeRing(const RawUuid& repository, std::string_view bytes) {
  const base::Bytes whole = WithoutHash(bytes);
  if (whole.empty()) return Damaged("the hash of a key ring is wrong");
  ByteReader in(whole);
  if (!in.Magic(kRingMagic) || in.Int<uint32_t>() != kVersion)
    return Damaged("a key ring has an unknown magic number or version");
  SealedRing sealed;
  Ring& ring = sealed.ring;
  ring.epoch = in.Int<uint32_t>();
  ring.repository = in.Array<16>();
  ring.create_time_us = in.Int<int64_t>();
  const auto members = in.Int<uint32_t>();
  sealed.body_length = in.Int<uint32_t>();
  if (members > kRingMembersMax || ring.epoch < 1 || ring.epoch > kEpochMax)
    return Damaged("a key ring has numbers that make no sense");
  for (uint32_t i = 0; i < members && in.ok(); ++i) {
    RingMember& member = ring.members.emplace_back();
    member.slot = in.Array<8>();
    member.sealed_root = in.Array<kSealedRootSize>();
  }
  if (!in.ok() || in.left() != sealed.body_length) return Damaged("a key ring has another length than it says");
  if (ring.repository != repository) return Damaged("a key ring belongs to another repository");
  sealed.body_offset = whole.size() - sealed.body_length;
  sealed.bytes = bytes;
  return sealed;
}

absl::StatusOr<RingBody> DecodeRingBody(base::Bytes body) {
  ByteReader in(body);
  RingBody ring;
  ring.header_hash = in.Array<32>();
  ring.id_key.bytes = in.Array<32>();
  const auto count = in.Int<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    auto& [epoch, root] = ring.earlier_roots.emplace_back();
    epoch = in.Int<uint32_t>();
    root.bytes = in.Array<32>();
  }
  if (!in.ok() || in.left() != 0) return Damaged("a key ring's body has another length than it says");
  return ring;
}

absl::StatusOr<RingBody> OpenRing(const SealedRing& sealed, const Key& root) {
  const base::Bytes all = base::AsBytes(sealed.bytes);
  if (sealed.body_length < kTagSize) return Damaged("a key ring's body is cut short");
  std::vector<std::byte> body(sealed.body_length - kTagSize);
  Opener opener;
  opener.SetKey(DeriveKey(root.bytes, {}, {base::AsBytes(kRingPurpose)}));
  const bool opened =
      opener.Open(0, all.first(sealed.body_offset), all.subspan(sealed.body_offset, sealed.body_length), body.data());
  auto decoded = opened ? DecodeRingBody(body) : Damaged("a key ring's tag is wrong: it isn't what its keys sealed");
  Wipe(body);
  return decoded;
}

}  // namespace umbra::repo
