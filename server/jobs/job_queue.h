// The jobs that have not ended, in memory and in order: which one is next, and why the others wait.
//
// Which is next, of the jobs that may begin:
//   1. those of the highest priority;
//   2. of these, those of the policy with the fewest working jobs for its weight; of several, the one that was served
//      longest ago, then by name. What persons ask for counts as a policy of its own, of weight 1 and without limits;
//   3. of these, the one with the earliest due time (of creation, when it has none), then the first submitted.
// A job may begin when it is due, its host takes work, no limit is reached, none of its virtual machines is worked on,
// and no job with a better claim (priority, then due time, then number) waits for one of them: who came first is served
// first, also when it wants two machines and gets one after the other.
//
// No call looks at every job: a job is looked at when it comes, changes or goes, and jobs of one priority, policy,
// repository and host stand in a lane of which only the first is looked at.
#ifndef UMBRA_SERVER_JOBS_JOB_QUEUE_H_
#define UMBRA_SERVER_JOBS_JOB_QUEUE_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "storage/catalog/records.h"

namespace umbra::jobs {

// How many jobs of agents may work at once; 0: no limit.
struct QueueLimits {
  int jobs_max = 0;
  // Two let one VM's clean-up overlap another's copy without halving the host's disk.
  int per_host_max = 2;
  int per_repository_max = 0;

  bool operator==(const QueueLimits&) const = default;
};

// Not thread-safe. Knows what it is told; the catalog is the truth.
class JobQueue {
 public:
  void SetLimits(const QueueLimits& limits);

  // The job as it is now; one that has ended is forgotten. `now` decides whether it is due.
  void Put(const catalog::ActiveJob& job, absl::Time now);
  // Whether a host takes work: an empty `reason` says so, else it is the wait reason of its jobs. Hosts that nobody
  // spoke of are HOST_OFFLINE.
  void SetHost(const catalog::HostId& host, const std::string& reason, absl::Time now);
  // Maintenance: a host that takes work doesn't while it is drained (HOST_DRAINED).
  void SetDrained(const catalog::HostId& host, bool drained, absl::Time now);
  // Jobs whose time has come take their places.
  void Advance(absl::Time now);

  // The job of an agent that begins next; absent when none may. It stays until Put says what became of it.
  std::optional<catalog::JobId> Next() const;
  // The daemon's own: of the best claim among those that are due. They have no limits.
  std::optional<catalog::JobId> NextOwn(catalog::JobKind kind, absl::Time now) const;
  // Counts a turn of the job's policy; call it with what Next gave.
  void Served(const catalog::JobId& id);

  // As Put; it must be here.
  const catalog::ActiveJob& Get(const catalog::JobId& id) const { return entries_.at(id)->job; }
  // Who works on a virtual machine; absent: nobody.
  std::optional<catalog::JobId> HolderOf(const catalog::VmKey& vm) const;
  // Why a queued job waits; empty: it is about to begin, or doesn't wait. For jobs that aren't here, too.
  std::string WaitReason(const catalog::JobId& id, absl::Time now) const;
  // At most `count_max` queued jobs whose backup window ended before `now`.
  std::vector<catalog::JobId> MissedWindows(absl::Time now, size_t count_max) const;
  // At most `count_max` jobs that are due and wait for a host which takes no work, for at least `grace`, and whose row
  // doesn't say so yet (ActiveJob::wait_reason): with the reason.
  std::vector<std::pair<catalog::JobId, std::string>> Unreported(absl::Time now, absl::Duration grace,
                                                                 size_t count_max);
  // When something happens by itself next: a job becomes due, or its window ends. InfiniteFuture: never.
  absl::Time NextTime() const;

  // Those that hold virtual machines or a worker; and those that are asked to stop.
  std::vector<catalog::ActiveJob> Working() const;
  std::vector<catalog::ActiveJob> Cancelling() const;
  // Of a host: working, and all.
  int WorkingOn(const catalog::HostId& host) const;
  std::vector<catalog::JobId> JobsOf(const catalog::HostId& host) const;
  size_t queued_count() const { return entries_.size() - working_.size(); }

 private:
  // Claim: the smaller, the better.
  struct Rank {
    int32_t below = 0;  // minus the priority
    absl::Time due;
    int64_t number = 0;

    auto operator<=>(const Rank& other) const {
      if (below != other.below) return below <=> other.below;
      if (due != other.due) return due < other.due ? std::strong_ordering::less : std::strong_ordering::greater;
      return number <=> other.number;
    }
    bool operator==(const Rank&) const = default;
  };

  enum class Place { kNowhere, kTimed, kBehind, kReady, kWorking, kOwn };
  struct Entry;
  using Ranked = std::map<Rank, Entry*>;
  struct Lane;
  struct Host;
  struct Policy;
  struct Claim {
    Entry* holder = nullptr;
    Ranked waiting;
  };
  struct LaneKey {
    int32_t below = 0;
    catalog::PolicyId policy;
    catalog::RepositoryId repository;
    catalog::HostId host;

    auto operator<=>(const LaneKey&) const = default;
  };
  struct Entry {
    catalog::ActiveJob job;
    Rank rank;
    absl::Time begin;  // not before
    Place place = Place::kNowhere;
    Lane* lane = nullptr;  // kReady
  };
  struct Lane {
    LaneKey key;
    Ranked jobs;
    Rank indexed_at;       // meaningful while `indexed`
    bool indexed = false;  // in `open_`: its first job may begin, as far as the host is concerned
  };
  struct Host {
    std::string link = "HOST_OFFLINE";  // as SetHost said
    bool drained = false;
    std::string closed = "HOST_OFFLINE";  // of both; empty: takes work
    absl::Time closed_since = absl::InfinitePast();
    bool has_unreported = true;
    int working = 0;
    std::map<catalog::PolicyId, int> working_of;
    std::set<catalog::JobId> jobs;
    std::map<LaneKey, Lane*> lanes;
  };
  struct Policy {
    int working = 0;
    uint64_t served = 0;  // number of the turn
    int jobs_max = 0;
    int host_jobs_max = 0;
    int weight = 1;
    int64_t limits_of = 0;  // number of the job that told the limits
    std::map<LaneKey, Lane*> lanes;
  };
  using OpenLanes = std::map<Rank, Lane*>;  // by the rank of each one's first job
  using OpenPolicies = std::map<catalog::PolicyId, std::map<catalog::RepositoryId, OpenLanes>>;

  void Take(Entry& entry);  // out of its place
  void PutQueued(Entry& entry, absl::Time now);
  void PutWorking(Entry& entry);
  void Claims(Entry& entry);               // takes its place behind its virtual machines
  void Recheck(const catalog::VmKey& vm);  // the first that waits may have become ready, or not ready
  bool IsFirst(const Entry& entry) const;
  void EnterLane(Entry& entry);
  void LeaveLane(Entry& entry);
  void Index(Lane& lane);  // puts it into open_, moves it or takes it out
  void IndexHost(Host& host);
  void Close(Host& host, absl::Time now);  // or open it
  void LearnLimits(const catalog::ActiveJob& job);
  bool HasRoom(const Lane& lane) const;
  bool IsFull(const catalog::RepositoryId& repository) const;
  bool IsFull(const catalog::PolicyId& policy) const;
  static bool HasBetterClaim(const Policy& a, const Policy& b);
  Lane* FirstOf(const OpenPolicies& policies) const;
  const Entry* Find(const catalog::JobId& id) const;

  QueueLimits limits_;
  // Entries, hosts, policies and lanes keep their addresses.
  absl::flat_hash_map<catalog::JobId, std::unique_ptr<Entry>> entries_;
  std::map<catalog::HostId, Host> hosts_;
  std::map<catalog::PolicyId, Policy> policies_;
  std::map<LaneKey, Lane> lanes_;
  std::map<int32_t, OpenPolicies> open_;                          // by Rank::below
  absl::flat_hash_map<catalog::RepositoryId, int> repositories_;  // working
  absl::flat_hash_map<catalog::VmKey, Claim> claims_;
  std::map<std::pair<absl::Time, int64_t>, Entry*> timed_;    // by begin, number
  std::map<std::pair<absl::Time, int64_t>, Entry*> windows_;  // queued, by not_after, number
  std::map<int64_t, Entry*> working_;                         // by number; the daemon's own too
  std::map<int64_t, Entry*> cancelling_;
  std::map<catalog::JobKind, Ranked> own_;
  int agents_working_ = 0;
  uint64_t turn_ = 0;
};

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_JOB_QUEUE_H_
