// Proves that a backup ends clean whatever goes wrong wherever: every event and call in turn fails, throws, hangs, or
// is when somebody cancels; then many of them at random. What "clean" means is in CheckClean.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>

#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "storage/base/status.h"
#include "tests/unit/agent/vss/scripted.h"

namespace umbra::vss {
namespace {

constexpr Guid kFront = Guid::Literal("00000000-0000-4000-8000-000000000001");
constexpr Guid kBack = Guid::Literal("00000000-0000-4000-8000-000000000002");
constexpr Guid kSystem = Guid::Literal("00000000-0000-4000-8000-000000000003");
constexpr Guid kProvider = Guid::Literal("00000000-0000-4000-8000-000000000009");
const ComponentId kA{kFront, "", "A"};
const ComponentId kB{kBack, "", "B"};
const ComponentId kC{kSystem, "", "C"};

enum class Fault { kError, kThrow, kHang, kCancel };
constexpr Fault kFaults[] = {Fault::kError, Fault::kThrow, Fault::kHang, Fault::kCancel};

using Timed = std::vector<std::pair<std::string, absl::Duration>>;

// Beyond the limit that holds for it (writer.h, coordinator.h).
absl::Duration HangTime(const std::string& event) {
  for (const char* short_one : {"PreCommit", "Commit", "PostCommit"}) {
    if (event == std::string("p.") + short_one) return absl::Seconds(11);
  }
  if (event.ends_with(".Freeze") || event.ends_with(".Thaw")) return absl::Seconds(61);
  return absl::Seconds(601);
}

// A host with three writers, one of each level, and a provider. Every handler asks Meet what to do.
class World {
 public:
  World()
      : record_(&clock_),
        front_("front", kFront, record_),
        back_("back", kBack, record_),
        system_("system", kSystem, record_),
        provider_("p", kProvider, record_) {
    back_.identity_.level = ApplicationLevel::kBackEnd;
    system_.identity_.level = ApplicationLevel::kSystem;
    front_.AddComponent("A", "/a/");
    back_.AddComponent("B", "/b/");
    system_.AddComponent("C", "/c/");
    coordinator_.emplace(clock_, random_);
    for (testing::ScriptedWriter* writer : {&front_, &back_, &system_}) {
      for (const char* event : {"Identify", "PrepareBackup", "PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot",
                                "BackupComplete", "BackupShutdown", "Abort", "PreRestore", "PostRestore"}) {
        writer->on[event] = [this, name = writer->identity_.name + "." + event](EventContext&) { return Meet(name); };
      }
      coordinator_->AddWriter(*writer);
    }
    for (const char* call :
         {"BeginPrepare(/a/)", "BeginPrepare(/b/)", "BeginPrepare(/c/)", "EndPrepare", "PreCommit", "Commit",
          "PostCommit", "PreFinalCommit", "PostFinalCommit", "AbortSnapshots", "DeleteSnapshots"}) {
      provider_.on[call] = [this, name = std::string("p.") + call] { return Meet(name); };
    }
    coordinator_->AddProvider(provider_);
  }
  ~World() { LetGo(); }

  // What hung goes on; everything that was left behind is delivered when this returns.
  void LetGo() {
    if (!release_.HasBeenNotified()) release_.Notify();
    coordinator_.reset();
  }

  absl::Status Backup() {
    BackupRequester backup(coordinator_->NewSession(), {});
    {
      absl::MutexLock lock(&mu_);
      cancel_ = [&backup] { backup.Cancel(); };
    }
    const absl::Status result = Steps(backup);
    absl::MutexLock lock(&mu_);
    cancel_ = nullptr;
    return result;
  }

  testing::StillClock clock_;
  base::SeededRandom random_{1};
  testing::Record record_;
  testing::ScriptedWriter front_, back_, system_;
  testing::ScriptedProvider provider_;
  std::optional<Coordinator> coordinator_;
  std::function<std::optional<Fault>(const std::string&)> script;  // before a backup is run

  // Writers and providers that hang, or did.
  std::vector<std::string> Hung() {
    absl::MutexLock lock(&mu_);
    return hung_;
  }

 private:
  static absl::Status Steps(BackupRequester& backup) {
    RETURN_IF_ERROR(backup.Gather().status());
    RETURN_IF_ERROR(backup.Select({{kA, ""}, {kB, ""}, {kC, ""}}));
    RETURN_IF_ERROR(backup.Prepare());
    RETURN_IF_ERROR(backup.Snapshot().status());
    for (const ComponentId& id : {kA, kB, kC}) RETURN_IF_ERROR(backup.SetBackupSucceeded(id, true));
    RETURN_IF_ERROR(backup.Documents().status());
    return backup.Complete();
  }

  absl::Status Meet(const std::string& event) {
    if (release_.HasBeenNotified() || !script) return absl::OkStatus();
    const std::optional<Fault> fault = script(event);
    if (!fault.has_value()) return absl::OkStatus();
    switch (*fault) {
      case Fault::kError:
        return base::MakeError(absl::StatusCode::kUnavailable, "CAUSE", event);
      case Fault::kThrow:
        throw std::runtime_error(event);
      case Fault::kHang: {
        {
          absl::MutexLock lock(&mu_);
          hung_.push_back(event.substr(0, event.find('.')));
        }
        // The others' calls of the same moment get theirs done first, as they do when a hang lasts minutes.
        base::SystemClock().Sleep(absl::Milliseconds(2));
        clock_.AdvanceWhileAwaited(HangTime(event));
        release_.WaitForNotification();
        return absl::OkStatus();
      }
      case Fault::kCancel: {
        absl::MutexLock lock(&mu_);
        if (cancel_) cancel_();
        return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }

  absl::Mutex mu_;
  std::function<void()> cancel_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> hung_ ABSL_GUARDED_BY(mu_);
  absl::Notification release_;
};

std::vector<std::string> Of(const Timed& events, const std::string& who) {
  std::vector<std::string> mine;
  for (const auto& [event, when] : events) {
    if (event.starts_with(who + ".")) mine.push_back(event.substr(who.size() + 1));
  }
  return mine;
}

size_t Count(const std::vector<std::string>& events, const std::string& event) {
  return static_cast<size_t>(std::count(events.begin(), events.end(), event));
}

// Of a writer, in a backup that is over.
void CheckWriter(const Timed& all, const std::string& name, bool completed) {
  const std::vector<std::string> events = Of(all, name);
  const auto place = [&](const std::string& event) { return std::find(events.begin(), events.end(), event); };
  EXPECT_LE(Count(events, "Freeze"), Count(events, "Thaw") + Count(events, "Abort")) << name << " stays frozen";
  const auto abort = place("Abort");
  if (abort != events.end()) {
    EXPECT_EQ(std::find(events.begin(), abort, "PostSnapshot"), abort) << name << ": Abort after PostSnapshot";
    for (auto later = abort; later != events.end(); ++later) {
      EXPECT_TRUE(*later == "Abort" || *later == "BackupShutdown") << name << " gets " << *later << " after Abort";
    }
    EXPECT_FALSE(completed);
  }
  if (Count(events, "PrepareBackup") > 0) {
    EXPECT_EQ(events.back(), "BackupShutdown") << name;
  }
  EXPECT_LE(Count(events, "BackupShutdown"), 1u);
}

// Nobody but those who hang themselves is frozen for longer than a minute.
void CheckFreezeTimes(const Timed& all, const std::string& name) {
  absl::Duration since = absl::InfiniteDuration();
  for (const auto& [event, when] : all) {
    if (event == name + ".Freeze") since = when;
    const bool ends = event == name + ".Thaw" || event == name + ".Abort";
    if (ends && when >= since) {
      EXPECT_LE(when - since, absl::Seconds(61)) << name;
      since = absl::InfiniteDuration();
    }
  }
}

void CheckProvider(const Timed& all, bool completed) {
  static const std::vector<std::string> kSequence = {"EndPrepare", "PreCommit",      "Commit",
                                                     "PostCommit", "PreFinalCommit", "PostFinalCommit"};
  std::vector<std::string> calls = Of(all, "p");
  std::erase_if(calls, [](const std::string& c) { return c.starts_with("BeginPrepare"); });
  size_t done = 0;
  while (done < calls.size() && done < kSequence.size() && calls[done] == kSequence[done]) ++done;
  const std::vector<std::string> rest(calls.begin() + static_cast<std::ptrdiff_t>(done), calls.end());
  if (done == 0) {
    EXPECT_TRUE(rest.empty()) << "no AbortSnapshots before EndPrepareSnapshots";
    return;
  }
  ASSERT_EQ(rest.size(), 1u) << "the set is either aborted or deleted, once";
  EXPECT_TRUE(rest[0] == "AbortSnapshots" || (rest[0] == "DeleteSnapshots" && done == kSequence.size())) << rest[0];
  if (completed) {
    EXPECT_EQ(rest[0], "DeleteSnapshots");
  }
}

// After a backup that went wrong, and everybody who hung came back:
//   - who was frozen was thawed or aborted, within its minute; Abort never after PostSnapshot, nothing but shutdown
//   after it;
//   - the provider's calls are in order, its set is aborted (from EndPrepareSnapshots on) or deleted, once;
//   - everybody gets BackupShutdown last;
//   - the next backup of the host works.
void CheckClean(World& world, const absl::Status& result) {
  // A second backup, nobody disturbing. Writers that hang can't be asked: that one is made on a fresh coordinator.
  const std::vector<std::string> hung = world.Hung();
  Timed events = world.record_.TakeTimed();
  if (hung.empty()) {
    world.script = nullptr;
    EXPECT_TRUE(world.Backup().ok()) << "the next backup";
    world.record_.Take();
  }
  world.LetGo();
  for (auto& late : world.record_.TakeTimed()) events.push_back(std::move(late));
  const bool completed = Count(Of(events, "front"), "BackupComplete") > 0;
  if (result.ok()) {
    EXPECT_TRUE(completed);
  }
  if (absl::IsCancelled(result)) {
    EXPECT_FALSE(completed);
  }
  for (const std::string name : {"front", "back", "system"}) {
    CheckWriter(events, name, completed);
    const bool itself = std::find(hung.begin(), hung.end(), name) != hung.end();
    if (!itself) CheckFreezeTimes(events, name);
  }
  CheckProvider(events, completed);
}

std::vector<std::string> EventsOfACalmBackup() {
  World world;
  EXPECT_TRUE(world.Backup().ok());
  std::vector<std::string> events = world.record_.Take();
  // Reached only when something else goes wrong.
  for (const char* event : {"front.Abort", "p.AbortSnapshots"}) events.push_back(event);
  return events;
}

TEST(Faults, OneAnywhereLeavesNothingBehind) {
  for (const std::string& event : EventsOfACalmBackup()) {
    for (const Fault fault : kFaults) {
      SCOPED_TRACE(event + " fault " + std::to_string(static_cast<int>(fault)));
      World world;
      const bool cleaning = event.ends_with("Abort") || event.ends_with("AbortSnapshots");
      world.script = [&](const std::string& met) -> std::optional<Fault> {
        if (met == event) return fault;
        if (cleaning && met == "p.PreCommit") return Fault::kError;
        return std::nullopt;
      };
      const absl::Status result = world.Backup();
      // Only what comes after BackupComplete may be told with a backup that is whole.
      const bool after = event.ends_with("BackupShutdown") ||
                         (event.ends_with("BackupComplete") && fault == Fault::kCancel) ||
                         (event == "p.DeleteSnapshots" && fault == Fault::kCancel);
      EXPECT_EQ(result.ok(), after) << result;
      const bool making =
          !event.ends_with("BackupComplete") && !event.ends_with("Shutdown") && !event.starts_with("p.Delete");
      if (fault == Fault::kCancel && making && !cleaning) {
        EXPECT_EQ(base::ReasonOf(result), "CANCELLED");
      }
      CheckClean(world, result);
    }
  }
}

TEST(Faults, ManyAtRandomLeaveNothingBehind) {
  const char* given = std::getenv("UMBRA_VSS_SEED");
  const uint64_t first = given == nullptr ? std::random_device()() : std::strtoull(given, nullptr, 10);
  std::printf("UMBRA_VSS_SEED=%llu\n", static_cast<unsigned long long>(first));
  for (uint64_t seed = first; seed < first + (given == nullptr ? 120 : 1); ++seed) {
    SCOPED_TRACE("UMBRA_VSS_SEED=" + std::to_string(seed));
    World world;
    absl::Mutex mu;
    std::mt19937_64 random(seed);
    world.script = [&](const std::string& met) -> std::optional<Fault> {
      absl::MutexLock lock(&mu);
      if (random() % 100 >= 7) return std::nullopt;
      const Fault fault = kFaults[random() % std::size(kFaults)];
      // Only one clock: of several hangs, each would add its time to those of the others.
      if (fault == Fault::kHang && (!world.Hung().empty() || met.ends_with("Identify"))) return Fault::kError;
      return fault;
    };
    CheckClean(world, world.Backup());
  }
}

// --- a restore has no abort ---

TEST(Faults, RestoreThatGoesWrongStillCleansUpAndAbortsNobody) {
  World calm;
  BackupDocuments documents;
  {
    BackupRequester backup(calm.coordinator_->NewSession(), {});
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{kA, ""}, {kB, ""}}).ok());
    ASSERT_TRUE(backup.Prepare().ok());
    ASSERT_TRUE(backup.Snapshot().ok());
    documents = *backup.Documents();
  }
  for (const std::string event : {"front.Identify", "front.PreRestore", "back.PreRestore", "front.PostRestore"}) {
    for (const Fault fault : {Fault::kError, Fault::kThrow, Fault::kHang}) {
      SCOPED_TRACE(event);
      World world;
      world.script = [&](const std::string& met) { return met == event ? std::optional(fault) : std::nullopt; };
      absl::Status result;
      {
        RestoreRequester restore(world.coordinator_->NewSession(), documents);
        result = restore.Gather();
        if (result.ok()) result = restore.Select({{kA, "", {}}, {kB, "", {}}});
        if (result.ok()) result = restore.PreRestore();
        if (result.ok()) result = restore.SetFileRestoreStatus(kA, FileRestoreStatus::kAll);
        if (result.ok()) result = restore.PostRestore();
      }
      EXPECT_FALSE(result.ok());
      world.LetGo();
      const Timed events = world.record_.TakeTimed();
      for (const auto& [name, when] : events) {
        EXPECT_FALSE(name.ends_with("Abort") || name.ends_with("Shutdown") || name.ends_with("Freeze")) << name;
      }
      const std::string other = event.starts_with("front") ? "back" : "front";
      EXPECT_EQ(Count(Of(events, other), "PreRestore"), Count(Of(events, other), "PostRestore"));
    }
  }
}

TEST(Faults, RestoreThatIsCancelledInPreRestoreWritesNothingAndCleansUp) {
  World world;
  BackupDocuments documents;
  {
    BackupRequester backup(world.coordinator_->NewSession(), {});
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{kA, ""}}).ok());
    ASSERT_TRUE(backup.Prepare().ok());
    ASSERT_TRUE(backup.Snapshot().ok());
    documents = *backup.Documents();
  }
  RestoreRequester restore(world.coordinator_->NewSession(), documents);
  ASSERT_TRUE(restore.Gather().ok());
  ASSERT_TRUE(restore.Select({{kA, "", {}}}).ok());
  world.record_.Take();
  world.front_.on["PreRestore"] = [&](EventContext& context) {
    EXPECT_FALSE(context.IsCancelled());
    restore.Cancel();
    EXPECT_TRUE(context.IsCancelled());
    return absl::OkStatus();
  };
  EXPECT_EQ(base::ReasonOf(restore.PreRestore()), "CANCELLED");
  EXPECT_THAT(world.record_.Take(), ::testing::ElementsAre("front.PreRestore", "front.PostRestore"));
  EXPECT_EQ(base::ReasonOf(restore.SetFileRestoreStatus(kA, FileRestoreStatus::kAll)), "VSS_BAD_STATE");
}

}  // namespace
}  // namespace umbra::vss
