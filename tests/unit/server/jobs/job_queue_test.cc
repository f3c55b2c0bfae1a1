// Proves which job is next and why the others wait: by examples of each rule and limit, and by random histories against
// a model that looks at every job each time. The seed is printed; UMBRA_SEED=n repeats a run.
#include "server/jobs/job_queue.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "server/jobs/job_state.h"
#include "storage/base/random.h"

namespace umbra::jobs {
namespace {

using catalog::ActiveJob;
using catalog::HostId;
using catalog::JobId;
using catalog::PolicyId;
using catalog::RepositoryId;
using catalog::VmKey;
using ::testing::ElementsAre;

const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);

class JobQueueTest : public ::testing::Test {
 protected:
  JobQueueTest() {
    queue_.SetLimits({.per_host_max = 0});
    for (const char* host : {"h1", "h2", "h3"}) queue_.SetHost(HostId(host), "", now_);
  }

  ActiveJob Make(const std::string& vm, const std::string& host = "h1", catalog::JobTerms terms = {}) {
    const int64_t number = ++last_number_;
    ActiveJob job{.id = JobId(fmt::format("j{}", number)),
                  .host = HostId(host),
                  .number = number,
                  .repository = RepositoryId("main"),
                  .terms = std::move(terms),
                  .create_time = now_};
    if (!vm.empty()) job.vms = {{HostId(host), vm}};
    return job;
  }
  std::string Add(const ActiveJob& job) {
    jobs_[job.id.value] = job;
    queue_.Put(job, now_);
    return job.id.value;
  }
  std::string Add(const std::string& vm, const std::string& host = "h1", const catalog::JobTerms& terms = {}) {
    return Add(Make(vm, host, terms));
  }
  void Set(const std::string& id, JobState state) {
    jobs_[id].state = state;
    queue_.Put(jobs_[id], now_);
  }
  // Begins everything that may.
  std::vector<std::string> Begin(size_t count_max = 1000) {
    std::vector<std::string> begun;
    while (begun.size() < count_max) {
      const auto next = queue_.Next();
      if (!next) break;
      queue_.Served(*next);
      Set(next->value, JobState::kDispatching);
      begun.push_back(next->value);
    }
    return begun;
  }
  std::string Why(const std::string& id) { return queue_.WaitReason(JobId(id), now_); }

  absl::Time now_ = kStart;
  JobQueue queue_;
  int64_t last_number_ = 0;
  std::map<std::string, ActiveJob> jobs_;
};

TEST_F(JobQueueTest, HigherPriorityFirstThenTheEarlierDueThenTheFirstSubmitted) {
  Add("u1");
  Add("u2", "h1", {.due_time = kStart - absl::Hours(1)});
  Add("u3", "h1", {.priority = 5});
  Add("u4");
  Add("u5", "h1", {.priority = -5, .due_time = kStart - absl::Hours(9)});
  EXPECT_THAT(Begin(), ElementsAre("j3", "j2", "j1", "j4", "j5"));
}

TEST_F(JobQueueTest, PoliciesShareByTheFewestWorkingJobs) {
  queue_.SetLimits({.jobs_max = 4, .per_host_max = 0});
  for (int i = 0; i < 6; ++i) Add(fmt::format("a{}", i), "h1", {.policy = PolicyId("big")});
  for (int i = 0; i < 2; ++i) Add(fmt::format("b{}", i), "h2", {.policy = PolicyId("small")});
  const std::string person = Add("c", "h3");
  EXPECT_THAT(Begin(), ElementsAre(person, "j1", "j7", "j2"));
  EXPECT_EQ(Why("j8"), "DAEMON_BUSY");
  Set("j1", JobState::kSucceeded);
  EXPECT_THAT(Begin(), ElementsAre("j8")) << "big and small work on one each, and small waits longer";
  Set("j7", JobState::kFailed);
  Set(person, JobState::kCancelled);
  EXPECT_THAT(Begin(), ElementsAre("j3", "j4"));
}

TEST_F(JobQueueTest, APolicyOfMoreWeightHasALargerShare) {
  queue_.SetLimits({.jobs_max = 8, .per_host_max = 0});
  const catalog::JobTerms heavy{.policy = PolicyId("heavy"), .policy_weight = 3};
  const catalog::JobTerms light{.policy = PolicyId("light")};
  for (int i = 0; i < 20; ++i) Add(fmt::format("a{}", i), "h1", heavy);
  for (int i = 0; i < 20; ++i) Add(fmt::format("b{}", i), "h2", light);
  std::map<PolicyId, int> working;
  for (const std::string& id : Begin()) ++working[jobs_[id].terms.policy];
  EXPECT_EQ(working[heavy.policy], 6);
  EXPECT_EQ(working[light.policy], 2);
  // What its newest job says counts.
  Add("b99", "h2", {.policy = light.policy, .policy_weight = 3});
  for (auto& [id, job] : std::map(jobs_)) {
    if (job.state == JobState::kDispatching) Set(id, JobState::kSucceeded);
  }
  working.clear();
  for (const std::string& id : Begin()) ++working[jobs_[id].terms.policy];
  EXPECT_EQ(working[heavy.policy], 4);
  EXPECT_EQ(working[light.policy], 4);
}

TEST_F(JobQueueTest, EachLimitHoldsAndIsTold) {
  queue_.SetLimits({.jobs_max = 5, .per_host_max = 2, .per_repository_max = 3});
  const catalog::JobTerms p{.policy = PolicyId("p"), .policy_jobs_max = 2, .policy_host_jobs_max = 1};
  Add("u1", "h1", p);  // 1
  Add("u2", "h1", p);  // 2: the policy has one on h1
  Add("u3", "h2", p);  // 3
  Add("u4", "h3", p);  // 4: the policy has two
  EXPECT_THAT(Begin(), ElementsAre("j1", "j3"));
  EXPECT_EQ(Why("j2"), "POLICY_BUSY");
  EXPECT_EQ(Why("j4"), "POLICY_BUSY");
  Add("u5", "h1");  // 5
  Add("u6", "h1");  // 6: h1 has two
  EXPECT_THAT(Begin(), ElementsAre("j5"));
  EXPECT_EQ(Why("j6"), "HOST_BUSY");
  Add("u7", "h3");  // 7: the repository has three
  EXPECT_THAT(Begin(), ElementsAre());
  EXPECT_EQ(Why("j7"), "REPOSITORY_BUSY");
  ActiveJob other = Make("u8", "h3");
  other.repository = RepositoryId("other");
  Add(other);
  ActiveJob more = Make("u9", "h3");
  more.repository = RepositoryId("other");
  Add(more);
  EXPECT_THAT(Begin(), ElementsAre("j8", "j9"));
  Set("j1", JobState::kSucceeded);
  EXPECT_THAT(Begin(), ElementsAre("j2"));  // of the policy, which works on one job only
  for (const char* id : {"j4", "j6", "j7"}) EXPECT_EQ(Why(id), "HOST_BUSY") << id;
  Set("j2", JobState::kSucceeded);
  Set("j5", JobState::kSucceeded);
  EXPECT_EQ(queue_.WorkingOn(HostId("h1")), 0);
  EXPECT_EQ(queue_.WorkingOn(HostId("h3")), 2);
  EXPECT_THAT(Begin(), ElementsAre("j6"));
}

TEST_F(JobQueueTest, TheLimitsOfTheNewestJobOfAPolicyCount) {
  catalog::JobTerms terms{.policy = PolicyId("p"), .policy_host_jobs_max = 1};
  Add("u1", "h1", terms);
  Add("u2", "h1", terms);
  EXPECT_THAT(Begin(), ElementsAre("j1"));
  terms.policy_host_jobs_max = 0;
  Add("u3", "h1", terms);
  EXPECT_THAT(Begin(), ElementsAre("j2", "j3"));
}

TEST_F(JobQueueTest, AMachineIsWorkedOnOnceAndWaitersKeepTheirOrder) {
  ActiveJob both = Make("u1");
  both.vms.push_back({HostId("h1"), "u2"});
  Add("u1");                         // 2
  Add(both);                         // 1, but the lower number: it goes first
  Add("u2");                         // 3
  Add("u2", "h1", {.priority = 1});  // 4: before all of them
  EXPECT_THAT(Begin(), ElementsAre("j4"));
  EXPECT_EQ(Why("j1"), "VM_BUSY");
  EXPECT_EQ(Why("j2"), "VM_BUSY");
  EXPECT_EQ(queue_.HolderOf({HostId("h1"), "u2"}), JobId("j4"));
  Set("j4", JobState::kFailed);
  EXPECT_THAT(Begin(), ElementsAre("j1"));
  Set("j1", JobState::kCancelling);
  EXPECT_THAT(Begin(), ElementsAre());
  EXPECT_EQ(queue_.Cancelling().size(), 1u);
  Set("j1", JobState::kCancelled);
  EXPECT_THAT(Begin(), ElementsAre("j2", "j3"));
}

TEST_F(JobQueueTest, HostsThatTakeNoWorkKeepTheirJobsWaiting) {
  Add("u1", "h9");
  Add("u2", "h2");
  EXPECT_EQ(Why("j1"), "HOST_OFFLINE");
  queue_.SetDrained(HostId("h2"), true, now_);
  EXPECT_EQ(Why("j2"), "HOST_DRAINED");
  queue_.SetHost(HostId("h2"), "HOST_OFFLINE", now_);
  EXPECT_EQ(Why("j2"), "HOST_OFFLINE");
  EXPECT_THAT(Begin(), ElementsAre());
  queue_.SetHost(HostId("h9"), "", now_);
  queue_.SetHost(HostId("h2"), "", now_);
  EXPECT_THAT(Begin(), ElementsAre("j1"));
  queue_.SetDrained(HostId("h2"), false, now_);
  EXPECT_THAT(Begin(), ElementsAre("j2"));
  EXPECT_THAT(queue_.JobsOf(HostId("h2")), ElementsAre(JobId("j2")));
}

// Fifty thousand jobs wait; each begins and ends after looking at a few of them.
TEST_F(JobQueueTest, ALongQueueIsFast) {
  queue_.SetLimits({.jobs_max = 1000, .per_host_max = 2, .per_repository_max = 900});
  for (int host = 0; host < 2000; ++host) queue_.SetHost(HostId(fmt::format("host{}", host)), "", now_);
  for (int vm = 0; vm < 25; ++vm) {
    for (int host = 0; host < 2000; ++host) {
      Add(fmt::format("u{}", vm), fmt::format("host{}", host), {.policy = PolicyId(fmt::format("p{}", host % 20))});
    }
  }
  std::vector<std::string> working = Begin();
  size_t ended = 0;
  for (size_t i = 0; i < working.size(); ++i) {
    Set(working[i], JobState::kSucceeded);
    ++ended;
    for (std::string& id : Begin()) working.push_back(std::move(id));
  }
  EXPECT_EQ(ended, 50'000u);
  EXPECT_EQ(queue_.queued_count(), 0u);
}

// ---- Histories against a model that looks at everything ----

class QueueModel {
 public:
  QueueLimits limits;
  std::map<std::string, std::string> closed;
  std::map<int64_t, ActiveJob> jobs;
  std::map<std::string, uint64_t> served;
  uint64_t turn = 0;

  static auto RankOf(const ActiveJob& j) {
    return std::tuple(-j.terms.priority, j.terms.due_time.value_or(j.create_time), j.number);
  }
  static bool IsDue(const ActiveJob& j, absl::Time now) {
    return j.terms.due_time.value_or(now) <= now && j.next_attempt_time.value_or(now) <= now;
  }
  int Working(const std::function<bool(const ActiveJob&)>& which) const {
    int count = 0;
    for (const auto& [n, j] : jobs) count += HoldsVms(j.state) && which(j);
    return count;
  }
  const ActiveJob* NewestOf(const PolicyId& policy) const {
    return newest.contains(policy.value) ? &newest.at(policy.value) : nullptr;
  }
  bool MayBegin(const ActiveJob& j, absl::Time now) const {
    if (j.state != JobState::kQueued || !IsDue(j, now) || !closed.at(j.host.value).empty()) return false;
    const auto full = [](int count, int max) { return max > 0 && count >= max; };
    if (full(Working([&](const ActiveJob& o) { return o.host == j.host; }), limits.per_host_max)) return false;
    if (full(Working([&](const ActiveJob& o) { return o.repository == j.repository; }), limits.per_repository_max))
      return false;
    if (full(Working([](const ActiveJob&) { return true; }), limits.jobs_max)) return false;
    if (const ActiveJob* says = j.terms.policy.empty() ? nullptr : NewestOf(j.terms.policy)) {
      const auto ours = [&](const ActiveJob& o) { return o.terms.policy == j.terms.policy; };
      if (full(Working(ours), says->terms.policy_jobs_max)) return false;
      if (full(Working([&](const ActiveJob& o) { return ours(o) && o.host == j.host; }),
               says->terms.policy_host_jobs_max))
        return false;
    }
    for (const auto& [n, o] : jobs) {
      const bool shares = std::any_of(j.vms.begin(), j.vms.end(), [&vms = o.vms](const VmKey& vm) {
        return std::find(vms.begin(), vms.end(), vm) != vms.end();
      });
      if (n == j.number || !shares) continue;
      if (HoldsVms(o.state) || (IsDue(o, now) && RankOf(o) < RankOf(j))) return false;
    }
    return true;
  }
  const ActiveJob* Next(absl::Time now) const {
    const ActiveJob* best = nullptr;
    const auto order = [&](const ActiveJob& j) {
      const int working = Working([&](const ActiveJob& o) { return o.terms.policy == j.terms.policy; });
      const auto turn_of = served.find(j.terms.policy.value);
      return std::tuple(-j.terms.priority, working, turn_of == served.end() ? 0 : turn_of->second, j.terms.policy.value,
                        RankOf(j));
    };
    for (const auto& [n, j] : jobs) {
      if (MayBegin(j, now) && (best == nullptr || order(j) < order(*best))) best = &j;
    }
    return best;
  }
  std::map<std::string, ActiveJob> newest;
};

class JobQueueHistoryTest : public JobQueueTest {
 protected:
  uint64_t Pick(uint64_t count) { return std::uniform_int_distribution<uint64_t>(0, count - 1)(rng_); }

  void Change(ActiveJob job) {
    queue_.Put(job, now_);
    if (catalog::IsTerminal(job.state)) {
      model_.jobs.erase(job.number);
    } else {
      model_.jobs[job.number] = std::move(job);
    }
  }
  void AddOne() {
    ActiveJob job = Make("", fmt::format("h{}", 1 + Pick(3)));
    job.repository = RepositoryId(Pick(2) == 0 ? "main" : "other");
    for (uint64_t vm = 0, count = Pick(3); vm < count; ++vm) {
      const VmKey key{job.host, fmt::format("u{}", Pick(4))};
      if (std::find(job.vms.begin(), job.vms.end(), key) == job.vms.end()) job.vms.push_back(key);
    }
    job.terms = {.policy = PolicyId(Pick(3) == 0 ? "" : fmt::format("p{}", Pick(3))),
                 .priority = static_cast<int32_t>(Pick(3)),
                 .policy_jobs_max = static_cast<int32_t>(Pick(4)),
                 .policy_host_jobs_max = static_cast<int32_t>(Pick(3))};
    if (Pick(3) == 0) job.terms.due_time = now_ + absl::Minutes(static_cast<int64_t>(Pick(20)) - 10);
    if (!job.terms.policy.empty()) model_.newest[job.terms.policy.value] = job;
    Change(std::move(job));
  }
  void BeginOne() {
    queue_.Advance(now_);
    const auto next = queue_.Next();
    const ActiveJob* expected = model_.Next(now_);
    ASSERT_EQ(next.has_value(), expected != nullptr);
    if (!next) return;
    ASSERT_EQ(next->value, expected->id.value);
    EXPECT_EQ(queue_.WaitReason(*next, now_), "");
    queue_.Served(*next);
    ActiveJob job = *expected;
    model_.served[job.terms.policy.value] = ++model_.turn;
    job.state = JobState::kDispatching;
    Change(std::move(job));
  }
  void MoveOne() {
    if (model_.jobs.empty()) return;
    auto it = model_.jobs.begin();
    std::advance(it, static_cast<ptrdiff_t>(Pick(model_.jobs.size())));
    ActiveJob job = it->second;
    const bool works = HoldsVms(job.state);
    constexpr JobState kMoves[] = {JobState::kRunning, JobState::kCancelling, JobState::kSucceeded, JobState::kFailed,
                                   JobState::kQueued};
    job.state = works ? kMoves[Pick(std::size(kMoves))] : (Pick(4) == 0 ? JobState::kCancelled : job.state);
    if (works && job.state == JobState::kQueued) job.next_attempt_time = now_ + absl::Minutes(Pick(10));
    Change(std::move(job));
  }
  void CheckAll() {
    std::set<VmKey> held;
    for (const auto& [n, job] : model_.jobs) {
      if (!HoldsVms(job.state)) {
        EXPECT_TRUE(!model_.MayBegin(job, now_) || queue_.WaitReason(job.id, now_).empty()) << job.id.value;
        EXPECT_TRUE(model_.MayBegin(job, now_) || !queue_.WaitReason(job.id, now_).empty()) << job.id.value;
        continue;
      }
      for (const VmKey& vm : job.vms) {
        EXPECT_TRUE(held.insert(vm).second);
        EXPECT_EQ(queue_.HolderOf(vm), job.id);
      }
    }
    EXPECT_EQ(queue_.queued_count() + queue_.Working().size(), model_.jobs.size());
  }

  std::mt19937_64 rng_;
  QueueModel model_;
};

TEST_F(JobQueueHistoryTest, EveryHistoryAgreesWithTheModel) {
  uint64_t seed = 0;
  base::SystemRandom().Fill(std::as_writable_bytes(std::span(&seed, 1)));
  if (const char* given = std::getenv("UMBRA_SEED")) seed = std::strtoull(given, nullptr, 10);
  fmt::print("UMBRA_SEED={}\n", seed);
  SCOPED_TRACE(fmt::format("UMBRA_SEED={}", seed));
  rng_.seed(seed);
  model_.limits = {.per_host_max = 0};  // as those of the queue
  for (const char* host : {"h1", "h2", "h3"}) model_.closed[host] = "";
  for (int step = 0; step < 3000 && !HasFailure(); ++step) {
    const uint64_t what = Pick(20);
    if (what < 5 && model_.jobs.size() < 30)
      AddOne();
    else if (what < 12)
      BeginOne();
    else if (what < 17)
      MoveOne();
    else if (what == 17)
      now_ += absl::Minutes(Pick(5));
    else if (what == 18) {
      const std::string host = fmt::format("h{}", 1 + Pick(3));
      model_.closed[host] = Pick(3) == 0 ? "HOST_OFFLINE" : "";
      queue_.SetHost(HostId(host), model_.closed[host], now_);
    } else {
      model_.limits = {.jobs_max = static_cast<int>(Pick(8)),
                       .per_host_max = static_cast<int>(Pick(4)),
                       .per_repository_max = static_cast<int>(Pick(5))};
      queue_.SetLimits(model_.limits);
    }
    queue_.Advance(now_);
    if (step % 3 == 0) CheckAll();
  }
}

}  // namespace
}  // namespace umbra::jobs
