#include "server/api/agent/base_points.h"

#include <optional>
#include <string>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

absl::StatusOr<std::optional<store::v1::BasePoint>> NewestWithTracking(catalog::Catalog& catalog,
                                                                       const maintenance::OpenRepository& open,
                                                                       const catalog::VmKey& vm) {
  ASSIGN_OR_RETURN(const auto points, catalog.Read([&](const catalog::Stores& stores) {
    return stores.recovery_points.List({.vm = vm, .repository = open.id}, {.page_size = 1});
  }));
  if (points.items.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const repo::Manifest manifest, open.repository->ReadManifest(points.items.front().id.value));
  if (manifest.tracking().checkpoint().empty()) return std::nullopt;
  store::v1::BasePoint base;
  base.set_vm_uuid(vm.uuid);
  base.set_recovery_point_id(manifest.recovery_point_id());
  *base.mutable_tracking() = manifest.tracking();
  return base;
}

}  // namespace

std::vector<store::v1::BasePoint> ChooseBases(catalog::Catalog& catalog, const maintenance::OpenRepository& repository,
                                              const dispatch::Assignment& assignment) {
  std::vector<store::v1::BasePoint> bases;
  for (const std::string& uuid : assignment.vm_uuids) {
    auto base = NewestWithTracking(catalog, repository, {assignment.host, uuid});
    if (!base.ok()) {
      base::Log("api")->warn("no base for an increment job={} vm={} error={}", assignment.key.job, uuid,
                             base::Describe(base.status()));
    } else if (base->has_value()) {
      bases.push_back(**std::move(base));
    }
  }
  return bases;
}

}  // namespace umbra::api
