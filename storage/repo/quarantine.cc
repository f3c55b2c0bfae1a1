#include "storage/repo/quarantine.h"

#include <algorithm>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

PackDamage Union(const PackDamage& a, const PackDamage& b) {
  PackDamage both;
  both.whole = a.whole || b.whole;
  std::set_union(a.chunks.begin(), a.chunks.end(), b.chunks.begin(), b.chunks.end(), std::back_inserter(both.chunks));
  return both;
}

}  // namespace

absl::Status Quarantine::Load() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kQuarantinePrefix));
  absl::MutexLock lock(&mu_);
  for (const std::string& name : names) {
    PackId pack;
    if (!ParseMarkName(name, pack)) continue;
    auto damage = [&]() -> absl::StatusOr<PackDamage> {
      ASSIGN_OR_RETURN(const std::string bytes, store_.Get(name, kMarkSizeMax));
      return DecodeMark(repository_, pack, base::AsBytes(bytes));
    }();
    if (!damage.ok()) {
      // Something was wrong with this pack, and nobody knows any more what.
      base::Log("repo")->warn("quarantine mark not readable mark={} error={}", name, base::Describe(damage.status()));
      damage = PackDamage{.whole = true, .chunks = {}};
    }
    Entry& entry = packs_[pack];
    entry.damage = Union(entry.damage, *damage);
    entry.marks.push_back(name);
  }
  pack_count_ = packs_.size();
  if (!packs_.empty()) base::Log("repo")->warn("packs in quarantine count={}", packs_.size());
  return absl::OkStatus();
}

Quarantine::Trust Quarantine::TrustOf(const PackId& pack, uint32_t offset) const {
  if (empty()) return Trust::kSound;
  absl::ReaderMutexLock lock(&mu_);
  const auto at = packs_.find(pack);
  if (at == packs_.end()) return Trust::kSound;
  const auto& chunks = at->second.damage.chunks;
  const auto chunk = std::ranges::lower_bound(chunks, offset, {}, &BadChunk::offset);
  if (chunk != chunks.end() && chunk->offset == offset) return Trust::kChunkDamaged;
  return at->second.damage.whole ? Trust::kPackDamaged : Trust::kSound;
}

PackDamage Quarantine::Of(const PackId& pack) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto at = packs_.find(pack);
  return at == packs_.end() ? PackDamage() : at->second.damage;
}

std::map<PackId, PackDamage> Quarantine::All() const {
  absl::ReaderMutexLock lock(&mu_);
  std::map<PackId, PackDamage> all;
  for (const auto& [pack, entry] : packs_) all[pack] = entry.damage;
  return all;
}

void Quarantine::Add(const PackId& pack, const PackDamage& damage) {
  absl::MutexLock writing(&write_mu_);
  Write(pack, Union(Of(pack), damage));
}

void Quarantine::Replace(const PackId& pack, const PackDamage& damage) {
  absl::MutexLock writing(&write_mu_);
  Write(pack, damage);
}

void Quarantine::Write(const PackId& pack, const PackDamage& damage) {
  std::vector<std::string> old;
  {
    absl::MutexLock lock(&mu_);
    const auto at = packs_.find(pack);
    if (at == packs_.end() ? damage.empty() : at->second.damage == damage) return;
    if (at != packs_.end()) old = at->second.marks;
    if (damage.empty()) {
      packs_.erase(pack);
    } else {
      packs_[pack] = {damage, old};
    }
    pack_count_ = packs_.size();
  }
  // The new mark first: a crash in between leaves both, and what either says counts.
  std::vector<std::string> marks;
  if (!damage.empty()) {
    const std::string name = MarkName(pack, random_.Hex(4));
    const absl::Status put = store_.PutIfAbsent(name, base::AsBytes(EncodeMark(repository_, pack, damage)));
    if (!put.ok()) {
      base::Log("repo")->error("quarantine mark not written pack={} error={}", base::ToHex(pack), base::Describe(put));
      return;
    }
    marks.push_back(name);
  }
  for (const std::string& name : old) {
    const absl::Status deleted = store_.Delete(name);
    if (deleted.ok() || absl::IsNotFound(deleted)) continue;
    base::Log("repo")->warn("quarantine mark not deleted mark={} error={}", name, base::Describe(deleted));
    marks.push_back(name);
  }
  absl::MutexLock lock(&mu_);
  const auto at = packs_.find(pack);
  if (at != packs_.end()) at->second.marks = std::move(marks);
}

}  // namespace umbra::repo
