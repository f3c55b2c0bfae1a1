#include "server/identity/throttle.h"

#include <algorithm>
#include <vector>

#include "server/identity/secrets.h"
#include "storage/base/retry_after.h"
#include "storage/base/status.h"

namespace umbra::identity {
namespace {

constexpr int kDoublingsMax = 20;
// A user's name is part of a key; what is longer is no user's.
constexpr size_t kKeySizeMax = 128;

std::string UserKey(const std::string& user) {
  return "u:" + user.substr(0, kKeySizeMax);
}

std::string AddressKey(const std::string& address) {
  return "a:" + NetworkOf(address).substr(0, kKeySizeMax);
}

absl::Status TooSoon(std::string_view why, absl::Duration wait) {
  const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(wait, absl::Seconds(1)));
  return base::WithRetryAfter(
      base::Error(absl::StatusCode::kResourceExhausted, "SIGN_IN_THROTTLED", "{}; try again in {} s", why, seconds),
      wait);
}

}  // namespace

absl::Status Throttle::Begin(const std::string& user, const std::string& address) {
  absl::MutexLock lock(&mu_);
  const absl::Duration now = clock_.Monotonic();
  absl::Duration wait = WaitLocked(UserKey(user), now);
  if (!address.empty()) wait = std::max(wait, WaitLocked(AddressKey(address), now));
  if (wait > absl::ZeroDuration()) return TooSoon("too many attempts to sign in have failed", wait);
  wait = SuccessWaitLocked(user, now);
  if (wait > absl::ZeroDuration()) return TooSoon("too many sign-ins of this user; programs use API tokens", wait);
  FailLocked(UserKey(user), options_.user_wait_max, now);
  if (!address.empty()) FailLocked(AddressKey(address), options_.address_wait_max, now);
  return absl::OkStatus();
}

void Throttle::Succeeded(const std::string& user, const std::string& address) {
  absl::MutexLock lock(&mu_);
  SucceedLocked(user, clock_.Monotonic());
  entries_.erase(UserKey(user));
  if (!address.empty()) UndoLocked(AddressKey(address));
}

void Throttle::Undo(const std::string& user, const std::string& address) {
  absl::MutexLock lock(&mu_);
  UndoLocked(UserKey(user));
  if (!address.empty()) UndoLocked(AddressKey(address));
}

double Throttle::SuccessesLeft(const Successes& successes, absl::Duration now) const {
  return std::min<double>(options_.successes_at_once,
                          successes.left + absl::FDivDuration(now - successes.at, options_.success_interval));
}

absl::Duration Throttle::SuccessWaitLocked(const std::string& user, absl::Duration now) {
  const auto found = successes_.find(user);
  if (found == successes_.end()) return absl::ZeroDuration();
  const double left = SuccessesLeft(found->second, now);
  return left >= 1 ? absl::ZeroDuration() : (1 - left) * options_.success_interval;
}

void Throttle::SucceedLocked(const std::string& user, absl::Duration now) {
  absl::erase_if(successes_, [&](const auto& entry) {
    return entry.first != user && SuccessesLeft(entry.second, now) >= options_.successes_at_once;
  });
  Successes& successes =
      successes_.try_emplace(user, Successes{static_cast<double>(options_.successes_at_once), now}).first->second;
  successes = {std::max(0.0, SuccessesLeft(successes, now) - 1), now};
}

void Throttle::UndoLocked(const std::string& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  found->second.blocked = absl::ZeroDuration();
  if (--found->second.failures <= 0) entries_.erase(found);
}

absl::Duration Throttle::WaitLocked(const std::string& key, absl::Duration now) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return absl::ZeroDuration();
  if (now - found->second.last > options_.forget_after) {
    entries_.erase(found);
    return absl::ZeroDuration();
  }
  return std::max(found->second.blocked - now, absl::ZeroDuration());
}

void Throttle::FailLocked(const std::string& key, absl::Duration wait_max, absl::Duration now) {
  if (!entries_.contains(key)) MakeRoomLocked(now);
  Entry& entry = entries_[key];
  ++entry.failures;
  entry.last = now;
  const int beyond = entry.failures - options_.free_failures;
  if (beyond <= 0) return;
  const int doublings = std::min(beyond - 1, kDoublingsMax);
  entry.blocked = now + std::min(options_.first_wait * (int64_t{1} << doublings), wait_max);
}

void Throttle::MakeRoomLocked(absl::Duration now) {
  if (entries_.size() < options_.entries_max) return;
  absl::erase_if(entries_, [&](const auto& entry) { return now - entry.second.last > options_.forget_after; });
  if (entries_.size() < options_.entries_max) return;
  // Those of the older half go at once, so that a flood of new names doesn't make every attempt look at all.
  std::vector<absl::Duration> times;
  for (const auto& [key, entry] : entries_) times.push_back(entry.last);
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  const absl::Duration oldest_kept = *middle;
  absl::erase_if(entries_, [&](const auto& entry) { return entry.second.last < oldest_kept; });
  if (entries_.size() >= options_.entries_max) entries_.clear();  // all of one moment
}

}  // namespace umbra::identity
