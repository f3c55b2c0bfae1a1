#include "server/api/agent/inbound_stream.h"

#include <utility>

#include "server/api/agent/deadline.h"
#include "server/api/agent/rpc_status.h"

namespace umbra::api {

InboundStream* InboundStream::Start(Executor& executor, StreamSet& streams, std::unique_ptr<StreamSink> sink,
                                    grpc::ByteBuffer* response) {
  auto stream = std::make_shared<InboundStream>(executor, streams, std::move(sink), response);
  stream->self_ = stream;
  const absl::Status admitted = streams.Add(stream.get());
  if (!admitted.ok()) stream->Stop(admitted);
  return stream.get();
}

void InboundStream::TurnCame() {
  absl::MutexLock lock(&mu_);
  begun_ = true;
  PumpLocked();
}

void InboundStream::Stop(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (failed_.ok()) failed_ = status;
  PumpLocked();
}

void InboundStream::OnReadDone(bool ok) {
  absl::MutexLock lock(&mu_);
  reading_ = false;
  if (ok) {
    ready_ = std::exchange(incoming_, grpc::ByteBuffer());
  } else {
    ended_ = true;
  }
  PumpLocked();
}

void InboundStream::OnCancel() { Stop(absl::CancelledError("the sender went away")); }

void InboundStream::OnDone() {
  streams_.Remove(this);
  self_.reset();  // may delete this
}

// gRPC runs no reaction inside StartRead or Finish, so they may be called with the lock held.
void InboundStream::PumpLocked() {
  if (finished_) return;
  if (!failed_.ok()) {
    ready_.reset();
    if (!working_) FinishLocked(failed_);
    return;
  }
  if (!working_ && !resting_ && ready_) {
    working_ = true;
    executor_.Submit([self = self_, message = *std::exchange(ready_, std::nullopt)]() mutable {
      self->Work(std::move(message));
    });
  }
  if (begun_ && !reading_ && !ended_ && !ready_) {
    reading_ = true;
    StartRead(&incoming_);
  }
  if (ended_ && !working_ && !resting_ && !ready_) {
    working_ = true;
    executor_.Submit([self = self_] { self->WorkLast(); });
  }
}

void InboundStream::Work(grpc::ByteBuffer message) {
  const absl::Status s = sink_->Take(message);
  const absl::Duration pause = s.ok() ? sink_->Pause() : absl::ZeroDuration();
  absl::MutexLock lock(&mu_);
  working_ = false;
  if (failed_.ok()) failed_ = s;
  if (failed_.ok() && pause > absl::ZeroDuration()) RestLocked(pause);
  PumpLocked();
}

// The alarm that was set before has gone off: no task began meanwhile. It doesn't keep the stream, which ends at once
// when its sender goes.
void InboundStream::RestLocked(absl::Duration pause) {
  resting_ = true;
  alarm_.Set(DeadlineAfter(pause), [weak = weak_from_this()](bool) {
    const std::shared_ptr<InboundStream> self = weak.lock();
    if (self == nullptr) return;
    absl::MutexLock lock(&self->mu_);
    self->resting_ = false;
    self->PumpLocked();
  });
}

void InboundStream::WorkLast() {
  const absl::Status s = sink_->Finish(*response_);
  absl::MutexLock lock(&mu_);
  working_ = false;
  if (!finished_) FinishLocked(failed_.ok() ? s : failed_);
}

void InboundStream::FinishLocked(const absl::Status& status) {
  finished_ = true;
  grpc::ServerReadReactor<grpc::ByteBuffer>::Finish(ToRpcStatus(status));
}

}  // namespace umbra::api
