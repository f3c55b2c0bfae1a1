#include "server/notifications/ledger.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::notifications {

absl::Status Ledger::Enter(const Change& change) {
  switch (change.kind) {
    case Change::Kind::kBegin:
      return Begin(change);
    case Change::Kind::kEnd:
      return End(change);
    case Change::Kind::kForget:
      if (open_.erase(change.key) == 0) return absl::OkStatus();
      return stores_.notifications.DeleteCondition(change.key);
    case Change::Kind::kOnce:
      return Tell(
          {change.key, change.topic, NoticePhase::kOnce, change.subject, change.title, change.message, now_, now_, 1},
          NoticeChange::kOnce, now_);
  }
  return absl::OkStatus();
}

absl::Status Ledger::Begin(const Change& change) {
  auto [at, fresh] = open_.try_emplace(change.key);
  catalog::NoticeCondition& condition = at->second;
  if (fresh) {
    condition = {.key = change.key,
                 .topic = change.topic,
                 .subject = change.subject,
                 .title = change.title,
                 .message = change.message,
                 .since = now_,
                 .due = now_ + change.grace,
                 .last = now_,
                 .times = 1,
                 .told = std::nullopt};
  } else {
    condition.message = change.message;
    condition.last = now_;
    ++condition.times;
  }
  return stores_.notifications.PutCondition(condition);
}

absl::Status Ledger::End(const Change& change) {
  const auto at = open_.find(change.key);
  if (at == open_.end()) return absl::OkStatus();
  const catalog::NoticeCondition condition = at->second;
  open_.erase(at);
  RETURN_IF_ERROR(stores_.notifications.DeleteCondition(condition.key));
  // What nobody heard of ends unheard, but what is due at this very moment is told as what it was.
  if (!condition.told && condition.due > now_) return absl::OkStatus();
  if (!condition.told) {
    RETURN_IF_ERROR(Tell({condition.key, condition.topic, NoticePhase::kStarted, condition.subject, condition.title,
                          condition.message, condition.since, condition.last, condition.times},
                         NoticeChange::kStart, now_));
  }
  return Tell({condition.key, condition.topic, NoticePhase::kEnded, condition.subject, condition.title, change.message,
               condition.since, now_, condition.times},
              NoticeChange::kEnd, condition.told.value_or(now_));
}

absl::StatusOr<int> Ledger::TellWhatIsDue(int limit) {
  int told = 0;
  for (auto& [key, condition] : open_) {
    if (condition.told || condition.due > now_) continue;
    if (told++ == limit) return limit;
    condition.told = now_;
    RETURN_IF_ERROR(stores_.notifications.PutCondition(condition));
    RETURN_IF_ERROR(Tell({key, condition.topic, NoticePhase::kStarted, condition.subject, condition.title,
                          condition.message, condition.since, condition.last, condition.times},
                         NoticeChange::kStart, now_));
  }
  return told;
}

absl::Status Ledger::Finish() {
  for (const catalog::Channel& channel : channels_) {
    if (channel.overflow_count > 0) RETURN_IF_ERROR(stores_.notifications.SetProgress(channel));
  }
  return absl::OkStatus();
}

absl::Status Ledger::Tell(const catalog::WaitingNotice& notice, NoticeChange change, absl::Time told) {
  for (catalog::Channel& channel : channels_) {
    if (channel.paused || !Wants(channel, notice.topic)) continue;
    const bool is_end = change == NoticeChange::kEnd;
    // A channel that came later never heard that it began.
    if (is_end && (!Wants(channel, NoticeTopic::kRecovery) || channel.create_time > told)) continue;
    RETURN_IF_ERROR(TellOne(channel, notice, change));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Ledger::MakeRoom(catalog::Channel& channel) {
  const auto [at, fresh] = waiting_.try_emplace(channel.id, 0);
  if (fresh) {
    ASSIGN_OR_RETURN(const auto facts, stores_.notifications.FactsOfWaiting(channel.id));
    at->second = facts.count;
  }
  if (at->second >= kWaitingMax) {
    ++channel.overflow_count;
    return false;
  }
  ++at->second;
  return true;
}

absl::Status Ledger::TellOne(catalog::Channel& channel, catalog::WaitingNotice notice, NoticeChange change) {
  ASSIGN_OR_RETURN(const auto waiting, stores_.notifications.FindWaiting(channel.id, notice.key));
  if (!waiting) {
    ASSIGN_OR_RETURN(const bool room, MakeRoom(channel));
    if (!room) return absl::OkStatus();
  }
  notice.phase = NextPhase(waiting ? std::optional(waiting->phase) : std::nullopt, change);
  // The first of its kind decides when the message goes.
  notice.first = waiting ? waiting->first : now_;
  if (waiting && change == NoticeChange::kStart) notice.times = waiting->times + 1;
  if (waiting && notice.phase == NoticePhase::kPassed) {
    notice.times = waiting->times;
    notice.message = fmt::format("{}; {}", waiting->message, notice.message);
  }
  notice.last = now_;
  return stores_.notifications.PutWaiting(channel.id, notice);
}

}  // namespace umbra::notifications
