// A catalog in a folder of its own, and records to fill it with.
#ifndef UMBRA_TESTS_UNIT_STORAGE_CATALOG_FIXTURE_H_
#define UMBRA_TESTS_UNIT_STORAGE_CATALOG_FIXTURE_H_

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "storage/base/status.h"
#include "storage/catalog/catalog.h"
#include "tests/support/temp_dir.h"

namespace umbra::catalog {

inline absl::Time At(int64_t seconds) {
  return absl::FromUnixSeconds(1'800'000'000 + seconds);
}

inline Host MakeHost(const std::string& id) {
  return {.id = HostId(id),
          .display_name = id + ".example",
          .agent_version = "0.1.0",
          .hypervisor = "simulated 1",
          .certificate_serial = "1",
          .certificate_fingerprint = "fingerprint-" + id,
          .create_time = At(0),
          .last_seen_time = At(0)};
}

inline RecoveryPoint MakePoint(const std::string& id, int64_t seconds, const std::string& vm = "vm1") {
  return {.id = RecoveryPointId(id),
          .vm = {HostId("h1"), vm},
          .vm_display_name = "mail",
          .repository = RepositoryId("main"),
          .job = JobId("j1"),
          .point_time = At(seconds),
          .create_time = At(seconds + 1),
          .mechanism = BackupMechanism::kChildSnapshot,
          .freeze_duration = absl::Milliseconds(134),
          .downtime = absl::Milliseconds(412),
          .obstacles = {{"GUEST_AGENT_NOT_RUNNING", "silent"}, {"GUEST_FILESYSTEM_CANNOT_FREEZE", "/x is vfat"}},
          .state_bytes = 7777,
          .state_data_bytes = 5555,
          .disks = {{"vda", 1 << 20, 1 << 19, "qcow2", "/disks/a"}, {"vdb", 5, 0, "raw", "/disks/b"}},
          .excluded_disks = {{"sdc", "DISK_REMOVABLE", "a CD"}},
          .read_bytes = 1000,
          .stored_bytes = 400,
          .configuration = "<domain/>",
          .documents = {{"first", "1"}, {"second", "2"}}};
}

class CatalogTest : public ::testing::Test {
 protected:
  CatalogTest() { Reopen(); }

  void Reopen() {
    catalog_.reset();
    absl::StatusOr<std::unique_ptr<Catalog>> catalog = Catalog::Open(filesystem_, path_);
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    catalog_ = *std::move(catalog);
  }
  void AddHost(const std::string& id) {
    ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.hosts.Insert(MakeHost(id)); }).ok());
  }

  testing::TempDir dir_;
  base::PosixFilesystem filesystem_;
  const std::string path_ = dir_.File("state/catalog.db");
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_TESTS_UNIT_STORAGE_CATALOG_FIXTURE_H_
