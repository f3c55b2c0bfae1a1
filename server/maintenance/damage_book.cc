#include "server/maintenance/damage_book.h"

#include <map>
#include <set>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

using catalog::Damage;
using catalog::Stores;

constexpr absl::Duration kFlushInterval = absl::Seconds(1);

std::map<catalog::RecoveryPointId, size_t> PlacesOf(const std::vector<Damage>& damage) {
  std::map<catalog::RecoveryPointId, size_t> places;
  for (const Damage& place : damage) ++places[place.recovery_point];
  return places;
}

}  // namespace

absl::Status DamageBook::Enter(const catalog::RepositoryId& repository, const repo::VerifyReport& report) {
  if (report.damaged.empty()) return absl::OkStatus();
  const absl::Time now = clock_.Now();
  return catalog_.Write([&](Stores& stores) -> absl::Status {
    for (const repo::ChunkDamage& damage : report.damaged) {
      if (damage.recovery_point_id.empty()) continue;
      RETURN_IF_ERROR(stores.verify.AddDamage({.repository = repository,
                                               .recovery_point = catalog::RecoveryPointId(damage.recovery_point_id),
                                               .disk = damage.disk,
                                               .offset_bytes = static_cast<int64_t>(damage.offset_bytes),
                                               .chunk_id = damage.chunk_id,
                                               .length_bytes = static_cast<int64_t>(damage.length_bytes),
                                               .reason = damage.reason,
                                               .message = damage.message,
                                               .found_time = now,
                                               .healed_time = std::nullopt}));
    }
    return absl::OkStatus();
  });
}

absl::Status DamageBook::CloseHealed(const OpenRepository& repository) {
  const auto open = [&] {
    return catalog_.Read([&](const Stores& stores) { return stores.verify.OpenDamage(repository.id); });
  };
  ASSIGN_OR_RETURN(const std::vector<Damage> before, open());
  std::set<std::string> ids;
  for (const Damage& damage : before) {
    if (!damage.chunk_id.empty()) ids.insert(damage.chunk_id);
  }
  std::vector<std::string> healed;
  for (const std::string& text : ids) {
    const auto raw = base::FromHex(text);
    if (!raw.has_value() || raw->size() != repo::kChunkIdSize) continue;
    const repo::ChunkId id = repo::ChunkId::FromBytes(base::AsBytes(*raw));
    ASSIGN_OR_RETURN(const auto sound, repository.repository->HaveSound({&id, 1}));
    if (sound.at(0) == 1) healed.push_back(text);
  }
  if (healed.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    for (const std::string& id : healed) RETURN_IF_ERROR(stores.verify.Heal(repository.id, id, clock_.Now()));
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const std::vector<Damage> after, open());
  return TellHealed(before, after);
}

absl::Status DamageBook::TellHealed(const std::vector<Damage>& before, const std::vector<Damage>& after) {
  const auto left = PlacesOf(after);
  for (const auto& [point, places] : PlacesOf(before)) {
    if (left.contains(point)) continue;
    catalog::Event event;
    event.type = "DAMAGE_HEALED";
    event.resource = fmt::format("recoveryPoints/{}", point);
    event.severity = catalog::Severity::kInfo;
    event.message = fmt::format("{} damaged places have sound copies again; the recovery point is whole", places);
    RETURN_IF_ERROR(events_.Append(event));
    base::Log("maintenance")->info("damage healed recovery_point={} places={}", point, places);
  }
  return absl::OkStatus();
}

void CheckRecorder::Add(const repo::PackCheck& check) {
  const absl::Time now = clock_.Now();
  packs_.push_back({.repository = repository_,
                    .pack = check.pack,
                    .size_bytes = static_cast<int64_t>(check.size_bytes),
                    .stored_time = now,
                    .full_time = check.level == repo::VerifyLevel::kStored ? std::optional<absl::Time>() : now,
                    .whole_damaged = check.whole_damaged,
                    .damaged_chunks = static_cast<int64_t>(check.damaged_chunks)});
  FlushNowAndThen();
}

void CheckRecorder::Add(const repo::PointCheck& check) {
  points_.push_back({.repository = repository_,
                     .recovery_point = catalog::RecoveryPointId(check.recovery_point_id),
                     .verify_time = clock_.Now(),
                     .sound = check.sound});
  FlushNowAndThen();
}

void CheckRecorder::FlushNowAndThen() {
  if (clock_.Monotonic() - written_ < kFlushInterval) return;
  if (const absl::Status flushed = Flush(); !flushed.ok()) {
    base::Log("maintenance")
        ->warn("results of a verification not recorded, tried again error={}", base::Describe(flushed));
  }
}

absl::Status CheckRecorder::Flush() {
  written_ = clock_.Monotonic();
  if (packs_.empty() && points_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    for (const catalog::PackCheck& check : packs_) RETURN_IF_ERROR(stores.verify.SetPackCheck(check));
    for (const catalog::PointCheck& check : points_) {
      RETURN_IF_ERROR(stores.verify.SetPointCheck(check));
      if (check.sound) RETURN_IF_ERROR(stores.verify.HealDisks(check.recovery_point, check.verify_time));
    }
    return absl::OkStatus();
  }));
  packs_.clear();
  points_.clear();
  return absl::OkStatus();
}

absl::Status ForgetGonePacks(catalog::Catalog& catalog, const OpenRepository& repository) {
  std::set<std::string> present;
  for (const repo::PackInfo& pack : repository.repository->ListPacks()) present.insert(pack.id);
  ASSIGN_OR_RETURN(const auto checks,
                   catalog.Read([&](const Stores& stores) { return stores.verify.PackChecks(repository.id); }));
  std::vector<std::string> gone;
  for (const catalog::PackCheck& check : checks) {
    if (!present.contains(check.pack)) gone.push_back(check.pack);
  }
  if (gone.empty()) return absl::OkStatus();
  return catalog.Write([&](Stores& stores) -> absl::Status {
    for (const std::string& pack : gone) RETURN_IF_ERROR(stores.verify.DeletePackCheck(repository.id, pack));
    return absl::OkStatus();
  });
}

}  // namespace umbra::maintenance
