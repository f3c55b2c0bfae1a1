#include "tests/sim/fleet/network.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::sim::fleet {
namespace {

// A connection that is dead without a word is noticed by keepalives.
constexpr absl::Duration kAgentNotices = absl::Seconds(20);
constexpr absl::Duration kDaemonNotices = absl::Seconds(50);

}  // namespace

absl::Duration Line::Latency() {
  const bool slow = run_.scheduler.Monotonic() < slow_until_;
  return dice_.Between(absl::Microseconds(50), slow ? slowest_ : absl::Milliseconds(5));
}

// ---- What goes wrong ----

void Line::Cut(bool silent, absl::Duration length) {
  const absl::Duration now = run_.scheduler.Monotonic();
  down_until_ = std::max(down_until_, now + length);
  ++cuts_;
  for (const auto& pipe : pipes_) {
    std::erase_if(pipe->down.queue, [&](const auto& m) { return m.first > now; });
    std::erase_if(pipe->up.queue, [&](const auto& m) { return m.first > now; });
    pipe->lost = true;
    Hear(*pipe, silent ? now + kAgentNotices : now + Latency(), silent ? now + kDaemonNotices : now + Latency());
  }
}

void Line::MakeSlow(absl::Duration slowest, absl::Duration length) {
  slow_until_ = run_.scheduler.Monotonic() + length;
  slowest_ = slowest;
}

void Line::Mend() {
  const absl::Duration now = run_.scheduler.Monotonic();
  down_until_ = std::min(down_until_, now);
  slow_until_ = lossy_until_ = now;
}

// ---- Streams ----

void Line::Hear(Pipe& pipe, absl::Duration agent_at, absl::Duration daemon_at) {
  pipe.down.over_at = std::min(pipe.down.over_at, agent_at);
  pipe.up.over_at = std::min(pipe.up.over_at, daemon_at);
  ++pipe.changes;
}

std::shared_ptr<Pipe> Line::Open() {
  std::erase_if(pipes_, [](const auto& pipe) { return pipe->agent_left && pipe->daemon_left; });
  auto pipe = std::make_shared<Pipe>();
  pipe->host = host_;
  pipes_.push_back(pipe);
  return pipe;
}

void Line::SendUp(Pipe& pipe, const agent::v1::AgentMessage& message) {
  ++pipe.changes;
  if (pipe.lost || pipe.agent_left) return;
  pipe.up.last_arrival = std::max(pipe.up.last_arrival, run_.scheduler.Monotonic() + Latency());
  pipe.up.queue.emplace_back(pipe.up.last_arrival, message);
}

void Line::SendDown(Pipe& pipe, agent::v1::DaemonMessage message) {
  ++pipe.changes;
  if (pipe.lost || pipe.daemon_left) return;
  pipe.down.last_arrival = std::max(pipe.down.last_arrival, run_.scheduler.Monotonic() + Latency());
  pipe.down.queue.emplace_back(pipe.down.last_arrival, std::move(message));
}

void Line::AgentLeaves(Pipe& pipe) {
  if (pipe.agent_left) return;
  pipe.agent_left = true;
  const absl::Duration now = run_.scheduler.Monotonic();
  Hear(pipe, now, pipe.lost ? absl::InfiniteDuration() : std::max(pipe.up.last_arrival, now + Latency()));
}

void Line::DaemonLeaves(Pipe& pipe, const absl::Status& why) {
  if (pipe.daemon_left) return;
  pipe.daemon_left = true;
  if (!pipe.lost) pipe.why = why;
  const absl::Duration now = run_.scheduler.Monotonic();
  Hear(pipe, pipe.lost ? absl::InfiniteDuration() : std::max(pipe.down.last_arrival, now + Latency()), now);
}

void Line::AgentDied() {
  for (const auto& pipe : pipes_) AgentLeaves(*pipe);
}

void Line::DaemonDied() {
  for (const auto& pipe : pipes_) DaemonLeaves(*pipe, absl::UnavailableError("reset"));
}

// ---- The agent's end ----

bool SimLinkStream::WaitForConnection(base::Clock& clock, absl::Duration timeout) {
  const absl::Duration now = run_.scheduler.Monotonic();
  if (dead_() || !line_.up() || !port_.Listening()) {
    connects_at_.reset();
    clock.Sleep(timeout);
    return false;
  }
  if (!connects_at_.has_value()) connects_at_ = now + line_.Latency();
  clock.Sleep(std::min(timeout, *connects_at_ - now));
  return !dead_() && line_.up() && port_.Listening() && run_.scheduler.Monotonic() >= *connects_at_;
}

void SimLinkStream::Open() {
  pipe_ = line_.Open();
  port_.Accept(pipe_);
}

bool SimLinkStream::Read(agent::v1::DaemonMessage* message) {
  auto& way = pipe_->down;
  while (true) {
    const absl::Duration now = run_.scheduler.Monotonic();
    if (dead_() || pipe_->agent_left || way.Over(now)) return false;
    if (way.Arrived(now)) {
      *message = std::move(way.queue.front().second);
      way.queue.pop_front();
      return true;
    }
    const int64_t seen = pipe_->changes;
    run_.scheduler.Wait([&] { return dead_() || pipe_->changes != seen; }, way.NextTime());
  }
}

bool SimLinkStream::Write(const agent::v1::AgentMessage& message) {
  if (dead_() || pipe_->agent_left || pipe_->down.Over(run_.scheduler.Monotonic())) return false;
  line_.SendUp(*pipe_, message);
  return true;
}

void SimLinkStream::Cancel() {
  if (pipe_ != nullptr) line_.AgentLeaves(*pipe_);
}

absl::Status SimLinkStream::Finish() {
  line_.AgentLeaves(*pipe_);
  if (!pipe_->why.ok()) return pipe_->why;
  return base::MakeError(absl::StatusCode::kUnavailable, "PEER_UNREACHABLE", "the line is cut");
}

}  // namespace umbra::sim::fleet
