// Proves that the catalog opens what it should and refuses the rest with a reason, that a Write is all or nothing and
// durable, and that several threads may use it.
#include "storage/catalog/catalog.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>
#include <vector>

#include "storage/catalog/migrations.h"
#include "storage/sqlite/migrator.h"
#include "tests/support/sqlite_faults.h"
#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

TEST_F(CatalogTest, StartsEmptyInAFolderForTheOwnerOnly) {
  EXPECT_TRUE(catalog_->Read([](const Stores& s) { return s.hosts.List({}); })->items.empty());
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((path_ + "-wal").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(CatalogTest, MigrationsAreNumberedWithoutGaps) {
  int expected = 0;
  for (const sqlite::Migration& step : Migrations()) {
    EXPECT_EQ(step.version, ++expected);
    EXPECT_LE(step.compatible_version, step.version);
  }
  EXPECT_GE(expected, 1);
}

TEST_F(CatalogTest, RemembersOverAReopen) {
  AddHost("h1");
  Reopen();
  EXPECT_EQ(catalog_->Read([](const Stores& s) { return s.hosts.Get(HostId("h1")); })->display_name, "h1.example");
}

TEST_F(CatalogTest, AWriteThatFailsLeavesNothing) {
  const absl::Status status = catalog_->Write([](Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.hosts.Insert(MakeHost("h1")));
    return absl::AbortedError("changed my mind");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(absl::IsNotFound(catalog_->Read([](const Stores& s) { return s.hosts.Get(HostId("h1")); }).status()));
  AddHost("h1");
}

TEST_F(CatalogTest, AKillLosesNothingThatWasAnswered) {
  catalog_.reset();
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto catalog = Catalog::Open(filesystem_, path_);
    for (int i = 0; i < 5; ++i) {
      const absl::Status status = (*catalog)->Write([&](Stores& s) -> absl::Status {
        RETURN_IF_ERROR(s.hosts.Insert(MakeHost(fmt::format("h{}", i))));
        if (i == 4) kill(getpid(), SIGKILL);
        return absl::OkStatus();
      });
      if (!status.ok() || write(fds[1], "x", 1) != 1) _exit(1);
    }
    _exit(2);
  }
  close(fds[1]);
  size_t answered = 0;
  char byte;
  while (read(fds[0], &byte, 1) == 1) ++answered;
  close(fds[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  Reopen();
  EXPECT_EQ(answered, 4u);
  EXPECT_EQ(catalog_->Read([](const Stores& s) { return s.hosts.List({}); })->items.size(), answered);
}

TEST_F(CatalogTest, ADamagedFileIsRefused) {
  for (int i = 0; i < 200; ++i) AddHost(fmt::format("h{:03}", i));
  catalog_.reset();
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  for (int page = 0; page < 8; ++page) file << std::string(4096, '\x55');
  file.close();
  const auto catalog = Catalog::Open(filesystem_, path_);
  EXPECT_EQ(catalog.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(base::ReasonOf(catalog.status()), "CATALOG_CORRUPT");
  EXPECT_THAT(base::MessageOf(catalog.status()), ::testing::HasSubstr(path_));
}

TEST_F(CatalogTest, ANewerFileIsRefused) {
  catalog_.reset();
  auto db = sqlite::Database::Open(path_, {});
  ASSERT_TRUE((*db)->Execute("UPDATE meta SET value = 1000000").ok());
  db->reset();
  const auto catalog = Catalog::Open(filesystem_, path_);
  EXPECT_EQ(catalog.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(catalog.status()), "CATALOG_NEWER");
}

// A row in every table of the first schema that history depends on, as the first version wrote it.
constexpr char kFirstRows[] =
    "INSERT INTO host VALUES ('h1', 'node1', '0.1.0', 'simulated', '', '1', 'f1', 0, 5, 6, 1);"
    "INSERT INTO vm VALUES ('h1', 'u1', 'mail', 2, 1024, 2, '1', 2, 'r', 'm', 7);"
    "INSERT INTO vm_disk VALUES ('h1', 'u1', 0, 'vda', '/a', 'qcow2', 10, 5);"
    "INSERT INTO job (id, kind, repository, allow_crash_consistent, freeze_timeout_us, recovery_point, restore_mode, "
    "target_host, display_name, target_folder, power_on, state, phase, wait_reason, error_reason, error_message, "
    "done_bytes, total_bytes, read_bytes, new_bytes, stored_bytes, rate_bytes_per_second, eta_us, attempt, "
    "create_time_us, start_time_us, end_time_us, freeze_duration_us, restored_vm_uuid, revision) VALUES "
    "('j1', 1, 'main', 0, 10000000, '', 0, '', '', '', 0, 5, 0, '', '', '', 1, 1, 1, 1, 1, 0, NULL, 1, 1, 2, 3, 9, '', 4);"
    "INSERT INTO job_vm VALUES ('j1', 0, 'h1', 'u1');"
    "INSERT INTO job_disk VALUES ('j1', 0, 'h1', 'u1', 'vda', 3, 4);"
    "INSERT INTO event VALUES (1, 5, 'JOB_STATE_CHANGED', 'jobs/j1', 1, 'x');"
    "INSERT INTO recovery_point VALUES ('p1', 'h1', 'u1', 'mail', 'main', 'j1', 3, 4, 2, 'r', 9, 1, 1, '<domain/>');"
    "INSERT INTO recovery_point_disk VALUES ('p1', 0, 'vda', 10, 5, 'qcow2', '/a');";

constexpr char kFirstRowsOfHosts[] =
    "INSERT INTO host (id, display_name, agent_version, hypervisor, hypervisor_error, certificate_serial, "
    "certificate_fingerprint, revoked, create_time_us, last_seen_time_us, revision) VALUES "
    "('h1', 'node1', '0.1.0', 'simulated', '', '1', 'f1', 0, 5, 6, 1);"
    "INSERT INTO vm (host_id, uuid, display_name, state, memory_bytes, guest_agent_state, guest_agent_version, "
    "mechanism, mechanism_reason, mechanism_message, update_time_us) SELECT 'h1', value, value, 2, 1024, 2, '1', 2, "
    "'r', 'm', 7 FROM json_each('[\"u1\", \"u2\", \"u3\"]');"
    "INSERT INTO vm_disk SELECT 'h1', uuid, 0, 'vda', '/a', 'qcow2', 10, 5 FROM vm;";

std::string SchemaOf(const std::string& path) {
  auto db = sqlite::Database::Open(path, {});
  std::string schema;
  EXPECT_TRUE((*db)->Query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name",
                           [&](const sqlite::Row& row) { schema += row.Text(0) + "\n"; })
                  .ok());
  return schema;
}

TEST_F(CatalogTest, EveryEarlierSchemaIsMigratedWithWhatIsInIt) {
  const std::string newest_schema = SchemaOf(path_);
  const auto all = Migrations();
  for (size_t version = 1; version <= all.size(); ++version) {
    SCOPED_TRACE(fmt::format("from version {}", version));
    const std::string path = dir_.File(fmt::format("v{}.db", version));
    {
      auto db = sqlite::Database::Open(path, {});
      ASSERT_TRUE(sqlite::Migrate(**db, all.first(1)).ok());
      ASSERT_TRUE((*db)->Execute(kFirstRows).ok());
      ASSERT_TRUE(sqlite::Migrate(**db, all.first(version)).ok());
    }
    EXPECT_EQ(*Catalog::CheckFile(filesystem_, path), static_cast<int>(version));
    {
      const auto catalog = Catalog::Open(filesystem_, path);
      ASSERT_TRUE(catalog.ok()) << catalog.status();
      EXPECT_EQ((*catalog)->schema_version(), static_cast<int>(all.size()));
      ASSERT_TRUE((*catalog)
                      ->Read([](const Stores& s) -> absl::Status {
                        ASSIGN_OR_RETURN(const Host host, s.hosts.Get(HostId("h1")));
                        EXPECT_EQ(host.display_name, "node1");
                        EXPECT_FALSE(host.drained);
                        ASSIGN_OR_RETURN(const Job job, s.jobs.Get(JobId("j1")));
                        EXPECT_EQ(job.state, JobState::kSucceeded);
                        EXPECT_TRUE(std::holds_alternative<BackupSpec>(job.spec));
                        EXPECT_EQ(std::get<BackupSpec>(job.spec).vms.size(), 1u);
                        ASSIGN_OR_RETURN(const RecoveryPoint point, s.recovery_points.Get(RecoveryPointId("p1")));
                        EXPECT_EQ(point.disks.size(), 1u);
                        EXPECT_EQ(point.configuration, "<domain/>");
                        EXPECT_FALSE(point.protection.held);
                        EXPECT_EQ(*s.events.Newest(), 1);
                        EXPECT_EQ(s.jobs.SummarizeBackups(absl::UnixEpoch(), At(0))->recovery_points, 1);
                        EXPECT_TRUE(s.policies.VmStates({})->items.at(0).failed_job.empty());
                        EXPECT_EQ(*s.identity.CountUsers(), 0);
                        EXPECT_EQ(s.audit.Head()->number, 0);
                        EXPECT_EQ(s.audit.Head()->hash, std::string(64, '0'));
                        return s.policies.All().status();
                      })
                      .ok());
      ASSERT_TRUE((*catalog)->Write([](Stores& s) { return s.hosts.Insert(MakeHost("h2")); }).ok());
    }
    EXPECT_EQ(SchemaOf(path), newest_schema);
  }
}

TEST_F(CatalogTest, WhatSummariesNeedIsMadeFromTheJobsOfBefore) {
  const std::string path = dir_.File("before.db");
  const auto all = Migrations();
  {
    auto db = sqlite::Database::Open(path, {});
    ASSERT_TRUE(sqlite::Migrate(**db, all.first(16)).ok());
    ASSERT_TRUE((*db)->Execute(kFirstRowsOfHosts).ok());
    // Of u1 the newest failed, of u2 the newest went well, u3's failure was followed by a cancelled one only.
    const std::tuple<const char*, const char*, int, int> jobs[] = {{"a", "u1", 5, 10}, {"b", "u1", 6, 20},
                                                                   {"c", "u2", 6, 10}, {"d", "u2", 5, 20},
                                                                   {"e", "u3", 6, 10}, {"f", "u3", 7, 20}};
    for (const auto& [id, vm, state, end] : jobs) {
      ASSERT_TRUE((*db)
                      ->Execute(fmt::format(
                          "INSERT INTO job (id, kind, repository, allow_crash_consistent, freeze_timeout_us, "
                          "recovery_point, restore_mode, target_host, display_name, target_folder, power_on, state, "
                          "phase, wait_reason, error_reason, error_message, done_bytes, total_bytes, read_bytes, "
                          "new_bytes, stored_bytes, rate_bytes_per_second, eta_us, attempt, create_time_us, "
                          "start_time_us, end_time_us, freeze_duration_us, restored_vm_uuid, revision) VALUES "
                          "('{0}', 1, 'main', 0, 0, '', 0, '', '', '', 0, {2}, 0, '', '', '', 0, 0, 0, 0, 0, 0, "
                          "NULL, 1, 1, 1, {3}, 0, '', 1); INSERT INTO job_vm VALUES ('{0}', 0, 'h1', '{1}');",
                          id, vm, state, end))
                      .ok());
    }
    ASSERT_TRUE((*db)->Execute("INSERT INTO job_warning VALUES ('d', 0, 'X', 'x')").ok());
  }
  const auto catalog = Catalog::Open(filesystem_, path);
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  ASSERT_TRUE((*catalog)
                  ->Read([](const Stores& s) -> absl::Status {
                    ASSIGN_OR_RETURN(const auto states, s.policies.VmStates({}));
                    EXPECT_EQ(states.items.size(), 3u);
                    if (states.items.size() != 3) return absl::OkStatus();
                    EXPECT_EQ(states.items[0].failed_job, JobId("b"));
                    EXPECT_EQ(states.items[0].failed_time, absl::FromUnixMicros(20));
                    EXPECT_TRUE(states.items[1].failed_job.empty());
                    EXPECT_EQ(states.items[2].failed_job, JobId("e"));
                    ASSIGN_OR_RETURN(const BackupSummary sums, s.jobs.SummarizeBackups(absl::UnixEpoch(), At(0)));
                    EXPECT_EQ(sums.succeeded, 2);
                    EXPECT_EQ(sums.warned, 1);
                    EXPECT_EQ(sums.failed, 3);
                    EXPECT_EQ(sums.cancelled, 1);
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(CatalogTest, DamageWhileItRunsIsSaidWithWhatToDo) {
  for (int i = 0; i < 300; ++i) AddHost(fmt::format("h{:03}", i));
  Reopen();  // what was written is in the file, not in its log, and nothing is in memory
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(0, std::ios::end);
  const auto size = file.tellp();
  for (auto at = std::streamoff{4096}; at < size; at += 4096) {
    file.seekp(at);
    file << std::string(4096, '\x55');
  }
  file.close();
  const absl::Status read = catalog_->Read([](const Stores& s) { return s.hosts.List({.page_size = 1000}); }).status();
  EXPECT_EQ(base::ReasonOf(read), "CATALOG_CORRUPT");
  EXPECT_THAT(base::MessageOf(read), ::testing::HasSubstr("restore-catalog"));
  const absl::Status checked = catalog_->Check();
  EXPECT_EQ(base::ReasonOf(checked), "CATALOG_CORRUPT");
  const absl::Status copied = catalog_->CopyTo(filesystem_, dir_.File("copy.db"), [] { return absl::OkStatus(); });
  EXPECT_EQ(base::ReasonOf(copied), "CATALOG_CORRUPT") << "a damaged catalog is no copy";
  EXPECT_FALSE(*filesystem_.Exists(dir_.File("copy.db")));
  catalog_.reset();
  const absl::Status opened = Catalog::Open(filesystem_, path_).status();
  EXPECT_EQ(base::ReasonOf(opened), "CATALOG_CORRUPT");
  EXPECT_THAT(base::MessageOf(opened), ::testing::HasSubstr("umbrad restore-catalog --replace"));
  EXPECT_EQ(base::ReasonOf(Catalog::CheckFile(filesystem_, path_).status()), "CATALOG_CORRUPT");
}

TEST_F(CatalogTest, TheCheckAtTheOpeningIsBounded) {
  for (int i = 0; i < 50; ++i) AddHost(fmt::format("h{:03}", i));
  catalog_.reset();
  base::SystemClock clock;
  for (const absl::Duration time_max : {absl::ZeroDuration(), absl::Seconds(60)}) {
    const auto catalog = Catalog::Open(filesystem_, path_, {.clock = &clock, .check_time_max = time_max});
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    EXPECT_EQ((*catalog)->Read([](const Stores& s) { return s.hosts.List({}); })->items.size(), 50u);
  }
}

TEST_F(CatalogTest, ACopyIsAWholeDatabaseByItself) {
  AddHost("h1");
  const std::string path = dir_.File("copy.db");
  ASSERT_TRUE(catalog_->CopyTo(filesystem_, path, [&] { return absl::OkStatus(); }).ok());
  AddHost("h2");
  EXPECT_FALSE(*filesystem_.Exists(path + "-wal"));
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto copy = Catalog::Open(filesystem_, path);
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ((*copy)->Read([](const Stores& s) { return s.hosts.List({}); })->items.size(), 1u);
  EXPECT_EQ(base::ReasonOf(catalog_->CopyTo(filesystem_, path, [] { return absl::OkStatus(); })), "FILE_EXISTS");
  EXPECT_TRUE(catalog_->Check().ok());
}

TEST_F(CatalogTest, AFullOrBrokenDiskLeavesTheCatalogAndNoHalfCopy) {
  for (int i = 0; i < 200; ++i) AddHost(fmt::format("h{:03}", i));
  const std::string path = dir_.File("copy.db");
  for (const auto fault : {testing::SqliteFault::kNoSpace, testing::SqliteFault::kIoError}) {
    for (const bool for_good : {false, true}) {
      for (uint64_t call = 1;; ++call) {
        testing::FailSqliteAt(call, fault, for_good);
        const absl::Status copied = catalog_->CopyTo(filesystem_, path, [] { return absl::OkStatus(); });
        const bool struck = testing::HealSqlite();
        EXPECT_EQ(*filesystem_.Exists(path), copied.ok()) << call;
        if (copied.ok()) {
          const auto copy = Catalog::Open(filesystem_, path);
          ASSERT_TRUE(copy.ok()) << call << copy.status();
          EXPECT_EQ((*copy)->Read([](const Stores& s) { return s.hosts.List({.page_size = 1000}); })->items.size(), 200u);
        } else {
          EXPECT_THAT(base::ReasonOf(copied), ::testing::AnyOf("STORAGE_FULL", "IO_ERROR")) << copied;
        }
        RemoveDatabase(filesystem_, path);
        ASSERT_TRUE(catalog_->Check().ok()) << call;
        if (!struck) break;
      }
    }
  }
  AddHost("still-works");
}

TEST_F(CatalogTest, AFullDiskIsSaidWithWhatToDoAndLosesNothing) {
  AddHost("h1");
  testing::FailSqliteAt(1, testing::SqliteFault::kNoSpace, true);
  const absl::Status written = catalog_->Write([](Stores& s) { return s.hosts.Insert(MakeHost("h2")); });
  EXPECT_EQ(base::ReasonOf(written), "STORAGE_FULL");
  EXPECT_THAT(base::MessageOf(written), ::testing::HasSubstr("free space"));
  EXPECT_TRUE(catalog_->Read([](const Stores& s) { return s.hosts.Get(HostId("h1")); }).ok()) << "reading goes on";
  testing::HealSqlite();
  AddHost("h2");
  catalog_.reset();
  testing::FailSqliteAt(1, testing::SqliteFault::kNoSpace, true);
  const absl::Status opened = Catalog::Open(filesystem_, dir_.File("new/catalog.db")).status();
  testing::HealSqlite();
  EXPECT_EQ(base::ReasonOf(opened), "STORAGE_FULL");
  EXPECT_THAT(base::MessageOf(opened), ::testing::HasSubstr("free space"));
  Reopen();
}

// Somebody who reads all machines must not hold up everybody else; and whoever comes beyond the last reader gets his turn.
TEST_F(CatalogTest, AReaderDoesNotWaitForAnother) {
  AddHost("h1");
  absl::Mutex mu;
  size_t inside = 0;
  bool leave = false;
  const auto read = [&] {
    EXPECT_TRUE(catalog_
                    ->Read([&](const Stores& s) -> absl::Status {
                      RETURN_IF_ERROR(s.hosts.Get(HostId("h1")).status());
                      absl::MutexLock lock(&mu);
                      ++inside;
                      mu.Await(absl::Condition(&leave));
                      return s.hosts.Get(HostId("h1")).status();
                    })
                    .ok());
  };
  std::vector<std::jthread> readers;
  for (size_t i = 0; i < kReadersMax + 2; ++i) readers.emplace_back(read);
  {
    absl::MutexLock lock(&mu);
    const auto all = [&] { return inside == kReadersMax; };
    EXPECT_TRUE(mu.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(20)));
  }
  AddHost("h2");  // nor does a writer
  {
    absl::MutexLock lock(&mu);
    EXPECT_LE(inside, kReadersMax);
    leave = true;
  }
  readers.clear();
  EXPECT_EQ(inside, kReadersMax + 2);
  EXPECT_TRUE(catalog_->Read([](const Stores& s) { return s.hosts.Get(HostId("h2")); }).ok());
}

TEST_F(CatalogTest, ReadersAndWritersRunSideBySide) {
  constexpr int kWriters = 3;
  constexpr int kEach = 20;
  std::atomic<bool> done = false;
  std::vector<std::jthread> threads;
  std::jthread reader([&] {
    while (!done) {
      // Hosts come in pairs, one transaction each: a reader never sees half a pair.
      const auto page = catalog_->Read([](const Stores& s) { return s.hosts.List({.page_size = 1000}); });
      ASSERT_TRUE(page.ok());
      EXPECT_EQ(page->items.size() % 2, 0u);
    }
  });
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      for (int i = 0; i < kEach; ++i) {
        EXPECT_TRUE(catalog_
                        ->Write([&](Stores& s) -> absl::Status {
                          RETURN_IF_ERROR(s.hosts.Insert(MakeHost(fmt::format("a-{}-{}", w, i))));
                          return s.hosts.Insert(MakeHost(fmt::format("b-{}-{}", w, i)));
                        })
                        .ok());
      }
    });
  }
  threads.clear();
  done = true;
  reader.join();
  EXPECT_EQ(catalog_->Read([](const Stores& s) { return s.hosts.List({.page_size = 1000}); })->items.size(),
            size_t{2 * kWriters * kEach});
}

}  // namespace
}  // namespace umbra::catalog
