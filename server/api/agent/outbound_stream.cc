#include "server/api/agent/outbound_stream.h"

#include <utility>

#include "server/api/agent/rpc_status.h"

namespace umbra::api {

OutboundStream* OutboundStream::Start(Executor& executor, StreamSet& streams, std::unique_ptr<StreamSource> source) {
  auto stream = std::make_shared<OutboundStream>(executor, streams, std::move(source));
  stream->self_ = stream;
  const absl::Status admitted = streams.Add(stream.get());
  absl::MutexLock lock(&stream->mu_);
  stream->ended_ = !admitted.ok();
  stream->result_ = admitted;
  stream->PumpLocked();
  return stream.get();
}

void OutboundStream::Stop(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  ready_.reset();
  ended_ = true;
  if (result_.ok()) result_ = status;
  PumpLocked();
}

void OutboundStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mu_);
  writing_ = false;
  outgoing_.Clear();
  if (!ok) {
    ready_.reset();
    ended_ = true;
  }
  PumpLocked();
}

void OutboundStream::OnCancel() { Stop(absl::CancelledError("the reader went away")); }

void OutboundStream::OnDone() {
  streams_.Remove(this);
  self_.reset();  // may delete this
}

// gRPC runs no reaction inside StartWrite or Finish, so they may be called with the lock held.
void OutboundStream::PumpLocked() {
  if (finished_) return;
  if (ready_ && !writing_) {
    outgoing_ = *std::exchange(ready_, std::nullopt);
    writing_ = true;
    StartWrite(&outgoing_);
  }
  if (!ended_ && !preparing_ && !ready_) {
    preparing_ = true;
    executor_.Submit([self = self_] { self->Prepare(); });
  }
  if (ended_ && !preparing_ && !ready_ && !writing_) {
    finished_ = true;
    Finish(ToRpcStatus(result_));
  }
}

void OutboundStream::Prepare() {
  grpc::ByteBuffer message;
  const absl::StatusOr<bool> more = source_->Next(message);
  absl::MutexLock lock(&mu_);
  preparing_ = false;
  if (more.ok() && *more && !ended_) {
    ready_ = std::move(message);
  } else {
    ended_ = true;
    if (result_.ok()) result_ = more.status();
  }
  PumpLocked();
}

}  // namespace umbra::api
