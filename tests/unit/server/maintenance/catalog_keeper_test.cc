// Proves when the catalog is copied into the repositories and that a copy is the whole of it; that what fails in one
// repository, on a full or broken disk, at any write, leaves the earlier copies and the catalog itself as they are; and
// that a damaged catalog never takes the place of a sound copy.
#include "server/maintenance/catalog_keeper.h"

#include <fstream>

#include "server/maintenance/catalog_copy.h"
#include "storage/repo/repository.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/repository_key.h"
#include "tests/support/sqlite_faults.h"
#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

using ::testing::AnyOf;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kEvery = absl::Hours(6);
constexpr absl::Duration kAfterChange = absl::Minutes(5);

catalog::Host HostOf(const std::string& id) {
  return {.id = catalog::HostId(id), .display_name = id, .certificate_fingerprint = id};
}

class CatalogKeeperTest : public MaintenanceTest {
 protected:
  CatalogKeeperTest() {
    AddHost("h1");
    EXPECT_TRUE(files_.WriteFileAtomic(dir_.File("authority.pem"), "a key and a certificate").ok());
    keeper_ = NewKeeper();
  }

  std::unique_ptr<CatalogKeeper> NewKeeper() {
    return std::make_unique<CatalogKeeper>(*catalog_, *events_, *repositories_, files_, manual_, Options());
  }
  CatalogKeeperOptions Options() {
    return {.every = kEvery,
            .after_change = kAfterChange,
            .scratch = dir_.File("copy.db"),
            .authority = dir_.File("authority.pem"),
            .daemon_version = "1.2.3",
            .machine = "machine"};
  }
  void AddHost(const std::string& id) {
    ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) { return s.hosts.Insert(HostOf(id)); }).ok());
  }
  void Happen(const std::string& type) {
    ASSERT_TRUE(events_->Append({.type = type, .severity = catalog::Severity::kInfo}).ok());
  }
  // Copies in "main", after a look.
  size_t Tick(absl::Duration later = absl::ZeroDuration()) {
    manual_.Advance(later);
    EXPECT_TRUE(keeper_->Tick().ok());
    return CopiesIn(*repository_);
  }
  static size_t CopiesIn(FakeRepository& repository) { return repository.catalog_copies().List()->size(); }
  std::string NewestIn(FakeRepository& repository) { return repository.catalog_copies().List()->front().id; }

  testing::ManualClock manual_;
  std::unique_ptr<CatalogKeeper> keeper_;
};

TEST_F(CatalogKeeperTest, ACopyIsAllOfIt) {
  Happen("HOST_ENROLLED");
  ASSERT_TRUE(keeper_->CopyNow().ok());
  for (FakeRepository* repository : {repository_, archive_}) {
    const std::string path = dir_.File("back.db");
    const auto content = ReadCatalogCopy(repository->catalog_copies(), NewestIn(*repository), files_, path);
    ASSERT_TRUE(content.ok()) << content.status();
    EXPECT_EQ(content->authority_pem, "a key and a certificate");
    EXPECT_EQ(content->header.daemon_version(), "1.2.3");
    EXPECT_EQ(content->header.machine(), "machine");
    EXPECT_EQ(content->header.newest_event(), 1);
    EXPECT_EQ(content->header.schema_version(), catalog_->schema_version());
    ASSERT_EQ(content->header.repositories_size(), 2);
    EXPECT_EQ(content->header.repositories(1).id(), "main");
    EXPECT_EQ(content->header.repositories(1).location(), "/r");
    const auto back = catalog::Catalog::Open(files_, path);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_TRUE((*back)->Read([](const catalog::Stores& s) { return s.hosts.Get(catalog::HostId("h1")); }).ok());
    catalog::RemoveDatabase(files_, path);
  }
  EXPECT_FALSE(*files_.Exists(dir_.File("copy.db"))) << "the file in between is gone";
}

TEST_F(CatalogKeeperTest, AnAuthorityCanBeLeftOut) {
  CatalogKeeperOptions options = Options();
  options.authority.clear();
  keeper_ = std::make_unique<CatalogKeeper>(*catalog_, *events_, *repositories_, files_, manual_, options);
  ASSERT_TRUE(keeper_->CopyNow().ok());
  const auto content =
      ReadCatalogCopy(repository_->catalog_copies(), NewestIn(*repository_), files_, dir_.File("back.db"));
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(content->authority_pem, "");
}

TEST_F(CatalogKeeperTest, ItIsCopiedAtItsIntervalWhenSomethingHappened) {
  EXPECT_EQ(Tick(), 0u) << "not in the first moment of a daemon";
  EXPECT_EQ(Tick(kAfterChange), 1u) << "but soon, when there is none yet";
  EXPECT_EQ(Tick(2 * kEvery), 1u) << "nothing happened";
  Happen("JOB_STATE_CHANGED");
  EXPECT_EQ(Tick(), 2u);
  Happen("JOB_STATE_CHANGED");
  EXPECT_EQ(Tick(kEvery / 2), 2u);
  EXPECT_EQ(Tick(kEvery / 2), 3u);
  EXPECT_EQ(CopiesIn(*archive_), 3u);
}

TEST_F(CatalogKeeperTest, AChangeOfPoliciesOrHostsIsCopiedSoonAndOnce) {
  Tick(kAfterChange);
  for (const char* type : {"POLICY_CREATED", "POLICY_UPDATED", "HOST_ENROLLED"}) {
    Happen(type);
    EXPECT_EQ(Tick(absl::Minutes(1)), 1u);
  }
  EXPECT_EQ(Tick(kAfterChange - absl::Minutes(2)), 2u) << "counted from the first of them";
  EXPECT_EQ(Tick(kAfterChange), 2u);
  const auto header = ReadCatalogCopyHeader(repository_->catalog_copies(), NewestIn(*repository_));
  EXPECT_EQ(header->newest_event(), 3);
}

TEST_F(CatalogKeeperTest, ARestartKnowsWhatTheNewestCopyHas) {
  Happen("HOST_ENROLLED");
  ASSERT_TRUE(keeper_->CopyNow().ok());
  keeper_ = NewKeeper();
  EXPECT_EQ(Tick(2 * kEvery), 1u) << "nothing happened since";
  Happen("JOB_STATE_CHANGED");
  EXPECT_EQ(Tick(2 * kEvery), 2u);
}

TEST_F(CatalogKeeperTest, AStopMakesALastCopyWhenSomethingHappened) {
  Happen("JOB_STATE_CHANGED");
  keeper_->Start();
  keeper_->Stop();
  EXPECT_EQ(CopiesIn(*repository_), 1u);
  keeper_ = NewKeeper();
  keeper_->Start();
  keeper_->Stop();
  EXPECT_EQ(CopiesIn(*repository_), 1u);
}

TEST_F(CatalogKeeperTest, NothingByItselfWhenItIsOff) {
  CatalogKeeperOptions options = Options();
  options.every = absl::ZeroDuration();
  Happen("HOST_ENROLLED");
  CatalogKeeper off(*catalog_, *events_, *repositories_, files_, manual_, options);
  off.Start();
  off.Stop();
  EXPECT_EQ(CopiesIn(*repository_), 0u);
}

TEST_F(CatalogKeeperTest, ADamagedCatalogIsNoCopy) {
  for (int i = 0; i < 300; ++i) AddHost(fmt::format("host{}", i));
  ASSERT_TRUE(keeper_->CopyNow().ok());
  const std::string sound = NewestIn(*repository_);
  keeper_.reset();
  // Closed once, so that everything is in the file and nothing in memory.
  engine_.reset();
  events_.reset();
  catalog_.reset();
  catalog_ = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
  events_ = std::make_unique<jobs::EventHub>(*catalog_, clock_);
  std::fstream file(dir_.File("catalog.db"), std::ios::in | std::ios::out | std::ios::binary);
  for (int page = 3; page < 12; ++page) {
    file.seekp(4096 * page);
    file << std::string(4096, '\x55');
  }
  file.close();
  keeper_ = NewKeeper();
  EXPECT_EQ(base::ReasonOf(keeper_->CopyNow()), "CATALOG_CORRUPT");
  EXPECT_EQ(NewestIn(*repository_), sound);
  EXPECT_EQ(base::ReasonOf(keeper_->States().at(catalog::RepositoryId("main")).last), "CATALOG_CORRUPT");
}

TEST_F(CatalogKeeperTest, NoRoomForTheFileInBetween) {
  testing::FailSqliteAt(1, testing::SqliteFault::kNoSpace, false);
  const absl::Status copied = keeper_->CopyNow();
  testing::HealSqlite();
  EXPECT_EQ(base::ReasonOf(copied), "STORAGE_FULL");
  EXPECT_FALSE(*files_.Exists(dir_.File("copy.db")));
  EXPECT_THAT(EventsOf("CATALOG_COPY_FAILED"), SizeIs(2)) << "one for each repository";
  EXPECT_EQ(base::ReasonOf(keeper_->CopyNow()), "") << "and then it works";
  EXPECT_THAT(EventsOf("CATALOG_COPIED"), SizeIs(2));
  EXPECT_EQ(CopiesIn(*repository_), 1u);
}

// Real repositories on a file system that fails: at every call of a copy, once and for good.
class CatalogKeeperFaults : public CatalogKeeperTest {
 protected:
  void Open(base::Filesystem& files) {
    std::vector<OpenRepository> all;
    for (const char* id : {"main", "archive"}) {
      auto repository =
          repo::Repository::OpenOrCreate(files, clock_, random_, fmt::format("/{}", id), testing::WithTestKey());
      ASSERT_TRUE(repository.ok()) << repository.status();
      all.push_back({catalog::RepositoryId(id), fmt::format("/{}", id), *std::move(repository)});
    }
    Close();
    repositories_ = std::make_unique<RepositorySet>(std::move(all));
    keeper_ = NewKeeper();
  }
  // Before the file system goes.
  void Close() {
    keeper_.reset();
    repositories_.reset();
  }
  repo::CatalogCopies& CopiesOf(const char* id) {
    return (*repositories_->Find(catalog::RepositoryId(id)))->repository->catalog_copies();
  }
  // Number of the newest event in a copy, which is read to its end: every byte of it is authentic.
  static int64_t EventIn(repo::CatalogCopies& copies, const std::string& id) {
    const auto reader = copies.Open(id);
    EXPECT_TRUE(reader.ok()) << reader.status();
    for (bool more = reader.ok(); more;) {
      const auto part = (*reader)->Next();
      EXPECT_TRUE(part.ok()) << part.status();
      more = part.ok() && !part->empty();
    }
    const auto header = ReadCatalogCopyHeader(copies, id);
    return header.ok() ? header->newest_event() : -1;
  }
};

TEST_F(CatalogKeeperFaults, EveryWriteOfACopyMayFail) {
  for (const auto fault : {testing::Fault::kNoSpace, testing::Fault::kIoError}) {
    for (const bool for_good : {false, true}) {
      bool struck = true;
      for (uint64_t call = 1; struck; ++call) {
        testing::MemoryFilesystem memory;
        testing::FaultFilesystem faulty(memory);
        Open(faulty);
        ASSERT_TRUE(keeper_->CopyNow().ok());
        const std::string first = CopiesOf("main").List()->front().id;
        const int64_t event = EventIn(CopiesOf("main"), first);
        Happen("JOB_STATE_CHANGED");
        faulty.FailAt(call, fault, for_good);
        const absl::Status copied = keeper_->CopyNow();
        struck = faulty.struck();
        Close();  // the process ends here
        Open(memory);
        EXPECT_EQ(EventIn(CopiesOf("main"), first), event) << call;
        for (const char* id : {"main", "archive"}) {
          const auto list = *CopiesOf(id).List();
          ASSERT_THAT(list, SizeIs(AnyOf(1, 2)));
          if (list.size() == 2) {
            EXPECT_EQ(EventIn(CopiesOf(id), list[0].id), event + 1) << call;
          }
          if (!struck) {
            EXPECT_EQ(list.size(), 2u);
          }
          EXPECT_THAT(memory.AllFiles(fmt::format("/{}/tmp", id)), IsEmpty());
        }
        EXPECT_TRUE(keeper_->CopyNow().ok());
        Close();
      }
    }
  }
}

TEST_F(CatalogKeeperFaults, OneFullRepositoryDoesNotKeepTheOtherFromItsCopy) {
  testing::MemoryFilesystem memory;
  testing::FaultFilesystem faulty(memory);
  Open(faulty);
  // The copies are written in the order of the ids: archive first.
  faulty.FailAt(1, testing::Fault::kNoSpace, false);
  EXPECT_TRUE(keeper_->CopyNow().ok());
  EXPECT_THAT(*CopiesOf("archive").List(), IsEmpty());
  EXPECT_THAT(*CopiesOf("main").List(), SizeIs(1));
  const auto states = keeper_->States();
  EXPECT_EQ(base::ReasonOf(states.at(catalog::RepositoryId("archive")).last), "STORAGE_FULL");
  EXPECT_TRUE(states.at(catalog::RepositoryId("main")).last.ok());
  EXPECT_THAT(EventsOf("CATALOG_COPY_FAILED"), SizeIs(1));
  // It is tried again after a while, and that is told once.
  manual_.Advance(kAfterChange);
  ASSERT_TRUE(keeper_->Tick().ok());
  EXPECT_THAT(*CopiesOf("archive").List(), IsEmpty()) << "not at once";
  manual_.Advance(kCatalogRetryAfter);
  ASSERT_TRUE(keeper_->Tick().ok());
  EXPECT_THAT(*CopiesOf("archive").List(), SizeIs(1));
  EXPECT_THAT(EventsOf("CATALOG_COPIED"), SizeIs(1));
  Close();
}

}  // namespace
}  // namespace umbra::maintenance
