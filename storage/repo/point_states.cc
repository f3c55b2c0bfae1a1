#include "storage/repo/point_states.h"

#include <algorithm>
#include <charconv>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/sealed_record.h"

namespace umbra::repo {
namespace {

// A lock that outlives everybody is a slip of the keyboard.
constexpr absl::Duration kLockMax = absl::Hours(24 * 366 * 100);

std::string TombstoneName(const std::string& id) {
  return fmt::format("{}{}.tombstone", kTombstonePrefix, id);
}
std::string HoldName(const std::string& id) {
  return fmt::format("{}{}.hold", kHoldPrefix, id);
}
// The name alone says until when, so that damage inside doesn't unlock.
std::string LockName(const std::string& id, absl::Time until) {
  return fmt::format("{}{}.{:016x}.lock", kLockPrefix, id, static_cast<uint64_t>(absl::ToUnixMicros(until)));
}

std::string IdIn(std::string_view name, std::string_view prefix) {
  return std::string(name.substr(prefix.size(), 36));
}

absl::Status NotThere(const std::string& id) {
  return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND", "there is no recovery point {}", id);
}

std::string Text(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// Absent when OK.
absl::Status DeleteIfThere(BlobStore& store, const std::string& name) {
  const absl::Status deleted = store.Delete(name);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

}  // namespace

PointUse::~PointUse() {
  if (states_ != nullptr) states_->Unuse(id_);
}

class PointStates::Operation {
 public:
  Operation(PointStates& states, const std::string& id) : states_(states), id_(id) {
    absl::MutexLock lock(&states_.mu_);
    const auto free = [this]() ABSL_SHARED_LOCKS_REQUIRED(states_.mu_) {
      const auto at = states_.states_.find(id_);
      return at == states_.states_.end() || !at->second.busy;
    };
    states_.mu_.Await(absl::Condition(&free));
    State& state = states_.states_[id_];
    state.busy = true;
    before_ = state;
  }
  ~Operation() {
    absl::MutexLock lock(&states_.mu_);
    const auto at = states_.states_.find(id_);
    at->second.busy = false;
    if (at->second.IsPlain()) states_.states_.erase(at);
  }
  Operation(const Operation&) = delete;

  // As it was when the operation began; nobody else changes it but for its uses.
  const State& before() const { return before_; }
  // The point is there, and not removed.
  absl::Status RequireVisible() const {
    if (!IsUuidText(id_) || before_.protection.removed) return NotThere(id_);
    return states_.points_.RequireThere(id_);
  }
  template <typename Change>
  PointProtection Apply(Change change) {
    absl::MutexLock lock(&states_.mu_);
    State& state = states_.states_[id_];
    change(state);
    return state.protection;
  }

 private:
  PointStates& states_;
  const std::string id_;
  State before_;
};

absl::Status PointStates::Load() {
  struct Kind {
    const char* prefix;
    absl::Status (PointStates::*load)(const std::string&, const std::string&);
  };
  constexpr Kind kKinds[] = {{kTombstonePrefix, &PointStates::LoadTombstone},
                             {kHoldPrefix, &PointStates::LoadHold},
                             {kLockPrefix, &PointStates::LoadLock}};
  absl::MutexLock lock(&mu_);
  for (const Kind& kind : kKinds) {
    ASSIGN_OR_RETURN(const auto names, store_.List(kind.prefix));
    for (const std::string& name : names) {
      const std::string id = IdIn(name, kind.prefix);
      if (IsUuidText(id)) RETURN_IF_ERROR((this->*kind.load)(name, id));
    }
  }
  return absl::OkStatus();
}

absl::Status PointStates::LoadTombstone(const std::string& name, const std::string& id) {
  ASSIGN_OR_RETURN(const std::string text, store_.Get(name, kRecordSizeMax));
  const auto record = SealedRecord::Decode(hasher_, "tombstone", repository_, text);
  State& state = states_[id];
  state.protection.removed = true;
  if (!record.ok()) {
    base::Log("repo")->error("tombstone not readable, its point stays hidden point={} error={}", id,
                             base::Describe(record.status()));
    state.unreadable_tombstone = true;
    return absl::OkStatus();
  }
  state.protection.remove_time = record->Time("remove_time_us");
  state.protection.delete_time = record->Time("delete_time_us");
  state.protection.removed_by = record->Text("by");
  return absl::OkStatus();
}

absl::Status PointStates::LoadHold(const std::string& name, const std::string& id) {
  ASSIGN_OR_RETURN(const std::string text, store_.Get(name, kRecordSizeMax));
  const auto record = SealedRecord::Decode(hasher_, "hold", repository_, text);
  PointProtection& protection = states_[id].protection;
  protection.held = true;
  if (!record.ok()) {
    base::Log("repo")->error("hold not readable, it holds point={} error={}", id, base::Describe(record.status()));
    return absl::OkStatus();
  }
  protection.held_by = record->Text("by");
  protection.hold_note = record->Text("note");
  return absl::OkStatus();
}

absl::Status PointStates::LoadLock(const std::string& name, const std::string& id) {
  int64_t until_us = 0;
  const std::string_view hex = std::string_view(name).substr(std::min(name.size(), sizeof(kLockPrefix) - 1 + 37));
  std::from_chars(hex.data(), hex.data() + hex.size(), until_us, 16);
  State& state = states_[id];
  state.lock_names.push_back(name);
  state.protection.lock_until = std::max(state.protection.lock_until, absl::FromUnixMicros(until_us));
  return absl::OkStatus();
}

PointProtection PointStates::Of(const std::string& id) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto at = states_.find(id);
  return at == states_.end() ? PointProtection() : at->second.protection;
}

std::vector<std::string> PointStates::Removed() const {
  std::vector<std::string> ids;
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, state] : states_) {
    if (state.protection.removed) ids.push_back(id);
  }
  return ids;
}

absl::StatusOr<PointProtection> PointStates::Remove(const std::string& id, const RemovalOptions& options) {
  Operation operation(*this, id);
  RETURN_IF_ERROR(operation.RequireVisible());
  const PointProtection& now_protected = operation.before().protection;
  if (now_protected.held) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "RECOVERY_POINT_HELD",
                       "recovery point {} is held by {}{}{}", id, now_protected.held_by,
                       now_protected.hold_note.empty() ? "" : ": ", now_protected.hold_note);
  }
  const RepositoryNow now = time_.Now();
  if (now_protected.lock_until > now.locks) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "RECOVERY_POINT_LOCKED",
                       "recovery point {} is locked until {}; the repository's time is {}", id,
                       Text(now_protected.lock_until), Text(now.locks));
  }
  const absl::Time delete_time = now.removal + options.undelete_window;
  SealedRecord record("tombstone", repository_);
  record.Add("recovery_point", id)
      .Add("remove_time_us", now.removal)
      .Add("delete_time_us", delete_time)
      .Add("by", options.who);
  const std::string bytes = record.Encode(hasher_);
  const absl::Status put = reserve_.Run([&]() -> absl::Status {
    // Of an attempt whose answer was an error although the object is there.
    RETURN_IF_ERROR(DeleteIfThere(store_, TombstoneName(id)));
    return store_.PutIfAbsent(TombstoneName(id), base::AsBytes(bytes));
  });
  RETURN_IF_ERROR(base::Annotate(put, "remove recovery point {}", id));
  base::Log("repo")->info("recovery point removed point={} by={} delete_time={}", id, options.who, Text(delete_time));
  return operation.Apply([&](State& state) {
    state.protection.removed = true;
    state.protection.remove_time = absl::FromUnixMicros(absl::ToUnixMicros(now.removal));
    state.protection.delete_time = absl::FromUnixMicros(absl::ToUnixMicros(delete_time));
    state.protection.removed_by = options.who;
  });
}

absl::StatusOr<PointProtection> PointStates::Undelete(const std::string& id) {
  Operation operation(*this, id);
  const State& before = operation.before();
  if (!before.protection.removed || before.deleting) return NotThere(id);
  RETURN_IF_ERROR(points_.RequireThere(id));
  RETURN_IF_ERROR(base::Annotate(DeleteIfThere(store_, TombstoneName(id)), "undelete recovery point {}", id));
  base::Log("repo")->info("recovery point undeleted point={}", id);
  return operation.Apply([](State& state) {
    state.protection.removed = false;
    state.protection.remove_time = state.protection.delete_time = absl::InfinitePast();
    state.protection.removed_by.clear();
    state.unreadable_tombstone = false;
  });
}

absl::StatusOr<PointProtection> PointStates::Hold(const std::string& id, const std::string& who,
                                                  const std::string& note) {
  Operation operation(*this, id);
  RETURN_IF_ERROR(operation.RequireVisible());
  SealedRecord record("hold", repository_);
  record.Add("recovery_point", id).Add("time_us", time_.Now().removal).Add("by", who).Add("note", note);
  // A second hold takes the place of the first; in between, the state in memory holds.
  if (operation.before().protection.held) RETURN_IF_ERROR(DeleteIfThere(store_, HoldName(id)));
  const absl::Status put = store_.PutIfAbsent(HoldName(id), base::AsBytes(record.Encode(hasher_)));
  // Somebody else's, of an attempt whose answer was an error: it holds as well.
  if (!absl::IsAlreadyExists(put)) RETURN_IF_ERROR(base::Annotate(put, "hold recovery point {}", id));
  return operation.Apply([&](State& state) {
    state.protection.held = true;
    state.protection.held_by = who;
    state.protection.hold_note = note;
  });
}

absl::StatusOr<PointProtection> PointStates::Release(const std::string& id) {
  Operation operation(*this, id);
  RETURN_IF_ERROR(operation.RequireVisible());
  RETURN_IF_ERROR(base::Annotate(DeleteIfThere(store_, HoldName(id)), "release recovery point {}", id));
  return operation.Apply([](State& state) {
    state.protection.held = false;
    state.protection.held_by.clear();
    state.protection.hold_note.clear();
  });
}

absl::StatusOr<PointProtection> PointStates::Lock(const std::string& id, absl::Time until, const std::string& who) {
  Operation operation(*this, id);
  RETURN_IF_ERROR(operation.RequireVisible());
  const RepositoryNow now = time_.Now();
  const PointProtection& before = operation.before().protection;
  if (until <= std::max(before.lock_until, now.locks) || until > now.locks + kLockMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "recovery point {} can be locked to a time after {}, at most {} from now", id,
                       Text(std::max(before.lock_until, now.locks)), absl::FormatDuration(kLockMax));
  }
  SealedRecord record("lock", repository_);
  record.Add("recovery_point", id).Add("time_us", now.locks).Add("until_us", until).Add("by", who);
  const std::string name = LockName(id, until);
  const absl::Status put = store_.PutIfAbsent(name, base::AsBytes(record.Encode(hasher_)));
  if (!absl::IsAlreadyExists(put)) RETURN_IF_ERROR(base::Annotate(put, "lock recovery point {}", id));
  for (const std::string& shorter : operation.before().lock_names) {
    if (const absl::Status deleted = DeleteIfThere(store_, shorter); !deleted.ok()) {
      base::Log("repo")->warn("lock that was extended stays name={} error={}", shorter, base::Describe(deleted));
    }
  }
  return operation.Apply([&](State& state) {
    state.protection.lock_until = absl::FromUnixMicros(absl::ToUnixMicros(until));
    state.lock_names = {name};
  });
}

absl::StatusOr<PointUse> PointStates::Use(const std::string& id) {
  absl::MutexLock lock(&mu_);
  State& state = states_[id];
  if (state.deleting) return NotThere(id);
  ++state.uses;
  return PointUse(*this, id);
}

void PointStates::Unuse(const std::string& id) {
  absl::MutexLock lock(&mu_);
  const auto at = states_.find(id);
  --at->second.uses;
  if (at->second.IsPlain()) states_.erase(at);
}

bool PointStates::IsDeletableLocked(const State& state, const RepositoryNow& now) const {
  const PointProtection& protection = state.protection;
  return protection.removed && !state.unreadable_tombstone && !protection.held && state.uses == 0 &&
         protection.lock_until <= now.locks && protection.delete_time <= now.removal;
}

std::vector<std::string> PointStates::Deletable() const {
  const RepositoryNow now = time_.Now();
  std::vector<std::string> ids;
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, state] : states_) {
    if (IsDeletableLocked(state, now)) ids.push_back(id);
  }
  return ids;
}

absl::StatusOr<bool> PointStates::Delete(const std::string& id) {
  Operation operation(*this, id);
  const RepositoryNow now = time_.Now();
  std::vector<std::string> names;
  {
    absl::MutexLock lock(&mu_);
    State& state = states_[id];
    if (!IsDeletableLocked(state, now)) return false;
    state.deleting = true;  // from here on nobody can use or undelete it
    names = state.lock_names;
  }
  names.push_back(HoldName(id));
  // The tombstone last: as long as it is there, a crash or a power cut can't make the point visible again.
  names.push_back(TombstoneName(id));
  const auto deleted = bases_.RemoveUnlessHeld(id, [&] { return DeleteObjects(id, names); });
  RETURN_IF_ERROR(base::Annotate(deleted.status(), "delete recovery point {}", id));
  if (!*deleted) {  // a session builds on it
    operation.Apply([](State& state) { state.deleting = false; });
    return false;
  }
  operation.Apply([](State& state) {
    state.protection = PointProtection();
    state.lock_names.clear();
    state.deleting = false;
  });
  base::Log("repo")->info("recovery point deleted point={}", id);
  return true;
}

absl::Status PointStates::DeleteObjects(const std::string& id, const std::vector<std::string>& names) {
  const absl::Status removed = points_.Remove(id);
  if (!absl::IsNotFound(removed)) RETURN_IF_ERROR(removed);
  for (const std::string& name : names) RETURN_IF_ERROR(DeleteIfThere(store_, name));
  return absl::OkStatus();
}

}  // namespace umbra::repo
