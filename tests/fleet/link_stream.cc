#include "tests/fleet/link_stream.h"

#include <utility>

#include "agent/link/rpc.h"
#include "storage/base/status.h"

namespace umbra::fleet {

LinkStream::LinkStream(Agent& agent, std::shared_ptr<grpc::Channel> channel)
    : agent_(agent), channel_(std::move(channel)), stub_(agent::v1::AgentLinkService::NewStub(channel_)) {
  context_.set_wait_for_ready(true);
}

std::shared_ptr<LinkStream> LinkStream::Open(Agent& agent, std::shared_ptr<grpc::Channel> channel,
                                             agent::v1::AgentMessage hello) {
  auto stream = std::make_shared<LinkStream>(agent, std::move(channel));
  stream->self_ = stream;
  stream->stub_->async()->Connect(&stream->context_, stream.get());
  stream->AddHold();  // until the last read: others write meanwhile
  stream->StartRead(&stream->incoming_);
  stream->Send(std::move(hello));
  stream->StartCall();
  return stream;
}

void LinkStream::Send(agent::v1::AgentMessage message) {
  absl::MutexLock lock(&mu_);
  if (over_) return;
  queue_.push_back(std::move(message));
  PumpLocked();
}

void LinkStream::PumpLocked() {
  if (writing_ || over_ || queue_.empty()) return;
  writing_ = true;
  outgoing_ = std::move(queue_.front());
  queue_.pop_front();
  StartWrite(&outgoing_);
}

void LinkStream::OnReadDone(bool ok) {
  if (ok) {
    agent_.OnMessage(this, incoming_);
    StartRead(&incoming_);
    return;
  }
  {
    absl::MutexLock lock(&mu_);
    over_ = true;
  }
  RemoveHold();
}

void LinkStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mu_);
  writing_ = false;
  if (!ok) over_ = true;
  PumpLocked();
}

void LinkStream::OnDone(const grpc::Status& status) {
  const absl::Status why = link::FromRpcStatus(status);
  agent_.OnStreamEnded(this, std::string(base::ReasonOf(why).empty() ? base::MessageOf(why) : base::ReasonOf(why)));
  self_.reset();  // may delete this
}

}  // namespace umbra::fleet
