// The control stream of a simulated agent, without a thread.
#ifndef UMBRA_TESTS_FLEET_LINK_STREAM_H_
#define UMBRA_TESTS_FLEET_LINK_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/fleet/agent.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"

namespace umbra::fleet {

// Owners: itself until gRPC is done with it, and its agent. Thread-safe.
class LinkStream final : public grpc::ClientBidiReactor<agent::v1::AgentMessage, agent::v1::DaemonMessage> {
 public:
  // Connects and says `hello`. The agent hears of every message and, last, of the end.
  static std::shared_ptr<LinkStream> Open(Agent& agent, std::shared_ptr<grpc::Channel> channel,
                                          agent::v1::AgentMessage hello);

  LinkStream(Agent& agent, std::shared_ptr<grpc::Channel> channel);

  // In order. After the end: nothing.
  void Send(agent::v1::AgentMessage message);
  void Cancel() { context_.TryCancel(); }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Agent& agent_;
  const std::shared_ptr<grpc::Channel> channel_;  // the agent's backups may use it
  const std::unique_ptr<agent::v1::AgentLinkService::Stub> stub_;
  grpc::ClientContext context_;
  std::shared_ptr<LinkStream> self_;
  agent::v1::DaemonMessage incoming_;  // of the one read that is under way

  absl::Mutex mu_;  // one write at a time, and none after the last read
  std::deque<agent::v1::AgentMessage> queue_ ABSL_GUARDED_BY(mu_);
  agent::v1::AgentMessage outgoing_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_LINK_STREAM_H_
