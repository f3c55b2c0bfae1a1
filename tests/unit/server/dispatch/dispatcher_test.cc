// Proves what the dispatcher makes of agents and jobs: a scripted agent, a real catalog and job engine, a clock that the test
// moves. Walks dispatch, results, leases, reconnects, cancels and every way a link goes wrong.
#include "server/dispatch/dispatcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::dispatch {
namespace {

using agent::v1::AgentMessage;
using agent::v1::DaemonMessage;
using catalog::HostId;
using catalog::JobId;
using catalog::JobState;

std::string VmUuid(int n) { return fmt::format("00000000-0000-0000-0000-{:012}", n); }

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

// A stream whose other end is the test.
class FakeSession final : public AgentSession {
 public:
  explicit FakeSession(const std::string& host) : peer_{HostId(host), "test", "fingerprint of " + host} {}

  const Peer& peer() const override { return peer_; }
  void Send(DaemonMessage message) override {
    absl::MutexLock lock(&mu_);
    if (!closed_) sent_.push_back(std::move(message));
  }
  void ReadNext() override {
    absl::MutexLock lock(&mu_);
    ++reads_;
  }
  void Close(absl::Status status) override {
    absl::MutexLock lock(&mu_);
    if (!closed_) close_status_ = std::move(status);
    closed_ = true;
  }

  std::vector<DaemonMessage> Sent(DaemonMessage::MessageCase kind) {
    absl::MutexLock lock(&mu_);
    std::vector<DaemonMessage> found;
    for (const DaemonMessage& m : sent_) {
      if (m.message_case() == kind) found.push_back(m);
    }
    return found;
  }
  int reads() {
    absl::MutexLock lock(&mu_);
    return reads_;
  }
  bool closed() {
    absl::MutexLock lock(&mu_);
    return closed_;
  }
  absl::Status close_status() {
    absl::MutexLock lock(&mu_);
    return close_status_;
  }

 private:
  const Peer peer_;
  absl::Mutex mu_;
  std::vector<DaemonMessage> sent_ ABSL_GUARDED_BY(mu_);
  int reads_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mu_);
};

class DispatcherTest : public ::testing::Test {
 protected:
  DispatcherTest() {
    auto catalog = catalog::Catalog::Open(files_, dir_.File("catalog.db"));
    UMBRA_CHECK(catalog.ok());
    catalog_ = *std::move(catalog);
    engine_ = std::make_unique<jobs::JobEngine>(*catalog_, clock_, random_);
    for (const char* id : {"h1", "h2"}) AddHost(id);
    table_.SetEndListener([this](const AssignmentKey& key) {
      absl::MutexLock lock(&mu_);
      ended_.push_back(key);
    });
    DispatcherOptions options;
    options.daemon_version = "1.2.3";
    options.oldest_agent_version = "0.9";
    options.issue_certificate = [this](const Peer& peer,
                                       const std::string& request) -> absl::StatusOr<agent::v1::Certificate> {
      absl::MutexLock lock(&mu_);
      asked_.push_back(peer.host.value + " with " + peer.certificate_fingerprint + ": " + request);
      if (!issue_.ok()) return issue_;
      agent::v1::Certificate certificate;
      certificate.set_certificate_pem("for " + request);
      return certificate;
    };
    dispatcher_ = std::make_unique<Dispatcher>(*catalog_, *engine_, clock_, registry_, table_, options);
    dispatcher_->Start();
  }

  void AddHost(const std::string& id) {
    catalog::Host host;
    host.id = HostId(id);
    host.display_name = id + ".example";
    host.certificate_fingerprint = "fp-" + id;
    host.create_time = host.last_seen_time = clock_.Now();
    const absl::Status s = catalog_->Write([&](catalog::Stores& stores) { return stores.hosts.Insert(host); });
    UMBRA_CHECK(s.ok());
  }

  std::shared_ptr<FakeSession> Open(const std::string& host = "h1") {
    auto session = std::make_shared<FakeSession>(host);
    dispatcher_->Opened(session);
    EXPECT_TRUE(Eventually([&] { return session->reads() == 1; }));
    return session;
  }

  // As a stream does: the next message only after the one before was handled.
  void Say(const std::shared_ptr<FakeSession>& session, AgentMessage message) {
    const int reads = session->reads();
    dispatcher_->Received(session, std::move(message));
    EXPECT_TRUE(Eventually([&] { return session->reads() > reads || session->closed(); }));
  }

  void SayHello(const std::shared_ptr<FakeSession>& session, const std::vector<AssignmentKey>& running = {},
                const std::string& process = "p1") {
    AgentMessage message;
    message.mutable_hello()->set_agent_version("0.9");
    message.mutable_hello()->set_hypervisor("simulated 1");
    message.mutable_hello()->set_process_id(process);
    for (const AssignmentKey& key : running) SetId(key, *message.mutable_hello()->add_running());
    Say(session, message);
  }

  void SayHelloOf(const std::shared_ptr<FakeSession>& session, const std::string& boot,
                  const std::string& version = "0.9") {
    AgentMessage message;
    message.mutable_hello()->set_agent_version(version);
    message.mutable_hello()->set_process_id("p-" + boot);
    message.mutable_hello()->set_machine_id("machine");
    message.mutable_hello()->set_boot_id(boot);
    dispatcher_->Received(session, message);
  }
  void Beat(const std::shared_ptr<FakeSession>& session) {
    AgentMessage message;
    message.mutable_heartbeat();
    Say(session, message);
  }
  std::vector<std::string> EventTypes(const std::string& resource) {
    std::vector<std::string> types;
    const auto events = catalog_->Read([&](const catalog::Stores& s) { return s.events.List(resource, {}); });
    for (const catalog::Event& event : events->items) types.push_back(event.type);
    return types;
  }

  std::shared_ptr<FakeSession> Online(const std::string& host = "h1") {
    auto session = Open(host);
    SayHello(session);
    EXPECT_TRUE(registry_.IsOnline(HostId(host)));
    return session;
  }

  void Cut(const std::shared_ptr<FakeSession>& session) {
    dispatcher_->Closed(session);
    EXPECT_TRUE(Eventually([&] { return !registry_.IsOnline(session->peer().host); }));
  }

  static void SetId(const AssignmentKey& key, agent::v1::AssignmentId& id) {
    id.set_job_id(key.job.value);
    id.set_attempt(key.attempt);
  }

  JobId Submit(int vm, const std::string& host = "h1") {
    catalog::BackupSpec spec;
    spec.vms = {{HostId(host), VmUuid(vm)}};
    spec.repository = catalog::RepositoryId("main");
    spec.freeze_timeout = absl::Seconds(7);
    const auto job = engine_->Submit(spec, {});
    EXPECT_TRUE(job.ok()) << job.status();
    return job->id;
  }

  catalog::Job Get(const JobId& id) {
    auto job = engine_->Get(id);
    UMBRA_CHECK(job.ok());
    return *std::move(job);
  }
  bool Reaches(const JobId& id, JobState state) {
    return Eventually([&] { return Get(id).state == state; });
  }
  bool Waits(const JobId& id, const std::string& reason) {
    return Eventually([&] { return Get(id).wait_reason == reason; });
  }

  // Waits for the assignment of `id` and accepts it.
  AssignmentKey Accept(const std::shared_ptr<FakeSession>& session, const JobId& id) {
    AssignmentKey key{id, 0};
    EXPECT_TRUE(Eventually([&] {
      for (const DaemonMessage& m : session->Sent(DaemonMessage::kAssignment)) {
        if (m.assignment().id().job_id() == id.value) key.attempt = m.assignment().id().attempt();
      }
      return key.attempt != 0;
    }));
    AgentMessage message;
    SetId(key, *message.mutable_accepted()->mutable_id());
    Say(session, message);
    EXPECT_EQ(Get(id).state, JobState::kRunning);
    return key;
  }

  void SayResult(const std::shared_ptr<FakeSession>& session, const AssignmentKey& key,
                 agent::v1::AssignmentResult::Outcome outcome, const std::string& reason = "") {
    AgentMessage message;
    SetId(key, *message.mutable_result()->mutable_id());
    message.mutable_result()->set_outcome(outcome);
    message.mutable_result()->mutable_error()->set_reason(reason);
    Say(session, message);
  }

  bool Sent(const std::shared_ptr<FakeSession>& session, DaemonMessage::MessageCase kind, size_t count) {
    return Eventually([&] { return session->Sent(kind).size() >= count; });
  }
  bool EndedOnce(const AssignmentKey& key) {
    absl::MutexLock lock(&mu_);
    return ended_ == std::vector<AssignmentKey>{key};
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  testing::ManualClock clock_;
  base::SeededRandom random_{1};
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<jobs::JobEngine> engine_;
  AgentRegistry registry_;
  AssignmentTable table_;
  absl::Mutex mu_;
  std::vector<AssignmentKey> ended_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> asked_ ABSL_GUARDED_BY(mu_);  // for certificates
  absl::Status issue_ ABSL_GUARDED_BY(mu_);              // what comes of it
  std::unique_ptr<Dispatcher> dispatcher_;
};

// ---- Links ----

TEST_F(DispatcherTest, HelloIsWelcomedAndTheHostIsOnline) {
  const auto session = Online();
  const auto welcomes = session->Sent(DaemonMessage::kWelcome);
  ASSERT_EQ(welcomes.size(), 1u);
  EXPECT_EQ(welcomes[0].welcome().host_id(), "h1");
  EXPECT_EQ(welcomes[0].welcome().daemon_version(), "1.2.3");
  EXPECT_EQ(welcomes[0].welcome().lease_duration().seconds(), 60);
  EXPECT_EQ(welcomes[0].welcome().heartbeat_interval().seconds(), 10);
  const auto host = catalog_->Read([](const catalog::Stores& stores) { return stores.hosts.Get(HostId("h1")); });
  EXPECT_EQ(host->agent_version, "0.9");
  EXPECT_EQ(host->hypervisor, "simulated 1");
  EXPECT_EQ(registry_.Find(HostId("h1"))->process_id, "p1");

  Cut(session);
  const auto events = catalog_->Read([](const catalog::Stores& stores) { return stores.events.List("hosts/h1", {}); });
  ASSERT_EQ(events->items.size(), 2u);
  EXPECT_EQ(events->items[0].type, "HOST_ONLINE");
  EXPECT_EQ(events->items[1].type, "HOST_OFFLINE");
}

TEST_F(DispatcherTest, HelloMustComeFirstOnceAndInTime) {
  const auto wrong = Open();
  AgentMessage heartbeat;
  heartbeat.mutable_heartbeat();
  Say(wrong, heartbeat);
  EXPECT_TRUE(absl::IsInvalidArgument(wrong->close_status()));

  const auto twice = Online();
  SayHello(twice);
  EXPECT_TRUE(absl::IsInvalidArgument(twice->close_status()));

  const auto silent = Open();
  clock_.Advance(absl::Seconds(11));
  EXPECT_TRUE(Eventually([&] { return silent->closed(); }));
  EXPECT_EQ(base::ReasonOf(silent->close_status()), "LINK_CLOSED");
}

TEST_F(DispatcherTest, ALinkWithoutHeartbeatsIsCut) {
  const auto session = Online();
  AgentMessage heartbeat;
  heartbeat.mutable_heartbeat();
  for (int i = 0; i < 4; ++i) {
    clock_.Advance(absl::Seconds(20));
    Say(session, heartbeat);
  }
  EXPECT_FALSE(session->closed());
  clock_.Advance(absl::Seconds(31));
  EXPECT_TRUE(Eventually([&] { return session->closed(); }));
  EXPECT_TRUE(absl::IsDeadlineExceeded(session->close_status()));
  EXPECT_TRUE(Eventually([&] { return !registry_.IsOnline(HostId("h1")); }));
}

TEST_F(DispatcherTest, ANewerStreamEndsTheOlderOneAndTheOldOneIsNotHeardAnyMore) {
  const auto first = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(first, job);
  const auto second = Open();
  EXPECT_TRUE(Eventually([&] { return first->closed(); }));
  EXPECT_TRUE(absl::IsAborted(first->close_status()));
  SayHello(second, {key});

  AgentMessage late;
  SetId(key, *late.mutable_result()->mutable_id());
  dispatcher_->Received(first, late);
  dispatcher_->Closed(first);
  AgentMessage heartbeat;
  heartbeat.mutable_heartbeat();
  Say(second, heartbeat);
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  EXPECT_TRUE(registry_.IsOnline(HostId("h1")));
}

// Two machines with one certificate: the one that came later is refused, and a person is told once.
TEST_F(DispatcherTest, ACloneIsRefusedWhileTheOtherLives) {
  const auto first = Open();
  SayHelloOf(first, "boot-1");
  ASSERT_TRUE(Eventually([&] { return registry_.IsOnline(HostId("h1")); }));
  const JobId job = Submit(1);
  Accept(first, job);
  for (int i = 0; i < 2; ++i) {
    const auto clone = Open();
    SayHelloOf(clone, "boot-2");
    Beat(first);  // said at the same moment: may have been on its way for long
    EXPECT_FALSE(clone->closed());
    EXPECT_TRUE(clone->Sent(DaemonMessage::kWelcome).empty());
    clock_.Advance(absl::Seconds(5));
    Beat(first);
    ASSERT_TRUE(Eventually([&] { return clone->closed(); }));
    EXPECT_EQ(base::ReasonOf(clone->close_status()), "AGENT_DUPLICATED");
    dispatcher_->Closed(clone);
  }
  EXPECT_FALSE(first->closed());
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  EXPECT_EQ(EventTypes("hosts/h1"), (std::vector<std::string>{"HOST_ONLINE", "AGENT_DUPLICATED"}));
}

// The same machine after a restart, or another one in its place, while the old link isn't known to be dead yet.
TEST_F(DispatcherTest, AMachineThatCameBackTakesOverWhenItsOldLinkIsDead) {
  const auto first = Open();
  SayHelloOf(first, "boot-1");
  ASSERT_TRUE(Eventually([&] { return registry_.IsOnline(HostId("h1")); }));
  clock_.Advance(absl::Seconds(15));
  const auto second = Open();
  SayHelloOf(second, "boot-2");
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_TRUE(second->Sent(DaemonMessage::kWelcome).empty());
  clock_.Advance(absl::Seconds(16));  // three heartbeats of silence
  EXPECT_TRUE(Sent(second, DaemonMessage::kWelcome, 1));
  EXPECT_TRUE(first->closed());
  EXPECT_FALSE(second->closed());
  // The same boot is the same machine: its newest stream counts at once.
  const auto third = Open();
  SayHelloOf(third, "boot-2");
  EXPECT_TRUE(Sent(third, DaemonMessage::kWelcome, 1));
  EXPECT_TRUE(Eventually([&] { return second->closed(); }));
}

TEST_F(DispatcherTest, AnAgentThatIsTooOldIsToldAndGetsNoWork) {
  const JobId job = Submit(1);
  const auto old = Open();
  SayHelloOf(old, "boot-1", "0.8.12");
  ASSERT_TRUE(Sent(old, DaemonMessage::kWelcome, 1));
  EXPECT_EQ(old->Sent(DaemonMessage::kWelcome)[0].welcome().problem_reason(), "AGENT_TOO_OLD");
  EXPECT_NE(old->Sent(DaemonMessage::kWelcome)[0].welcome().problem().find("0.8.12"), std::string::npos);
  EXPECT_TRUE(Waits(job, "AGENT_TOO_OLD"));
  EXPECT_EQ(registry_.Find(HostId("h1"))->problem_reason, "AGENT_TOO_OLD");
  EXPECT_EQ(EventTypes("hosts/h1"), (std::vector<std::string>{"AGENT_TOO_OLD", "HOST_ONLINE"}));
  EXPECT_TRUE(old->Sent(DaemonMessage::kAssignment).empty());
  const auto upgraded = Open();
  SayHelloOf(upgraded, "boot-1", "0.10.0");
  Accept(upgraded, job);
  EXPECT_EQ(upgraded->Sent(DaemonMessage::kWelcome)[0].welcome().problem_reason(), "");
}

TEST_F(DispatcherTest, ANewCertificateIsForTheStreamsHost) {
  const auto session = Online();
  const auto ask = [&](const std::string& request) {
    AgentMessage message;
    message.mutable_certificate_request()->set_certificate_request_pem(request);
    Say(session, message);
    return session->Sent(DaemonMessage::kCertificate).back().certificate();
  };
  EXPECT_EQ(ask("r1").certificate_pem(), "for r1");
  // At once again: nothing is signed.
  EXPECT_EQ(ask("r2").problem().reason(), "SERVER_BUSY");
  clock_.Advance(absl::Seconds(11));
  {
    absl::MutexLock lock(&mu_);
    issue_ = base::Error(absl::StatusCode::kInvalidArgument, "CERTIFICATE_REQUEST_INVALID", "no");
  }
  EXPECT_EQ(ask("r3").problem().reason(), "CERTIFICATE_REQUEST_INVALID");
  EXPECT_FALSE(session->closed());
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(asked_, (std::vector<std::string>{"h1 with fingerprint of h1: r1", "h1 with fingerprint of h1: r3"}));
}

TEST_F(DispatcherTest, AStreamWithoutARightToItsNameGetsNoCertificateAndEnds) {
  {
    absl::MutexLock lock(&mu_);
    issue_ = base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "removed");
  }
  AgentMessage message;
  message.mutable_certificate_request()->set_certificate_request_pem("r");
  const auto stranger = Open("h2");
  Say(stranger, message);
  EXPECT_EQ(base::ReasonOf(stranger->close_status()), "INVALID_REQUEST") << "not before Hello";
  const auto session = Online();
  Say(session, message);
  EXPECT_TRUE(session->closed());
  EXPECT_EQ(base::ReasonOf(session->close_status()), "UNAUTHENTICATED");
  EXPECT_TRUE(session->Sent(DaemonMessage::kCertificate).empty());
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(asked_.size(), 1u);
}

TEST_F(DispatcherTest, ADrainedHostEndsItsWorkAndGetsNothingNew) {
  const auto session = Online();
  const JobId first = Submit(1);
  const AssignmentKey key = Accept(session, first);
  engine_->SetDrained(HostId("h1"), true);
  const JobId second = Submit(2);
  EXPECT_TRUE(Waits(second, "HOST_DRAINED"));
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "IO_ERROR");
  EXPECT_EQ(Get(first).state, JobState::kFailed);
  EXPECT_EQ(session->Sent(DaemonMessage::kAssignment).size(), 1u);
  engine_->SetDrained(HostId("h1"), false);
  Accept(session, second);
}

// Work that nobody here knows (the daemon restarted) is put back before the host gets something new.
TEST_F(DispatcherTest, NothingNewIsSentUntilUnknownWorkWasPutBack) {
  const JobId job = Submit(1);
  const auto session = Open();
  SayHello(session, {{job, 7}});
  ASSERT_TRUE(Sent(session, DaemonMessage::kCancel, 1));
  EXPECT_TRUE(Waits(job, "HOST_BUSY"));
  SayResult(session, {job, 7}, agent::v1::AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_TRUE(Sent(session, DaemonMessage::kResultAcknowledged, 1));
  EXPECT_EQ(Accept(session, job).attempt, 1);
}

TEST_F(DispatcherTest, AJobIsSentWhenItIsDueAndAgainAfterAFailureThatPasses) {
  const auto session = Online();
  catalog::BackupSpec spec;
  spec.vms = {{HostId("h1"), VmUuid(1)}};
  spec.repository = catalog::RepositoryId("main");
  const auto submitted = engine_->Submit(
      {.spec = spec,
       .terms = {
           .due_time = clock_.Now() + absl::Milliseconds(400), .retries_max = 1, .upload_bytes_per_second = 5000}});
  ASSERT_TRUE(submitted.ok());
  const JobId job = submitted->id;
  EXPECT_TRUE(Waits(job, "NOT_DUE"));
  clock_.Advance(absl::Milliseconds(400));  // less than a tick
  const AssignmentKey key = Accept(session, job);
  EXPECT_EQ(session->Sent(DaemonMessage::kAssignment)[0].assignment().backup().upload_bytes_per_second(), 5000);
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "VSS_WRITER_FAILED");
  EXPECT_TRUE(Waits(job, "RETRY_LATER"));
  for (int minute = 0; minute < 10; ++minute) {
    clock_.Advance(absl::Seconds(15));
    Beat(session);
    clock_.Advance(absl::Seconds(15));
    Beat(session);
    clock_.Advance(absl::Seconds(15));
    Beat(session);
    clock_.Advance(absl::Seconds(15));
    Beat(session);
  }
  ASSERT_TRUE(Sent(session, DaemonMessage::kAssignment, 2));
  EXPECT_EQ(Accept(session, job).attempt, 2);
}

TEST_F(DispatcherTest, InventoryIsStoredAndAnErrorKeepsTheOneBefore) {
  const auto session = Online();
  AgentMessage message;
  message.mutable_inventory()->add_virtual_machines()->set_name(VmUuid(1));
  message.mutable_inventory()->add_writers()->set_name("w1");
  Say(session, message);
  message.Clear();
  message.mutable_inventory()->set_error("hypervisor gone");
  Say(session, message);

  const auto host = catalog_->Read([](const catalog::Stores& stores) { return stores.hosts.Get(HostId("h1")); });
  EXPECT_EQ(host->vm_count, 1);
  EXPECT_EQ(host->hypervisor_error, "hypervisor gone");
  EXPECT_TRUE(registry_.RefreshInventory(HostId("h1")));
  EXPECT_EQ(session->Sent(DaemonMessage::kRefreshInventory).size(), 1u);
}

// ---- Dispatch and results ----

TEST_F(DispatcherTest, AJobWaitsForItsHostRunsAndSucceeds) {
  const JobId job = Submit(1);
  EXPECT_TRUE(Waits(job, "HOST_OFFLINE"));
  const auto session = Online();
  const AssignmentKey key = Accept(session, job);
  const agent::v1::Assignment assignment = session->Sent(DaemonMessage::kAssignment)[0].assignment();
  ASSERT_TRUE(assignment.has_backup());
  EXPECT_EQ(assignment.backup().virtual_machines(0), VmUuid(1));
  EXPECT_EQ(assignment.backup().repository(), "main");
  EXPECT_EQ(assignment.backup().freeze_timeout().seconds(), 7);
  EXPECT_TRUE(table_.Authorize(HostId("h1"), key, catalog::JobKind::kBackup).ok());

  AgentMessage progress;
  SetId(key, *progress.mutable_progress()->mutable_id());
  progress.mutable_progress()->set_phase(umbra::v1::Job::PHASE_TRANSFERRING);
  progress.mutable_progress()->mutable_progress()->set_done_bytes(5);
  progress.mutable_progress()->mutable_progress()->set_total_bytes(9);
  Say(session, progress);
  EXPECT_EQ(Get(job).phase, catalog::JobPhase::kTransferring);
  EXPECT_EQ(Get(job).progress.done_bytes, 5);

  AgentMessage warning;
  SetId(key, *warning.mutable_warning()->mutable_id());
  warning.mutable_warning()->mutable_warning()->set_reason("DISK_REMOVABLE");
  Say(session, warning);
  ASSERT_EQ(Get(job).warnings.size(), 1u);

  ASSERT_TRUE(engine_->Apply(job, key.attempt, jobs::JobEvent::kRepoCommitted).ok());
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(Get(job).state, JobState::kSucceeded);
  EXPECT_TRUE(Sent(session, DaemonMessage::kResultAcknowledged, 1));
  EXPECT_TRUE(EndedOnce(key));

  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "IO_ERROR");  // again, and even different
  EXPECT_TRUE(Sent(session, DaemonMessage::kResultAcknowledged, 2));
  EXPECT_EQ(Get(job).state, JobState::kSucceeded);
}

TEST_F(DispatcherTest, NotesBecomeEventsOfTheJobButAgentsCannotFillTheLog) {
  const auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  AgentMessage note;
  SetId(key, *note.mutable_note()->mutable_id());
  note.mutable_note()->set_text("pre hook ran");
  for (int i = 0; i < 40; ++i) Say(session, note);
  const auto types = EventTypes("jobs/" + job.value);
  EXPECT_EQ(std::count(types.begin(), types.end(), "JOB_NOTE"), 16);
  SetId({JobId("other"), 1}, *note.mutable_note()->mutable_id());
  Say(session, note);
  EXPECT_TRUE(EventTypes("jobs/other").empty());
  EXPECT_FALSE(session->closed());
}

TEST_F(DispatcherTest, AFailureKeepsItsReason) {
  const auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "GUEST_FREEZE_TIMEOUT");
  EXPECT_EQ(Get(job).state, JobState::kFailed);
  EXPECT_EQ(Get(job).error.reason, "GUEST_FREEZE_TIMEOUT");
}

TEST_F(DispatcherTest, AnotherHostsWordDoesNotCount) {
  const auto session = Online();
  const auto other = Online("h2");
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  SayResult(other, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "IO_ERROR");
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  EXPECT_TRUE(table_.CheckAlive(key).ok());
}

TEST_F(DispatcherTest, TwoJobsOfAHostRunAndTheThirdWaitsInItsTurn) {
  const auto session = Online();
  const JobId first = Submit(1);
  const JobId second = Submit(2);
  const JobId third = Submit(3);
  const JobId same_vm = Submit(1);
  const AssignmentKey key = Accept(session, first);
  Accept(session, second);
  EXPECT_TRUE(Waits(third, "HOST_BUSY"));
  EXPECT_TRUE(Waits(same_vm, "VM_BUSY"));
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "IO_ERROR");
  Accept(session, third);
  EXPECT_TRUE(Waits(same_vm, "HOST_BUSY"));
}

TEST_F(DispatcherTest, AnUnacceptedAssignmentIsTriedAgainAndThenFails) {
  const auto session = Online();
  const JobId job = Submit(1);
  AgentMessage heartbeat;
  heartbeat.mutable_heartbeat();
  for (size_t attempt = 1; attempt <= 5; ++attempt) {
    ASSERT_TRUE(Sent(session, DaemonMessage::kAssignment, attempt)) << attempt;
    EXPECT_EQ(session->Sent(DaemonMessage::kAssignment)[attempt - 1].assignment().id().attempt(), static_cast<int>(attempt));
    clock_.Advance(absl::Seconds(11));
    Say(session, heartbeat);
    ASSERT_TRUE(Sent(session, DaemonMessage::kCancel, attempt)) << attempt;
  }
  EXPECT_TRUE(Reaches(job, JobState::kFailed));
  EXPECT_EQ(Get(job).error.reason, "AGENT_LOST");
}

TEST_F(DispatcherTest, ALateAcceptOfAnOldAttemptIsIgnored) {
  const auto session = Online();
  const JobId job = Submit(1);
  ASSERT_TRUE(Sent(session, DaemonMessage::kAssignment, 1));
  clock_.Advance(absl::Seconds(11));
  ASSERT_TRUE(Sent(session, DaemonMessage::kAssignment, 2));
  AgentMessage message;
  SetId({job, 1}, *message.mutable_accepted()->mutable_id());
  Say(session, message);
  EXPECT_EQ(Get(job).state, JobState::kDispatching);
  Accept(session, job);
}

TEST_F(DispatcherTest, ARestoreCarriesItsRecoveryPoint) {
  catalog::RecoveryPoint point;
  point.id = catalog::RecoveryPointId("rp1");
  point.vm = {HostId("h1"), VmUuid(1)};
  point.repository = catalog::RepositoryId("main");
  point.job = JobId("j0");
  point.point_time = point.create_time = clock_.Now();
  point.mechanism = catalog::BackupMechanism::kChildSnapshot;
  point.disks.push_back({.name = "vda", .capacity_bytes = 1 << 20, .data_bytes = 0, .format = "qcow2", .path = "/vm/a"});
  point.configuration = "<domain/>";
  point.documents.push_back({"vss.backup-components", "<components/>"});
  ASSERT_TRUE(catalog_->Write([&](catalog::Stores& stores) { return stores.recovery_points.Insert(point).status(); }).ok());
  catalog::RestoreSpec spec;
  spec.recovery_point = point.id;
  spec.repository = point.repository;
  spec.mode = catalog::RestoreMode::kNew;
  spec.target_host = HostId("h1");
  spec.display_name = "copy";

  const auto session = Online();
  const auto job = engine_->Submit(spec, {});
  ASSERT_TRUE(job.ok()) << job.status();
  const AssignmentKey key = Accept(session, job->id);
  const agent::v1::RestoreAssignment restore = session->Sent(DaemonMessage::kAssignment)[0].assignment().restore();
  EXPECT_EQ(restore.recovery_point_id(), "rp1");
  EXPECT_EQ(restore.recovery_point().configuration(), "<domain/>");
  EXPECT_EQ(restore.recovery_point().disks(0).name(), "vda");
  ASSERT_EQ(restore.documents_size(), 1);
  EXPECT_EQ(restore.documents(0).kind(), "vss.backup-components");
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(Get(job->id).state, JobState::kSucceeded);

  spec.recovery_point = catalog::RecoveryPointId("gone");
  const auto lost = engine_->Submit(spec, {});
  ASSERT_TRUE(lost.ok());
  EXPECT_TRUE(Reaches(lost->id, JobState::kFailed));
  EXPECT_EQ(Get(lost->id).error.reason, "RECOVERY_POINT_NOT_FOUND");
}

// ---- Cuts, leases, restarts ----

TEST_F(DispatcherTest, AReconnectInTimeGoesOn) {
  auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  Cut(session);
  clock_.Advance(absl::Seconds(50));
  session = Open();
  SayHello(session, {key});
  clock_.Advance(absl::Seconds(20));
  AgentMessage heartbeat;
  heartbeat.mutable_heartbeat();
  Say(session, heartbeat);
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  EXPECT_TRUE(session->Sent(DaemonMessage::kCancel).empty());
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "IO_ERROR");
  EXPECT_EQ(Get(job).state, JobState::kFailed);
}

TEST_F(DispatcherTest, AHelloThatListsAnUnacceptedAssignmentAcceptsIt) {
  auto session = Online();
  const JobId job = Submit(1);
  ASSERT_TRUE(Sent(session, DaemonMessage::kAssignment, 1));
  Cut(session);
  session = Open();
  SayHello(session, {{job, 1}});
  EXPECT_EQ(Get(job).state, JobState::kRunning);
}

TEST_F(DispatcherTest, AnAssignmentThatNeverArrivedIsSentAgain) {
  auto session = Online();
  const JobId job = Submit(1);
  ASSERT_TRUE(Sent(session, DaemonMessage::kAssignment, 1));
  Cut(session);
  session = Open();
  SayHello(session);
  const AssignmentKey key = Accept(session, job);
  EXPECT_EQ(key.attempt, 2);
}

TEST_F(DispatcherTest, WhenTheLeaseRunsOutTheJobHasFailedAndTheAgentIsToldToStop) {
  auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  Cut(session);
  clock_.Advance(absl::Seconds(59));
  absl::SleepFor(absl::Milliseconds(30));
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(Reaches(job, JobState::kFailed));
  EXPECT_EQ(Get(job).error.reason, "AGENT_LOST");
  EXPECT_TRUE(EndedOnce(key));

  session = Open();
  SayHello(session, {key});
  ASSERT_TRUE(Sent(session, DaemonMessage::kCancel, 1));
  EXPECT_EQ(session->Sent(DaemonMessage::kCancel)[0].cancel().id().job_id(), job.value);
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "AGENT_LOST");
  EXPECT_TRUE(Sent(session, DaemonMessage::kResultAcknowledged, 1));
}

TEST_F(DispatcherTest, AStreamWithoutHelloDoesNotStopTheLease) {
  const auto session = Online();
  const JobId job = Submit(1);
  Accept(session, job);
  Cut(session);
  for (int i = 0; i < 7; ++i) {
    Open();
    clock_.Advance(absl::Seconds(9));
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(Reaches(job, JobState::kFailed));
}

TEST_F(DispatcherTest, AnAgentThatRestartedHasLostItsWork) {
  auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  Cut(session);
  session = Open();
  SayHello(session, {}, "p2");
  EXPECT_TRUE(Reaches(job, JobState::kFailed));
  EXPECT_EQ(Get(job).error.reason, "AGENT_RESTARTED");
  EXPECT_TRUE(EndedOnce(key));
}

TEST_F(DispatcherTest, ACommitThatIsUnderWayIsWaitedFor) {
  const auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  ASSERT_TRUE(table_.BeginCommit(key).ok());
  Cut(session);
  clock_.Advance(absl::Seconds(61));
  absl::SleepFor(absl::Milliseconds(30));
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  ASSERT_TRUE(engine_->Apply(job, key.attempt, jobs::JobEvent::kRepoCommitted).ok());
  table_.EndCommit(key);
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(Reaches(job, JobState::kSucceeded));  // the data is safe
}

TEST_F(DispatcherTest, AResultIsAcknowledgedOnlyOnceRecorded) {
  const auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  ASSERT_TRUE(table_.BeginCommit(key).ok());
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_FAILED, "IO_ERROR");
  EXPECT_TRUE(session->Sent(DaemonMessage::kResultAcknowledged).empty());
  EXPECT_EQ(Get(job).state, JobState::kRunning);
  table_.EndCommit(key);
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(Sent(session, DaemonMessage::kResultAcknowledged, 1));
  EXPECT_EQ(Get(job).state, JobState::kFailed);
}

// ---- Cancel ----

TEST_F(DispatcherTest, ACancelReachesTheAgentAndFencesTheCommit) {
  const auto session = Online();
  const JobId job = Submit(1);
  const AssignmentKey key = Accept(session, job);
  ASSERT_TRUE(engine_->Cancel(job).ok());
  ASSERT_TRUE(Sent(session, DaemonMessage::kCancel, 1));
  EXPECT_EQ(base::ReasonOf(table_.BeginCommit(key)), "CANCELLED");
  EXPECT_EQ(Get(job).state, JobState::kCancelling);
  SayResult(session, key, agent::v1::AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_EQ(Get(job).state, JobState::kCancelled);
  EXPECT_EQ(session->Sent(DaemonMessage::kCancel).size(), 1u);
}

TEST_F(DispatcherTest, ACancelWhileOfflineWaitsForTheAgentOrTheLease) {
  auto session = Online();
  const JobId first = Submit(1);
  const JobId second = Submit(2);
  const AssignmentKey first_key = Accept(session, first);
  const AssignmentKey second_key = Accept(session, second);
  Cut(session);
  ASSERT_TRUE(engine_->Cancel(first).ok());
  ASSERT_TRUE(engine_->Cancel(second).ok());
  session = Open();
  SayHello(session, {first_key, second_key});
  EXPECT_TRUE(Sent(session, DaemonMessage::kCancel, 2));
  SayResult(session, first_key, agent::v1::AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_EQ(Get(first).state, JobState::kCancelled);
  Cut(session);
  clock_.Advance(absl::Seconds(61));
  EXPECT_TRUE(Reaches(second, JobState::kCancelled));
}

TEST_F(DispatcherTest, ACancelOfAQueuedJobNeedsNoAgent) {
  const JobId job = Submit(1);
  ASSERT_TRUE(engine_->Cancel(job).ok());
  EXPECT_EQ(Get(job).state, JobState::kCancelled);
  const auto session = Online();
  EXPECT_TRUE(session->Sent(DaemonMessage::kAssignment).empty());
}

}  // namespace
}  // namespace umbra::dispatch
