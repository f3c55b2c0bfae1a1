// Proves that a job of every kind comes back as it was stored, with bounded lists, and that lists page newest first.
#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

const BackupSpec kBackup = {.vms = {{HostId("h1"), "u2"}, {HostId("h1"), "u1"}},
                            .repository = RepositoryId("main"),
                            .allow_crash_consistent = true,
                            .freeze_timeout = absl::Seconds(10),
                            .child_snapshot_only = true,
                            .forbid_saved_state = true,
                            .full_read = true,
                            .hooks = {"before", "after", true}};
const RestoreSpec kInPlace = {.recovery_point = RecoveryPointId("p1"),
                              .repository = RepositoryId("main"),
                              .mode = RestoreMode::kInPlace,
                              .target_host = HostId("h2"),
                              .replaced_vm = {HostId("h2"), "u7"},
                              .target_folder = "/disks",
                              .power_on = true,
                              .resume_state = true,
                              .take_cluster_offline = true};
const RestoreSpec kNew = {.recovery_point = RecoveryPointId("p1"),
                          .repository = RepositoryId("main"),
                          .mode = RestoreMode::kNew,
                          .target_host = HostId("h2"),
                          .display_name = "copy"};
const VerifySpec kVerify = {.repository = RepositoryId("main"), .recovery_point = RecoveryPointId("p1")};

class JobStoreTest : public CatalogTest {
 protected:
  int64_t Insert(const std::string& id, const JobSpec& spec) {
    return *catalog_->Write(
        [&](Stores& s) { return s.jobs.Insert({.id = JobId(id), .spec = spec, .create_time = At(1), .revision = 5}); });
  }
  Job Get(const std::string& id) {
    return *catalog_->Read([&](const Stores& s) { return s.jobs.Get(JobId(id)); });
  }
  absl::Status Update(const Job& job) {
    return catalog_->Write([&](Stores& s) { return s.jobs.Update(job); });
  }
  std::vector<int64_t> List(const JobStore::Filter& filter) {
    std::vector<int64_t> numbers;
    ListOptions<int64_t> options{.page_size = 2};
    do {
      const auto page = catalog_->Read([&](const Stores& s) { return s.jobs.List(filter, options); });
      for (const Job& job : page->items) numbers.push_back(job.number);
      options.after_key = page->next_key;
    } while (options.after_key.has_value());
    return numbers;
  }
};

TEST_F(JobStoreTest, EveryKindOfSpecRoundTrips) {
  int64_t number = 0;
  for (const JobSpec& spec : {JobSpec(kBackup), JobSpec(kInPlace), JobSpec(kNew), JobSpec(kVerify),
                             JobSpec(PruneSpec{RepositoryId("main"), false}), JobSpec(PruneSpec{RepositoryId("main"), true})}) {
    const std::string id = fmt::format("j{}", ++number);
    EXPECT_EQ(Insert(id, spec), number);
    const Job job = Get(id);
    EXPECT_EQ(job.spec, spec);
    EXPECT_EQ(job.number, number);
    EXPECT_EQ(job.state, JobState::kQueued);
    EXPECT_EQ(job.create_time, At(1));
    EXPECT_EQ(job.revision, 5);
    EXPECT_EQ(job.attempt, 0);
  }
}

const JobTerms kTerms = {.policy = PolicyId("nightly"),
                         .priority = -7,
                         .due_time = At(100),
                         .not_after = At(200),
                         .retries_max = 3,
                         .retry_backoff = absl::Minutes(9),
                         .upload_bytes_per_second = 1'000'000,
                         .policy_jobs_max = 20,
                         .policy_host_jobs_max = 2,
                         .policy_weight = 7};

TEST_F(JobStoreTest, TermsAndFailedAttemptsRoundTrip) {
  ASSERT_TRUE(catalog_
                  ->Write([&](Stores& s) {
                    return s.jobs.Insert({.id = JobId("j1"), .spec = kBackup, .terms = kTerms, .create_time = At(1)});
                  })
                  .ok());
  Insert("j2", kBackup);
  EXPECT_EQ(Get("j1").terms, kTerms);
  EXPECT_EQ(Get("j2").terms, JobTerms{});
  Job job = Get("j1");
  job.failed_attempts = 2;
  job.last_attempt_error = {"STORAGE_FULL", "full"};
  job.next_attempt_time = At(150);
  ASSERT_TRUE(Update(job).ok());
  EXPECT_EQ(Get("j1").failed_attempts, 2);
  EXPECT_EQ(Get("j1").last_attempt_error, (JobMessage{"STORAGE_FULL", "full"}));
  EXPECT_EQ(Get("j1").next_attempt_time, At(150));
  const auto active = catalog_->Read([](const Stores& s) { return s.jobs.Active(); });
  ASSERT_EQ(active->size(), 2u);
  EXPECT_EQ(active->at(0).terms, kTerms);
  EXPECT_EQ(active->at(0).next_attempt_time, At(150));
  EXPECT_EQ(active->at(0).repository, RepositoryId("main"));
  EXPECT_EQ(active->at(0).number, 1);
  EXPECT_EQ(active->at(0).create_time, At(1));
  EXPECT_EQ(active->at(1).terms, JobTerms{});
  EXPECT_EQ(List({.policy = PolicyId("nightly")}), (std::vector<int64_t>{1}));
  EXPECT_EQ(List({.kind = JobKind::kVerify, .policy = PolicyId("nightly")}), (std::vector<int64_t>{}));
  EXPECT_EQ(List({.active_only = true, .policy = PolicyId("nightly")}), (std::vector<int64_t>{1}));
  EXPECT_EQ(List({.policy = PolicyId("other")}), (std::vector<int64_t>{}));
}

TEST_F(JobStoreTest, OldEndedJobsGoUnlessAPointCameFromThem) {
  for (const char* id : {"old", "older", "kept", "young", "active"}) {
    Insert(id, kBackup);
    Job job = Get(id);
    if (job.id.value == "active") continue;
    job.state = JobState::kSucceeded;
    job.end_time = job.id.value == "young" ? At(500) : At(job.id.value == "older" ? 50 : 60);
    ASSERT_TRUE(Update(job).ok());
  }
  ASSERT_TRUE(catalog_
                  ->Write([&](Stores& s) {
                    return s.recovery_points.Insert(
                        {.id = RecoveryPointId("p"), .vm = {HostId("h1"), "u1"}, .job = JobId("kept")});
                  })
                  .ok());
  const auto prune = [&] { return *catalog_->Write([&](Stores& s) { return s.jobs.Prune(At(100), 1); }); };
  EXPECT_EQ(prune(), 1);
  EXPECT_EQ(List({}), (std::vector<int64_t>{5, 4, 3, 1}));  // the oldest goes first
  EXPECT_EQ(prune(), 1);
  EXPECT_EQ(prune(), 0);
  EXPECT_EQ(List({}), (std::vector<int64_t>{5, 4, 3}));
}

TEST_F(JobStoreTest, PrunesAreAKindOfTheirOwnWithAResult) {
  Insert("v", kVerify);
  Insert("p", PruneSpec{.repository = RepositoryId("main")});
  Insert("r", kNew);
  EXPECT_EQ(List({.kind = JobKind::kRestore}), (std::vector<int64_t>{3}));
  EXPECT_EQ(List({.kind = JobKind::kVerify}), (std::vector<int64_t>{1}));
  EXPECT_EQ(List({.kind = JobKind::kPrune}), (std::vector<int64_t>{2}));
  EXPECT_EQ(List({.active_only = true, .kind = JobKind::kPrune}), (std::vector<int64_t>{2}));
  const auto active = catalog_->Read([](const Stores& s) { return s.jobs.Active(); });
  ASSERT_EQ(active->size(), 3u);
  EXPECT_EQ(active->at(0).kind, JobKind::kVerify);
  EXPECT_EQ(active->at(1).kind, JobKind::kPrune);
  EXPECT_FALSE(Get("p").prune_result.has_value());
  const PruneResult result{1, 2, 3, 4, 5, 6};
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.jobs.SetPruneResult(JobId("p"), result); }).ok());
  EXPECT_EQ(Get("p").prune_result, result);
}

TEST_F(JobStoreTest, WhatChangesRoundTrips) {
  Insert("j1", kBackup);
  Job job = Get("j1");
  job.state = JobState::kFailed;
  job.phase = JobPhase::kTransferring;
  job.wait_reason = "VM_BUSY";
  job.error = {"AGENT_LOST", "gone"};
  job.progress = {.done_bytes = 1,
                  .total_bytes = 2,
                  .read_bytes = 3,
                  .new_bytes = 4,
                  .stored_bytes = 5,
                  .rate_bytes_per_second = 6,
                  .eta = absl::Seconds(7),
                  .disks = {{{HostId("h1"), "u1"}, "vda", 1, 2, ReadMode::kFull, "CBT_NO_BASE", "the first backup", 0},
                            {{HostId("h1"), "u2"}, "vda", 0, 9, ReadMode::kIncremental, "", "", 4096}}};
  job.attempt = 3;
  job.start_time = At(2);
  job.end_time = At(3);
  job.freeze_duration = absl::Milliseconds(150);
  job.downtime = absl::Milliseconds(412);
  job.restored_vm_uuid = "u9";
  job.revision = 77;
  ASSERT_TRUE(Update(job).ok());
  const Job after = Get("j1");
  EXPECT_EQ(after.state, job.state);
  EXPECT_EQ(after.phase, job.phase);
  EXPECT_EQ(after.wait_reason, job.wait_reason);
  EXPECT_EQ(after.error, job.error);
  EXPECT_EQ(after.progress, job.progress);
  EXPECT_EQ(after.attempt, 3);
  EXPECT_EQ(after.start_time, At(2));
  EXPECT_EQ(after.end_time, At(3));
  EXPECT_EQ(after.freeze_duration, absl::Milliseconds(150));
  EXPECT_EQ(after.downtime, absl::Milliseconds(412));
  EXPECT_EQ(after.restored_vm_uuid, "u9");
  EXPECT_EQ(after.revision, 77);
  job.progress.disks.pop_back();
  ASSERT_TRUE(Update(job).ok());
  EXPECT_EQ(Get("j1").progress.disks.size(), 1u);
}

TEST_F(JobStoreTest, WritersComeBackWithTheJobAndNotInLists) {
  Insert("j1", kBackup);
  std::vector<JobWriter> writers = {{"Hyper-V", {}, At(1), At(2), At(3), At(4), {}},
                                    {"File systems",
                                     {HostId("h1"), "u1"},
                                     At(2),
                                     std::nullopt,
                                     At(3),
                                     std::nullopt,
                                     {"GUEST_FREEZE_TIMEOUT", "slow"}}};
  const auto set = [&] { return catalog_->Write([&](Stores& s) { return s.jobs.SetWriters(JobId("j1"), writers); }); };
  ASSERT_TRUE(set().ok());
  EXPECT_EQ(Get("j1").writers, writers);
  EXPECT_TRUE(catalog_->Read([](const Stores& s) { return s.jobs.List({}, {}); })->items.at(0).writers.empty());
  writers.erase(writers.begin());
  ASSERT_TRUE(set().ok());
  EXPECT_EQ(Get("j1").writers, writers) << "in place of those of before";
}

TEST_F(JobStoreTest, PhasesComeBackWithTheJobAndNotInLists) {
  Insert("j1", kBackup);
  std::vector<JobPhaseTime> phases = {{JobPhase::kGathering, At(1), At(2)}, {JobPhase::kFreezing, At(2), std::nullopt}};
  const auto set = [&] { return catalog_->Write([&](Stores& s) { return s.jobs.SetPhases(JobId("j1"), phases); }); };
  ASSERT_TRUE(set().ok());
  EXPECT_EQ(Get("j1").phases, phases);
  EXPECT_TRUE(catalog_->Read([](const Stores& s) { return s.jobs.List({}, {}); })->items[0].phases.empty());
  phases[1].end_time = At(3);
  phases.push_back({JobPhase::kSnapshot, At(3), std::nullopt});
  ASSERT_TRUE(set().ok());
  EXPECT_EQ(Get("j1").phases, phases);
  phases.clear();
  ASSERT_TRUE(set().ok());
  EXPECT_EQ(Get("j1").phases, phases);
}

TEST_F(JobStoreTest, BackupsAreSummedUpByWhenTheyEnded) {
  const auto end = [&](const std::string& id, const JobSpec& spec, JobState state, int64_t at, int64_t bytes) {
    Insert(id, spec);
    Job job = Get(id);
    job.state = state;
    job.end_time = At(at);
    job.progress.read_bytes = bytes;
    job.progress.stored_bytes = bytes / 10;
    ASSERT_TRUE(Update(job).ok());
  };
  end("before", kBackup, JobState::kSucceeded, 99, 1'000'000);
  end("good", kBackup, JobState::kSucceeded, 100, 100);
  end("warned", kBackup, JobState::kSucceeded, 150, 200);
  end("failed", kBackup, JobState::kFailed, 160, 400);
  end("stopped", kBackup, JobState::kCancelled, 199, 800);
  end("no backup", kVerify, JobState::kSucceeded, 150, 1'000'000);
  end("after", kBackup, JobState::kFailed, 200, 1'000'000);
  Insert("runs", kBackup);
  ASSERT_TRUE(catalog_
                  ->Write([&](Stores& s) -> absl::Status {
                    for (int i = 0; i < 2; ++i) {
                      RETURN_IF_ERROR(s.jobs.AddWarning(JobId("warned"), {"HOOK_FAILED", "x"}));
                    }
                    RETURN_IF_ERROR(s.jobs.SetPointCount(JobId("good"), 2));
                    return s.jobs.SetPointCount(JobId("warned"), 3);
                  })
                  .ok());
  const auto sums = catalog_->Read([](const Stores& s) { return s.jobs.SummarizeBackups(At(100), At(200)); });
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_EQ(*sums, (BackupSummary{.succeeded = 2,
                                  .warned = 1,
                                  .failed = 1,
                                  .cancelled = 1,
                                  .recovery_points = 5,
                                  .read_bytes = 1500,
                                  .stored_bytes = 150}));
  EXPECT_EQ(*catalog_->Read([](const Stores& s) { return s.jobs.SummarizeBackups(At(300), At(400)); }),
            BackupSummary());
}

TEST_F(JobStoreTest, TheSchemaKnowsThatOnlyEndedJobsHaveAnEnd) {
  Insert("j1", kVerify);
  Job job = Get("j1");
  job.state = JobState::kSucceeded;
  EXPECT_EQ(base::ReasonOf(Update(job)), "CATALOG_CONSTRAINT");
  job.state = static_cast<JobState>(9);
  EXPECT_EQ(base::ReasonOf(Update(job)), "CATALOG_CONSTRAINT");
  job.id = JobId("j9");
  job.state = JobState::kQueued;
  EXPECT_EQ(base::ReasonOf(Update(job)), "JOB_NOT_FOUND");
}

TEST_F(JobStoreTest, WarningsAndDamageAreBounded) {
  Insert("j1", kVerify);
  ASSERT_TRUE(catalog_
                  ->Write([](Stores& s) -> absl::Status {
                    for (int i = 0; i < kJobDamageMax + 5; ++i) {
                      RETURN_IF_ERROR(s.jobs.AddWarning(JobId("j1"), {"R", fmt::format("warning {}", i)}));
                      RETURN_IF_ERROR(s.jobs.AddDamage(
                          JobId("j1"), {fmt::format("c{}", i), RecoveryPointId("p1"), "vda", i, "flipped"}));
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  const Job job = Get("j1");
  ASSERT_EQ(job.warnings.size(), size_t{kJobWarningsMax});
  EXPECT_EQ(job.warnings[7], (JobMessage{"R", "warning 7"}));
  ASSERT_EQ(job.damage.size(), size_t{kJobDamageMax});
  EXPECT_EQ(job.damage[9], (DamagedChunk{"c9", RecoveryPointId("p1"), "vda", 9, "flipped"}));
}

TEST_F(JobStoreTest, AJobKnowsItsRecoveryPoints) {
  Insert("j1", kBackup);
  ASSERT_TRUE(catalog_->Write([](Stores& s) { return s.recovery_points.Insert(MakePoint("p1", 1)); }).ok());
  EXPECT_THAT(Get("j1").recovery_points, ::testing::ElementsAre(RecoveryPointId("p1")));
}

TEST_F(JobStoreTest, ListsNewestFirstAndFiltered) {
  for (int i = 1; i <= 5; ++i) Insert(fmt::format("j{}", i), i % 2 == 0 ? JobSpec(kVerify) : JobSpec(kBackup));
  Job ended = Get("j3");
  ended.state = JobState::kCancelled;
  ended.end_time = At(9);
  ASSERT_TRUE(Update(ended).ok());
  EXPECT_THAT(List({}), ::testing::ElementsAre(5, 4, 3, 2, 1));
  EXPECT_THAT(List({.active_only = true}), ::testing::ElementsAre(5, 4, 2, 1));
  EXPECT_THAT(List({.kind = JobKind::kBackup}), ::testing::ElementsAre(5, 3, 1));
  EXPECT_THAT(List({.active_only = true, .kind = JobKind::kBackup}), ::testing::ElementsAre(5, 1));
}

TEST_F(JobStoreTest, ActiveTellsHostAndMachinesInOrderOfSubmission) {
  Insert("b", kBackup);
  Insert("a", kInPlace);
  Insert("v", kVerify);
  const auto active = catalog_->Read([](const Stores& s) { return s.jobs.Active(); });
  ASSERT_EQ(active->size(), 3u);
  EXPECT_EQ((*active)[0].id.value, "b");
  EXPECT_EQ((*active)[0].host.value, "h1");
  EXPECT_THAT((*active)[0].vms, ::testing::ElementsAreArray(kBackup.vms));
  EXPECT_EQ((*active)[1].host.value, "h2");
  EXPECT_THAT((*active)[1].vms, ::testing::ElementsAre(kInPlace.replaced_vm));
  EXPECT_TRUE((*active)[2].host.empty());
  EXPECT_TRUE((*active)[2].vms.empty());
  EXPECT_EQ(*catalog_->Read([](const Stores& s) { return s.jobs.CountQueued(); }), 3);
}

}  // namespace
}  // namespace umbra::catalog
