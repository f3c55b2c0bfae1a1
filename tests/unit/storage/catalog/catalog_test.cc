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
