// Proves that a daemon's state comes back from a repository and its key: the newest sound copy is taken, an unsound one
// is passed over and a newer one refused, jobs that may have run since are ended, what is in the way is kept.
#include "server/restore_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/jobs/job_engine.h"
#include "server/maintenance/catalog_copy.h"
#include "server/repository_keys.h"
#include "server/server.h"
#include "storage/base/status.h"
#include "storage/catalog/catalog.h"
#include "storage/sqlite/database.h"
#include "tests/support/temp_dir.h"

namespace umbra::server {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RestoreCatalogTest : public ::testing::Test {
 protected:
  RestoreCatalogTest() {
    Config config;
    config.data_dir = dir_.File("d");
    config.agent_listen = "127.0.0.1:0";
    config.enrolment_listen = "127.0.0.1:0";
    config.repositories.push_back({"vault", dir_.File("vault")});
    config_ = *CompleteConfig(config);
    what_.repository = dir_.File("vault");
    what_.key_file = dir_.File("stick.key");
  }

  // A daemon lives for a moment; its stop makes a copy.
  void Live() {
    const auto server = Server::Start(config_, files_, clock_, random_);
    ASSERT_TRUE(server.ok()) << base::Describe(server.status());
  }
  void MakeState() {
    Live();
    const auto catalog = OpenCatalog();
    jobs::JobEngine engine(*catalog, clock_, random_);
    queued_ = engine
                  .Submit(catalog::BackupSpec{
                      {{catalog::HostId("h1"), "u1"}}, catalog::RepositoryId("vault"), false, absl::Seconds(10)})
                  ->id;
    ASSERT_TRUE(catalog
                    ->Write([&](catalog::Stores& s) -> absl::Status {
                      RETURN_IF_ERROR(s.tokens.Insert({.hash = "t", .expire_time = clock_.Now() + absl::Hours(1)}));
                      return s.events.Append({.time = clock_.Now(), .type = "X", .severity = catalog::Severity::kInfo})
                          .status();
                    })
                    .ok());
    ASSERT_TRUE(files_.WriteFileAtomic(what_.key_file, *files_.ReadFile(config_.data_dir + "/keys/vault.key")).ok());
  }
  // The state folder is another one from now on.
  void Lose() {
    authority_ = *files_.ReadFile(config_.data_dir + "/authority.pem");
    config_.data_dir = dir_.File("new");
    config_.api_socket = dir_.File("new/s");
    config_.repositories[0].key_file = dir_.File("new/keys/vault.key");
  }
  std::unique_ptr<catalog::Catalog> OpenCatalog() {
    return *catalog::Catalog::Open(files_, config_.data_dir + "/catalog.db");
  }
  absl::StatusOr<RestoreCatalogReport> Restore() { return RestoreCatalog(config_, what_, "", files_, clock_, random_); }
  std::unique_ptr<repo::Repository> OpenVault() {
    repo::RepositoryOptions options;
    options.key = *ReadKeyFile(what_.key_file, files_);
    return *repo::Repository::Open(files_, clock_, random_, what_.repository, options);
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  Config config_;
  RestoreCatalogConfig what_;
  catalog::JobId queued_;
  std::string authority_;
};

TEST_F(RestoreCatalogTest, EverythingComesBackAndNoJobRunsTwice) {
  MakeState();
  Live();
  Lose();
  const auto report = Restore();
  ASSERT_TRUE(report.ok()) << base::Describe(report.status());
  EXPECT_FALSE(report->copy.id.empty());
  EXPECT_TRUE(report->authority_restored);
  EXPECT_EQ(report->repository, "vault");
  EXPECT_EQ(report->jobs_ended, 1);
  EXPECT_THAT(report->passed_over, IsEmpty());
  EXPECT_EQ(*files_.ReadFile(config_.data_dir + "/authority.pem"), authority_);
  const auto catalog = OpenCatalog();
  const auto job = *catalog->Read([&](const catalog::Stores& s) { return s.jobs.Get(queued_); });
  EXPECT_EQ(job.state, catalog::JobState::kCancelled);
  ASSERT_THAT(job.warnings, SizeIs(1));
  EXPECT_EQ(job.warnings[0].reason, "CATALOG_RESTORED");
  EXPECT_TRUE(absl::IsNotFound(catalog->Read([](const catalog::Stores& s) { return s.tokens.Get("t"); }).status()));
  EXPECT_FALSE(*files_.Exists(config_.data_dir + "/restore/catalog.db"));
}

TEST_F(RestoreCatalogTest, ADaemonStartsFromIt) {
  MakeState();
  Live();
  Lose();
  ASSERT_TRUE(Restore().ok());
  Live();
}

TEST_F(RestoreCatalogTest, WhatIsInTheWayIsKeptAndOnlyMovedWhenAsked) {
  MakeState();
  Live();
  Lose();
  ASSERT_TRUE(files_.MakeDirectories(config_.data_dir + "/keys").ok());
  ASSERT_TRUE(
      files_.WriteFileAtomic(config_.repositories[0].key_file, *files_.ReadFile(what_.key_file)).ok());
  Live();  // by mistake: an empty catalog and another authority
  EXPECT_EQ(base::ReasonOf(Restore().status()), "TARGET_EXISTS");
  what_.replace = true;
  what_.copy = OpenVault()->catalog_copies().List()->back().id;  // not the one of the empty catalog
  const auto report = Restore();
  ASSERT_TRUE(report.ok()) << base::Describe(report.status());
  EXPECT_THAT(report->moved_aside, Contains(HasSubstr("catalog.db.replaced-")));
  EXPECT_THAT(report->moved_aside, Contains(HasSubstr("authority.pem.replaced-")));
  EXPECT_EQ(*files_.ReadFile(config_.data_dir + "/authority.pem"), authority_);
  for (const std::string& path : report->moved_aside) EXPECT_TRUE(*files_.Exists(path));
}

TEST_F(RestoreCatalogTest, AnUnsoundCopyIsPassedOverAndANewerOneStopsIt) {
  MakeState();
  Live();
  {
    // A copy that opens, but whose database is no database; and later one of a newer program.
    auto vault = OpenVault();
    const std::string database = dir_.File("x.db");
    ASSERT_TRUE(files_.WriteFileAtomic(database, std::string(5000, 'A')).ok());
    const auto go_on = [] { return absl::OkStatus(); };
    ASSERT_TRUE(maintenance::WriteCatalogCopy(vault->catalog_copies(), files_, {.database = database}, go_on).ok());
  }
  Lose();
  {
    const auto report = Restore();
    ASSERT_TRUE(report.ok()) << base::Describe(report.status());
    EXPECT_THAT(report->passed_over, SizeIs(1));
    EXPECT_TRUE(report->authority_restored) << "of the copy that was taken";
  }
  {
    const std::string database = dir_.File("newer.db");
    ASSERT_TRUE(catalog::Catalog::Open(files_, database).ok());
    auto db = *sqlite::Database::Open(database, {});
    ASSERT_TRUE(db->Execute("UPDATE meta SET value = 1000000").ok());
    db.reset();
    const auto go_on = [] { return absl::OkStatus(); };
    ASSERT_TRUE(
        maintenance::WriteCatalogCopy(OpenVault()->catalog_copies(), files_, {.database = database}, go_on).ok());
  }
  what_.replace = true;
  const absl::Status newer = Restore().status();
  EXPECT_EQ(base::ReasonOf(newer), "CATALOG_NEWER") << "an older one must not pass for the newest";
  EXPECT_TRUE(*files_.Exists(config_.data_dir + "/catalog.db")) << "nothing was touched";
  what_.copy = "0000000000000009-12345678";
  EXPECT_EQ(base::ReasonOf(Restore().status()), "CATALOG_COPY_NOT_FOUND");
}

TEST_F(RestoreCatalogTest, WithoutAnyCopyThePointsAloneComeBack) {
  config_.catalog.backup_every = absl::ZeroDuration();
  MakeState();
  Lose();
  const auto report = Restore();
  ASSERT_TRUE(report.ok()) << base::Describe(report.status());
  EXPECT_TRUE(report->copy.id.empty());
  EXPECT_FALSE(report->authority_restored);
  EXPECT_THAT(report->not_restored, Contains(HasSubstr("policies, hosts")));
  EXPECT_THAT(report->not_restored, Contains(HasSubstr("enrol")));
  Live();
}

TEST_F(RestoreCatalogTest, ARunningDaemonIsNotTouched) {
  MakeState();
  const auto server = Server::Start(config_, files_, clock_, random_);
  ASSERT_TRUE(server.ok());
  EXPECT_EQ(base::ReasonOf(Restore().status()), "FILE_LOCKED");
  EXPECT_EQ(base::ReasonOf(CheckCatalog(config_, files_).status()), "FILE_LOCKED");
}

TEST_F(RestoreCatalogTest, TheCatalogIsCheckedWhenNobodyRuns) {
  EXPECT_EQ(base::ReasonOf(CheckCatalog(config_, files_).status()), "FILE_NOT_FOUND");
  MakeState();
  EXPECT_TRUE(CheckCatalog(config_, files_).ok());
}

}  // namespace
}  // namespace umbra::server
