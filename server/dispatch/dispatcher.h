// Brings queued jobs to agents and agents' news to the job engine: dispatch, leases, fencing, cancel, reconnect.
//
// A job that is sent to an agent is an assignment, known by (job, attempt). Rules:
//   - An agent's word counts only on its host's newest stream, and only for assignments that this daemon gave to it.
//   - An assignment that isn't accepted in time goes back to the queue and gets a new attempt number.
//   - A host whose link is down for longer than the lease has lost its assignments: the jobs fail with AGENT_LOST. The
//   agent
//     counts the same time and puts everything back, so nobody works on them any more. A commit that is under way is
//     waited for.
//   - A result is acknowledged after it was recorded, and again whenever it is repeated.
//   - What a Hello lists and nobody here knows is cancelled, and the host gets no new work until it was put back; what
//   is
//     known here and a Hello doesn't list has failed.
//   - A stream from another machine than the one whose stream lives is a clone's: it waits until the older one speaks,
//   which
//     proves that both live, and is refused (AGENT_DUPLICATED); or until the older one is gone, and takes its place.
//   - A new certificate is for the host of the stream that asks, and for a stream that was greeted.
//   - What agents say is recorded for all of them together, in one transaction, before the next message of each is
//   read.
#ifndef UMBRA_SERVER_DISPATCH_DISPATCHER_H_
#define UMBRA_SERVER_DISPATCH_DISPATCHER_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/dispatch/agent_registry.h"
#include "server/dispatch/agent_session.h"
#include "server/dispatch/assignment_table.h"
#include "server/jobs/job_engine.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"
#include "storage/catalog/catalog.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::dispatch {

// Signs the request of a live stream's host. UNAUTHENTICATED: that stream has nothing to ask for any more, and is
// ended. Called on the dispatcher's thread; may block for a synced write of the catalog.
using CertificateIssuer =
    std::function<absl::StatusOr<agent::v1::Certificate>(const Peer& peer, const std::string& request_pem)>;

struct DispatcherOptions {
  std::string daemon_version;
  CertificateIssuer issue_certificate = {};  // none: agents that ask get no answer

  // How often agents speak when they have nothing to say; a link that is silent for three of these is cut.
  absl::Duration heartbeat_interval = absl::Seconds(10);
  // How long a job survives a cut link. Shorter: a rebooting switch fails backups. Longer: a dead host blocks its VMs.
  absl::Duration lease_duration = absl::Seconds(60);
  // An agent accepts before it starts to work, so this is the network's time alone.
  absl::Duration accept_timeout = absl::Seconds(10);
  // How long a new stream may take to say Hello.
  absl::Duration hello_timeout = absl::Seconds(10);
  // Agents of older versions get no work; empty: any.
  std::string oldest_agent_version;
  // An agent that never accepts gets this many tries.
  int unaccepted_attempts_max = 5;
  // The catalog's last_seen_time may be this old.
  absl::Duration last_seen_interval = absl::Seconds(60);
  // How exact the times above are kept.
  absl::Duration tick = absl::Seconds(1);
};

// Owns one thread, which does everything but the calls below; these are thread-safe and never block. The catalog, the
// engine and the clock outlive it. The streams must have ended before it is destroyed (Closed was called for each).
class Dispatcher {
 public:
  Dispatcher(catalog::Catalog& catalog, jobs::JobEngine& engine, base::Clock& clock, AgentRegistry& registry,
             AssignmentTable& assignments, const DispatcherOptions& options,
             base::Threads& threads = base::SystemThreads());
  // Stops the thread. Jobs stay as they are; the next start sorts them out (server/jobs/job_recovery.h).
  ~Dispatcher();

  // Starts to work. Call once, after RecoverJobs.
  void Start();

  // ---- For the link ----

  // A stream of a host whose certificate was checked. It ends an older stream of the same host.
  void Opened(std::shared_ptr<AgentSession> session);
  // Its next message; one at a time, asked for by AgentSession::ReadNext.
  void Received(std::shared_ptr<AgentSession> session, agent::v1::AgentMessage message);
  // The stream is gone. Also harmless for a session that was never Opened.
  void Closed(std::shared_ptr<AgentSession> session);

 private:
  struct News {
    enum class Kind { kOpened, kReceived, kClosed } kind;
    std::shared_ptr<AgentSession> session;
    agent::v1::AgentMessage message;
  };

  // Which machine an agent runs on; empty texts: not known.
  struct Machine {
    std::string machine_id;
    std::string boot_id;

    bool known() const { return !machine_id.empty() && !boot_id.empty(); }
    bool operator==(const Machine&) const = default;
  };

  // A stream of a host whose older stream lives.
  struct Newcomer {
    std::shared_ptr<AgentSession> session;
    absl::Duration came_at;
    std::optional<agent::v1::AgentMessage> hello;
  };

  struct HostLink {
    std::shared_ptr<AgentSession> session;  // null: offline
    std::optional<Newcomer> newcomer;       // only while `session` is greeted
    Machine machine;                        // of the last Hello
    Machine clone;                          // that was reported
    std::string problem;                    // why it gets no work: a reason
    absl::flat_hash_set<AssignmentKey> stopping;  // what the agent still has and nobody here knows
    absl::Duration greeted_at;
    bool greeted = false;                   // Hello was handled
    std::string process_id;                 // of the last Hello; stays while offline
    absl::Duration opened_at;               // times are monotonic
    absl::Duration heard_at;
    absl::Duration down_since;
    absl::Duration seen_stored_at;
    std::optional<absl::Duration> certificate_at;  // it last asked for one
  };

  // How an assignment ends, until that is recorded.
  struct Ending {
    jobs::JobEvent event;
    jobs::EventFacts facts;
    bool acknowledge = false;  // the agent waits for it
  };

  // What an agent said of its work, until it is recorded.
  struct Said {
    jobs::Change change;
    std::shared_ptr<AgentSession> session;
  };

  struct Live {
    AssignmentKey key;
    catalog::HostId host;
    bool accepted = false;
    bool cancelling = false;
    bool cancel_sent = false;
    absl::Duration sent_at;
    int notes = 0;  // that it told
    std::optional<Ending> ending;
  };

  void Post(News news);
  void Wake();
  void Run();

  // News of a stream.
  void Handle(News& news);
  void HandleOpened(const std::shared_ptr<AgentSession>& session);
  void HandleMessage(const std::shared_ptr<AgentSession>& session, agent::v1::AgentMessage& message);
  void HandleClosed(const std::shared_ptr<AgentSession>& session);
  absl::Status OnMessage(const catalog::HostId& host, HostLink& link, agent::v1::AgentMessage& message);
  absl::Status OnHello(const catalog::HostId& host, HostLink& link, const agent::v1::Hello& hello);
  absl::Status OnInventory(const catalog::HostId& host, const agent::v1::Inventory& inventory);
  void OnAccepted(const catalog::HostId& host, const HostLink& link, const AssignmentKey& key);
  void OnProgress(const catalog::HostId& host, const HostLink& link, const agent::v1::AssignmentProgress& progress);
  absl::Status OnWarning(const catalog::HostId& host, const agent::v1::AssignmentWarning& warning);
  absl::Status OnNote(const catalog::HostId& host, const agent::v1::AssignmentNote& note);
  absl::Status OnCertificateRequest(const catalog::HostId& host, HostLink& link,
                                    const agent::v1::CertificateRequest& request);
  void OnResult(const catalog::HostId& host, HostLink& link, const agent::v1::AssignmentResult& result);
  // Reconnect: what the agent still has, against what it should have.
  absl::Status MatchRunning(const catalog::HostId& host, HostLink& link, const agent::v1::Hello& hello);

  // Newer streams of a host whose older one lives.
  void OnNewcomer(const catalog::HostId& host, HostLink& link, agent::v1::AgentMessage& message);
  void RefuseClone(const catalog::HostId& host, HostLink& link);
  void TakeOver(const catalog::HostId& host, HostLink& link);
  // Tells the queue whether the host takes work.
  void TellQueue(const catalog::HostId& host, const HostLink& link);

  // Records what was said and what has ended, together, and asks for the next messages.
  void Record();
  void ForgetSaid(const std::vector<Said>& said, const absl::Status& why);
  void Recorded(const Said& said, const absl::Status& result);

  // Regular work.
  void CheckLinks(absl::Duration now);
  void CheckAssignments(absl::Duration now);
  void CheckUnaccepted(Live& live, absl::Duration now);
  void SyncWithJobs();
  void CancelAsAsked();
  void EndOrphan(const catalog::ActiveJob& job);
  void DispatchQueued();
  void Dispatch(const catalog::Job& job);

  // Ends the assignment with the next Record: fence first, then the job, then the acknowledgement. When a commit is
  // under way, or the catalog can't be written, it is tried again at the next tick. The first word counts.
  void End(Live& live, jobs::JobEvent event, jobs::EventFacts facts = {}, bool acknowledge = false);
  void Ended(const AssignmentKey& key, const absl::StatusOr<jobs::Applied>& applied);

  void Disconnect(const catalog::HostId& host, HostLink& link, const absl::Status& status);
  void GoOffline(const catalog::HostId& host, HostLink& link);
  void StoreSeen(const catalog::HostId& host, HostLink& link);
  void SendIfOnline(const catalog::HostId& host, agent::v1::DaemonMessage message);
  Live* FindLive(const catalog::HostId& host, const AssignmentKey& key);
  std::vector<AssignmentKey> LiveKeys() const;

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  base::Clock& clock_;
  AgentRegistry& registry_;
  AssignmentTable& assignments_;
  const DispatcherOptions options_;
  base::Threads& threads_;

  absl::Mutex mu_;  // what the thread shall look at next
  std::deque<News> news_ ABSL_GUARDED_BY(mu_);
  bool woken_ ABSL_GUARDED_BY(mu_) = true;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Only touched by the thread. `hosts_` keeps hosts that are offline, for their leases; its size is that of the fleet.
  // Ordered: what is done to several at once is done in the same order every time.
  std::map<catalog::HostId, HostLink> hosts_;
  std::map<AssignmentKey, Live> live_;
  std::vector<Said> said_;
  std::vector<AssignmentKey> ending_;
  std::vector<std::shared_ptr<AgentSession>> read_next_;

  jobs::Subscription subscription_;
  std::unique_ptr<base::Thread> thread_;
};

}  // namespace umbra::dispatch

#endif  // UMBRA_SERVER_DISPATCH_DISPATCHER_H_
