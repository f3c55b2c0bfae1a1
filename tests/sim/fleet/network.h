// What is between agents and daemon: one line for each host, with control streams and calls of the data service on it.
// Messages of one stream keep their order; streams and calls overtake each other. A line can be cut, noticed or not,
// and what is on its way then is lost.
#ifndef UMBRA_TESTS_SIM_FLEET_NETWORK_H_
#define UMBRA_TESTS_SIM_FLEET_NETWORK_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/link/link_stream.h"
#include "tests/sim/run_context.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::sim::fleet {

// One direction of a stream.
template <typename Message>
struct Way {
  std::deque<std::pair<absl::Duration, Message>> queue;  // by arrival
  absl::Duration last_arrival;
  absl::Duration over_at = absl::InfiniteDuration();  // when the reader hears that the stream is over

  bool Arrived(absl::Duration now) const { return !queue.empty() && queue.front().first <= now; }
  bool Over(absl::Duration now) const { return over_at <= now && !Arrived(now); }
  absl::Duration NextTime() const { return std::min(over_at, queue.empty() ? over_at : queue.front().first); }
};

class Line;

// A control stream. Only touched by fibers, between their waits.
struct Pipe {
  int host = 0;
  Way<agent::v1::DaemonMessage> down;
  Way<agent::v1::AgentMessage> up;
  bool agent_left = false;   // it says nothing more
  bool daemon_left = false;  // the same
  bool lost = false;         // cut, and nobody has noticed
  absl::Status why;          // the daemon's last word
  int64_t changes = 0;       // so that who waits looks again
};

class Line {
 public:
  Line(RunContext& run, int host) : run_(run), host_(host), dice_(run.dice.Split("line")) {}

  bool up() const { return run_.scheduler.Monotonic() >= down_until_; }
  // Of one message or call; after it the line may be another.
  absl::Duration Latency();
  // True: this call, or its answer, gets lost.
  bool Loses() { return run_.scheduler.Monotonic() < lossy_until_ && dice_.Chance(0.15); }
  int64_t cuts() const { return cuts_; }

  void Cut(bool silent, absl::Duration length);
  void MakeSlow(absl::Duration slowest, absl::Duration length);
  void MakeLossy(absl::Duration length) { lossy_until_ = run_.scheduler.Monotonic() + length; }
  void Mend();

  std::shared_ptr<Pipe> Open();
  void SendUp(Pipe& pipe, const agent::v1::AgentMessage& message);
  void SendDown(Pipe& pipe, agent::v1::DaemonMessage message);
  // The agent is done with the stream, or its process is.
  void AgentLeaves(Pipe& pipe);
  // The daemon is; `why` arrives after what it said before.
  void DaemonLeaves(Pipe& pipe, const absl::Status& why);
  // Their processes are gone.
  void AgentDied();
  void DaemonDied();

 private:
  void Hear(Pipe& pipe, absl::Duration agent_at, absl::Duration daemon_at);

  RunContext& run_;
  const int host_;
  Dice dice_;
  absl::Duration down_until_;
  absl::Duration slow_until_;
  absl::Duration slowest_;
  absl::Duration lossy_until_;
  int64_t cuts_ = 0;
  std::vector<std::shared_ptr<Pipe>> pipes_;  // that somebody still uses
};

// The daemon's port.
class Port {
 public:
  virtual ~Port() = default;
  virtual bool Listening() const = 0;
  virtual void Accept(std::shared_ptr<Pipe> pipe) = 0;
};

// The agent's end. `dead`: of its process.
class SimLinkStream final : public link::LinkStream {
 public:
  SimLinkStream(RunContext& run, Line& line, Port& port, std::function<bool()> dead)
      : run_(run), line_(line), port_(port), dead_(std::move(dead)) {}
  ~SimLinkStream() override { Cancel(); }

  bool WaitForConnection(base::Clock& clock, absl::Duration timeout) override;
  void Open() override;
  bool Read(agent::v1::DaemonMessage* message) override;
  bool Write(const agent::v1::AgentMessage& message) override;
  void Cancel() override;
  absl::Status Finish() override;

 private:
  RunContext& run_;
  Line& line_;
  Port& port_;
  const std::function<bool()> dead_;
  std::optional<absl::Duration> connects_at_;  // while it is being connected
  std::shared_ptr<Pipe> pipe_;
};

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_NETWORK_H_
