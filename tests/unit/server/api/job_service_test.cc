// Proves how jobs are asked for: every fault of a request has its reason and starts nothing, a repeated request gives
// the first answer, lists page without gap or repeat, and cancel does what the job's state allows.
#include "server/api/job_service.h"

#include <set>

#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

constexpr char kVm[] = "hosts/h1/virtualMachines/u1";

class JobServiceTest : public ApiTest {
 protected:
  std::string Create(const v1::CreateJobRequest& request, v1::Job* job = nullptr) {
    v1::Job unused;
    return Outcome(Call(jobs_, &v1::JobService::Stub::CreateJob, request, job != nullptr ? job : &unused));
  }
  size_t JobCount() { return engine_->List({}, {})->items.size(); }
};

TEST_F(JobServiceTest, BackupOfAnOfflineHostIsQueuedWithDefaults) {
  AddOneVm();
  v1::Job job;
  ASSERT_EQ(Create(BackupOf({kVm}), &job), "OK");
  EXPECT_EQ(job.state(), v1::Job::STATE_QUEUED);
  EXPECT_EQ(job.host(), "hosts/h1");
  EXPECT_EQ(job.backup().repository(), "repositories/main");
  EXPECT_EQ(job.backup().freeze_timeout().seconds(), 10);
  EXPECT_NE(job.etag(), "");
}

TEST_F(JobServiceTest, HowAJobStandsInTheQueueIsTakenAndShown) {
  AddOneVm();
  v1::CreateJobRequest request = BackupOf({kVm});
  v1::Job& wanted = *request.mutable_job();
  wanted.set_priority(7);
  wanted.mutable_due_time()->set_seconds(4'000'000'000);
  wanted.mutable_not_after()->set_seconds(4'000'003'600);
  wanted.mutable_retry()->set_max_retries(3);
  wanted.mutable_retry()->mutable_backoff()->set_seconds(90);
  wanted.set_upload_bytes_per_second(1'000'000);
  wanted.set_policy("policies/not-the-callers-to-say");
  v1::Job job;
  ASSERT_EQ(Create(request, &job), "OK");
  v1::GetJobRequest get;
  get.set_name(job.name());
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::GetJob, get, &job)), "OK");
  EXPECT_EQ(job.priority(), 7);
  EXPECT_EQ(job.due_time().seconds(), 4'000'000'000);
  EXPECT_EQ(job.not_after().seconds(), 4'000'003'600);
  EXPECT_EQ(job.retry().max_retries(), 3);
  EXPECT_EQ(job.retry().backoff().seconds(), 90);
  EXPECT_EQ(job.upload_bytes_per_second(), 1'000'000);
  EXPECT_EQ(job.policy(), "");
  EXPECT_EQ(job.wait_reason(), "NOT_DUE");
  wanted.mutable_retry()->clear_backoff();
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.retry().backoff().seconds(), 600);
  wanted.set_priority(101);
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST");
  request.set_validate_only(true);
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST");
  wanted.set_priority(0);
  wanted.mutable_verify();
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST") << "a verification uploads nothing";
  EXPECT_EQ(JobCount(), 2u);
}

struct BadRequest {
  std::string what;
  std::function<void(v1::Job*)> fill;
  std::string outcome;
};

TEST_F(JobServiceTest, EveryFaultHasItsReasonAndStartsNothing) {
  const catalog::HostId h1 = AddHost("h1");
  const catalog::HostId h2 = AddHost("h2");
  SetInventory(h1, {MakeVm(h1, "u1"), MakeVm(h1, "u2"), MakeVm(h1, "diskless", 0)});
  SetInventory(h2, {MakeVm(h2, "u1")});
  AddPoint("p1");
  AddPoint("elsewhere", "h1", "unknown-repository");
  AddPoint("orphan", "h9");
  const std::string kInvalid = "INVALID_ARGUMENT INVALID_REQUEST";
  const auto backup = [](v1::Job* job, const std::vector<std::string>& vms) {
    for (const std::string& vm : vms) job->mutable_backup()->add_virtual_machines(vm);
    return job->mutable_backup();
  };
  const auto restore = [](v1::Job* job, const std::string& point, v1::RestoreSpec::Mode mode) {
    job->mutable_restore()->set_recovery_point(point);
    job->mutable_restore()->set_mode(mode);
    return job->mutable_restore();
  };
  const std::string p1 = "recoveryPoints/p1";
  const auto kNew = v1::RestoreSpec::MODE_NEW;
  const auto kInPlace = v1::RestoreSpec::MODE_IN_PLACE;
  const BadRequest kRequests[] = {
      {"no spec", [](v1::Job*) {}, kInvalid},
      {"no machine", [&](v1::Job* j) { j->mutable_backup(); }, kInvalid},
      {"malformed machine", [&](v1::Job* j) { backup(j, {"u1"}); }, kInvalid},
      {"unknown machine", [&](v1::Job* j) { backup(j, {"hosts/h1/virtualMachines/u9"}); }, "NOT_FOUND VM_NOT_FOUND"},
      {"unknown host", [&](v1::Job* j) { backup(j, {"hosts/h9/virtualMachines/u1"}); }, "NOT_FOUND VM_NOT_FOUND"},
      {"one of two unknown",
       [&](v1::Job* j) {
         backup(j, {kVm, "hosts/h1/virtualMachines/u9"});
       },
       "NOT_FOUND VM_NOT_FOUND"},
      {"twice the same",
       [&](v1::Job* j) {
         backup(j, {kVm, kVm});
       },
       kInvalid},
      {"two hosts",
       [&](v1::Job* j) {
         backup(j, {kVm, "hosts/h2/virtualMachines/u1"});
       },
       kInvalid},
      {"too many", [&](v1::Job* j) { backup(j, std::vector<std::string>(65, kVm)); }, kInvalid},
      {"no disks", [&](v1::Job* j) { backup(j, {"hosts/h1/virtualMachines/diskless"}); },
       "FAILED_PRECONDITION NO_DISKS"},
      {"unknown repository", [&](v1::Job* j) { backup(j, {kVm})->set_repository("repositories/x"); },
       "NOT_FOUND REPOSITORY_NOT_FOUND"},
      {"malformed repository", [&](v1::Job* j) { backup(j, {kVm})->set_repository("main"); }, kInvalid},
      {"negative freeze", [&](v1::Job* j) { backup(j, {kVm})->mutable_freeze_timeout()->set_seconds(-1); }, kInvalid},
      {"long freeze", [&](v1::Job* j) { backup(j, {kVm})->mutable_freeze_timeout()->set_seconds(61); }, kInvalid},
      {"endless freeze", [&](v1::Job* j) { backup(j, {kVm})->mutable_freeze_timeout()->set_seconds(INT64_MAX); },
       kInvalid},
      {"no mode", [&](v1::Job* j) { restore(j, p1, v1::RestoreSpec::MODE_UNSPECIFIED); }, kInvalid},
      {"mode from the future", [&](v1::Job* j) { restore(j, p1, static_cast<v1::RestoreSpec::Mode>(77)); }, kInvalid},
      {"no point", [&](v1::Job* j) { restore(j, "", kNew); }, kInvalid},
      {"unknown point", [&](v1::Job* j) { restore(j, "recoveryPoints/p9", kNew); },
       "NOT_FOUND RECOVERY_POINT_NOT_FOUND"},
      {"repository gone", [&](v1::Job* j) { restore(j, "recoveryPoints/elsewhere", kNew); },
       "NOT_FOUND REPOSITORY_NOT_FOUND"},
      {"host of the point gone", [&](v1::Job* j) { restore(j, "recoveryPoints/orphan", kNew); },
       "NOT_FOUND HOST_NOT_FOUND"},
      {"unknown target", [&](v1::Job* j) { restore(j, p1, kNew)->set_target_host("hosts/h9"); },
       "NOT_FOUND HOST_NOT_FOUND"},
      {"in place elsewhere", [&](v1::Job* j) { restore(j, p1, kInPlace)->set_target_host("hosts/h2"); }, kInvalid},
      {"in place renamed", [&](v1::Job* j) { restore(j, p1, kInPlace)->set_display_name("x"); }, kInvalid},
      {"name with a slash", [&](v1::Job* j) { restore(j, p1, kNew)->set_display_name("../x"); }, kInvalid},
      {"name with a newline", [&](v1::Job* j) { restore(j, p1, kNew)->set_display_name("a\nb"); }, kInvalid},
      {"long name", [&](v1::Job* j) { restore(j, p1, kNew)->set_display_name(std::string(256, 'a')); }, kInvalid},
      {"relative folder", [&](v1::Job* j) { restore(j, p1, kNew)->set_target_folder("disks"); }, kInvalid},
      {"go on under another name", [&](v1::Job* j) { restore(j, p1, kNew)->set_resume_state(true); }, kInvalid},
      {"no cluster resource to take offline",
       [&](v1::Job* j) { restore(j, p1, kNew)->set_take_cluster_offline(true); }, kInvalid},
      {"go on without memory", [&](v1::Job* j) { restore(j, p1, kInPlace)->set_resume_state(true); },
       "FAILED_PRECONDITION STATE_NOT_FOUND"},
      {"verify unknown point", [&](v1::Job* j) { j->mutable_verify()->set_recovery_point("recoveryPoints/p9"); },
       "NOT_FOUND RECOVERY_POINT_NOT_FOUND"},
      {"verify unknown repository", [&](v1::Job* j) { j->mutable_verify()->set_repository("repositories/x"); },
       "NOT_FOUND REPOSITORY_NOT_FOUND"},
      {"verify point elsewhere",
       [&](v1::Job* j) {
         j->mutable_verify()->set_recovery_point(p1);
         j->mutable_verify()->set_repository("repositories/archive");
       },
       kInvalid},
  };
  for (const BadRequest& bad : kRequests) {
    v1::CreateJobRequest request;
    bad.fill(request.mutable_job());
    EXPECT_EQ(Create(request), bad.outcome) << bad.what;
  }
  EXPECT_EQ(JobCount(), 0u);
}

TEST_F(JobServiceTest, RestoreGetsItsDefaults) {
  AddOneVm();
  AddHost("h2");
  AddPoint("p1");
  v1::CreateJobRequest request;
  request.mutable_job()->mutable_restore()->set_recovery_point("recoveryPoints/p1");
  request.mutable_job()->mutable_restore()->set_mode(v1::RestoreSpec::MODE_NEW);
  v1::Job job;
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.restore().target_host(), "hosts/h1");
  EXPECT_EQ(job.restore().display_name(), "vm u1-restored");

  request.mutable_job()->mutable_restore()->set_target_host("hosts/h2");
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.host(), "hosts/h2");

  request.mutable_job()->mutable_restore()->clear_target_host();
  request.mutable_job()->mutable_restore()->set_mode(v1::RestoreSpec::MODE_IN_PLACE);
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.restore().display_name(), "");
}

TEST_F(JobServiceTest, ValidateOnlyStartsNothing) {
  AddOneVm();
  v1::CreateJobRequest request = BackupOf({kVm});
  request.set_validate_only(true);
  v1::Job job;
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.name(), "");
  EXPECT_EQ(job.backup().repository(), "repositories/main");
  EXPECT_EQ(JobCount(), 0u);
}

TEST_F(JobServiceTest, RepeatedRequestGivesTheFirstJobEvenWhenTheMachineHasGone) {
  AddOneVm();
  v1::CreateJobRequest request = BackupOf({kVm});
  request.set_request_id(std::string(64, 'r'));
  v1::Job first, second;
  ASSERT_EQ(Create(request, &first), "OK");
  SetInventory(catalog::HostId("h1"), {});
  ASSERT_EQ(Create(request, &second), "OK");
  EXPECT_EQ(second.name(), first.name());
  EXPECT_EQ(JobCount(), 1u);

  request.mutable_job()->mutable_backup()->set_allow_crash_consistent(true);
  EXPECT_EQ(Create(request), "ALREADY_EXISTS REQUEST_ID_REUSED");
  request.set_request_id(std::string(65, 'r'));
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(JobServiceTest, MechanismsThatARequestAllowsAreKeptAndContradictionsRefused) {
  AddOneVm();
  v1::CreateJobRequest request = BackupOf({kVm});
  v1::BackupSpec& spec = *request.mutable_job()->mutable_backup();
  spec.set_forbid_saved_state(true);
  spec.set_full_read(true);
  spec.set_allow_crash_consistent(true);
  spec.mutable_hooks()->set_pre("before");
  v1::Job job;
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.backup().hooks().pre(), "before");
  spec.mutable_hooks()->set_pre("a/b");
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST");
  spec.clear_hooks();
  EXPECT_TRUE(job.backup().forbid_saved_state());
  EXPECT_TRUE(job.backup().full_read());
  EXPECT_EQ(job.backup().mechanism_preference(), v1::BackupSpec::MECHANISM_PREFERENCE_AUTO);
  spec.set_mechanism_preference(v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY);
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST");
  spec.set_allow_crash_consistent(false);
  ASSERT_EQ(Create(request, &job), "OK");
  EXPECT_EQ(job.backup().mechanism_preference(), v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY);
  spec.set_mechanism_preference(static_cast<v1::BackupSpec::MechanismPreference>(9));
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(JobServiceTest, ListPagesWithoutGapOrRepeatWhileJobsCome) {
  AddOneVm();
  std::set<std::string> expected;
  for (int i = 0; i < 25; ++i) expected.insert("jobs/" + Submit().value);
  v1::ListJobsRequest request;
  request.set_page_size(10);
  std::set<std::string> seen;
  int total = 0;
  do {
    v1::ListJobsResponse response;
    ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, request, &response)), "OK");
    EXPECT_LE(response.jobs_size(), 10);
    for (const v1::Job& job : response.jobs()) seen.insert(job.name());
    total += response.jobs_size();
    request.set_page_token(response.next_page_token());
    Submit();  // newer ones don't shift the pages
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(total, 25);
}

TEST_F(JobServiceTest, ListFiltersAndRefusesBadOnes) {
  AddOneVm();
  const catalog::JobId ended = Submit();
  ASSERT_TRUE(engine_->Cancel(ended).ok());
  Submit();
  ASSERT_TRUE(engine_->Submit(catalog::VerifySpec{catalog::RepositoryId("main"), {}}).ok());
  const auto list = [&](const std::string& kind, bool active, int page_size = 0) {
    v1::ListJobsRequest request;
    request.set_kind(kind);
    request.set_active_only(active);
    request.set_page_size(page_size);
    v1::ListJobsResponse response;
    const std::string outcome = Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, request, &response));
    return outcome == "OK" ? std::to_string(response.jobs_size()) : outcome;
  };
  EXPECT_EQ(list("", false), "3");
  EXPECT_EQ(list("", true), "2");
  EXPECT_EQ(list("backup", false), "2");
  EXPECT_EQ(list("backup", true), "1");
  EXPECT_EQ(list("verify", true), "1");
  EXPECT_EQ(list("restore", false), "0");
  EXPECT_EQ(list("Backup", false), "INVALID_ARGUMENT INVALID_REQUEST");
  EXPECT_EQ(list("", false, -1), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(JobServiceTest, TamperedTokenIsRefused) {
  AddOneVm();
  Submit();
  Submit();
  v1::ListJobsRequest request;
  request.set_page_size(1);
  v1::ListJobsResponse response;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, request, &response)), "OK");
  std::string token = response.next_page_token();
  token.back() = token.back() == '0' ? '1' : '0';
  request.set_page_token(token);
  EXPECT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, request, &response)),
            "INVALID_ARGUMENT INVALID_PAGE_TOKEN");
}

TEST_F(JobServiceTest, GetAndCancel) {
  AddOneVm();
  const std::string name = "jobs/" + Submit().value;
  v1::CancelJobRequest cancel;
  cancel.set_name(name);
  v1::Job job;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::CancelJob, cancel, &job)), "OK");
  EXPECT_EQ(job.state(), v1::Job::STATE_CANCELLED);
  EXPECT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::CancelJob, cancel, &job)), "FAILED_PRECONDITION JOB_ENDED");
  cancel.set_name("jobs/none");
  EXPECT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::CancelJob, cancel, &job)), "NOT_FOUND JOB_NOT_FOUND");
  v1::GetJobRequest get;
  get.set_name(name);
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::GetJob, get, &job)), "OK");
  EXPECT_EQ(job.state(), v1::Job::STATE_CANCELLED);
  get.set_name("jobs/none");
  EXPECT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::GetJob, get, &job)), "NOT_FOUND JOB_NOT_FOUND");
}

TEST_F(JobServiceTest, AJobIsShownWithItsPhasesAndAListWithout) {
  AddOneVm();
  const catalog::JobId id = Submit();
  Apply(id, jobs::JobEvent::kAssign);
  Apply(id, jobs::JobEvent::kProgress, {.phase = catalog::JobPhase::kFreezing});
  Apply(id, jobs::JobEvent::kProgress, {.phase = catalog::JobPhase::kTransferring});
  v1::GetJobRequest get;
  get.set_name("jobs/" + id.value);
  v1::Job job;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::GetJob, get, &job)), "OK");
  ASSERT_EQ(job.phases_size(), 2);
  EXPECT_EQ(job.phases(0).phase(), v1::Job::PHASE_FREEZING);
  EXPECT_TRUE(job.phases(0).has_end_time());
  EXPECT_EQ(job.phases(1).phase(), v1::Job::PHASE_TRANSFERRING);
  EXPECT_TRUE(job.phases(1).has_start_time());
  EXPECT_FALSE(job.phases(1).has_end_time());
  v1::ListJobsResponse list;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, v1::ListJobsRequest(), &list)), "OK");
  ASSERT_EQ(list.jobs_size(), 1);
  EXPECT_EQ(list.jobs(0).phases_size(), 0);
}

TEST_F(JobServiceTest, AJobIsShownWithItsWritersAndAListWithout) {
  AddOneVm();
  const catalog::JobId id = Submit();
  const absl::Time time = absl::FromUnixSeconds(1'800'000'000);
  Apply(id, jobs::JobEvent::kAssign);
  Apply(id, jobs::JobEvent::kAgentFailed,
        {.error = {"GUEST_FREEZE_TIMEOUT", "slow"},
         .writers = {{.display_name = "Hyper-V",
                      .freeze_time = time,
                      .frozen_time = time,
                      .thaw_time = time,
                      .thawed_time = time},
                     {.display_name = "File systems",
                      .vm = {catalog::HostId("h1"), "u1"},
                      .freeze_time = time,
                      .error = {"GUEST_FREEZE_TIMEOUT", "slow"}}}});
  v1::GetJobRequest get;
  get.set_name("jobs/" + id.value);
  v1::Job job;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::GetJob, get, &job)), "OK");
  ASSERT_EQ(job.writers_size(), 2);
  EXPECT_EQ(job.writers(0).virtual_machine(), "");
  EXPECT_EQ(job.writers(0).thawed_time().seconds(), 1'800'000'000);
  EXPECT_FALSE(job.writers(0).has_error());
  EXPECT_EQ(job.writers(1).display_name(), "File systems");
  EXPECT_EQ(job.writers(1).virtual_machine(), "hosts/h1/virtualMachines/u1");
  EXPECT_TRUE(job.writers(1).has_freeze_time());
  EXPECT_FALSE(job.writers(1).has_frozen_time() || job.writers(1).has_thaw_time() || job.writers(1).has_thawed_time());
  EXPECT_EQ(job.writers(1).error().reason(), "GUEST_FREEZE_TIMEOUT");
  v1::ListJobsResponse list;
  ASSERT_EQ(Outcome(Call(jobs_, &v1::JobService::Stub::ListJobs, v1::ListJobsRequest(), &list)), "OK");
  EXPECT_EQ(list.jobs(0).writers_size(), 0);
}

TEST_F(JobServiceTest, BackupsAreSummedUpInStretches) {
  AddOneVm();
  const catalog::JobId id = Submit();
  Apply(id, jobs::JobEvent::kAssign);
  Apply(id, jobs::JobEvent::kAgentFailed);
  v1::SummarizeBackupsRequest ask;
  v1::SummarizeBackupsResponse sums;
  const auto outcome = [&] { return Outcome(Call(jobs_, &v1::JobService::Stub::SummarizeBackups, ask, &sums)); };
  EXPECT_EQ(outcome(), "INVALID_ARGUMENT INVALID_REQUEST") << "from when on?";
  const int64_t today = absl::ToUnixSeconds(clock_.Now()) / 86400 * 86400;
  ask.mutable_start_time()->set_seconds(today - 6 * 86400);
  ASSERT_EQ(outcome(), "OK");
  ASSERT_EQ(sums.summaries_size(), 7);
  EXPECT_EQ(sums.summaries(0).start_time().seconds(), today - 6 * 86400);
  EXPECT_EQ(sums.summaries(6).start_time().seconds(), today);
  // The test may run over midnight.
  ask.set_count(8);
  ASSERT_EQ(outcome(), "OK");
  EXPECT_EQ(sums.summaries(6).failed_count() + sums.summaries(7).failed_count(), 1);
  EXPECT_EQ(sums.summaries(5).failed_count(), 0);
  ask.set_count(101);
  EXPECT_EQ(outcome(), "INVALID_ARGUMENT INVALID_REQUEST");
  ask.set_count(100);
  ask.mutable_period()->set_seconds(3600);
  ASSERT_EQ(outcome(), "OK");
  EXPECT_EQ(sums.summaries_size(), 100);
  ask.mutable_period()->set_seconds(3599);
  EXPECT_EQ(outcome(), "INVALID_ARGUMENT INVALID_REQUEST");
  ask.mutable_period()->set_seconds(-86400);
  EXPECT_EQ(outcome(), "INVALID_ARGUMENT INVALID_REQUEST");
  ask.clear_period();
  ask.mutable_start_time()->set_seconds(int64_t{1} << 60);
  EXPECT_EQ(outcome(), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(JobServiceTest, OversizedMessageIsRefusedAndTheNextOneServed) {
  AddOneVm();
  v1::CreateJobRequest request = BackupOf({kVm});
  request.set_request_id(std::string(5 << 20, 'x'));
  EXPECT_EQ(Create(request), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Create(BackupOf({kVm})), "OK");
}

}  // namespace
}  // namespace umbra::api
