// Proves policies by the API: every field comes back as it was set, every fault has its reason, changes go by mask and
// etag, previews change nothing and tell what then happens, and coverage is listed.
#include "server/api/policy_service.h"

#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

using Stub = v1::PolicyService::Stub;

class PolicyServiceTest : public ApiTest {
 protected:
  static v1::CreatePolicyRequest Nightly() {
    v1::CreatePolicyRequest request;
    request.set_policy_id("nightly");
    request.mutable_policy()->mutable_selection()->set_expression("all");
    request.mutable_policy()->add_schedules("daily at 22:00");
    return request;
  }
  std::string Create(const v1::CreatePolicyRequest& request, v1::Policy* policy = nullptr) {
    v1::Policy unused;
    return Outcome(Call(policies_, &Stub::CreatePolicy, request, policy != nullptr ? policy : &unused));
  }
  v1::Policy Get(const std::string& name = "policies/nightly") {
    v1::GetPolicyRequest request;
    request.set_name(name);
    v1::Policy policy;
    EXPECT_EQ(Outcome(Call(policies_, &Stub::GetPolicy, request, &policy)), "OK");
    return policy;
  }
  std::string Update(const v1::Policy& policy, const std::vector<std::string>& paths, v1::Policy* answer = nullptr) {
    v1::UpdatePolicyRequest request;
    *request.mutable_policy() = policy;
    request.mutable_policy()->set_name("policies/nightly");
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    v1::Policy unused;
    return Outcome(Call(policies_, &Stub::UpdatePolicy, request, answer != nullptr ? answer : &unused));
  }
};

TEST_F(PolicyServiceTest, EveryFieldComesBackAsItWasSet) {
  AddOneVm();
  v1::CreatePolicyRequest request;
  request.set_policy_id("full");
  v1::Policy& set = *request.mutable_policy();
  set.set_description("everything that can be said");
  set.mutable_selection()->add_members("hosts/h1/virtualMachines/u1");
  set.mutable_selection()->add_members("hosts/h1/fileSets/shop");
  set.mutable_selection()->add_hosts("hosts/h1");
  set.mutable_selection()->set_expression("name=web*");
  set.mutable_selection()->set_everything_else(true);
  set.mutable_selection()->set_exclude("name=*-test");
  set.add_schedules("daily at 22:00");
  set.add_schedules("0 12 * * sun");
  set.set_time_zone("Europe/Berlin");
  set.add_windows("daily 20:00-06:00");
  set.add_closed("2026-12-24..2026-12-27");
  set.mutable_spread()->set_seconds(7200);
  set.set_skip_missed(true);
  set.set_repository("repositories/archive");
  set.set_mechanism_preference(v1::BackupSpec::MECHANISM_PREFERENCE_AUTO);
  set.set_forbid_saved_state(true);
  set.set_allow_crash_consistent(true);
  set.mutable_freeze_timeout()->set_seconds(20);
  set.set_grouping(v1::Policy::GROUPING_HOST);
  set.mutable_retry()->set_max_retries(3);
  set.mutable_retry()->mutable_backoff()->set_seconds(60);
  set.set_priority(-5);
  set.set_weight(3);
  set.mutable_hooks()->set_pre("before");
  set.mutable_hooks()->set_post("after.sh");
  set.mutable_hooks()->set_ignore_pre_failure(true);
  set.set_upload_bytes_per_second(1 << 20);
  set.mutable_concurrency()->set_jobs(8);
  set.mutable_concurrency()->set_jobs_per_host(2);
  set.mutable_retention()->set_last(1);
  set.mutable_retention()->set_hourly(2);
  set.mutable_retention()->set_daily(3);
  set.mutable_retention()->set_weekly(4);
  set.mutable_retention()->set_monthly(5);
  set.mutable_retention()->set_yearly(6);
  set.mutable_retention()->mutable_within()->set_seconds(86400);
  set.mutable_rpo()->set_seconds(93600);
  ASSERT_EQ(Create(request), "OK");
  v1::Policy got = Get("policies/full");
  EXPECT_TRUE(got.has_next_run_time());
  EXPECT_TRUE(got.has_create_time());
  EXPECT_NE(got.etag(), "");
  got.clear_next_run_time();
  got.clear_create_time();
  got.clear_update_time();
  got.clear_etag();
  set.set_name("policies/full");
  EXPECT_EQ(got.DebugString(), set.DebugString());
}

TEST_F(PolicyServiceTest, EveryFaultHasItsReasonAndMakesNothing) {
  const std::string kInvalid = "INVALID_ARGUMENT INVALID_REQUEST";
  const std::pair<std::function<void(v1::CreatePolicyRequest&)>, std::string> kFaults[] = {
      {[](auto& r) { r.set_policy_id(""); }, kInvalid},
      {[](auto& r) { r.set_policy_id("Big"); }, kInvalid},
      {[](auto& r) { r.set_policy_id("-a"); }, kInvalid},
      {[](auto& r) { r.set_policy_id(std::string(64, 'a')); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->clear_selection(); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_selection()->add_members("vm1"); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_selection()->set_expression("web*"); },
       "INVALID_ARGUMENT INVALID_SELECTION"},
      {[](auto& r) { r.mutable_policy()->add_schedules("sometimes"); }, "INVALID_ARGUMENT INVALID_SCHEDULE"},
      {[](auto& r) { r.mutable_policy()->set_time_zone("Mars"); }, "INVALID_ARGUMENT INVALID_TIME_ZONE"},
      {[](auto& r) { r.mutable_policy()->add_windows("always"); }, "INVALID_ARGUMENT INVALID_WINDOW"},
      {[](auto& r) { r.mutable_policy()->set_repository("repositories/none"); }, "NOT_FOUND REPOSITORY_NOT_FOUND"},
      {[](auto& r) { r.mutable_policy()->mutable_spread()->set_seconds(-1); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->set_priority(101); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->set_weight(101); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_hooks()->set_pre("/bin/sh"); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_hooks()->set_post(".."); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_hooks()->set_post("sh -c x"); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_hooks()->set_pre(std::string(64, 'a')); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_hooks()->set_ignore_pre_failure(true); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_retention()->set_daily(-1); }, kInvalid},
      {[](auto& r) { r.mutable_policy()->mutable_freeze_timeout()->set_seconds(61); }, kInvalid},
      {[](auto& r) {
         r.mutable_policy()->set_mechanism_preference(v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY);
         r.mutable_policy()->set_allow_crash_consistent(true);
       },
       kInvalid},
  };
  for (const auto& [spoil, outcome] : kFaults) {
    v1::CreatePolicyRequest request = Nightly();
    spoil(request);
    EXPECT_EQ(Create(request), outcome) << request.ShortDebugString();
  }
  EXPECT_TRUE(catalog_->Read([](const catalog::Stores& s) { return s.policies.All(); })->empty());
  ASSERT_EQ(Create(Nightly()), "OK");
  EXPECT_EQ(Create(Nightly()), "ALREADY_EXISTS POLICY_EXISTS");
}

TEST_F(PolicyServiceTest, AnUpdateTakesWhatTheMaskNames) {
  v1::CreatePolicyRequest request = Nightly();
  request.mutable_policy()->mutable_retention()->set_daily(7);
  request.mutable_policy()->set_description("old");
  ASSERT_EQ(Create(request), "OK");
  v1::Policy change, answer;
  change.add_schedules("daily at 21:00");
  change.mutable_retention()->set_weekly(4);
  change.set_description("not named");
  ASSERT_EQ(Update(change, {"schedules", "retention.weekly"}, &answer), "OK");
  EXPECT_THAT(answer.schedules(), ::testing::ElementsAre("daily at 21:00"));
  EXPECT_EQ(answer.retention().daily(), 7);
  EXPECT_EQ(answer.retention().weekly(), 4);
  EXPECT_EQ(answer.description(), "old");
  EXPECT_EQ(Update(change, {"nothing"}), "INVALID_ARGUMENT INVALID_REQUEST");
  EXPECT_EQ(Update(change, {}), "INVALID_ARGUMENT INVALID_REQUEST") << "the whole policy: it selects nothing";
  EXPECT_EQ(Get().description(), "old");
}

TEST_F(PolicyServiceTest, AStaleEtagIsRefused) {
  ASSERT_EQ(Create(Nightly()), "OK");
  v1::Policy read = Get();
  read.set_description("first");
  ASSERT_EQ(Update(read, {"description"}), "OK");
  read.set_description("second");
  EXPECT_EQ(Update(read, {"description"}), "ABORTED POLICY_CHANGED");
  v1::DeletePolicyRequest remove;
  remove.set_name("policies/nightly");
  remove.set_etag(read.etag());
  google::protobuf::Empty empty;
  EXPECT_EQ(Outcome(Call(policies_, &Stub::DeletePolicy, remove, &empty)), "ABORTED POLICY_CHANGED");
  remove.set_etag(Get().etag());
  EXPECT_EQ(Outcome(Call(policies_, &Stub::DeletePolicy, remove, &empty)), "OK");
  EXPECT_EQ(Outcome(Call(policies_, &Stub::DeletePolicy, remove, &empty)), "NOT_FOUND POLICY_NOT_FOUND");
}

TEST_F(PolicyServiceTest, ListsPage) {
  for (const char* id : {"c", "a", "b"}) {
    v1::CreatePolicyRequest request = Nightly();
    request.set_policy_id(id);
    ASSERT_EQ(Create(request), "OK");
  }
  v1::ListPoliciesRequest request;
  request.set_page_size(2);
  v1::ListPoliciesResponse response;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::ListPolicies, request, &response)), "OK");
  ASSERT_EQ(response.policies_size(), 2);
  EXPECT_EQ(response.policies(0).name(), "policies/a");
  request.set_page_token(response.next_page_token());
  response.Clear();
  ASSERT_EQ(Outcome(Call(policies_, &Stub::ListPolicies, request, &response)), "OK");
  ASSERT_EQ(response.policies_size(), 1);
  EXPECT_EQ(response.policies(0).name(), "policies/c");
  EXPECT_EQ(response.next_page_token(), "");
}

TEST_F(PolicyServiceTest, ListsThoseThatSelectAMember) {
  AddOneVm();
  const auto create = [&](const char* id, const std::function<void(v1::PolicySelection&)>& select) {
    v1::CreatePolicyRequest request = Nightly();
    request.set_policy_id(id);
    request.mutable_policy()->clear_selection();
    select(*request.mutable_policy()->mutable_selection());
    ASSERT_EQ(Create(request), "OK");
  };
  create("by-host", [](auto& s) { s.set_expression("host=h1"); });
  create("by-name", [](auto& s) { s.add_members("hosts/h1/virtualMachines/u1"); });
  create("not-it", [](auto& s) { s.set_expression("all"), s.set_exclude("host=h1"); });
  create("rest", [](auto& s) { s.set_everything_else(true); });
  v1::ListPoliciesRequest request;
  request.set_member("hosts/h1/virtualMachines/u1");
  request.set_page_size(1);
  v1::ListPoliciesResponse response;
  std::vector<std::string> names;
  do {
    request.set_page_token(response.next_page_token());
    response.Clear();
    ASSERT_EQ(Outcome(Call(policies_, &Stub::ListPolicies, request, &response)), "OK");
    for (const v1::Policy& policy : response.policies()) names.push_back(policy.name());
  } while (!response.next_page_token().empty());
  EXPECT_THAT(names, ::testing::ElementsAre("policies/by-host", "policies/by-name"));
  const auto asked = [&](const std::string& member) {
    request.Clear();
    request.set_member(member);
    return Outcome(Call(policies_, &Stub::ListPolicies, request, &response));
  };
  EXPECT_EQ(asked("hosts/h1/virtualMachines/gone"), "NOT_FOUND VM_NOT_FOUND");
  EXPECT_EQ(asked("hosts/h1/fileSets/gone"), "NOT_FOUND FILE_SET_NOT_FOUND");
  EXPECT_EQ(asked("no name"), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(PolicyServiceTest, APausedPolicyHasNoNextRunAndRunsWhenAsked) {
  AddOneVm();
  ASSERT_EQ(Create(Nightly()), "OK");
  v1::PausePolicyRequest pause;
  pause.set_name("policies/nightly");
  v1::Policy policy;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::PausePolicy, pause, &policy)), "OK");
  EXPECT_TRUE(policy.paused());
  EXPECT_FALSE(policy.has_next_run_time());
  v1::RunPolicyRequest run;
  run.set_name("policies/nightly");
  run.set_request_id("r");
  v1::RunPolicyResponse started;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::RunPolicy, run, &started)), "OK");
  EXPECT_EQ(started.job_count(), 1);
  v1::ResumePolicyRequest resume;
  resume.set_name("policies/nightly");
  ASSERT_EQ(Outcome(Call(policies_, &Stub::ResumePolicy, resume, &policy)), "OK");
  EXPECT_TRUE(policy.has_next_run_time());
}

TEST_F(PolicyServiceTest, APreviewTellsTheRunsAndChangesNothing) {
  AddOneVm();
  v1::CreatePolicyRequest request = Nightly();
  request.mutable_policy()->mutable_spread()->set_seconds(3600);
  ASSERT_EQ(Create(request), "OK");
  v1::PreviewScheduleRequest ask;
  ask.set_name("policies/nightly");
  v1::PreviewScheduleResponse preview;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::PreviewSchedule, ask, &preview)), "OK");
  ASSERT_EQ(preview.runs_size(), 30);
  EXPECT_EQ(preview.runs(0).due_time().seconds(), Get().next_run_time().seconds());
  EXPECT_EQ(preview.runs(0).last_start_time().seconds(), preview.runs(0).start_time().seconds() + 3600);
  EXPECT_EQ(preview.runs(1).due_time().seconds(), preview.runs(0).due_time().seconds() + 86400);
  EXPECT_EQ(preview.member_count(), 1);
  EXPECT_EQ(preview.job_count(), 1);
  EXPECT_TRUE(engine_->List({}, {})->items.empty());
}

TEST_F(PolicyServiceTest, ValidateOnlyMakesAndChangesNothing) {
  v1::CreatePolicyRequest request = Nightly();
  request.set_validate_only(true);
  v1::Policy policy;
  ASSERT_EQ(Create(request, &policy), "OK");
  EXPECT_EQ(policy.name(), "policies/nightly");
  EXPECT_EQ(policy.repository(), "repositories/main") << "with its defaults";
  EXPECT_TRUE(policy.has_next_run_time());
  EXPECT_FALSE(policy.has_create_time());
  EXPECT_EQ(policy.etag(), "");
  EXPECT_TRUE(catalog_->Read([](const catalog::Stores& s) { return s.policies.All(); })->empty());
  request.mutable_policy()->set_time_zone("Mars");
  EXPECT_EQ(Create(request), "INVALID_ARGUMENT INVALID_TIME_ZONE");
  ASSERT_EQ(Create(Nightly()), "OK");
  request = Nightly();
  request.set_validate_only(true);
  EXPECT_EQ(Create(request), "ALREADY_EXISTS POLICY_EXISTS");

  const v1::Policy before = Get();
  const auto events = [&] { return *catalog_->Read([](const catalog::Stores& s) { return s.events.Newest(); }); };
  const int64_t newest = events();
  v1::UpdatePolicyRequest update;
  update.set_validate_only(true);
  update.mutable_policy()->set_name("policies/nightly");
  update.mutable_policy()->add_schedules("hourly");
  update.mutable_update_mask()->add_paths("schedules");
  ASSERT_EQ(Outcome(Call(policies_, &Stub::UpdatePolicy, update, &policy)), "OK");
  EXPECT_THAT(policy.schedules(), ::testing::ElementsAre("hourly"));
  EXPECT_EQ(policy.selection().expression(), "all");
  EXPECT_EQ(policy.etag(), before.etag());
  EXPECT_EQ(Get().DebugString(), before.DebugString());
  EXPECT_EQ(events(), newest);
  update.mutable_policy()->set_etag("77");
  EXPECT_EQ(Outcome(Call(policies_, &Stub::UpdatePolicy, update, &policy)), "ABORTED POLICY_CHANGED");
  update.mutable_policy()->clear_etag();
  update.mutable_policy()->set_schedules(0, "sometimes");
  EXPECT_EQ(Outcome(Call(policies_, &Stub::UpdatePolicy, update, &policy)), "INVALID_ARGUMENT INVALID_SCHEDULE");
  update.mutable_policy()->set_name("policies/none");
  EXPECT_EQ(Outcome(Call(policies_, &Stub::UpdatePolicy, update, &policy)), "NOT_FOUND POLICY_NOT_FOUND");
}

TEST_F(PolicyServiceTest, APolicyThatIsNotMadeYetIsPreviewed) {
  AddOneVm();
  v1::CreatePolicyRequest other = Nightly();
  other.set_policy_id("other");
  other.mutable_policy()->mutable_selection()->set_expression("name=nothing");
  ASSERT_EQ(Create(other), "OK");
  v1::PreviewPolicyRequest ask;
  v1::Policy& policy = *ask.mutable_policy();
  policy.mutable_selection()->set_everything_else(true);
  policy.add_schedules("daily at 22:00");
  policy.mutable_retention()->set_daily(5);
  ask.mutable_period()->set_seconds(7 * 86400);
  v1::PreviewPolicyResponse preview;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::PreviewPolicy, ask, &preview)), "OK");
  EXPECT_EQ(preview.schedule().runs_size(), 7);
  EXPECT_THAT(preview.schedule().members(), ::testing::ElementsAre("hosts/h1/virtualMachines/u1"));
  EXPECT_THAT(preview.member_display_names(), ::testing::ElementsAre("vm u1"));
  EXPECT_EQ(preview.schedule().job_count(), 1);
  ASSERT_EQ(preview.expected_points_size(), 5);
  EXPECT_EQ(preview.expected_points(0).point_time().seconds(), preview.schedule().runs(0).due_time().seconds() - 86400);
  EXPECT_THAT(preview.expected_points(4).kept_by(), ::testing::ElementsAre(::testing::StartsWith("daily 5 of 5 (")));
  EXPECT_EQ(catalog_->Read([](const catalog::Stores& s) { return s.policies.All(); })->size(), 1u);

  // In the place of one that is there: then nobody else selects the machine.
  policy.set_name("policies/other");
  policy.mutable_selection()->set_everything_else(false);
  policy.mutable_selection()->set_expression("all");
  ASSERT_EQ(Outcome(Call(policies_, &Stub::PreviewPolicy, ask, &preview)), "OK");
  EXPECT_EQ(preview.schedule().member_count(), 1);
  policy.set_name("a policy");
  EXPECT_EQ(Outcome(Call(policies_, &Stub::PreviewPolicy, ask, &preview)), "INVALID_ARGUMENT INVALID_REQUEST");
  policy.clear_name();
  policy.add_windows("always");
  EXPECT_EQ(Outcome(Call(policies_, &Stub::PreviewPolicy, ask, &preview)), "INVALID_ARGUMENT INVALID_WINDOW");
  policy.clear_windows();
  ask.mutable_period()->set_seconds(367 * 86400);
  EXPECT_EQ(Outcome(Call(policies_, &Stub::PreviewPolicy, ask, &preview)), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(PolicyServiceTest, CoverageIsSummedUp) {
  AddOneVm();
  ASSERT_EQ(Create(Nightly()), "OK");
  const catalog::JobId job = Submit();
  Apply(job, jobs::JobEvent::kAssign);
  jobs::EventFacts facts;
  facts.error = {"GUEST_STOPPED", "it went away"};
  Apply(job, jobs::JobEvent::kAgentFailed, facts);
  v1::CoverageSummary sums;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::GetCoverageSummary, v1::GetCoverageSummaryRequest(), &sums)), "OK");
  EXPECT_EQ(sums.total_count(), 1);
  EXPECT_EQ(sums.failing_count(), 1);
  EXPECT_EQ(sums.protected_count() + sums.unprotected_count() + sums.never_count() + sums.late_count(), 0);
  ASSERT_EQ(sums.failing_size(), 1);
  EXPECT_EQ(sums.failing(0).virtual_machine(), "hosts/h1/virtualMachines/u1");
  EXPECT_EQ(sums.failing(0).display_name(), "vm u1");
  EXPECT_EQ(sums.failing(0).job(), "jobs/" + job.value);
  EXPECT_EQ(sums.failing(0).error().reason(), "GUEST_STOPPED");
}

TEST_F(PolicyServiceTest, ARetentionPreviewTellsWhatGoesAndWhatKeepsTheRest) {
  AddOneVm();
  const absl::Time noon = absl::FromUnixSeconds(1'800'000'000);
  for (int day = 0; day < 4; ++day) AddPoint("p" + std::to_string(day), "h1", "main", noon - absl::Hours(24) * day);
  v1::CreatePolicyRequest request = Nightly();
  request.mutable_policy()->mutable_retention()->set_daily(2);
  ASSERT_EQ(Create(request), "OK");
  v1::PreviewRetentionRequest ask;
  ask.set_name("policies/nightly");
  v1::PreviewRetentionResponse preview;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::PreviewRetention, ask, &preview)), "OK");
  ASSERT_EQ(preview.verdicts_size(), 4);
  EXPECT_EQ(preview.verdicts(0).recovery_point(), "recoveryPoints/p0");
  EXPECT_THAT(preview.verdicts(1).kept_by(), ::testing::ElementsAre(::testing::StartsWith("nightly: daily 2 of 2 (")));
  EXPECT_THAT(preview.verdicts(3).kept_by(), ::testing::IsEmpty());
  ask.mutable_retention()->set_last(3);
  ASSERT_EQ(Outcome(Call(policies_, &Stub::PreviewRetention, ask, &preview)), "OK");
  EXPECT_THAT(preview.verdicts(2).kept_by(), ::testing::ElementsAre("nightly: last 3 of 3"));
}

TEST_F(PolicyServiceTest, CoverageTellsWhoIsAtRisk) {
  AddOneVm();
  v1::ListCoverageRequest ask;
  ask.set_filter(v1::ListCoverageRequest::FILTER_UNPROTECTED);
  v1::ListCoverageResponse coverage;
  ASSERT_EQ(Outcome(Call(policies_, &Stub::ListCoverage, ask, &coverage)), "OK");
  ASSERT_EQ(coverage.coverage_size(), 1);
  EXPECT_EQ(coverage.coverage(0).virtual_machine(), "hosts/h1/virtualMachines/u1");
  v1::CreatePolicyRequest request = Nightly();
  request.mutable_policy()->mutable_rpo()->set_seconds(3600);
  ASSERT_EQ(Create(request), "OK");
  coverage.Clear();
  ASSERT_EQ(Outcome(Call(policies_, &Stub::ListCoverage, ask, &coverage)), "OK");
  EXPECT_EQ(coverage.coverage_size(), 0);
  ask.set_filter(v1::ListCoverageRequest::FILTER_RPO_MISSED);
  ASSERT_EQ(Outcome(Call(policies_, &Stub::ListCoverage, ask, &coverage)), "OK");
  ASSERT_EQ(coverage.coverage_size(), 1);
  EXPECT_TRUE(coverage.coverage(0).rpo_missed());
  EXPECT_THAT(coverage.coverage(0).policies(), ::testing::ElementsAre("policies/nightly"));
}

}  // namespace
}  // namespace umbra::api
