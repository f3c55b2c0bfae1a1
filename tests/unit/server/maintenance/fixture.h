// A real catalog and job engine around a repository that the test decides about.
#ifndef UMBRA_TESTS_UNIT_SERVER_MAINTENANCE_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_MAINTENANCE_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/server/maintenance/fake_repository.h"

namespace umbra::maintenance {

// How long a thread is waited for before a test gives up.
inline constexpr absl::Duration kPatience = absl::Seconds(20);

class MaintenanceTest : public ::testing::Test {
 protected:
  MaintenanceTest() {
    catalog_ = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
    events_ = std::make_unique<jobs::EventHub>(*catalog_, clock_);
    engine_ = std::make_unique<jobs::JobEngine>(*catalog_, clock_, random_);
    auto fake = std::make_unique<FakeRepository>();
    repository_ = fake.get();
    std::vector<OpenRepository> all;
    all.push_back({catalog::RepositoryId("main"), "/r", std::move(fake)});
    auto archive = std::make_unique<FakeRepository>();
    archive_ = archive.get();
    all.push_back({catalog::RepositoryId("archive"), "/a", std::move(archive)});
    repositories_ = std::make_unique<RepositorySet>(std::move(all));
  }

  std::vector<std::string> Rows() {
    std::vector<std::string> ids;
    const auto rows =
        catalog_->Read([](const catalog::Stores& s) { return s.recovery_points.Ids(catalog::RepositoryId("main")); });
    for (const auto& id : *rows) ids.push_back(id.value);
    return ids;
  }

  // Of a worker's job; expects that it gets to `state`.
  catalog::Job Await(const catalog::JobId& id, catalog::JobState state) {
    const absl::Duration start = clock_.Monotonic();
    catalog::Job job = *engine_->Get(id);
    while (job.state != state && clock_.Monotonic() - start < kPatience) {
      job = *engine_->WaitForChange(id, job.revision, absl::Seconds(1));
    }
    EXPECT_EQ(job.state, state);
    return job;
  }

  std::vector<catalog::Event> EventsOf(const std::string& type) {
    std::vector<catalog::Event> found;
    const auto page = catalog_->Read([](const catalog::Stores& s) { return s.events.List("", {.page_size = 1000}); });
    for (const catalog::Event& event : page->items) {
      if (event.type == type) found.push_back(event);
    }
    return found;
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<jobs::EventHub> events_;
  std::unique_ptr<jobs::JobEngine> engine_;
  std::unique_ptr<RepositorySet> repositories_;
  FakeRepository* repository_;  // "main", owned by repositories_
  FakeRepository* archive_;     // "archive"
};

}  // namespace umbra::maintenance

#endif  // UMBRA_TESTS_UNIT_SERVER_MAINTENANCE_FIXTURE_H_
