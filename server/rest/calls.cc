#include "server/rest/calls.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <optional>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "storage/base/retry_after.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::string bytes;
  std::vector<grpc::Slice> slices;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

// The other way of api::ToRpcStatus.
absl::Status FromRpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  std::string reason;
  std::optional<absl::Duration> retry_after;
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& detail : details.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::RetryInfo retry;
      if (detail.UnpackTo(&info)) reason = info.reason();
      if (detail.UnpackTo(&retry)) retry_after = absl::Seconds(retry.retry_delay().seconds());
    }
  }
  absl::Status error =
      base::MakeError(static_cast<absl::StatusCode>(status.error_code()), reason, status.error_message());
  return retry_after ? base::WithRetryAfter(std::move(error), *retry_after) : error;
}

absl::Status Stopped() {
  return base::Error(absl::StatusCode::kUnavailable, "SERVER_STOPPING", "the daemon stops");
}

void Prepare(grpc::ClientContext& context, const CallRequest& request) {
  for (const auto& [name, value] : request.metadata) context.AddMetadata(name, value);
  if (request.timeout == absl::InfiniteDuration()) return;
  const auto now = gpr_now(GPR_CLOCK_MONOTONIC);
  context.set_deadline(
      gpr_time_add(now, gpr_time_from_micros(absl::ToInt64Microseconds(request.timeout), GPR_TIMESPAN)));
}

}  // namespace

struct Calls::Stub {
  grpc::GenericStub stub;
};

class Calls::Call {
 public:
  virtual ~Call() = default;
  virtual void End() = 0;
};

// ---- One answer ----

class Calls::UnaryCall final : public Call, public Cancellable {
 public:
  UnaryCall(Calls& calls, CallRequest request, Done done)
      : calls_(calls), rpc_(std::move(request.rpc)), in_(ToBuffer(request.body)), done_(std::move(done)) {
    Prepare(context_, request);
  }

  void Start() {
    calls_.stub_->stub.UnaryCall(&context_, rpc_, {}, &in_, &out_, [this](grpc::Status status) {
      // What it holds is let go of before anybody may think that there is no call any more.
      std::exchange(done_, nullptr)(FromRpcStatus(status), status.ok() ? ToString(out_) : std::string());
      calls_.Remove(this);  // may delete this
    });
  }
  void Refuse() { std::exchange(done_, nullptr)(Stopped(), {}); }
  void Cancel() override { context_.TryCancel(); }
  void End() override { Cancel(); }

 private:
  Calls& calls_;
  const std::string rpc_;
  grpc::ClientContext context_;
  const grpc::ByteBuffer in_;
  grpc::ByteBuffer out_;
  Done done_;
};

// ---- Many answers ----

// gRPC may be done with a call while nobody reads, and then a read would touch what isn't there any more: so the call
// is held (AddHold) until a read said that there is nothing more, or it is cancelled between two reads.
class Calls::StreamCall final : public Call,
                                public Stream,
                                public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  StreamCall(Calls& calls, CallRequest request, std::shared_ptr<StreamListener> listener)
      : calls_(calls), rpc_(std::move(request.rpc)), in_(ToBuffer(request.body)), listener_(std::move(listener)) {
    Prepare(context_, request);
  }

  void Start() {
    calls_.stub_->stub.PrepareBidiStreamingCall(&context_, rpc_, {}, this);
    AddHold();
    StartWriteLast(&in_, grpc::WriteOptions());
    StartRead(&out_);
    StartCall();
  }
  void Refuse() { std::exchange(listener_, nullptr)->OnEnd(Stopped()); }

  // gRPC may call back from within any of its functions, so none is called under the lock.
  void Next() override {
    {
      absl::MutexLock lock(&mu_);
      if (!held_ || reading_ || cancelled_) return;
      reading_ = true;
    }
    StartRead(&out_);
  }
  void Cancel() override {
    bool let_go = false;
    {
      absl::MutexLock lock(&mu_);
      cancelled_ = true;
      let_go = !reading_ && std::exchange(held_, false);
    }
    context_.TryCancel();
    if (let_go) RemoveHold();
  }
  void End() override { Cancel(); }

  void OnReadDone(bool ok) override {
    std::string message = ok ? ToString(out_) : std::string();
    out_.Clear();
    bool let_go = false;
    bool deliver = false;
    {
      absl::MutexLock lock(&mu_);
      reading_ = false;
      deliver = ok && !cancelled_;
      let_go = !deliver && std::exchange(held_, false);
    }
    if (deliver) listener_->OnMessage(std::move(message));
    if (let_go) RemoveHold();
  }
  void OnDone(const grpc::Status& status) override {
    std::exchange(listener_, nullptr)->OnEnd(FromRpcStatus(status));
    calls_.Remove(this);  // may delete this
  }

 private:
  Calls& calls_;
  const std::string rpc_;
  grpc::ClientContext context_;
  const grpc::ByteBuffer in_;
  grpc::ByteBuffer out_;
  std::shared_ptr<StreamListener> listener_;  // belongs to gRPC's thread

  absl::Mutex mu_;  // a read is under way, or the hold can be taken away
  bool reading_ ABSL_GUARDED_BY(mu_) = true;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool held_ ABSL_GUARDED_BY(mu_) = true;
};

// ---- All of them ----

Calls::Calls(std::shared_ptr<grpc::Channel> channel) : stub_(new Stub{grpc::GenericStub(std::move(channel))}) {}
Calls::~Calls() = default;

bool Calls::Add(const std::shared_ptr<Call>& call) {
  absl::MutexLock lock(&mu_);
  if (!stopped_) calls_.emplace(call.get(), call);
  return !stopped_;
}

void Calls::Remove(const Call* call) {
  std::shared_ptr<Call> last;
  {
    absl::MutexLock lock(&mu_);
    const auto found = calls_.find(call);
    last = std::move(found->second);
    calls_.erase(found);
    ++leaving_;
  }
  // A call holds the channel. Were that this thread's to delete, because Stop came first, gRPC 1.51 would have its own
  // thread wait for itself, and end the program with a failed assertion.
  last.reset();
  absl::MutexLock lock(&mu_);
  --leaving_;
}

std::shared_ptr<Cancellable> Calls::StartUnary(CallRequest request, Done done) {
  auto call = std::make_shared<UnaryCall>(*this, std::move(request), std::move(done));
  Add(call) ? call->Start() : call->Refuse();
  return call;
}

std::shared_ptr<Stream> Calls::StartStream(CallRequest request, std::shared_ptr<StreamListener> listener) {
  auto call = std::make_shared<StreamCall>(*this, std::move(request), std::move(listener));
  Add(call) ? call->Start() : call->Refuse();
  return call;
}

void Calls::Stop(base::Clock& clock, absl::Duration grace) {
  std::vector<std::shared_ptr<Call>> calls;
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    clock.AwaitFor(mu_, absl::Condition(this, &Calls::NoneLocked), grace);
    for (const auto& [address, call] : calls_) calls.push_back(call);
  }
  for (const auto& call : calls) call->End();
  calls.clear();
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &Calls::NoneLocked));
}

}  // namespace umbra::rest
