#include "server/dispatch/dispatcher.h"

#include <algorithm>
#include <array>
#include <charconv>
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
// What a machine said before it went down may still be on its way when it is back: only later words prove that it
// lives.
constexpr absl::Duration kLastWords = absl::Seconds(1);
// Assignments that are written in one transaction: others get their turn in between.
constexpr size_t kAssignBatchMax = 128;
// Far above what an assignment has to tell; keeps a broken agent from filling the event log.
constexpr int kNotesMax = 16;
// An agent asks once in months. Keeps a broken one from keeping the catalog, and its copies, busy with certificates.
constexpr absl::Duration kCertificateInterval = absl::Seconds(10);
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

// "1.20.3-rc1" is {1, 20, 3}; what is no number is 0.
std::array<int, 3> VersionOf(std::string_view text) {
  std::array<int, 3> version{};
  for (int& part : version) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), part);
    if (error != std::errc() || end == text.data() + text.size() || *end != '.') break;
    text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  }
  return version;
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
                       AssignmentTable& assignments, const DispatcherOptions& options, base::Threads& threads)
    : catalog_(catalog),
      engine_(engine),
      clock_(clock),
      registry_(registry),
      assignments_(assignments),
      options_(options),
      threads_(threads) {}

Dispatcher::~Dispatcher() {
  subscription_.Cancel();
  absl::MutexLock lock(&mu_);
  stopping_ = true;
}

void Dispatcher::Start() {
  subscription_ = engine_.SubscribeStates([this] { Wake(); });
  thread_ = threads_.Start([this] { Run(); });
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
    // What is due again at once couldn't be done (the catalog is in trouble).
    const absl::Time next_time = std::max(engine_.NextTime(), clock_.Now() + absl::Milliseconds(10));
    {
      absl::MutexLock lock(&mu_);
      const absl::Duration wait = std::min(next_tick - clock_.Monotonic(), next_time - clock_.Now());
      clock_.AwaitFor(mu_, absl::Condition(&ready), std::max(absl::ZeroDuration(), wait));
      if (stopping_) return;
      news.swap(news_);
      look = std::exchange(woken_, false);
    }
    for (News& n : news) Handle(n);
    Record();
    const absl::Duration now = clock_.Monotonic();
    const bool ticks = now >= next_tick;
    if (ticks) {
      next_tick = now + options_.tick;
      CheckLinks(now);
      CheckAssignments(now);
      SyncWithJobs();
      Record();
    }
    if (ticks || clock_.Now() >= next_time) {
      if (const absl::Status s = engine_.Tick(options_.lease_duration); !s.ok()) {
        Logger()->warn("queue not kept error={}", base::Describe(s));
      }
      look = true;
    }
    if (look) {
      CancelAsAsked();
      DispatchQueued();
      Record();
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
  if (link.session && link.greeted && link.machine.known()) {
    if (link.newcomer) link.newcomer->session->Close(LinkClosed(absl::StatusCode::kAborted, "a newer link came"));
    link.newcomer = Newcomer{session, clock_.Monotonic(), std::nullopt};
    return session->ReadNext();
  }
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
  if (link.newcomer && link.newcomer->session == session) return OnNewcomer(host, link, message);
  if (link.session != session) return;  // of a stream that is being closed
  link.heard_at = clock_.Monotonic();
  if (link.newcomer && link.newcomer->hello && link.heard_at - link.newcomer->came_at >= kLastWords)
    RefuseClone(host, link);
  registry_.SetSeen(host, clock_.Now());
  if (const absl::Status s = OnMessage(host, link, message); !s.ok()) {
    // Whatever went wrong: the next Hello sets it right.
    Logger()->warn("link closed host={} address={} error={}", host, session->peer().address, base::Describe(s));
    return Disconnect(host, link, s);
  }
  read_next_.push_back(session);
}

void Dispatcher::OnNewcomer(const HostId& host, HostLink& link, AgentMessage& message) {
  Newcomer& newcomer = *link.newcomer;
  if (!message.has_hello() || newcomer.hello) {
    newcomer.session->Close(base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                                        "the first message, and only it, must be Hello"));
    link.newcomer.reset();
    return;
  }
  const Machine machine{message.hello().machine_id(), message.hello().boot_id()};
  newcomer.hello = std::move(message);
  if (!machine.known() || machine == link.machine) TakeOver(host, link);
}

// Both live: one is a clone. The one that works goes on.
void Dispatcher::RefuseClone(const HostId& host, HostLink& link) {
  const Newcomer newcomer = *std::exchange(link.newcomer, std::nullopt);
  const agent::v1::Hello& hello = newcomer.hello->hello();
  const std::string what = fmt::format(
      "another machine ({}, {}) uses this host's certificate while the host is online ({}): one is a clone "
      "of the other; it is refused until its identity is removed and it enrols as a host of its own",
      hello.host_name(), newcomer.session->peer().address, link.session->peer().address);
  newcomer.session->Close(base::Error(absl::StatusCode::kFailedPrecondition, "AGENT_DUPLICATED", "{}", what));
  Logger()->warn("clone refused host={} address={} machine={} boot={}", host, newcomer.session->peer().address,
                 hello.machine_id(), hello.boot_id());
  const Machine machine{hello.machine_id(), hello.boot_id()};
  if (machine == link.clone) return;  // it will try again and again
  const absl::Status s = catalog_.Write([&](catalog::Stores& stores) {
    return stores.events.Append(HostEvent(host, clock_.Now(), "AGENT_DUPLICATED", catalog::Severity::kError, what))
        .status();
  });
  if (s.ok()) link.clone = machine;
}

void Dispatcher::TakeOver(const HostId& host, HostLink& link) {
  Newcomer newcomer = *std::exchange(link.newcomer, std::nullopt);
  if (link.session)
    Disconnect(host, link, LinkClosed(absl::StatusCode::kAborted, "a newer link of this host took over"));
  link.session = newcomer.session;
  link.opened_at = newcomer.came_at;
  if (newcomer.hello) {
    HandleMessage(newcomer.session, *newcomer.hello);
  } else {
    link.heard_at = clock_.Monotonic();
  }
}

void Dispatcher::TellQueue(const HostId& host, const HostLink& link) {
  std::string reason = link.problem;
  if (reason.empty() && !link.stopping.empty()) reason = "HOST_BUSY";
  engine_.SetHost(host, link.greeted ? reason : "HOST_OFFLINE");
  Wake();
}

void Dispatcher::HandleClosed(const std::shared_ptr<AgentSession>& session) {
  const auto it = hosts_.find(session->peer().host);
  if (it == hosts_.end()) return;
  HostLink& link = it->second;
  if (link.newcomer && link.newcomer->session == session) link.newcomer.reset();
  if (link.session == session) GoOffline(it->first, link);
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
      OnAccepted(host, link, KeyOf(message.accepted().id()));
      return absl::OkStatus();
    case AgentMessage::kProgress:
      OnProgress(host, link, message.progress());
      return absl::OkStatus();
    case AgentMessage::kWarning:
      return OnWarning(host, message.warning());
    case AgentMessage::kNote:
      return OnNote(host, message.note());
    case AgentMessage::kResult:
      OnResult(host, link, message.result());
      return absl::OkStatus();
    case AgentMessage::kCertificateRequest:
      return OnCertificateRequest(host, link, message.certificate_request());
    case AgentMessage::kHeartbeat:
    case AgentMessage::MESSAGE_NOT_SET:  // a newer agent's message
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Dispatcher::OnCertificateRequest(const HostId& host, HostLink& link,
                                              const agent::v1::CertificateRequest& request) {
  if (!options_.issue_certificate) return absl::OkStatus();
  const absl::Duration now = clock_.Monotonic();
  const std::optional<absl::Duration> before = std::exchange(link.certificate_at, now);
  absl::StatusOr<agent::v1::Certificate> issued =
      before && now - *before < kCertificateInterval
          ? base::Error(absl::StatusCode::kUnavailable, "SERVER_BUSY", "a new certificate was asked for a moment ago")
          : options_.issue_certificate(link.session->peer(), request.certificate_request_pem());
  if (absl::IsUnauthenticated(issued.status())) return issued.status();
  DaemonMessage answer;
  if (issued.ok()) {
    *answer.mutable_certificate() = *std::move(issued);
  } else {
    Logger()->warn("no certificate for agent host={} address={} error={}", host, link.session->peer().address,
                   base::Describe(issued.status()));
    answer.mutable_certificate()->mutable_problem()->set_reason(base::ReasonOf(issued.status()));
    answer.mutable_certificate()->mutable_problem()->set_message(base::MessageOf(issued.status()));
  }
  link.session->Send(std::move(answer));
  return absl::OkStatus();
}

absl::Status Dispatcher::OnHello(const HostId& host, HostLink& link, const agent::v1::Hello& hello) {
  const absl::Time now = clock_.Now();
  std::string problem;
  if (VersionOf(hello.agent_version()) < VersionOf(options_.oldest_agent_version)) {
    problem =
        fmt::format("agent version {} is older than {}, the oldest that this daemon works with: upgrade umbra-agent",
                    hello.agent_version(), options_.oldest_agent_version);
  }
  link.problem = problem.empty() ? "" : "AGENT_TOO_OLD";
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Host row, stores.hosts.Get(host));
    const std::string old_version = row.agent_version, old_hypervisor = row.hypervisor;
    if (!problem.empty()) {
      const auto event = HostEvent(host, now, link.problem, catalog::Severity::kWarning, problem);
      RETURN_IF_ERROR(stores.events.Append(event).status());
    }
    ApplyHello(hello, row);
    if (row.agent_version != old_version || row.hypervisor != old_hypervisor) RETURN_IF_ERROR(stores.hosts.Update(row));
    RETURN_IF_ERROR(stores.hosts.SetLastSeen(host, now));
    return stores.events
        .Append(HostEvent(host, now, "HOST_ONLINE", catalog::Severity::kInfo, row.display_name + " is online"))
        .status();
  }));
  link.seen_stored_at = clock_.Monotonic();

  DaemonMessage welcome =
      ToWelcomeMessage(host, options_.daemon_version, options_.heartbeat_interval, options_.lease_duration);
  welcome.mutable_welcome()->set_problem_reason(link.problem);
  welcome.mutable_welcome()->set_problem(problem);
  link.session->Send(std::move(welcome));
  link.greeted = true;
  link.greeted_at = clock_.Monotonic();
  link.machine = {hello.machine_id(), hello.boot_id()};
  registry_.SetOnline(host, link.session,
                      {hello.process_id(), link.session->peer().address, now, now, link.problem, problem});
  Logger()->info("agent online host={} address={} version={} process={} running={}", host, link.session->peer().address,
                 hello.agent_version(), hello.process_id(), hello.running_size());
  RETURN_IF_ERROR(MatchRunning(host, link, hello));
  link.process_id = hello.process_id();
  TellQueue(host, link);
  return absl::OkStatus();
}

absl::Status Dispatcher::MatchRunning(const HostId& host, HostLink& link, const agent::v1::Hello& hello) {
  if (hello.running_size() > kHelloRunningMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "Hello lists {} assignments", hello.running_size());
  }
  const bool restarted = link.process_id != hello.process_id();
  link.stopping.clear();
  absl::flat_hash_set<AssignmentKey> listed;
  for (const agent::v1::AssignmentId& id : hello.running()) {
    const AssignmentKey key = KeyOf(id);
    Live* live = FindLive(host, key);
    if (live == nullptr) {
      Logger()->info("unknown assignment cancelled host={} job={} attempt={}", host, key.job, key.attempt);
      link.session->Send(ToCancelMessage(key));
      link.stopping.insert(key);
      continue;
    }
    listed.insert(key);
    live->cancel_sent = false;
    OnAccepted(host, link, key);
  }
  for (auto& [key, live] : live_) {
    if (live.host != host || listed.contains(key)) continue;
    jobs::EventFacts facts;
    facts.error = restarted ? catalog::JobMessage{"AGENT_RESTARTED", "the agent restarted while it worked on this job"}
                            : catalog::JobMessage{"AGENT_LOST", "the agent came back without this job"};
    End(live, JobEvent::kAgentLost, std::move(facts));  // not accepted yet: back to the queue
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

void Dispatcher::OnAccepted(const HostId& host, const HostLink& link, const AssignmentKey& key) {
  Live* live = FindLive(host, key);
  if (live == nullptr || live->accepted) return;
  live->accepted = true;
  said_.push_back({{key.job, key.attempt, JobEvent::kAccept}, link.session});
}

void Dispatcher::OnProgress(const HostId& host, const HostLink& link, const agent::v1::AssignmentProgress& progress) {
  const AssignmentKey key = KeyOf(progress.id());
  if (FindLive(host, key) == nullptr) return;
  said_.push_back({{key.job, key.attempt, JobEvent::kProgress, FromProgress(host, progress)}, link.session});
}

absl::Status Dispatcher::OnWarning(const HostId& host, const agent::v1::AssignmentWarning& warning) {
  const AssignmentKey key = KeyOf(warning.id());
  if (FindLive(host, key) == nullptr) return absl::OkStatus();
  const absl::Status s = engine_.AddWarning(key.job, key.attempt, FromMessage(warning.warning()));
  return IsRefusal(s) ? absl::OkStatus() : s;
}

absl::Status Dispatcher::OnNote(const HostId& host, const agent::v1::AssignmentNote& note) {
  const AssignmentKey key = KeyOf(note.id());
  Live* live = FindLive(host, key);
  if (live == nullptr || ++live->notes > kNotesMax) return absl::OkStatus();
  const absl::Status s = engine_.AddNote(key.job, key.attempt, TextOf(note));
  return IsRefusal(s) ? absl::OkStatus() : s;
}

void Dispatcher::OnResult(const HostId& host, HostLink& link, const agent::v1::AssignmentResult& result) {
  const AssignmentKey key = KeyOf(result.id());
  Live* live = FindLive(host, key);
  if (live == nullptr) {  // recorded before, or given up
    link.session->Send(ToAcknowledgement(key));
    if (link.stopping.erase(key) > 0) TellQueue(host, link);
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
    if (link.newcomer && !link.newcomer->hello && now - link.newcomer->came_at >= options_.hello_timeout) {
      link.newcomer->session->Close(LinkClosed(absl::StatusCode::kDeadlineExceeded, "no Hello in time"));
      link.newcomer.reset();
    }
    // Whoever takes longer to put something back than a lease lasts won't say that it did.
    if (!link.stopping.empty() && now - link.greeted_at >= options_.lease_duration) {
      link.stopping.clear();
      TellQueue(host, link);
    }
  }
}

void Dispatcher::CheckAssignments(absl::Duration now) {
  for (const AssignmentKey& key : LiveKeys()) {
    Live& live = live_.at(key);
    if (live.ending) {
      ending_.push_back(key);
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

// Once a tick, so that nothing is lost; what is urgent is told by the queue.
void Dispatcher::SyncWithJobs() {
  const auto working = engine_.Working();
  if (!working.ok()) return Logger()->warn("jobs can't be read error={}", base::Describe(working.status()));
  absl::flat_hash_set<AssignmentKey> current;
  for (const catalog::ActiveJob& job : *working) {
    if (job.host.empty()) continue;  // the daemon's own work
    const AssignmentKey key{job.id, job.attempt};
    current.insert(key);
    if (!live_.contains(key)) EndOrphan(job);
  }
  for (const AssignmentKey& key : LiveKeys()) {
    if (current.contains(key) || !assignments_.Remove(key)) continue;
    SendIfOnline(live_.at(key).host, ToCancelMessage(key));  // the job ended without us
    live_.erase(key);
  }
}

void Dispatcher::CancelAsAsked() {
  const auto cancelling = engine_.Cancelling();
  if (!cancelling.ok()) return Logger()->warn("jobs can't be read error={}", base::Describe(cancelling.status()));
  for (const catalog::ActiveJob& job : *cancelling) {
    const auto it = live_.find({job.id, job.attempt});
    if (it == live_.end()) continue;
    Live& live = it->second;
    if (!live.cancelling) {
      live.cancelling = true;
      assignments_.Close(live.key);
      Logger()->info("assignment is being cancelled host={} job={} attempt={}", live.host, job.id, job.attempt);
    }
    const HostLink& link = hosts_[live.host];
    if (!link.greeted || live.cancel_sent) continue;
    link.session->Send(ToCancelMessage(live.key));
    live.cancel_sent = true;
  }
}

// The row says that an agent works, and we know of nothing: an Assign whose commit was reported as failed.
void Dispatcher::EndOrphan(const catalog::ActiveJob& job) {
  Logger()->error("job without assignment job={} attempt={} state={}", job.id, job.attempt, catalog::NameOf(job.state));
  const auto applied = engine_.Apply(job.id, job.attempt, JobEvent::kAgentLost);
  if (!applied.ok()) Logger()->error("orphan not ended job={} error={}", job.id, base::Describe(applied.status()));
}

void Dispatcher::DispatchQueued() {
  while (true) {
    const auto jobs = engine_.AssignNext(kAssignBatchMax);
    if (!jobs.ok()) return Logger()->warn("jobs not dispatched error={}", base::Describe(jobs.status()));
    for (const catalog::Job& job : *jobs) Dispatch(job);
    if (jobs->size() < kAssignBatchMax) return;
  }
}

void Dispatcher::Dispatch(const catalog::Job& job) {
  const HostId host = catalog::HostOf(job.spec);
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
      return;
    }
    point = *std::move(found);
  }
  SendIfOnline(host, ToAssignmentMessage(job, point));
  Logger()->info("assignment sent host={} job={} attempt={} kind={}", host, key.job, key.attempt,
                 catalog::NameOf(catalog::KindOf(job.spec)));
}

// ---- Endings ----

void Dispatcher::End(Live& live, JobEvent event, jobs::EventFacts facts, bool acknowledge) {
  if (live.ending) return;
  live.ending = Ending{event, std::move(facts), acknowledge};
  ending_.push_back(live.key);
}

void Dispatcher::Record() {
  const std::vector<Said> said = std::exchange(said_, {});
  std::vector<AssignmentKey> ending;
  std::vector<jobs::Change> changes;
  for (const Said& one : said) changes.push_back(one.change);
  for (const AssignmentKey& key : std::exchange(ending_, {})) {
    const auto it = live_.find(key);
    if (it == live_.end() || !assignments_.Remove(key)) continue;  // a commit is under way: the next tick
    ending.push_back(key);
    changes.push_back({key.job, key.attempt, it->second.ending->event, it->second.ending->facts});
  }
  if (!changes.empty()) {
    const auto applied = engine_.ApplyAll(changes);
    if (!applied.ok()) {
      Logger()->warn("agents' words not recorded count={} error={}", changes.size(), base::Describe(applied.status()));
      ForgetSaid(said, applied.status());
    } else {
      for (size_t i = 0; i < said.size(); ++i) Recorded(said[i], applied->at(i).status());
      for (size_t i = 0; i < ending.size(); ++i) Ended(ending[i], applied->at(said.size() + i));
    }
  }
  for (const std::shared_ptr<AgentSession>& session : std::exchange(read_next_, {})) {
    const auto it = hosts_.find(session->peer().host);
    if (it != hosts_.end() && it->second.session == session) session->ReadNext();
  }
}

void Dispatcher::ForgetSaid(const std::vector<Said>& said, const absl::Status& why) {
  for (const Said& one : said) {
    const auto it = live_.find({one.change.id, one.change.attempt.value_or(0)});
    if (it != live_.end() && one.change.event == JobEvent::kAccept) it->second.accepted = false;
    Recorded(one, why);
  }
}

// Whatever went wrong: the next Hello sets it right. A refusal is no news to the agent: its assignment is about to be
// cancelled or acknowledged anyway.
void Dispatcher::Recorded(const Said& said, const absl::Status& result) {
  if (result.ok() || IsRefusal(result)) return;
  const HostId& host = said.session->peer().host;
  HostLink& link = hosts_[host];
  if (link.session != said.session) return;
  Logger()->warn("link closed host={} address={} error={}", host, said.session->peer().address, base::Describe(result));
  Disconnect(host, link, result);
}

void Dispatcher::Ended(const AssignmentKey& key, const absl::StatusOr<jobs::Applied>& applied) {
  const auto it = live_.find(key);
  if (it == live_.end()) return;
  const Live& live = it->second;
  if (!applied.ok() && !IsRefusal(applied.status())) {
    return Logger()->warn("end of assignment not recorded yet job={} attempt={} error={}", key.job, key.attempt,
                          base::Describe(applied.status()));
  }
  Logger()->info("assignment ended host={} job={} attempt={} event={} state={}", live.host, key.job, key.attempt,
                 jobs::NameOf(live.ending->event),
                 applied.ok() ? std::string(catalog::NameOf(applied->job.state)) : base::Describe(applied.status()));
  if (live.ending->acknowledge) SendIfOnline(live.host, ToAcknowledgement(key));
  live_.erase(it);
  Wake();
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
  link.stopping.clear();
  registry_.SetOffline(host);
  TellQueue(host, link);
  Logger()->info("agent offline host={}", host);
  if (link.newcomer) TakeOver(host, link);  // it waited to see whether this one lives
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
