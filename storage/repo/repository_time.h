// The time by which a repository judges what may go: it can't be moved forward by setting the machine's clock.
//
// It advances with the monotonic clock. The wall clock may pull it forward only out of a small budget (an hour,
// refilled by an hour per day that the process runs), which covers restarts and corrections by NTP. When the wall clock
// is further ahead than that, it has jumped, or nobody was running: then the repository's time stays behind until the
// same time has really passed, or, for what is no lock, until a person confirms the wall clock. It is kept in the
// repository (section 11 of docs/formats/repository.md), so that a restart is no way around.
#ifndef UMBRA_STORAGE_REPO_REPOSITORY_TIME_H_
#define UMBRA_STORAGE_REPO_REPOSITORY_TIME_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/chunk.h"

namespace umbra::repo {

// How far the wall clock may be ahead before that counts as a jump; also the most that is in the budget.
inline constexpr absl::Duration kClockStepMax = absl::Hours(1);
// The budget grows by kClockStepMax in this time.
inline constexpr absl::Duration kClockBudgetRefill = absl::Hours(24);
// The kept time is at most this old while the repository is in use.
inline constexpr absl::Duration kTimeKeptEvery = absl::Minutes(5);

struct RepositoryNow {
  absl::Time locks;      // locks end by this; nothing moves it forward but time that passes
  absl::Time removal;    // undelete windows and grace periods end by this; a confirmation moves it up to the wall clock
  bool jumped = false;   // the wall clock is more than kClockStepMax ahead of `removal`
  absl::Duration ahead;  // by how much
};

// Thread-safe.
class RepositoryTime {
 public:
  // What it is given outlives it. `repository` is the uuid as text.
  RepositoryTime(BlobStore& store, base::Clock& clock, const ChunkHasher& hasher, std::string repository)
      : store_(store), clock_(clock), hasher_(hasher), repository_(std::move(repository)) {}

  // Reads the kept time; without one (a new repository) the wall clock is believed. Call once, first.
  absl::Status Load(absl::Time created);

  RepositoryNow Now();

  // Writes the time down, when the last one written is older than kTimeKeptEvery. Durable when OK.
  absl::Status Keep();

  // A person says that the wall clock is right: `removal` follows it from now on. Durable when OK.
  absl::Status Confirm(const std::string& who);

 private:
  RepositoryNow ObserveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Puts the state of `now` into the store; `write_mu_` makes these one after another.
  absl::Status Write(const std::string& confirmed_by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);

  BlobStore& store_;
  base::Clock& clock_;
  const ChunkHasher& hasher_;
  const std::string repository_;

  absl::Mutex write_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  std::string kept_name_ ABSL_GUARDED_BY(write_mu_);
  uint64_t sequence_ ABSL_GUARDED_BY(write_mu_) = 0;

  absl::Mutex mu_;
  absl::Time locks_ ABSL_GUARDED_BY(mu_);          // as of monotonic_
  absl::Duration confirmed_ ABSL_GUARDED_BY(mu_);  // `removal` may be this far ahead of `locks`
  absl::Duration budget_ ABSL_GUARDED_BY(mu_);
  absl::Duration monotonic_ ABSL_GUARDED_BY(mu_);
  absl::Duration kept_at_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();  // monotonic
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_REPOSITORY_TIME_H_
