#include "server/api/agent/agent_link_service.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/api/agent/peer.h"
#include "server/api/agent/rpc_status.h"
#include "server/api/agent/wire.h"
#include "server/auth/host_authenticator.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::api {
namespace {

using agent::v1::AgentMessage;
using agent::v1::DaemonMessage;

// One stream. gRPC allows one read, one write and one Finish at a time; what was queued leaves before Finish (gRPC drops
// what is not yet written when a stream is finished).
//
// Owners: itself until OnDone, and the dispatcher as long as it may still talk to the agent.
class LinkStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                         public dispatch::AgentSession,
                         public Stoppable {
 public:
  LinkStream(dispatch::Dispatcher& dispatcher, StreamSet& streams, std::string address)
      : dispatcher_(dispatcher), streams_(streams), peer_{{}, std::move(address)} {}

  // `certificate_pem` is looked up on `executor`; only then the dispatcher hears of the stream.
  static LinkStream* Start(catalog::Catalog& catalog, dispatch::Dispatcher& dispatcher, StreamSet& streams,
                           Executor& executor, std::string certificate_pem, std::string address) {
    auto stream = std::make_shared<LinkStream>(dispatcher, streams, std::move(address));
    stream->self_ = stream;
    if (absl::Status s = streams.Add(stream.get()); !s.ok()) {
      stream->Close(std::move(s));
      return stream.get();
    }
    executor.Submit([stream, &catalog, pem = std::move(certificate_pem)] {
      const auto host = auth::AuthenticateHost(catalog, pem);
      if (host.ok()) return stream->Open(*host, tls::Fingerprint(pem).value_or(""), stream);
      base::Log("api")->warn("agent refused address={} error={}", stream->peer_.address, base::Describe(host.status()));
      stream->Close(host.status());
    });
    return stream.get();
  }

  const dispatch::Peer& peer() const override { return peer_; }

  void Send(DaemonMessage message) override {
    absl::MutexLock lock(&mu_);
    if (closing_) return;
    if (queue_.size() >= dispatch::kSendQueueMax) {
      queue_.clear();
      CloseLocked(base::Error(absl::StatusCode::kResourceExhausted, "LINK_CLOSED",
                              "the agent doesn't read its messages"));
      return;
    }
    queue_.push_back(std::move(message));
    PumpLocked();
  }

  void ReadNext() override {
    absl::MutexLock lock(&mu_);
    if (!closing_) StartRead(&incoming_);
  }

  void Close(absl::Status status) override {
    absl::MutexLock lock(&mu_);
    CloseLocked(std::move(status));
  }

  void Stop(const absl::Status& status) override { Close(status); }

 private:
  void Open(const catalog::HostId& host, std::string fingerprint, const std::shared_ptr<LinkStream>& self) {
    absl::MutexLock lock(&mu_);
    if (closing_) return;  // cut meanwhile
    peer_.host = host;
    peer_.certificate_fingerprint = std::move(fingerprint);
    opened_ = true;
    dispatcher_.Opened(self);  // only queues; under the lock, so that OnDone's Closed can't come first
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Close(absl::OkStatus());  // the agent said its last word, or the link is down
    AgentMessage message;
    if (absl::Status s = Parse(incoming_, message); !s.ok()) return Close(s);
    dispatcher_.Received(self_, std::move(message));
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    if (!ok) {
      queue_.clear();
      CloseLocked(absl::OkStatus());  // nobody is there to read the status
    }
    PumpLocked();
  }

  void OnCancel() override {
    absl::MutexLock lock(&mu_);
    queue_.clear();
    CloseLocked(absl::CancelledError("the link was cut"));
  }

  void OnDone() override {
    if (IsOpened()) dispatcher_.Closed(self_);
    streams_.Remove(this);
    self_.reset();  // may delete this
  }

  bool IsOpened() {
    absl::MutexLock lock(&mu_);
    return opened_;
  }

  void CloseLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (closing_) return;
    closing_ = true;
    close_status_ = std::move(status);
    PumpLocked();
  }

  // gRPC runs no reaction inside StartWrite or Finish, so they may be called with the lock held.
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      writing_ = true;
      Print(queue_.front(), outgoing_);
      queue_.pop_front();
      StartWrite(&outgoing_);
    } else if (closing_) {
      finished_ = true;
      Finish(ToRpcStatus(close_status_));
    }
  }

  dispatch::Dispatcher& dispatcher_;
  StreamSet& streams_;
  dispatch::Peer peer_;  // constant once opened_
  std::shared_ptr<LinkStream> self_;  // set by Start, reset by OnDone
  grpc::ByteBuffer incoming_;         // of the one read that is under way

  absl::Mutex mu_;  // one write at a time, and none after Finish
  std::deque<DaemonMessage> queue_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);
  bool opened_ ABSL_GUARDED_BY(mu_) = false;  // the dispatcher knows of it
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AgentLinkService::Connect(
    grpc::CallbackServerContext* context) {
  return LinkStream::Start(catalog_, dispatcher_, streams_, executor_, CertificateOf(*context), context->peer());
}

void AgentLinkService::Stop() { streams_.StopAll(); }

}  // namespace umbra::api
