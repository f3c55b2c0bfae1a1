// A repository whose content and verification a test decides. Keeps the interface's promises but for durability; upload
// sessions and reading disks are not offered.
#ifndef UMBRA_TESTS_UNIT_SERVER_MAINTENANCE_FAKE_REPOSITORY_H_
#define UMBRA_TESTS_UNIT_SERVER_MAINTENANCE_FAKE_REPOSITORY_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "storage/base/status.h"
#include "storage/repo/catalog_copies.h"
#include "storage/repo/repository.h"
#include "tests/support/memory_blob_store.h"

namespace umbra::maintenance {

class FakeRepository final : public repo::Repository {
 public:
  using Verifier = std::function<absl::StatusOr<repo::VerifyReport>(
      const repo::VerifyScope&, const std::function<void(const repo::VerifyProgress&)>&, std::stop_token)>;

  void Add(const std::string& id, const std::string& job = "j0") {
    repo::Manifest manifest;
    manifest.set_recovery_point_id(id);
    manifest.set_host_id("h1");
    manifest.set_vm_uuid("u1");
    manifest.set_vm_display_name("vm");
    manifest.set_job_id(job);
    manifest.mutable_point_time()->set_seconds(1'800'000'000);
    manifest.mutable_create_time()->set_seconds(1'800'000'001);
    manifest.set_mechanism(2);
    auto* disk = manifest.add_disks();
    disk->set_name("vda");
    disk->set_capacity_bytes(1 << 20);
    auto* configuration = manifest.add_documents();
    configuration->set_kind("vm.configuration");
    configuration->set_content("<domain/>");
    auto* document = manifest.add_documents();
    document->set_kind("vss.backup-components");
    document->set_content("<components/>");
    points[id] = manifest;
  }

  const repo::RepositoryInfo& info() const override { return info_; }
  const repo::ChunkHasher& hasher() const override { return hasher_; }
  std::unique_ptr<repo::UploadSession> BeginSession() override { return nullptr; }
  absl::StatusOr<repo::KeyList> ListKeys() override { return repo::KeyList(); }
  absl::StatusOr<repo::KeyInfo> AddKey(const repo::KeySecret&, const std::string&) override {
    return absl::UnimplementedError("a fake has no keys");
  }
  absl::Status RemoveKey(const std::string&) override { return absl::UnimplementedError("a fake has no keys"); }
  absl::StatusOr<repo::KeyList> RotateKeys() override { return absl::UnimplementedError("a fake has no keys"); }
  absl::StatusOr<repo::RecoveryPointList> ListRecoveryPoints() override {
    repo::RecoveryPointList list;
    for (const auto& [id, manifest] : points) {
      if (damaged.contains(id)) {
        list.problems.push_back("points/" + id + ": damaged");
      } else {
        (protections[id].removed ? list.removed : list.points).push_back(manifest);
      }
    }
    list.protections = protections;
    return list;
  }
  absl::StatusOr<repo::Manifest> ReadManifest(const std::string& id) override {
    if (!points.contains(id) || protections[id].removed) {
      return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "no point {}", id);
    }
    if (damaged.contains(id)) return base::Error(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "{} is damaged", id);
    return points[id];
  }
  absl::StatusOr<std::unique_ptr<repo::DiskReader>> OpenDisk(const std::string&, const std::string&) override {
    return absl::UnimplementedError("a fake has no disks");
  }
  absl::StatusOr<std::unique_ptr<repo::DiskView>> OpenDiskView(const std::string&, const std::string&,
                                                               const repo::DiskViewOptions&) override {
    return absl::UnimplementedError("a fake has no disks");
  }
  absl::StatusOr<repo::PointProtection> RemoveRecoveryPoint(const std::string& id, const repo::RemovalOptions& options) override {
    return Change(id, [&](repo::PointProtection& p) {
      p.removed = true;
      p.removed_by = options.who;
    });
  }
  absl::StatusOr<repo::PointProtection> UndeleteRecoveryPoint(const std::string& id) override {
    return Change(id, [](repo::PointProtection& p) { p = {}; });
  }
  absl::StatusOr<repo::PointProtection> HoldRecoveryPoint(const std::string& id, const std::string& who,
                                                          const std::string& note) override {
    return Change(id, [&](repo::PointProtection& p) {
      p.held = true;
      p.held_by = who;
      p.hold_note = note;
    });
  }
  absl::StatusOr<repo::PointProtection> ReleaseRecoveryPoint(const std::string& id) override {
    return Change(id, [](repo::PointProtection& p) { p.held = false; });
  }
  absl::StatusOr<repo::PointProtection> LockRecoveryPoint(const std::string& id, absl::Time until, const std::string&) override {
    return Change(id, [&](repo::PointProtection& p) { p.lock_until = until; });
  }
  absl::StatusOr<repo::PruneReport> Prune(const repo::PruneOptions& options,
                                          std::function<void(const repo::PruneProgress&)> progress,
                                          std::stop_token stop) override {
    return pruner(options, progress, std::move(stop));
  }
  absl::Status Maintain(const repo::PruneOptions&) override {
    ++maintained;
    return absl::OkStatus();
  }
  absl::Duration ClockAhead() override { return clock_ahead; }
  absl::Status ConfirmClock(const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<repo::VerifyReport> Verify(const repo::VerifyScope& scope,
                                            std::function<void(const repo::VerifyProgress&)> progress,
                                            std::stop_token stop) override {
    return verifier(scope, progress, std::move(stop));
  }
  std::vector<repo::PackInfo> ListPacks() override { return packs; }
  absl::StatusOr<std::vector<uint8_t>> HaveSound(std::span<const repo::ChunkId> ids) override {
    std::vector<uint8_t> sound;
    for (const repo::ChunkId& id : ids) sound.push_back(unsound.contains(id.ToHex()) ? 0 : 1);
    return sound;
  }
  std::vector<repo::QuarantinedPack> ListQuarantine() override { return quarantine; }
  absl::StatusOr<repo::RepositoryStats> Stats() override { return stats; }
  repo::CatalogCopies& catalog_copies() override { return catalog_copies_; }
  testing::MemoryBlobStore& blobs() { return blobs_; }

  std::map<std::string, repo::Manifest> points;
  std::map<std::string, bool> damaged;
  std::vector<repo::PackInfo> packs;
  std::vector<repo::QuarantinedPack> quarantine;
  std::set<std::string> unsound;  // chunk ids, hexadecimal
  repo::RepositoryStats stats;
  std::map<std::string, repo::PointProtection> protections;
  std::atomic<uint64_t> maintained{0};
  absl::Duration clock_ahead;
  void SetCreateTime(absl::Time time) { info_.create_time = time; }
  Verifier verifier;
  std::function<absl::StatusOr<repo::PruneReport>(const repo::PruneOptions&,
                                                  const std::function<void(const repo::PruneProgress&)>&, std::stop_token)>
      pruner;

 private:
  template <typename Modify>
  absl::StatusOr<repo::PointProtection> Change(const std::string& id, Modify modify) {
    if (!points.contains(id)) {
      return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "no point {}", id);
    }
    modify(protections[id]);
    return protections[id];
  }

  repo::RepositoryInfo info_;
  std::string key_ = std::string(repo::kIdKeySize, 'k');
  static repo::DataKeys& Keys() {
    static auto* keys = [] {
      auto* made = new repo::DataKeys;
      made->Add(1, repo::Key());
      return made;
    }();
    return *keys;
  }

  testing::MemoryBlobStore blobs_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  repo::CatalogCopies catalog_copies_{blobs_, clock_, random_, Keys(), {}};
  repo::ChunkHasher hasher_{repo::IdSuite::kBlake3Keyed, base::AsBytes(key_)};
};

}  // namespace umbra::maintenance

#endif  // UMBRA_TESTS_UNIT_SERVER_MAINTENANCE_FAKE_REPOSITORY_H_
