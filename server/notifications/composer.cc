#include "server/notifications/composer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "server/calendar/schedule.h"
#include "server/notifications/digest.h"
#include "server/notifications/event_watch.h"
#include "server/notifications/rate_limit.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr int kEventsPerRead = 1000;
// Some 20 ms of the writer's time.
constexpr size_t kChangesPerTransaction = 500;
// Events that change nothing are read again after a crash, at most so many.
constexpr int64_t kCursorLagMax = 5000;
constexpr absl::Duration kWaitMin = absl::Milliseconds(10);
// Waiting for longer than the window, and by this much, is being held back.
constexpr absl::Duration kHeldBackAfter = absl::Minutes(1);

absl::StatusOr<std::vector<catalog::Channel>> Channels(catalog::Catalog& catalog) {
  return catalog.Read([](const catalog::Stores& s) { return s.notifications.All(); });
}

}  // namespace

catalog::Delivery NewDelivery(const catalog::Channel& channel, catalog::DeliveryKind kind, const Envelope& envelope,
                              Rendered rendered) {
  return {.number = 0,
          .id = envelope.id,
          .channel = channel.id,
          .kind = kind,
          .state = catalog::DeliveryState::kQueued,
          .title = std::move(rendered.title),
          .text = std::move(rendered.text),
          .json = std::move(rendered.json),
          .notice_count = 0,
          .attempts = 0,
          .create_time = envelope.time,
          .next_attempt = envelope.time,
          .end_time = std::nullopt,
          .error = {}};
}

absl::TimeZone ZoneOf(const catalog::Channel& channel) {
  return calendar::LoadZone(channel.time_zone).value_or(absl::UTCTimeZone());
}

Composer::Composer(catalog::Catalog& catalog, base::Clock& clock, base::Random& random, std::vector<StateCheck> checks,
                   std::string daemon)
    : catalog_(catalog), clock_(clock), random_(random), daemon_(std::move(daemon)) {
  absl::MutexLock lock(&mu_);
  for (StateCheck& check : checks) checks_.push_back({std::move(check), absl::ZeroDuration()});
}

Envelope Composer::NewEnvelope(const catalog::Channel& channel, absl::Time now) {
  return {random_.Uuid(), daemon_, now, ZoneOf(channel)};
}

absl::Status Composer::Load() {
  if (loaded_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto conditions,
                   catalog_.Read([](const catalog::Stores& s) { return s.notifications.Conditions(); }));
  ASSIGN_OR_RETURN(const auto cursor, catalog_.Read([](const catalog::Stores& s) { return s.notifications.Cursor(); }));
  ASSIGN_OR_RETURN(const int64_t newest, catalog_.Read([](const catalog::Stores& s) { return s.events.Newest(); }));
  open_.clear();
  for (const catalog::NoticeCondition& condition : conditions) open_.emplace(condition.key, condition);
  // In memory it may be further: of what lies between nothing came.
  // A catalog that was put back from a copy may know fewer events.
  cursor_ = std::min(std::max(cursor_, cursor.value_or(newest)), newest);
  stored_cursor_ = cursor.value_or(-1);
  loaded_ = true;
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> Composer::Tick() {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(Load());
  ASSIGN_OR_RETURN(const auto channels, Channels(catalog_));
  if (channels.empty()) {
    RETURN_IF_ERROR(StandBy());
    return kLookAgain;
  }
  RETURN_IF_ERROR(FollowEvents());
  RETURN_IF_ERROR(LookAtStates());
  RETURN_IF_ERROR(TellWhatIsDue());
  absl::Time next = absl::InfiniteFuture();
  for (const catalog::Channel& channel : channels) {
    ASSIGN_OR_RETURN(const absl::Time notices, ComposeNotices(channel.id));
    next = std::min(next, notices);
    const auto digest = ComposeDigest(channel);
    if (digest.ok()) {
      next = std::min(next, *digest);
    } else {
      base::Log("notifications")
          ->error("digest not made channel={} error={}", channel.id, base::Describe(digest.status()));
    }
  }
  return WaitFrom(clock_.Now(), next);
}

absl::Duration Composer::WaitFrom(absl::Time now, absl::Time next) const {
  for (const auto& [key, condition] : open_) {
    if (!condition.told) next = std::min(next, condition.due);
  }
  absl::Duration wait = std::min(kLookAgain, next - now);
  for (const Check& check : checks_) wait = std::min(wait, check.due - clock_.Monotonic());
  return std::max(wait, kWaitMin);
}

absl::Status Composer::StandBy() {
  ASSIGN_OR_RETURN(cursor_, catalog_.Read([](const catalog::Stores& s) { return s.events.Newest(); }));
  for (Check& check : checks_) check.due = absl::ZeroDuration();
  if (open_.empty() && stored_cursor_ < 0) return absl::OkStatus();
  // Neither what was wrong nor where the reading was is of use to the next channel.
  loaded_ = false;
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    mu_.AssertHeld();
    for (const auto& [key, condition] : open_) RETURN_IF_ERROR(s.notifications.DeleteCondition(key));
    return s.notifications.ClearCursor();
  }));
  return Load();
}

absl::Status Composer::FollowEvents() {
  while (true) {
    std::vector<Change> changes;
    EventWatch watch(open_);
    const int64_t first = cursor_;
    int64_t last = first;
    bool more = false;
    RETURN_IF_ERROR(catalog_.Read([&](const catalog::Stores& s) -> absl::Status {
      ASSIGN_OR_RETURN(const auto page, s.events.List("", {.page_size = kEventsPerRead, .after_key = first}));
      for (const catalog::Event& event : page.items) {
        RETURN_IF_ERROR(watch.Read(s, event, changes));
        last = event.sequence;
      }
      more = page.next_key.has_value();
      return absl::OkStatus();
    }));
    if (!changes.empty() || last - stored_cursor_ > kCursorLagMax || stored_cursor_ < 0) {
      RETURN_IF_ERROR(Enter(changes, last));
    }
    cursor_ = last;
    if (!more) return absl::OkStatus();
  }
}

absl::Status Composer::InLedger(absl::FunctionRef<absl::Status(catalog::Stores&, Ledger&)> work) {
  // A transaction that fails leaves open_ ahead of the catalog.
  loaded_ = false;
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    mu_.AssertHeld();
    ASSIGN_OR_RETURN(auto channels, s.notifications.All());
    Ledger ledger(s, channels, open_, clock_.Now());
    RETURN_IF_ERROR(work(s, ledger));
    return ledger.Finish();
  }));
  loaded_ = true;
  return absl::OkStatus();
}

absl::Status Composer::Enter(const std::vector<Change>& changes, std::optional<int64_t> cursor) {
  size_t begin = 0;
  do {
    const size_t end = std::min(changes.size(), begin + kChangesPerTransaction);
    RETURN_IF_ERROR(InLedger([&](catalog::Stores& s, Ledger& ledger) -> absl::Status {
      for (size_t i = begin; i < end; ++i) RETURN_IF_ERROR(ledger.Enter(changes[i]));
      return cursor && end == changes.size() ? s.notifications.SetCursor(*cursor) : absl::OkStatus();
    }));
    begin = end;
  } while (begin < changes.size());
  if (cursor) stored_cursor_ = *cursor;
  return absl::OkStatus();
}

absl::Status Composer::LookAtStates() {
  for (Check& check : checks_) {
    if (clock_.Monotonic() < check.due) continue;
    check.due = clock_.Monotonic() + check.check.every;
    if (const absl::Status looked = Look(check.check); !looked.ok()) {
      if (!loaded_) return looked;
      base::Log("notifications")
          ->warn("state not looked at topic={} error={}", WordOf(check.check.topic), base::Describe(looked));
    }
  }
  return absl::OkStatus();
}

absl::Status Composer::Look(const StateCheck& check) {
  const auto is_open = [&](const std::string& subject) {
    mu_.AssertHeld();
    return open_.contains(KeyOf(check.topic, subject));
  };
  ASSIGN_OR_RETURN(const auto findings, check.look(is_open));
  std::set<std::string> found;
  std::vector<Change> changes;
  for (const Finding& finding : findings) {
    std::string key = KeyOf(check.topic, finding.subject);
    if (!found.insert(key).second || open_.contains(key)) continue;
    changes.push_back({Change::Kind::kBegin, check.topic, std::move(key), finding.subject, finding.title,
                       finding.message, finding.grace});
  }
  for (const auto& [key, condition] : open_) {
    if (condition.topic != check.topic || found.contains(key)) continue;
    changes.push_back({.kind = Change::Kind::kEnd, .key = key, .message = std::string(RuleOf(check.topic).ended)});
  }
  return changes.empty() ? absl::OkStatus() : Enter(changes, std::nullopt);
}

absl::Status Composer::TellWhatIsDue() {
  const auto due = [&] {
    mu_.AssertHeld();
    const absl::Time now = clock_.Now();
    return std::ranges::any_of(open_, [&](const auto& entry) { return !entry.second.told && entry.second.due <= now; });
  };
  while (due()) {
    RETURN_IF_ERROR(InLedger(
        [](catalog::Stores&, Ledger& ledger) { return ledger.TellWhatIsDue(kChangesPerTransaction).status(); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Time> Composer::ComposeNotices(const catalog::ChannelId& id) {
  ASSIGN_OR_RETURN(const auto facts,
                   catalog_.Read([&](const catalog::Stores& s) { return s.notifications.FactsOfWaiting(id); }));
  if (facts.count == 0) return absl::InfiniteFuture();
  absl::Time next = absl::InfiniteFuture();
  RETURN_IF_ERROR(catalog_.Read([&](const catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::Channel channel, s.notifications.Get(id));
    // One at a time: while it can't be sent, the next one grows.
    ASSIGN_OR_RETURN(const bool queued, s.notifications.HasQueued(id, catalog::DeliveryKind::kNotices));
    if (queued || channel.paused) return absl::OkStatus();
    const absl::Time now = clock_.Now();
    next = std::max(std::min(facts.oldest.value_or(now), now) + channel.grouping_window,
                    RateLimit(channel.messages_per_hour).AllowedFrom(channel.rate_used_to, now));
    return absl::OkStatus();
  }));
  const absl::Time now = clock_.Now();
  if (next > now) return next;
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Channel channel, s.notifications.Get(id));
    const bool held_back = now - facts.oldest.value_or(now) > channel.grouping_window + kHeldBackAfter;
    return WriteNotices(s, std::move(channel), now, held_back);
  }));
  return absl::InfiniteFuture();
}

absl::Status Composer::WriteNotices(catalog::Stores& stores, catalog::Channel channel, absl::Time now, bool held_back) {
  ASSIGN_OR_RETURN(auto waiting, stores.notifications.Waiting(channel.id));
  const auto count = static_cast<int64_t>(waiting.size()) + channel.overflow_count;
  const Envelope envelope = NewEnvelope(channel, now);
  catalog::Delivery delivery =
      NewDelivery(channel, catalog::DeliveryKind::kNotices, envelope,
                  RenderNotices(envelope, {std::move(waiting), channel.overflow_count, held_back}));
  delivery.notice_count = count;
  RETURN_IF_ERROR(stores.notifications.InsertDelivery(delivery));
  RETURN_IF_ERROR(stores.notifications.ClearWaiting(channel.id));
  channel.overflow_count = 0;
  channel.rate_used_to = RateLimit(channel.messages_per_hour).Use(channel.rate_used_to, now);
  RETURN_IF_ERROR(stores.notifications.SetProgress(channel));
  base::Log("notifications")->info("message made id={} channel={} notices={}", delivery.id, channel.id, count);
  return absl::OkStatus();
}

absl::StatusOr<absl::Time> Composer::ComposeDigest(const catalog::Channel& channel) {
  if (!Wants(channel, NoticeTopic::kDigest)) return absl::InfiniteFuture();
  const absl::Time now = clock_.Now();
  ASSIGN_OR_RETURN(const DigestTimes times, DigestTimesOf(channel, now));
  if (!times.due) return times.next.value_or(absl::InfiniteFuture());
  std::vector<catalog::NoticeCondition> told;
  for (const auto& [key, condition] : open_) {
    if (condition.told) told.push_back(condition);
  }
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Channel fresh, s.notifications.Get(channel.id));
    // It was changed meanwhile: the next tick looks at what it says now.
    if (fresh.revision != channel.revision) return absl::OkStatus();
    return WriteDigest(s, std::move(fresh), {std::min(fresh.digest_done, *times.due), *times.due, {}, std::move(told)},
                       now);
  }));
  return now;
}

absl::Status Composer::WriteDigest(catalog::Stores& stores, catalog::Channel channel, DigestFacts facts,
                                   absl::Time now) {
  channel.digest_done = facts.to;
  RETURN_IF_ERROR(stores.notifications.SetProgress(channel));
  if (channel.paused) return absl::OkStatus();
  ASSIGN_OR_RETURN(facts.jobs, stores.notifications.JobsEnded(facts.from, facts.to));
  const Envelope envelope = NewEnvelope(channel, now);
  catalog::Delivery delivery =
      NewDelivery(channel, catalog::DeliveryKind::kDigest, envelope, RenderDigest(envelope, facts));
  delivery.notice_count = static_cast<int64_t>(facts.open.size());
  RETURN_IF_ERROR(stores.notifications.InsertDelivery(delivery));
  base::Log("notifications")->info("digest made id={} channel={}", delivery.id, channel.id);
  return absl::OkStatus();
}

}  // namespace umbra::notifications
