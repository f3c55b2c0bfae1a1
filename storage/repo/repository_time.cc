#include "storage/repo/repository_time.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/sealed_record.h"

namespace umbra::repo {
namespace {

constexpr char kKind[] = "time";

std::string TimeName(uint64_t sequence) {
  return fmt::format("{}{:016x}.time", kTimePrefix, sequence);
}

// Also of a record that can't be read: its name is taken.
uint64_t SequenceOf(std::string_view name) {
  uint64_t sequence = 0;
  name.remove_prefix(std::min(name.size(), sizeof(kTimePrefix) - 1));
  std::from_chars(name.data(), name.data() + name.size(), sequence, 16);
  return sequence;
}

}  // namespace

absl::Status RepositoryTime::Load(absl::Time created) {
  ASSIGN_OR_RETURN(const auto names, store_.List(kTimePrefix));
  absl::MutexLock writing(&write_mu_);
  absl::MutexLock lock(&mu_);
  monotonic_ = clock_.Monotonic();
  locks_ = std::max(created, names.empty() ? clock_.Now() : created);
  if (!names.empty()) sequence_ = SequenceOf(names.back());
  // Newest first: an older one is there only when a crash came between writing and deleting.
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    ASSIGN_OR_RETURN(const std::string text, store_.Get(*name, kRecordSizeMax));
    const auto record = SealedRecord::Decode(hasher_, kKind, repository_, text);
    if (!record.ok()) {
      base::Log("repo")->error("kept time not readable name={} error={}", *name, base::Describe(record.status()));
      continue;
    }
    locks_ = std::max(locks_, record->Time("locks_us"));
    confirmed_ = absl::Microseconds(record->Number("confirmed_us"));
    budget_ = absl::Microseconds(record->Number("budget_us"));
    kept_name_ = *name;
    break;
  }
  if (names.empty()) budget_ = kClockStepMax;
  const RepositoryNow now = ObserveLocked();
  if (now.jumped) {
    base::Log("repo")->warn("clock is ahead of the repository's time repository={} ahead={}", repository_,
                            absl::FormatDuration(now.ahead));
  }
  return absl::OkStatus();
}

RepositoryNow RepositoryTime::ObserveLocked() {
  const absl::Duration monotonic = clock_.Monotonic();
  const absl::Duration passed = std::max(monotonic - monotonic_, absl::ZeroDuration());
  monotonic_ = monotonic;
  locks_ += passed;
  budget_ = std::min(kClockStepMax, budget_ + passed * absl::FDivDuration(kClockStepMax, kClockBudgetRefill));
  const absl::Time wall = clock_.Now();
  const absl::Duration step = std::clamp(wall - locks_, absl::ZeroDuration(), budget_);
  locks_ += step;
  budget_ -= step;
  const absl::Duration behind = std::max(wall - locks_, absl::ZeroDuration());
  RepositoryNow now;
  now.locks = locks_;
  now.removal = locks_ + std::min(confirmed_, behind);
  now.ahead = std::max(wall - now.removal, absl::ZeroDuration());
  now.jumped = now.ahead > kClockStepMax;
  return now;
}

RepositoryNow RepositoryTime::Now() {
  absl::MutexLock lock(&mu_);
  return ObserveLocked();
}

absl::Status RepositoryTime::Keep() {
  absl::MutexLock writing(&write_mu_);
  {
    absl::MutexLock lock(&mu_);
    ObserveLocked();
    if (monotonic_ - kept_at_ < kTimeKeptEvery) return absl::OkStatus();
  }
  return Write("");
}

absl::Status RepositoryTime::Confirm(const std::string& who) {
  absl::MutexLock writing(&write_mu_);
  {
    absl::MutexLock lock(&mu_);
    ObserveLocked();
    confirmed_ = std::max(clock_.Now() - locks_, absl::ZeroDuration());
    base::Log("repo")->warn("clock confirmed repository={} by={} ahead={}", repository_, who,
                            absl::FormatDuration(confirmed_));
  }
  return Write(who);
}

absl::Status RepositoryTime::Write(const std::string& confirmed_by) {
  const uint64_t sequence = sequence_ + 1;
  SealedRecord record(kKind, repository_);
  {
    absl::MutexLock lock(&mu_);
    record.Add("sequence", static_cast<int64_t>(sequence)).Add("locks_us", locks_);
    record.Add("confirmed_us", absl::ToInt64Microseconds(confirmed_))
        .Add("budget_us", absl::ToInt64Microseconds(budget_));
    record.Add("wall_us", clock_.Now());
  }
  if (!confirmed_by.empty()) record.Add("confirmed_by", confirmed_by);
  const std::string name = TimeName(sequence);
  sequence_ = sequence;  // also after an error: the object may be there
  RETURN_IF_ERROR(
      base::Annotate(store_.PutIfAbsent(name, base::AsBytes(record.Encode(hasher_))), "keep the repository's time"));
  const std::string before = std::exchange(kept_name_, name);
  {
    absl::MutexLock lock(&mu_);
    kept_at_ = monotonic_;
  }
  if (before.empty()) return absl::OkStatus();
  const absl::Status deleted = store_.Delete(before);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

}  // namespace umbra::repo
