#include "storage/repo/pack_sweeper.h"

#include <algorithm>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/sealed_record.h"

namespace umbra::repo {
namespace {

constexpr char kKind[] = "sweep";
// Packs named by one record: keeps it small, whatever is swept.
constexpr size_t kSweepPacksMax = 4096;

std::vector<PackId> PacksOf(const SealedRecord& record) {
  std::vector<PackId> packs;
  for (const std::string& hex : record.All("pack")) {
    const auto raw = base::FromHex(hex);
    if (!raw.has_value() || raw->size() != sizeof(PackId)) continue;
    std::memcpy(packs.emplace_back().data(), raw->data(), sizeof(PackId));
  }
  return packs;
}

}  // namespace

absl::StatusOr<std::set<PackId>> PackSweeper::Load() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kSweepPrefix));
  std::set<PackId> all;
  absl::MutexLock lock(&mu_);
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::string text, store_.Get(name, kRecordSizeMax));
    const auto record = SealedRecord::Decode(hasher_, kKind, repository_, text);
    if (!record.ok()) {
      // Its packs, where they are still there, are found to be needed by nobody again.
      base::Log("repo")->error("sweep not readable sweep={} error={}", name, base::Describe(record.status()));
      continue;
    }
    Record& sweep = sweeps_[name];
    sweep.packs = PacksOf(*record);
    sweep.left.insert(sweep.packs.begin(), sweep.packs.end());
    all.insert(sweep.packs.begin(), sweep.packs.end());
    if (const absl::Status deleted = DeletePacks(name); !deleted.ok()) {
      base::Log("repo")->warn("sweep not finished, tried again later sweep={} error={}", name, base::Describe(deleted));
    }
  }
  return all;
}

absl::Status PackSweeper::DeletePacks(const std::string& name) {
  Record& sweep = sweeps_[name];
  while (!sweep.left.empty()) {
    const absl::Status deleted = store_.Delete(PackName(*sweep.left.begin()));
    if (!absl::IsNotFound(deleted)) RETURN_IF_ERROR(deleted);
    sweep.left.erase(sweep.left.begin());
  }
  return absl::OkStatus();
}

absl::StatusOr<PackSweeper::Swept> PackSweeper::Sweep(absl::Duration grace) {
  absl::MutexLock lock(&mu_);
  for (const auto& [name, sweep] : sweeps_) RETURN_IF_ERROR(DeletePacks(name));  // left from before
  Swept swept;
  const std::vector<uint32_t> taken = index_.TakeSweepable(clock_.Monotonic(), grace);
  for (size_t first = 0; first < taken.size(); first += kSweepPacksMax) {
    const std::span<const uint32_t> numbers =
        std::span(taken).subspan(first, std::min(kSweepPacksMax, taken.size() - first));
    SealedRecord record(kKind, repository_);
    Record sweep;
    for (const uint32_t number : numbers) {
      sweep.packs.push_back(index_.pack(number).id);
      record.Add("pack", base::ToHex(sweep.packs.back()));
    }
    const std::string name = fmt::format("{}{}.sweep", kSweepPrefix, random_.Uuid());
    const std::string text = record.Encode(hasher_);
    const absl::Status written = reserve_.Run([&] { return store_.PutIfAbsent(name, base::AsBytes(text)); });
    if (!written.ok()) {
      // Given back only when the record is gone for sure: it would say that these packs are nobody's.
      const absl::Status gone = store_.Delete(name);
      if (gone.ok() || absl::IsNotFound(gone)) index_.GiveBack(numbers);
      index_.GiveBack(std::span(taken).subspan(first + numbers.size()));
      return base::Annotate(written, "write sweep");
    }
    sweep.left.insert(sweep.packs.begin(), sweep.packs.end());
    sweeps_[name] = std::move(sweep);
    if (const absl::Status deleted = DeletePacks(name); !deleted.ok()) {
      index_.GiveBack(std::span(taken).subspan(first + numbers.size()));
      return base::Annotate(deleted, "delete packs");
    }
    for (const uint32_t number : numbers) {
      packs_.Forget(number);
      index_.quarantine().Forget(index_.pack(number).id);
      ++swept.packs;
      swept.bytes += index_.pack(number).size_bytes;
    }
  }
  if (swept.packs > 0) base::Log("repo")->info("packs deleted count={} bytes={}", swept.packs, swept.bytes);
  return swept;
}

absl::Status PackSweeper::Forget() {
  absl::MutexLock lock(&mu_);
  const std::set<PackId> still_named = index_.NamedSweptPacks();
  for (auto sweep = sweeps_.begin(); sweep != sweeps_.end();) {
    const bool named =
        std::ranges::any_of(sweep->second.packs, [&](const PackId& id) { return still_named.contains(id); });
    if (named || !sweep->second.left.empty()) {
      ++sweep;
      continue;
    }
    const absl::Status deleted = store_.Delete(sweep->first);
    if (!absl::IsNotFound(deleted)) RETURN_IF_ERROR(deleted);
    sweep = sweeps_.erase(sweep);
  }
  return absl::OkStatus();
}

}  // namespace umbra::repo
