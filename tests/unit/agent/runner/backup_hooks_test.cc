// Proves that a job's hooks run around its backup, however that ends; that only programs run which the host's
// administrator has put where nobody else writes; and that a post hook that a dead agent owed is made good.
#include "agent/runner/backup_hooks.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/runner/healer.h"
#include "tests/unit/agent/runner/fixture.h"

namespace umbra::runner {
namespace {

using agent::v1::AssignmentResult;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
namespace fs = std::filesystem;

class BackupHooksTest : public RunnerTest {
 protected:
  void SetUp() override {
    RunnerTest::SetUp();
    fs::create_directories(Hooks());
    chmod(Hooks().c_str(), 0755);
    hooks_ = Open();
    RunnerSettings settings;
    settings.retry.grace = absl::Milliseconds(200);
    runner_ = std::make_unique<JobRunner>(
        RunnerContext{.hypervisor = hypervisor_,
                      .host = *host_,
                      .files = files_,
                      .clock = clock_,
                      .random = random_,
                      .outbox = outbox_,
                      .ledgers = ledgers_,
                      .make_store = [this](transfer::Cancellation&) { return std::make_unique<SharedStore>(store_); },
                      .settings = settings,
                      .hooks = hooks_.get()},
        *inventory_);
    Hook("quiesce", "echo \"$UMBRA_HOOK $UMBRA_VM_NAMES $UMBRA_RESULT\" >>$D/log\necho quiet now\n");
    Hook("release",
         "echo \"$UMBRA_HOOK $UMBRA_JOB $UMBRA_ATTEMPT $UMBRA_VM_NAMES $UMBRA_RESULT $UMBRA_REASON\" >>$D/log\n");
    Hook("broken", "echo tried >>$D/log\necho first\necho out of order >&2\nexit 3\n");
  }
  void TearDown() override { runner_.reset(); }

  std::string Hooks() const { return folder_.File("hooks"); }
  std::string Intents() const { return folder_.File("hook-intents"); }

  std::unique_ptr<BackupHooks> Open(absl::Duration timeout = absl::Seconds(20)) {
    auto hooks = std::make_unique<BackupHooks>(HookSettings{Hooks(), timeout}, commands_, files_, Intents());
    EXPECT_TRUE(hooks->Open().ok());
    return hooks;
  }

  // A program of the host; $D is the test's folder.
  void Hook(const std::string& name, const std::string& script) {
    const std::string path = Hooks() + "/" + name;
    std::ofstream(path) << "#!/bin/sh\nD=" << folder_.path() << "\n" << script;
    chmod(path.c_str(), 0755);
  }

  std::vector<std::string> Log() const {
    std::vector<std::string> lines;
    std::ifstream file(folder_.File("log"));
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  std::vector<std::string> Notes() const {
    std::vector<std::string> notes;
    for (const auto& message : said_) {
      if (message.has_note()) notes.push_back(message.note().text());
    }
    return notes;
  }

  agent::v1::Assignment Hooked(const std::string& uuid, const std::string& pre, const std::string& post) {
    agent::v1::Assignment assignment = BackupOf({uuid});
    assignment.mutable_backup()->mutable_hooks()->set_pre(pre);
    assignment.mutable_backup()->mutable_hooks()->set_post(post);
    return assignment;
  }

  HookedJob Job(const std::string& pre, const std::string& post) {
    return {.job_id = "j1", .attempt = 2, .pre = pre, .post = post, .vm_uuids = {"u1", "u2"}, .vm_names = {"a", "b"}};
  }

  size_t IntentCount() { return files_.List(Intents())->size(); }

  base::SystemCommandRunner commands_{clock_};
  transfer::Cancellation cancellation_;  // never happens
  std::unique_ptr<BackupHooks> hooks_;
};

TEST_F(BackupHooksTest, RunAroundABackupAndTellItsEvents) {
  const std::string uuid = AddVm("db01", Content(1));
  const AssignmentResult result = Run(Hooked(uuid, "quiesce", "release"));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_THAT(Log(), ElementsAre("pre db01 ", "post job1 1 db01 succeeded "));
  ASSERT_THAT(Notes(), SizeIs(2));
  EXPECT_THAT(Notes()[0], HasSubstr("pre hook quiesce ran"));
  EXPECT_THAT(Notes()[0], HasSubstr("\nquiet now"));
  EXPECT_THAT(Notes()[1], HasSubstr("post hook release ran"));
  EXPECT_EQ(IntentCount(), 0u);
}

TEST_F(BackupHooksTest, AFailedPreHookFailsTheBackupBeforeAnythingIsDone) {
  const std::string uuid = AddVm("db01", Content(1));
  const AssignmentResult result = Run(Hooked(uuid, "broken", "release"));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_EQ(result.error().reason(), "HOOK_FAILED");
  EXPECT_THAT(result.error().message(), HasSubstr("status 3"));
  EXPECT_THAT(result.error().message(), HasSubstr("out of order"));
  EXPECT_THAT(Notes(), Contains(HasSubstr("first\nout of order")));
  EXPECT_THAT(Log(), ElementsAre("tried", "post job1 1 db01 failed HOOK_FAILED"));
  EXPECT_TRUE(store_.committed().empty());
  ExpectClean(uuid);
  EXPECT_EQ(IntentCount(), 0u);
}

TEST_F(BackupHooksTest, APreHookMayBeAllowedToFail) {
  agent::v1::Assignment assignment = Hooked(AddVm("db01", Content(1)), "broken", "release");
  assignment.mutable_backup()->mutable_hooks()->set_ignore_pre_failure(true);
  EXPECT_EQ(Run(assignment).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_THAT(Warnings(), Contains("HOOK_FAILED"));
  EXPECT_THAT(Log(), ElementsAre("tried", "post job1 1 db01 succeeded "));
}

TEST_F(BackupHooksTest, ThePostHookRunsAfterAFailureAndItsOwnIsAWarning) {
  const std::string uuid = AddVm("db01", Content(1));
  store_.SetFault([](const std::string& call, int) {
    return call == "Commit" ? base::MakeError(absl::StatusCode::kResourceExhausted, "STORAGE_FULL", "full")
                            : absl::OkStatus();
  });
  EXPECT_EQ(Run(Hooked(uuid, "quiesce", "release")).error().reason(), "STORAGE_FULL");
  EXPECT_THAT(Log(), ElementsAre("pre db01 ", "post job1 1 db01 failed STORAGE_FULL"));
  store_.SetFault([](const std::string&, int) { return absl::OkStatus(); });
  EXPECT_EQ(Run(Hooked(uuid, "", "broken")).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_THAT(Warnings(), Contains("HOOK_FAILED"));
}

TEST_F(BackupHooksTest, ThePostHookRunsAfterACancellation) {
  const std::string uuid = AddVm("db01", Content(1));
  Hook("wait", "touch $D/begun\nwhile [ ! -e $D/go ]; do sleep 0.01; done\n");
  const agent::v1::Assignment assignment = Hooked(uuid, "wait", "release");
  runner_->OnAssignment(assignment);
  while (!fs::exists(folder_.File("begun"))) clock_.Sleep(absl::Milliseconds(1));
  EXPECT_EQ(IntentCount(), 1u) << "written down before it began";
  runner_->OnCancel(assignment.id());
  std::ofstream(folder_.File("go")) << "";
  EXPECT_EQ(AwaitResult().outcome(), AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_THAT(Log(), ElementsAre("post job1 1 db01 cancelled CANCELLED"));
  EXPECT_TRUE(store_.committed().empty());
}

TEST_F(BackupHooksTest, ACancellationEndsThePreHookWithItsChildrenAndThePostHookRuns) {
  const std::string uuid = AddVm("db01", Content(1));
  Hook("slow", "trap 'echo told >>$D/log; exit 1' TERM\nsleep 1000 &\necho $! >$D/child\ntouch $D/begun\nwait\n");
  const agent::v1::Assignment assignment = Hooked(uuid, "slow", "release");
  runner_->OnAssignment(assignment);
  while (!fs::exists(folder_.File("begun"))) clock_.Sleep(absl::Milliseconds(1));
  runner_->OnCancel(assignment.id());
  EXPECT_EQ(AwaitResult().outcome(), AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_THAT(Log(), ElementsAre("told", "post job1 1 db01 cancelled CANCELLED"));
  EXPECT_THAT(Notes(), Contains(HasSubstr("pre hook slow was ended")));
  EXPECT_EQ(IntentCount(), 0u);
  EXPECT_TRUE(store_.committed().empty());
  int child = 0;
  std::ifstream(folder_.File("child")) >> child;
  ASSERT_GT(child, 0);
  // Dead, or a zombie that its new parent has not looked at yet.
  std::string stat;
  std::getline(std::ifstream(fmt::format("/proc/{}/stat", child)), stat);
  EXPECT_TRUE(stat.empty() || stat.find(") Z") != std::string::npos) << stat;
}

TEST_F(BackupHooksTest, APreHookThatMayFailIsNoReasonToGoOnAfterACancellation) {
  Hook("slow", "touch $D/begun\nexec sleep 1000\n");
  agent::v1::Assignment assignment = Hooked(AddVm("db01", Content(1)), "slow", "release");
  assignment.mutable_backup()->mutable_hooks()->set_ignore_pre_failure(true);
  runner_->OnAssignment(assignment);
  while (!fs::exists(folder_.File("begun"))) clock_.Sleep(absl::Milliseconds(1));
  runner_->OnCancel(assignment.id());
  EXPECT_EQ(AwaitResult().outcome(), AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_THAT(Log(), ElementsAre("post job1 1 db01 cancelled CANCELLED"));
}

TEST_F(BackupHooksTest, ThePostHookOfACancelledJobRunsToItsEnd) {
  transfer::Cancellation cancelled;
  cancelled.Cancel(base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "stop"));
  Hook("release", "sleep 0.2\necho released >>$D/log\n");
  HookedJob job = Job("", "release");
  ASSERT_TRUE(hooks_->Before(job, cancelled).began);
  EXPECT_TRUE(hooks_->After(job, cancelled.Check()).status.ok());
  EXPECT_THAT(Log(), ElementsAre("released"));
}

TEST_F(BackupHooksTest, AHookThatTakesTooLongIsEndedAndHasFailed) {
  Hook("slow", "sleep 100\n");
  const auto hooks = Open(absl::Milliseconds(100));
  const HookOutcome ran = hooks->Before(Job("slow", "release"), cancellation_);
  EXPECT_EQ(base::ReasonOf(ran.status), "HOOK_FAILED");
  EXPECT_TRUE(hooks->After(Job("slow", "release"), ran.status).status.ok());
  EXPECT_THAT(Log(), ElementsAre("post j1 2 a", "b failed HOOK_FAILED"));
}

TEST_F(BackupHooksTest, OnlyTheAdministratorsProgramsRun) {
  const auto reason = [&](const std::string& pre, const std::string& post = "") {
    return base::ReasonOf(hooks_->Before(Job(pre, post), cancellation_).status);
  };
  EXPECT_EQ(reason("nothing"), "HOOK_NOT_FOUND");
  EXPECT_EQ(reason("quiesce", "nothing"), "HOOK_NOT_FOUND") << "neither runs when one isn't there";
  for (const char* name : {"../hooks/quiesce", "/bin/true", ".", "..", ".hidden", "a b", "a/b", "quiesce;x"}) {
    EXPECT_EQ(reason(name), "HOOK_NOT_TRUSTED") << name;
  }
  fs::create_symlink("/bin/true", Hooks() + "/link");
  EXPECT_EQ(reason("link"), "HOOK_NOT_TRUSTED");
  fs::create_directory(Hooks() + "/folder");
  EXPECT_EQ(reason("folder"), "HOOK_NOT_TRUSTED");
  chmod((Hooks() + "/quiesce").c_str(), 0757);
  EXPECT_EQ(reason("quiesce"), "HOOK_NOT_TRUSTED");
  chmod((Hooks() + "/quiesce").c_str(), 0755);
  chmod(Hooks().c_str(), 0777);
  EXPECT_EQ(reason("quiesce"), "HOOK_NOT_TRUSTED") << "whoever may write to the folder may replace its programs";
  EXPECT_THAT(Log(), IsEmpty());
  EXPECT_EQ(IntentCount(), 0u);
  chmod(Hooks().c_str(), 0755);
  EXPECT_EQ(reason("quiesce"), "");
  // And with a host that has no folder of hooks at all.
  fs::remove_all(Hooks());
  EXPECT_EQ(reason("quiesce"), "HOOK_NOT_FOUND");
}

TEST_F(BackupHooksTest, AnAgentThatRunsNoHooksRefusesThem) {
  runner_.reset();
  RunnerTest::SetUp();
  EXPECT_EQ(Run(Hooked(AddVm("db01", Content(1)), "quiesce", "")).error().reason(), "HOOK_NOT_FOUND");
}

TEST_F(BackupHooksTest, ThePrintedWordsAreBounded) {
  Hook("loud", "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i + 1)); done\nprintf 'a\\033[1mb\\n'\n");
  const HookOutcome ran = hooks_->Before(Job("loud", ""), cancellation_);
  ASSERT_TRUE(ran.status.ok());
  EXPECT_LT(ran.note.size(), 2200u);
  EXPECT_THAT(ran.note, HasSubstr("line 499\na?[1mb")) << "the end counts, and no terminal is told anything";
}

TEST_F(BackupHooksTest, WhatADeadAgentOwedIsMadeGoodOnce) {
  HookedJob job = Job("quiesce", "release");
  job.vm_names[1] = "b\nvm=u9";  // a name can't be taken for another line
  job.file_sets = {"shop"};
  ASSERT_TRUE(hooks_->Before(job, cancellation_).status.ok());
  EXPECT_THAT(*hooks_->Heal(), IsEmpty()) << "it is being worked on";
  fs::remove(folder_.File("log"));
  auto next = Open();  // another process
  Hook("release", "echo \"$UMBRA_VMS|$UMBRA_VM_NAMES|$UMBRA_FILE_SETS|$UMBRA_RESULT $UMBRA_REASON\" >>$D/log\n");
  Healer healer(*host_, hypervisor_, ledgers_, clock_, absl::Seconds(30), base::SystemThreads(), next.get());
  healer.Start();
  EXPECT_THAT(Log(), ElementsAre("u1 u2|a", "b vm=u9|shop|failed AGENT_RESTARTED"));
  EXPECT_EQ(IntentCount(), 0u);
  EXPECT_THAT(*next->Heal(), IsEmpty());
}

TEST_F(BackupHooksTest, AnIntentThatCannotBeReadStaysAndOthersAreHealed) {
  ASSERT_TRUE(hooks_->Before(Job("", "release"), cancellation_).status.ok());
  std::ofstream(Intents() + "/a.1.hooks") << "what is this";
  std::ofstream(Intents() + "/b.1.hooks") << "umbra hooks intent 1\njob=b\nattempt=x\npost=release\n";
  const auto next = Open();
  EXPECT_THAT(*next->Heal(), ElementsAre(HasSubstr("job j1 was interrupted: post hook release ran")));
  EXPECT_EQ(IntentCount(), 2u);
}

}  // namespace
}  // namespace umbra::runner
