// Proves that file sets join a backup with their own recovery points, that their files come back whole or in part to a new
// folder, that an existing folder gives way only when told and only at the end, and that whatever fails leaves the
// service thawed, the target as it was, and nothing behind.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "agent/runner/convert.h"
#include "agent/runner/file_set_restore_runner.h"
#include "storage/base/folder_tree.h"
#include "storage/filetree/subject.h"
#include "tests/support/fake_command_runner.h"
#include "tests/unit/agent/runner/fixture.h"

namespace umbra::runner {
namespace {

namespace fs = std::filesystem;
using agent::v1::AssignmentResult;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FileSetTest : public RunnerTest {
 protected:
  void SetUp() override {
    set_.name = "shop";
    set_.caption = "The shop";
    set_.folders = {{data_}};
    set_.freeze = {{"freeze"}};
    set_.thaw = {{"thaw"}};
    set_.pre_restore = {{"pre"}};
    set_.post_restore = {{"post"}};
    Write("db/rows", std::string(3 * kChunk + 5, 'r'));
    Write("conf", "port = 1");
    fs::create_symlink("db/rows", data_ + "/link");
    writers::FileSet logs;
    logs.name = "logs";
    logs.folders = {{folder_.File("logs")}};
    logs.pre_restore = {{"pre-logs"}};
    fs::create_directories(folder_.File("logs"));
    std::ofstream(folder_.File("logs") + "/log") << "a line";
    file_sets_ = {{set_, logs}, &commands_, &copier_, folder_.File("copies"), folder_.File("file-set-intents")};
    RunnerTest::SetUp();
    uuid_ = AddVm("db01", Content(5));
  }

  void Write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(data_ + "/" + name).parent_path());
    std::ofstream(data_ + "/" + name) << text;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // What the hooks were told, in order.
  absl::StatusOr<base::CommandResult> RunHook(const base::Command& command) {
    const std::string& hook = command.arguments.front();
    std::string told = hook;
    for (const auto& [name, value] : command.environment) {
      if (name == "UMBRA_TARGET_FOLDER") told += " " + value;
      if (name == "UMBRA_RESTORED") told += " " + value;
    }
    hooks_.push_back(told);
    if (on_hook_) on_hook_(hook);
    if (hook == failing_hook_) return base::Error(absl::StatusCode::kInternal, "COMMAND_FAILED", "{}: no", hook);
    return base::CommandResult{};
  }

  agent::v1::Assignment BackupOfSet(const std::vector<std::string>& uuids) {
    agent::v1::Assignment assignment = BackupOf(uuids);
    assignment.mutable_backup()->add_file_sets("shop");
    return assignment;
  }
  agent::v1::Assignment RestoreTo(const std::string& target) {
    agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_NEW);
    assignment.mutable_restore()->set_target_folder(target);
    return assignment;
  }
  void BackUp() {
    const AssignmentResult result = Run(BackupOfSet({}));
    ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
    hooks_.clear();
  }

  void ExpectNoFilesLeft() {
    ExpectClean(uuid_);
    for (const char* folder : {"copies", "file-set-intents", "file-restores"}) {
      EXPECT_TRUE(!fs::exists(folder_.File(folder)) || fs::is_empty(folder_.File(folder))) << folder;
    }
    for (const auto& entry : fs::directory_iterator(folder_.File(""))) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::Not(HasSubstr(kUnfinishedFolder)));
    }
  }

  const std::string data_ = folder_.File("srv");
  base::SystemFolderCopier copier_{clock_};
  testing::FakeCommandRunner commands_{[this](const base::Command& command) { return RunHook(command); }};
  writers::FileSet set_;
  std::string uuid_;
  std::string failing_hook_;
  std::function<void(const std::string& hook)> on_hook_;
  std::vector<std::string> hooks_;
};

TEST_F(FileSetTest, JoinsTheSetOfAMachineAndComesBack) {
  on_hook_ = [&](const std::string& hook) {
    if (hook == "thaw") Write("conf", "changed after the freeze");
  };
  AssignmentResult result = Run(BackupOfSet({uuid_}));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_THAT(hooks_, ElementsAre("freeze", "thaw"));
  const auto committed = store_.committed();
  ASSERT_EQ(committed.size(), 2u);
  EXPECT_EQ(committed[0].vm_uuid(), uuid_);
  const store::v1::Manifest& manifest = committed[1];
  EXPECT_EQ(manifest.vm_uuid(), "fileset:shop");
  ASSERT_EQ(manifest.disks_size(), 1);
  EXPECT_EQ(manifest.disks(0).kind(), store::v1::ManifestDisk::KIND_FILE_TREE);
  EXPECT_EQ(manifest.disks(0).path(), data_);
  EXPECT_GT(manifest.read_bytes(), 0);
  EXPECT_GE(manifest.documents_size(), 3);
  ExpectNoFilesLeft();

  hooks_.clear();
  const std::string target = folder_.File("back");
  result = Run(RestoreTo(target + "/"));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_THAT(hooks_, ElementsAre("pre " + target, "post yes " + target));
  EXPECT_EQ(Read(target + data_ + "/db/rows"), std::string(3 * kChunk + 5, 'r'));
  EXPECT_EQ(Read(target + data_ + "/conf"), "port = 1") << "as it was when the service stood still";
  EXPECT_EQ(fs::read_symlink(target + data_ + "/link"), "db/rows");
  EXPECT_EQ(result.progress().done_bytes(), result.progress().total_bytes());
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, TwoSetsOfOneBackupAreRestoredEachByItself) {
  agent::v1::Assignment assignment = BackupOfSet({});
  assignment.mutable_backup()->add_file_sets("logs");
  AssignmentResult result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  const auto committed = store_.committed();
  ASSERT_EQ(committed.size(), 2u);
  EXPECT_EQ(committed[0].vm_uuid(), "fileset:shop");
  EXPECT_EQ(committed[1].vm_uuid(), "fileset:logs");
  EXPECT_GT(committed[0].freeze_duration().nanos() + committed[0].freeze_duration().seconds(), 0);
  EXPECT_EQ(committed[1].freeze_duration().nanos(), 0) << "it has no freeze";
  hooks_.clear();
  store_.Forget("fileset:shop");
  result = Run(RestoreTo(folder_.File("back")));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_THAT(hooks_, ElementsAre("pre-logs " + folder_.File("back")));
  EXPECT_EQ(Read(folder_.File("back") + folder_.File("logs") + "/log"), "a line");
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, AnUnchangedSetSendsNothingNew) {
  BackUp();
  const uint64_t before = store_.chunks_received();
  Write("a-new-one", "n");
  BackUp();
  EXPECT_LE(store_.chunks_received() - before, 2u) << "the list, and the new file";
}

TEST_F(FileSetTest, APartOfIt) {
  BackUp();
  agent::v1::Assignment assignment = RestoreTo(folder_.File("part"));
  assignment.mutable_restore()->set_path(data_ + "/db/");
  const AssignmentResult result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(Read(folder_.File("part/rows")).size(), 3 * kChunk + 5);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.File("part")), {}), 1);

  assignment = RestoreTo(folder_.File("none"));
  assignment.mutable_restore()->set_path(data_ + "/nothing");
  EXPECT_EQ(Run(assignment).error().reason(), "PATH_NOT_FOUND");
  EXPECT_FALSE(fs::exists(folder_.File("none")));
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, AnExistingFolderGivesWayOnlyWhenTold) {
  BackUp();
  const std::string target = folder_.File("there");
  fs::create_directories(target);
  std::ofstream(target + "/mine") << "precious";
  AssignmentResult result = Run(RestoreTo(target));
  EXPECT_EQ(result.error().reason(), "TARGET_EXISTS");
  EXPECT_EQ(Read(target + "/mine"), "precious");
  EXPECT_THAT(hooks_, ElementsAre()) << "nothing had begun";

  agent::v1::Assignment assignment = RestoreTo(target);
  assignment.mutable_restore()->set_overwrite(true);
  result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_FALSE(fs::exists(target + "/mine"));
  EXPECT_EQ(Read(target + data_ + "/conf"), "port = 1");
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, AFailedRestoreLeavesTheOldFolderAndNothingElse) {
  BackUp();
  const auto ids = store_.disk(filetree::SubjectOfFileSet("shop"), filetree::kFileTreeName).ids;
  store_.Damage(ids.back());
  const std::string target = folder_.File("there");
  fs::create_directories(target);
  agent::v1::Assignment assignment = RestoreTo(target);
  assignment.mutable_restore()->set_overwrite(true);
  const AssignmentResult result = Run(assignment);
  EXPECT_EQ(result.error().reason(), "CHUNK_DAMAGED");
  EXPECT_THAT(result.error().message(), HasSubstr("was not touched"));
  EXPECT_TRUE(fs::is_empty(target));
  EXPECT_THAT(hooks_, ElementsAre("pre " + target, "post no " + target));
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, ADamagedListRestoresNothing) {
  BackUp();
  store_.Damage(store_.disk(filetree::SubjectOfFileSet("shop"), filetree::kFileTreeName).ids.front());
  EXPECT_EQ(Run(RestoreTo(folder_.File("back"))).error().reason(), "CHUNK_DAMAGED");
  EXPECT_FALSE(fs::exists(folder_.File("back")));
  EXPECT_THAT(hooks_, ElementsAre());
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, AHookThatRefusesARestoreStopsIt) {
  BackUp();
  failing_hook_ = "pre";
  const AssignmentResult result = Run(RestoreTo(folder_.File("back")));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_THAT(result.error().message(), HasSubstr("nothing was restored"));
  EXPECT_FALSE(fs::exists(folder_.File("back")));
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, AHookThatFailsAfterARestoreKeepsTheFiles) {
  BackUp();
  failing_hook_ = "post";
  const AssignmentResult result = Run(RestoreTo(folder_.File("back")));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_THAT(result.error().message(), HasSubstr("the files are restored in"));
  EXPECT_EQ(Read(folder_.File("back") + data_ + "/conf"), "port = 1");
  ExpectNoFilesLeft();
}

// Whoever may write in the folder chooses the names; the daemon must be able to read what is said of them.
TEST_F(FileSetTest, NamesThatAreNoTextComeBackAndBreakNoMessage) {
  const std::string name = "odd\xff\n\x1b[31m";
  Write(name, "odd");
  BackUp();
  const AssignmentResult result = Run(RestoreTo(folder_.File("back")));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(Read(folder_.File("back") + data_ + "/" + name), "odd");
  const absl::Status status = base::MakeError(absl::StatusCode::kInternal, "INTERNAL", name);
  AssignmentResult failed;
  *failed.mutable_error() = ToJobMessage(status);
  EXPECT_EQ(failed.error().message(), "odd?\n\x1b[31m");
  EXPECT_TRUE(AssignmentResult().ParseFromString(failed.SerializeAsString()));
}

TEST_F(FileSetTest, AFreezeHookThatFailsFailsTheWholeSet) {
  failing_hook_ = "freeze";
  const AssignmentResult result = Run(BackupOfSet({uuid_}));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_THAT(result.error().message(), HasSubstr("freeze"));
  EXPECT_THAT(hooks_, Contains("thaw"));
  EXPECT_TRUE(store_.committed().empty());
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, AThawHookThatFailsFailsTheBackupAndIsTriedAgain) {
  failing_hook_ = "thaw";
  const AssignmentResult result = Run(BackupOfSet({uuid_}));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_TRUE(store_.committed().empty());
  EXPECT_FALSE(fs::is_empty(folder_.File("file-set-intents"))) << "a thaw is owed";
  failing_hook_.clear();
  hooks_.clear();
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_THAT(hooks_, ElementsAre("thaw"));
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, ASetThatIsNotConfiguredIsSaid) {
  agent::v1::Assignment assignment = BackupOf({uuid_});
  assignment.mutable_backup()->add_file_sets("other");
  const AssignmentResult result = Run(assignment);
  EXPECT_EQ(result.error().reason(), "VSS_OBJECT_NOT_FOUND");
  EXPECT_TRUE(result.error_stays()) << "by its code: another attempt would not find it either";
  ExpectNoFilesLeft();
}

TEST_F(FileSetTest, TheInventoryTellsOfThemButNotOfTheirHooks) {
  const agent::v1::Inventory inventory = TakeInventory(*host_);
  ASSERT_EQ(inventory.file_sets_size(), 2);
  EXPECT_EQ(inventory.file_sets(0).name(), "shop");
  EXPECT_EQ(inventory.file_sets(0).folders(0).path(), data_);
  EXPECT_TRUE(inventory.file_sets(0).has_freeze_hook());
  EXPECT_THAT(inventory.DebugString(), ::testing::Not(HasSubstr("\"freeze\"")));
}

TEST_F(FileSetTest, RestoresOnAHostThatDoesNotKnowTheSet) {
  BackUp();
  auto stranger = writers::VssHost::Create(hypervisor_, files_, clock_, random_,
                                           {.scratch_folder = Scratch(), .journal_folder = folder_.File("intents")});
  ASSERT_TRUE(stranger.ok());
  runner_.reset();
  runner_ = std::make_unique<JobRunner>(
      RunnerContext{.hypervisor = hypervisor_,
                    .host = **stranger,
                    .files = files_,
                    .clock = clock_,
                    .random = random_,
                    .outbox = outbox_,
                    .ledgers = ledgers_,
                    .make_store = [this](transfer::Cancellation&) { return std::make_unique<SharedStore>(store_); },
                    .settings = {}},
      *inventory_);
  const AssignmentResult result = Run(RestoreTo(folder_.File("back")));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_THAT(hooks_, ElementsAre());
  EXPECT_EQ(Read(folder_.File("back") + data_ + "/conf"), "port = 1");
  runner_.reset();
}

TEST_F(FileSetTest, HealingRemovesOnlyWhatALedgerOfOursNames) {
  const std::string ledgers = folder_.File("file-restores");
  const std::string unfinished = folder_.File(".umbra-restore-job9-1");
  const std::string precious = folder_.File("precious");
  fs::create_directories(ledgers);
  fs::create_directories(unfinished + "/deep");
  fs::create_directories(precious);
  std::ofstream(ledgers + "/job9-1.files") << "umbra file restore 1\n" << unfinished << "\n";
  std::ofstream(ledgers + "/job8-1.files") << "umbra file restore 1\n" << precious << "\n";
  std::ofstream(ledgers + "/job7-1.files") << "umbra file restore 1\n" << folder_.File(".umbra-restore-x/..") << "\n";
  std::ofstream(ledgers + "/job6-1.files") << "umbra file restore 1\n" << unfinished;
  std::ofstream(ledgers + "/notes") << "mine";
  const auto removed = HealFileRestores(ledgers_.folders());
  ASSERT_TRUE(removed.ok());
  EXPECT_THAT(*removed, ElementsAre(unfinished));
  EXPECT_FALSE(fs::exists(unfinished));
  EXPECT_TRUE(fs::exists(precious));
  EXPECT_TRUE(fs::exists(ledgers + "/notes"));
  EXPECT_FALSE(fs::exists(ledgers + "/job9-1.files"));
  EXPECT_TRUE(fs::exists(ledgers + "/job8-1.files"));
}

TEST(PlanFileRestore, RefusesTargetsAndPathsThatCanNotBe) {
  agent::v1::AssignmentId id;
  id.set_job_id("j");
  id.set_attempt(2);
  agent::v1::RestoreAssignment work;
  work.mutable_recovery_point()->set_file_set("hosts/h/fileSets/shop");
  for (const char* target : {"", "/", "srv", "/srv/../etc", "/srv/./x", "/srv//x", "/srv/a\nb"}) {
    work.set_target_folder(target);
    EXPECT_EQ(base::ReasonOf(PlanFileRestore(work, id).status()), "INVALID_REQUEST") << target;
  }
  work.set_target_folder("/srv/back/");
  work.set_path("/var/../etc");
  EXPECT_EQ(base::ReasonOf(PlanFileRestore(work, id).status()), "INVALID_REQUEST");
  work.set_path("/var/db/");
  const auto plan = PlanFileRestore(work, id);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->file_set, "shop");
  EXPECT_EQ(plan->path, "var/db");
  EXPECT_EQ(plan->target, "/srv/back");
  EXPECT_EQ(plan->unfinished, "/srv/.umbra-restore-j-2");
  work.set_target_folder("/back");
  EXPECT_EQ(PlanFileRestore(work, id)->unfinished, "/.umbra-restore-j-2");
}

}  // namespace
}  // namespace umbra::runner
