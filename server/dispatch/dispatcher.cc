#include "server/dispatch/dispatcher.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "server/dispatch/messages.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::dispatch {
namespace {

using agent::v1::AgentMessage;
using agent::v1::DaemonMessage;
using catalog::HostId;
using jobs::JobEvent;

constexpr int kMissedHeartbeats = 3;
// Far above what a host can have; keeps a broken agent from making us search for ever.
constexpr int kHelloRunningMax = 1000;

std::shared_ptr<spdlog::logger> Logger() { return base::Log("dispatch"); }

template <typename... Args>
absl::Status LinkClosed(absl::StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(code, "LINK_CLOSED", format, std::forward<Args>(args)...);
}

// The engine's "no" for good: late, ended, refused by the table. Everything else is trouble with the catalog.
bool IsRefusal(const absl::Status& s) {
  return absl::IsNotFound(s) || absl::IsFailedPrecondition(s) || absl::IsAborted(s) || absl::IsInvalidArgument(s);
}

// A refusal is no news to the agent: its assignment is about to be cancelled or acknowledged anyway.
template <typename T>
absl::Status IgnoreRefusal(const absl::StatusOr<T>& result) {
  return IsRefusal(result.status()) ? absl::OkStatus() : result.status();
}

catalog::Event HostEvent(const HostId& host, absl::Time now, std::string type, catalog::Severity severity,
                         std::string message) {
  catalog::Event event;
  event.time = now;
  event.type = std::move(type);
  event.resource = "hosts/" + host.value;
  event.severity = severity;
  event.message = std::move(message);
  return event;
}

}  // namespace

Dispatcher::Dispatcher(catalog::Catalog& catalog, jobs::JobEngine& engine, base::Clock& clock, AgentRegistry& registry,
                       AssignmentTable& assignments, const DispatcherOptions& options)
    : catalog_(catalog), engine_(engine), clock_(clock), registry_(registry), assignments_(assignments), options_(options) {}

Dispatcher::~Dispatcher() {
  subscription_.Cancel();
  absl::MutexLock lock(&mu_);
  stopping_ = true;
}

void Dispatcher::Start() {
  subscription_ = engine_.SubscribeStates([this] { Wake(); });
  thread_ = std::jthread([this] { Run(); });
}

void Dispatcher::Opened(std::shared_ptr<AgentSession> session) { Post({News::Kind::kOpened, std::move(session), {}}); }

void Dispatcher::Received(std::shared_ptr<AgentSession> session, AgentMessage message) {
  Post({News::Kind::kReceived, std::move(session), std::move(message)});
}

void Dispatcher::Closed(std::shared_ptr<AgentSession> session) { Post({News::Kind::kClosed, std::move(session), {}}); }

void Dispatcher::Post(News news) {
  absl::MutexLock lock(&mu_);
  news_.push_back(std::move(news));
}

void Dispatcher::Wake() {
  absl::MutexLock lock(&mu_);
  woken_ = true;
}

void Dispatcher::Run() {
  absl::Duration next_tick = clock_.Monotonic();
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_ || woken_ || !news_.empty(); };
  while (true) {
    std::deque<News> news;
    bool look = false;
    {
      absl::MutexLock lock(&mu_);
      clock_.AwaitFor(mu_, absl::Condition(&ready), std::max(absl::ZeroDuration(), next_tick - clock_.Monotonic()));
      if (stopping_) return;
      news.swap(news_);
      look = std::exchange(woken_, false);
    }
    for (News& n : news) Handle(n);
    if (const absl::Duration now = clock_.Monotonic(); now >= next_tick) {
      next_tick = now + options_.tick;
      CheckLinks(now);
      CheckAssignments(now);
      look = true;
    }
    if (look) {
      SyncWithJobs();
      DispatchQueued();
    }
  }
}

// ---- Streams ----

void Dispatcher::Handle(News& news) {
  switch (news.kind) {
    case News::Kind::kOpened:
      return HandleOpened(news.session);
    case News::Kind::kReceived:
      return HandleMessage(news.session, news.message);
    case News::Kind::kClosed:
      return HandleClosed(news.session);
  }
}

void Dispatcher::HandleOpened(const std::shared_ptr<AgentSession>& session) {
  const HostId& host = session->peer().host;
  HostLink& link = hosts_[host];
  if (link.session) {
    Disconnect(host, link, LinkClosed(absl::StatusCode::kAborted, "a newer link of this host took over"));
  }
  link.session = session;
  link.opened_at = link.heard_at = clock_.Monotonic();
  session->ReadNext();
}

void Dispatcher::HandleMessage(const std::shared_ptr<AgentSession>& session, AgentMessage& message) {
  const HostId& host = session->peer().host;
  HostLink& link = hosts_[host];
  if (link.session != session) return;  // of a stream that is being closed
  link.heard_at = clock_.Monotonic();
  registry_.SetSeen(host, clock_.Now());
  if (const absl::Status s = OnMessage(host, link, message); !s.ok()) {
    // Whatever went wrong: the next Hello sets it right.
    Logger()->warn("link closed host={} address={} error={}", host, session->peer().address, base::Describe(s));
    return Disconnect(host, link, s);
  }
  session->ReadNext();
}

void Dispatcher::HandleClosed(const std::shared_ptr<AgentSession>& session) {
  const auto it = hosts_.find(session->peer().host);
  if (it != hosts_.end() && it->second.session == session) GoOffline(it->first, it->second);
}

absl::Status Dispatcher::OnMessage(const HostId& host, HostLink& link, AgentMessage& message) {
  if (link.greeted == message.has_hello()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "the first message, and only it, must be Hello");
  }
  switch (message.message_case()) {
    case AgentMessage::kHello:
      return OnHello(host, link, message.hello());
    case AgentMessage::kInventory:
      return OnInventory(host, message.inventory());
    case AgentMessage::kAccepted:
      return OnAccepted(host, KeyOf(message.accepted().id()));
    case AgentMessage::kProgress:
      return OnProgress(host, message.progress());
    case AgentMessage::kWarning:
      return OnWarning(host, message.warning());
    case AgentMessage::kResult:
      OnResult(host, link, message.result());
      return absl::OkStatus();
    case AgentMessage::kHeartbeat:
    case AgentMessage::MESSAGE_NOT_SET:  // a newer agent's message
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Dispatcher::OnHello(const HostId& host, HostLink& link, const agent::v1::Hello& hello) {
  const absl::Time now = clock_.Now();
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Host row, stores.hosts.Get(host));
    const std::string old_version = row.agent_version, old_hypervisor = row.hypervisor;
    ApplyHello(hello, row);
    if (row.agent_version != old_version || row.hypervisor != old_hypervisor) RETURN_IF_ERROR(stores.hosts.Update(row));
    RETURN_IF_ERROR(stores.hosts.SetLastSeen(host, now));
    return stores.events
        .Append(HostEvent(host, now, "HOST_ONLINE", catalog::Severity::kInfo, row.display_name + " is online"))
        .status();
  }));
  link.seen_stored_at = clock_.Monotonic();

  link.session->Send(
      ToWelcomeMessage(host, options_.daemon_version, options_.heartbeat_interval, options_.lease_duration));
  link.greeted = true;
  registry_.SetOnline(host, link.session, {hello.process_id(), link.session->peer().address, now, now});
  Logger()->info("agent online host={} address={} version={} process={} running={}", host, link.session->peer().address,
                 hello.agent_version(), hello.process_id(), hello.running_size());
  RETURN_IF_ERROR(MatchRunning(host, link, hello));
  link.process_id = hello.process_id();
  Wake();
  return absl::OkStatus();
}

absl::Status Dispatcher::MatchRunning(const HostId& host, HostLink& link, const agent::v1::Hello& hello) {
  if (hello.running_size() > kHelloRunningMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "Hello lists {} assignments", hello.running_size());
  }
  const bool restarted = link.process_id != hello.process_id();
  absl::flat_hash_set<AssignmentKey> listed;
  for (const agent::v1::AssignmentId& id : hello.running()) {
    const AssignmentKey key = KeyOf(id);
    Live* live = FindLive(host, key);
    if (live == nullptr) {
      Logger()->info("unknown assignment cancelled host={} job={} attempt={}", host, key.job, key.attempt);
      link.session->Send(ToCancelMessage(key));
      continue;
    }
    listed.insert(key);
    live->cancel_sent = false;
    if (!live->accepted) RETURN_IF_ERROR(OnAccepted(host, key));
  }
  for (const AssignmentKey& key : LiveKeys()) {
    Live* live = FindLive(host, key);
    if (live == nullptr || listed.contains(key)) continue;
    jobs::EventFacts facts;
    facts.error = restarted ? catalog::JobMessage{"AGENT_RESTARTED", "the agent restarted while it worked on this job"}
                            : catalog::JobMessage{"AGENT_LOST", "the agent came back without this job"};
    End(*live, JobEvent::kAgentLost, std::move(facts));  // not accepted yet: back to the queue
  }
  return absl::OkStatus();
}

absl::Status Dispatcher::OnInventory(const HostId& host, const agent::v1::Inventory& inventory) {
  const InventoryRecords records = FromInventory(host, inventory, clock_.Now());
  if (records.dropped > 0) Logger()->warn("inventory has unusable machines host={} count={}", host, records.dropped);
  return catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Host row, stores.hosts.Get(host));
    if (row.hypervisor_error != records.error) {
      row.hypervisor_error = records.error;
      RETURN_IF_ERROR(stores.hosts.Update(row));
    }
    if (!records.error.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(stores.vms.ReplaceInventory(host, records.vms, records.writers));
    return stores.file_sets.Replace(host, records.file_sets);
  });
}

absl::Status Dispatcher::OnAccepted(const HostId& host, const AssignmentKey& key) {
  Live* live = FindLive(host, key);
  if (live == nullptr || live->accepted) return absl::OkStatus();
  RETURN_IF_ERROR(IgnoreRefusal(engine_.Apply(key.job, key.attempt, JobEvent::kAccept)));
  live->accepted = true;
  return absl::OkStatus();
}

absl::Status Dispatcher::OnProgress(const HostId& host, const agent::v1::AssignmentProgress& progress) {
  const AssignmentKey key = KeyOf(progress.id());
  if (FindLive(host, key) == nullptr) return absl::OkStatus();
  return IgnoreRefusal(engine_.Apply(key.job, key.attempt, JobEvent::kProgress, FromProgress(host, progress)));
}

absl::Status Dispatcher::OnWarning(const HostId& host, const agent::v1::AssignmentWarning& warning) {
  const AssignmentKey key = KeyOf(warning.id());
  if (FindLive(host, key) == nullptr) return absl::OkStatus();
  const absl::Status s = engine_.AddWarning(key.job, key.attempt, FromMessage(warning.warning()));
  return IsRefusal(s) ? absl::OkStatus() : s;
}

void Dispatcher::OnResult(const HostId& host, HostLink& link, const agent::v1::AssignmentResult& result) {
  const AssignmentKey key = KeyOf(result.id());
  Live* live = FindLive(host, key);
  if (live == nullptr) {  // recorded before, or given up
    link.session->Send(ToAcknowledgement(key));
    return;
  }
  Outcome outcome = FromResult(host, result);
  End(*live, outcome.event, std::move(outcome.facts), /*acknowledge=*/true);
}

// ---- Regular work ----

void Dispatcher::CheckLinks(absl::Duration now) {
  for (auto& [host, link] : hosts_) {
    if (!link.session) continue;
    if (!link.greeted && now - link.opened_at >= options_.hello_timeout) {
      Disconnect(host, link, LinkClosed(absl::StatusCode::kDeadlineExceeded, "no Hello in time"));
    } else if (now - link.heard_at >= kMissedHeartbeats * options_.heartbeat_interval) {
      Disconnect(host, link, LinkClosed(absl::StatusCode::kDeadlineExceeded, "no heartbeat in time"));
    } else if (link.greeted && now - link.seen_stored_at >= options_.last_seen_interval) {
      StoreSeen(host, link);
    }
  }
}

void Dispatcher::CheckAssignments(absl::Duration now) {
  for (const AssignmentKey& key : LiveKeys()) {
    Live& live = live_.at(key);
    if (live.ending) {
      TryEnd(live);
      continue;
    }
    const HostLink& link = hosts_[live.host];
    if (live.accepted && !link.greeted && now - link.down_since >= options_.lease_duration) {
      Logger()->warn("lease expired host={} job={} attempt={}", live.host, key.job, key.attempt);
      End(live, JobEvent::kLeaseExpired);
    } else if (!live.accepted && now - live.sent_at >= options_.accept_timeout) {
      CheckUnaccepted(live, now);
    }
  }
}

void Dispatcher::CheckUnaccepted(Live& live, absl::Duration now) {
  Logger()->warn("assignment not accepted host={} job={} attempt={} after={}", live.host, live.key.job, live.key.attempt,
                 absl::FormatDuration(now - live.sent_at));
  SendIfOnline(live.host, ToCancelMessage(live.key));  // should it have started after all
  if (live.key.attempt < options_.unaccepted_attempts_max) return End(live, JobEvent::kAgentLost);
  jobs::EventFacts facts;
  facts.error = {"AGENT_LOST", fmt::format("the agent didn't accept the job in {} attempts; see its log", live.key.attempt)};
  End(live, JobEvent::kAgentFailed, std::move(facts));
}

void Dispatcher::SyncWithJobs() {
  const auto active = engine_.Active();
  if (!active.ok()) return Logger()->warn("jobs can't be read error={}", base::Describe(active.status()));
  absl::flat_hash_set<AssignmentKey> current;
  for (const catalog::ActiveJob& job : *active) {
    if (job.host.empty() || !jobs::HoldsVms(job.state)) continue;
    const AssignmentKey key{job.id, job.attempt};
    current.insert(key);
    const auto it = live_.find(key);
    if (it == live_.end()) {
      EndOrphan(job);
    } else if (job.state == catalog::JobState::kCancelling) {
      CancelAsAsked(job, it->second);
    }
  }
  for (const AssignmentKey& key : LiveKeys()) {
    if (current.contains(key) || !assignments_.Remove(key)) continue;
    SendIfOnline(live_.at(key).host, ToCancelMessage(key));  // the job ended without us
    live_.erase(key);
  }
}

void Dispatcher::CancelAsAsked(const catalog::ActiveJob& job, Live& live) {
  if (!live.cancelling) {
    live.cancelling = true;
    assignments_.Close(live.key);
    Logger()->info("assignment is being cancelled host={} job={} attempt={}", live.host, job.id, job.attempt);
  }
  const HostLink& link = hosts_[live.host];
  if (!link.greeted || live.cancel_sent) return;
  link.session->Send(ToCancelMessage(live.key));
  live.cancel_sent = true;
}

// The row says that an agent works, and we know of nothing: an Assign whose commit was reported as failed.
void Dispatcher::EndOrphan(const catalog::ActiveJob& job) {
  Logger()->error("job without assignment job={} attempt={} state={}", job.id, job.attempt, catalog::NameOf(job.state));
  const auto applied = engine_.Apply(job.id, job.attempt, JobEvent::kAgentLost);
  if (!applied.ok()) Logger()->error("orphan not ended job={} error={}", job.id, base::Describe(applied.status()));
}

void Dispatcher::DispatchQueued() {
  const auto runnable = engine_.Runnable([this](const HostId& host) { return registry_.IsOnline(host); });
  if (!runnable.ok()) return Logger()->warn("queue can't be read error={}", base::Describe(runnable.status()));
  absl::flat_hash_map<HostId, int> busy;
  for (const auto& [key, live] : live_) ++busy[live.host];
  for (const catalog::ActiveJob& job : *runnable) {
    if (job.host.empty()) continue;  // the daemon's own work
    HostLink& link = hosts_[job.host];
    if (!link.greeted) continue;
    absl::Status s;
    if (busy[job.host] >= options_.assignments_per_host_max) {
      if (job.wait_reason != "HOST_BUSY") s = engine_.SetWaitReason(job.id, "HOST_BUSY");
    } else {
      s = Dispatch(job.id, job.host, link);
      if (s.ok()) ++busy[job.host];
    }
    if (!s.ok() && !absl::IsAborted(s)) Logger()->warn("job not dispatched job={} error={}", job.id, base::Describe(s));
  }
}

absl::Status Dispatcher::Dispatch(const catalog::JobId& id, const HostId& host, HostLink& link) {
  ASSIGN_OR_RETURN(const jobs::Applied applied, engine_.Apply(id, jobs::kCurrentAttempt, JobEvent::kAssign));
  const catalog::Job& job = applied.job;
  const AssignmentKey key{job.id, job.attempt};
  assignments_.Add(ToEntry(job, host));
  Live& live = live_[key];
  live.key = key;
  live.host = host;
  live.sent_at = clock_.Monotonic();

  std::optional<catalog::RecoveryPoint> point;
  if (const auto* restore = std::get_if<catalog::RestoreSpec>(&job.spec)) {
    auto found = catalog_.Read([&](const catalog::Stores& stores) { return stores.recovery_points.Get(restore->recovery_point); });
    if (!found.ok()) {
      jobs::EventFacts facts;
      facts.error = {base::ReasonOf(found.status()), base::MessageOf(found.status())};
      End(live, JobEvent::kAgentFailed, std::move(facts));
      return absl::OkStatus();
    }
    point = *std::move(found);
  }
  link.session->Send(ToAssignmentMessage(job, point));
  Logger()->info("assignment sent host={} job={} attempt={} kind={}", host, key.job, key.attempt,
                 catalog::NameOf(catalog::KindOf(job.spec)));
  return absl::OkStatus();
}

// ---- Endings ----

void Dispatcher::End(Live& live, JobEvent event, jobs::EventFacts facts, bool acknowledge) {
  live.ending = Ending{event, std::move(facts), acknowledge};
  TryEnd(live);
}

bool Dispatcher::TryEnd(Live& live) {
  const AssignmentKey key = live.key;
  if (!assignments_.Remove(key)) return false;  // a commit is under way
  const auto applied = engine_.Apply(key.job, key.attempt, live.ending->event, live.ending->facts);
  if (!applied.ok() && !IsRefusal(applied.status())) {
    Logger()->warn("end of assignment not recorded yet job={} attempt={} error={}", key.job, key.attempt,
                   base::Describe(applied.status()));
    return false;
  }
  Logger()->info("assignment ended host={} job={} attempt={} event={} state={}", live.host, key.job, key.attempt,
                 jobs::NameOf(live.ending->event),
                 applied.ok() ? std::string(catalog::NameOf(applied->job.state)) : base::Describe(applied.status()));
  if (live.ending->acknowledge) SendIfOnline(live.host, ToAcknowledgement(key));
  live_.erase(key);
  Wake();
  return true;
}

// ---- Links ----

void Dispatcher::Disconnect(const HostId& host, HostLink& link, const absl::Status& status) {
  link.session->Close(status);
  GoOffline(host, link);
}

void Dispatcher::GoOffline(const HostId& host, HostLink& link) {
  link.session.reset();
  if (!link.greeted) return;
  link.greeted = false;
  link.down_since = clock_.Monotonic();
  StoreSeen(host, link);
  registry_.SetOffline(host);
  Logger()->info("agent offline host={}", host);
  Wake();
}

// Remembers that the agent was heard of, or that it went. A failure costs a time stamp and an event, so it isn't repeated.
void Dispatcher::StoreSeen(const HostId& host, HostLink& link) {
  const absl::Time now = clock_.Now();
  link.seen_stored_at = clock_.Monotonic();
  const absl::Status s = catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(stores.hosts.SetLastSeen(host, now));
    if (link.greeted) return absl::OkStatus();
    ASSIGN_OR_RETURN(const catalog::Host row, stores.hosts.Get(host));
    return stores.events
        .Append(HostEvent(host, now, "HOST_OFFLINE", catalog::Severity::kWarning, row.display_name + " is offline"))
        .status();
  });
  if (!s.ok()) Logger()->warn("last seen not stored host={} error={}", host, base::Describe(s));
}

void Dispatcher::SendIfOnline(const HostId& host, DaemonMessage message) {
  const auto it = hosts_.find(host);
  if (it != hosts_.end() && it->second.greeted) it->second.session->Send(std::move(message));
}

Dispatcher::Live* Dispatcher::FindLive(const HostId& host, const AssignmentKey& key) {
  const auto it = live_.find(key);
  return it != live_.end() && it->second.host == host ? &it->second : nullptr;
}

std::vector<AssignmentKey> Dispatcher::LiveKeys() const {
  std::vector<AssignmentKey> keys;
  for (const auto& [key, live] : live_) keys.push_back(key);
  return keys;
}

}  // namespace umbra::dispatch
