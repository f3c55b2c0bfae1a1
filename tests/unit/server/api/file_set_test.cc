// Proves how file sets are shown and asked for: their list, backups with and without machines, restores with their own
// rules, and the files of a recovery point page by page from a real repository.
#include <gmock/gmock.h>

#include "server/api/paging.h"
#include "storage/filetree/file_tree.h"
#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kPointId[] = "11111111-1111-4111-8111-111111111111";

class FileSetTest : public ApiTest {
 protected:
  void AddFileSets(const std::string& host, const std::vector<std::string>& names) {
    std::vector<catalog::FileSet> sets;
    for (const std::string& name : names) {
      sets.push_back({.key = {catalog::HostId(host), "fileset:" + name},
                      .display_name = "what " + name + " is",
                      .folders = {{"/srv/" + name, "*", true, {"tmp", "*.bak"}}, {"/etc/" + name, "*.conf", false, {}}},
                      .has_freeze_hook = name == "shop"});
    }
    UMBRA_CHECK(catalog_->Write([&](catalog::Stores& s) { return s.file_sets.Replace(catalog::HostId(host), sets); }).ok());
  }

  // A recovery point of "shop", its tree in the repository "main": a folder with `count` small files.
  void AddTree(int count) {
    std::vector<filetree::Entry> entries;
    for (int i = -1; i < count; ++i) {
      filetree::Entry& entry = entries.emplace_back();
      entry.set_path(i < 0 ? "srv/shop" : fmt::format("srv/shop/{:06}", i));
      entry.set_type(i < 0 ? filetree::Entry::TYPE_FOLDER : filetree::Entry::TYPE_FILE);
      entry.set_mode(0640);
      entry.set_modify_time_ns(1'500'000'001'000'000'002);
    }
    entries.back().set_type(filetree::Entry::TYPE_SYMLINK);
    entries.back().set_link_target("\xff/x");
    repo::Repository& repository = *(*repositories_->Find(catalog::RepositoryId("main")))->repository;
    const uint64_t chunk_bytes = repository.info().chunk_size_bytes;
    const std::string list = filetree::MakePlan(entries, chunk_bytes)->list;
    const auto session = repository.BeginSession();
    std::vector<repo::ChunkId> ids;
    for (size_t at = 0; at < list.size(); at += chunk_bytes) {
      const base::Bytes plain = base::AsBytes(std::string_view(list).substr(at, chunk_bytes));
      ids.push_back(repository.hasher().Id(plain));
      ASSERT_TRUE(session->Put({ids.back(), static_cast<uint32_t>(plain.size()), repo::Codec::kRaw, plain}).ok());
    }
    auto map = session->AddDiskMap("fileset:shop", filetree::kFileTreeName, list.size());
    ASSERT_TRUE(map.ok() && (*map)->Append(ids).ok() && (*map)->Finish().ok());
    repo::Manifest manifest;
    manifest.set_recovery_point_id(kPointId);
    manifest.set_vm_uuid("fileset:shop");
    auto* disk = manifest.add_disks();
    disk->set_name(filetree::kFileTreeName);
    disk->set_kind(store::v1::ManifestDisk::KIND_FILE_TREE);
    disk->set_capacity_bytes(static_cast<int64_t>(list.size()));
    const auto committed = session->Commit({manifest});
    ASSERT_TRUE(committed.ok()) << base::Describe(committed.status());
    AddRow(kPointId, "main", static_cast<int64_t>(list.size()));
  }

  void AddRow(const std::string& id, const std::string& repository, int64_t size) {
    catalog::RecoveryPoint point;
    point.id = catalog::RecoveryPointId(id);
    point.vm = {catalog::HostId("h1"), "fileset:shop"};
    point.vm_display_name = "shop";
    point.repository = catalog::RepositoryId(repository);
    point.point_time = point.create_time = absl::FromUnixSeconds(1'800'000'000);
    point.disks.push_back({filetree::kFileTreeName, size, size, filetree::kFileTreeFormat, "/srv/shop\n/etc/shop"});
    UMBRA_CHECK(catalog_->Write([&](catalog::Stores& s) { return s.recovery_points.Insert(point); }).ok());
  }

  std::string ListFiles(const std::string& point, const std::string& token, int size, v1::ListRecoveryPointFilesResponse* response) {
    v1::ListRecoveryPointFilesRequest request;
    request.set_parent(point);
    request.set_page_token(token);
    request.set_page_size(size);
    return Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPointFiles, request, response));
  }

  std::string Create(const v1::Job& job, v1::Job* made = nullptr) {
    v1::CreateJobRequest request;
    *request.mutable_job() = job;
    v1::Job unused;
    return Outcome(Call(jobs_, &v1::JobService::Stub::CreateJob, request, made != nullptr ? made : &unused));
  }
};

TEST_F(FileSetTest, AreListedWithTheirFoldersAndLastPoint) {
  AddOneVm();
  AddHost("h2");
  AddFileSets("h1", {"shop", "logs"});
  AddFileSets("h2", {"shop"});
  AddRow(kPointId, "main", 100);
  v1::ListFileSetsRequest request;
  request.set_parent("hosts/-");
  request.set_page_size(2);
  v1::ListFileSetsResponse page;
  ASSERT_EQ(Outcome(Call(file_sets_, &v1::FileSetService::Stub::ListFileSets, request, &page)), "OK");
  ASSERT_EQ(page.file_sets_size(), 2);
  EXPECT_EQ(page.file_sets(0).name(), "hosts/h1/fileSets/logs");
  const v1::FileSet& shop = page.file_sets(1);
  EXPECT_EQ(shop.name(), "hosts/h1/fileSets/shop");
  EXPECT_EQ(shop.display_name(), "what shop is");
  EXPECT_TRUE(shop.has_freeze_hook());
  ASSERT_EQ(shop.folders_size(), 2);
  EXPECT_THAT(shop.folders(0).excludes(), ElementsAre("tmp", "*.bak"));
  EXPECT_FALSE(shop.folders(1).recursive());
  EXPECT_EQ(shop.last_recovery_point(), std::string("recoveryPoints/") + kPointId);
  request.set_page_token(page.next_page_token());
  ASSERT_EQ(Outcome(Call(file_sets_, &v1::FileSetService::Stub::ListFileSets, request, &page)), "OK");
  ASSERT_EQ(page.file_sets_size(), 1);
  EXPECT_EQ(page.file_sets(0).name(), "hosts/h2/fileSets/shop");
  EXPECT_EQ(page.next_page_token(), "");

  v1::GetFileSetRequest get;
  v1::FileSet set;
  const auto outcome = [&](const std::string& name) {
    get.set_name(name);
    return Outcome(Call(file_sets_, &v1::FileSetService::Stub::GetFileSet, get, &set));
  };
  EXPECT_EQ(outcome("hosts/h1/fileSets/shop"), "OK");
  EXPECT_EQ(outcome("hosts/h1/fileSets/none"), "NOT_FOUND FILE_SET_NOT_FOUND");
  EXPECT_EQ(outcome("hosts/h1/virtualMachines/u1"), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(FileSetTest, JoinABackupOrAreOneAlone) {
  AddOneVm();
  AddHost("h2");
  AddFileSets("h1", {"shop"});
  AddFileSets("h2", {"shop"});
  v1::Job job, made;
  job.mutable_backup()->add_file_sets("hosts/h1/fileSets/shop");
  ASSERT_EQ(Create(job, &made), "OK");
  EXPECT_EQ(made.host(), "hosts/h1");
  EXPECT_THAT(made.backup().file_sets(), ElementsAre("hosts/h1/fileSets/shop"));
  job.mutable_backup()->add_virtual_machines("hosts/h1/virtualMachines/u1");
  ASSERT_EQ(Create(job, &made), "OK");
  EXPECT_THAT(made.backup().virtual_machines(), ElementsAre("hosts/h1/virtualMachines/u1"));
  EXPECT_THAT(made.backup().file_sets(), ElementsAre("hosts/h1/fileSets/shop"));
  v1::GetJobRequest get;
  get.set_name(made.name());
  v1::Job read;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::GetJob, get, &read)), "OK");
  EXPECT_THAT(read.backup().file_sets(), ElementsAre("hosts/h1/fileSets/shop")) << "it is kept";

  const std::string kInvalid = "INVALID_ARGUMENT INVALID_REQUEST";
  job.mutable_backup()->add_file_sets("hosts/h1/fileSets/shop");
  EXPECT_EQ(Create(job), kInvalid) << "twice";
  job.mutable_backup()->set_file_sets(1, "hosts/h2/fileSets/shop");
  EXPECT_EQ(Create(job), kInvalid) << "of another host";
  job.mutable_backup()->set_file_sets(1, "hosts/h1/fileSets/none");
  EXPECT_EQ(Create(job), "NOT_FOUND FILE_SET_NOT_FOUND");
  job.mutable_backup()->Clear();
  job.mutable_backup();
  EXPECT_EQ(Create(job), kInvalid) << "nothing at all";
}

TEST_F(FileSetTest, RestoresHaveTheirOwnRules) {
  AddOneVm();
  AddRow(kPointId, "main", 100);
  AddPoint("p1");
  v1::Job good, made;
  v1::RestoreSpec* spec = good.mutable_restore();
  spec->set_recovery_point(std::string("recoveryPoints/") + kPointId);
  spec->set_mode(v1::RestoreSpec::MODE_NEW);
  spec->set_target_folder("/srv/back");
  spec->set_path("/srv/shop/db");
  spec->set_overwrite(true);
  ASSERT_EQ(Create(good, &made), "OK");
  EXPECT_EQ(made.restore().path(), "/srv/shop/db");
  EXPECT_TRUE(made.restore().overwrite());
  EXPECT_EQ(made.restore().target_host(), "hosts/h1");
  EXPECT_EQ(made.restore().display_name(), "");

  const std::string kInvalid = "INVALID_ARGUMENT INVALID_REQUEST";
  const auto with = [&](const std::function<void(v1::RestoreSpec*)>& change) {
    v1::Job job = good;
    change(job.mutable_restore());
    return Create(job);
  };
  EXPECT_EQ(with([](auto* s) { s->set_mode(v1::RestoreSpec::MODE_IN_PLACE); }), kInvalid);
  EXPECT_EQ(with([](auto* s) { s->clear_target_folder(); }), kInvalid);
  EXPECT_EQ(with([](auto* s) { s->set_target_folder("srv"); }), kInvalid);
  EXPECT_EQ(with([](auto* s) { s->set_display_name("x"); }), kInvalid);
  EXPECT_EQ(with([](auto* s) { s->set_power_on(true); }), kInvalid);
  EXPECT_EQ(with([](auto* s) { s->set_path(std::string(5000, 'x')); }), kInvalid);
  EXPECT_EQ(with([](auto* s) { s->set_recovery_point("recoveryPoints/p1"); }), kInvalid) << "a machine's has no path";
}

TEST_F(FileSetTest, PointsOfThemSaySo) {
  AddOneVm();
  AddRow(kPointId, "main", 100);
  AddPoint("p1");
  v1::ListRecoveryPointsRequest request;
  request.set_file_set("hosts/h1/fileSets/shop");
  v1::ListRecoveryPointsResponse page;
  ASSERT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request, &page)), "OK");
  ASSERT_EQ(page.recovery_points_size(), 1);
  const v1::RecoveryPoint& point = page.recovery_points(0);
  EXPECT_EQ(point.file_set(), "hosts/h1/fileSets/shop");
  EXPECT_EQ(point.virtual_machine(), "");
  EXPECT_EQ(point.disks_size(), 0);
  EXPECT_EQ(point.files().size_bytes(), 100);
  EXPECT_THAT(point.files().folders(), ElementsAre("/srv/shop", "/etc/shop"));
  request.set_virtual_machine("hosts/h1/virtualMachines/u1");
  EXPECT_EQ(Outcome(Call(points_, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request, &page)),
            "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(FileSetTest, FilesAreListedPageByPage) {
  AddOneVm();
  constexpr int kFiles = 9000;  // a list of several chunks
  AddTree(kFiles);
  const std::string name = std::string("recoveryPoints/") + kPointId;
  std::vector<std::string> paths;
  std::string token;
  v1::RecoveryPointFile last;
  do {
    v1::ListRecoveryPointFilesResponse page;
    ASSERT_EQ(ListFiles(name, token, 1000, &page), "OK");
    for (const auto& file : page.files()) paths.push_back(file.path());
    if (page.files_size() > 0) last = page.files(page.files_size() - 1);
    token = page.next_page_token();
  } while (!token.empty());
  ASSERT_EQ(paths.size(), kFiles + 1u);
  EXPECT_EQ(paths[0], "/srv/shop");
  EXPECT_EQ(paths[1], "/srv/shop/000000");
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  EXPECT_EQ(last.type(), v1::RecoveryPointFile::TYPE_SYMLINK);
  EXPECT_EQ(last.link_target(), "?/x") << "what is no UTF-8 can't be in a message";
  EXPECT_EQ(last.modify_time().seconds(), 1'500'000'001);
  EXPECT_EQ(last.mode(), 0640u);
}

TEST_F(FileSetTest, WhatHasNoFilesSaysSo) {
  AddOneVm();
  AddPoint("p1");
  AddTree(3);
  v1::ListRecoveryPointFilesResponse page;
  EXPECT_EQ(ListFiles("recoveryPoints/p1", "", 0, &page), "FAILED_PRECONDITION NO_FILES");
  EXPECT_EQ(ListFiles("recoveryPoints/p9", "", 0, &page), "NOT_FOUND RECOVERY_POINT_NOT_FOUND");
  const std::string name = std::string("recoveryPoints/") + kPointId;
  EXPECT_EQ(ListFiles(name, "00", 0, &page), "INVALID_ARGUMENT INVALID_PAGE_TOKEN");
  EXPECT_EQ(ListFiles(name, MakePageToken(name + "/files", "99999999 1"), 0, &page), "INVALID_ARGUMENT INVALID_PAGE_TOKEN");
  EXPECT_EQ(ListFiles(name, MakePageToken(name + "/files", "x"), 0, &page), "INVALID_ARGUMENT INVALID_PAGE_TOKEN");
  EXPECT_EQ(ListFiles(name, MakePageToken(name + "/files", "70 1"), 0, &page), "DATA_LOSS FILE_TREE_DAMAGED");
}

}  // namespace
}  // namespace umbra::api
