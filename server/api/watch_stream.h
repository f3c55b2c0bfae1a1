// A stream that follows something: sends what is new, waits without a thread, sends again.
#ifndef UMBRA_SERVER_API_WATCH_STREAM_H_
#define UMBRA_SERVER_API_WATCH_STREAM_H_

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/api/agent/deadline.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/rpc_status.h"
#include "server/api/agent/stream_set.h"

namespace umbra::api {

struct NothingNew {};
struct End {
  absl::Status status;
};
// What a source answers: the next message, nothing for now (Wake comes later), or the end.
template <typename Message>
using NextStep = std::variant<Message, NothingNew, End>;

// Where a stream's messages come from. One call at a time, on the executor, so it may block for a short read.
template <typename Message>
class WatchSource {
 public:
  virtual ~WatchSource() = default;
  virtual NextStep<Message> Next() = 0;
  // True when the message that Next gave was the last one: the end then follows without the pause.
  virtual bool Ended() const { return false; }
  // `wake` may be called from any thread until the source is destroyed; it is cheap. Called once, before the first
  // Next.
  virtual void Subscribe(std::function<void()> wake) = 0;
};

// Owns itself: deleted when gRPC is done with it.
//
// At every moment at most one thing is under way for a stream: a step on the executor, a write, or the pause after one
// (`busy_`). Whoever finds it idle starts the next step; whoever finds it busy leaves a mark. So writes never overlap,
// Finish comes only after the last write has left, and nothing runs after Finish.
template <typename Message>
class WatchStream final : public grpc::ServerWriteReactor<Message>, public Stoppable {
 public:
  // `pause` is kept between two messages. `executor` and `streams` outlive the stream.
  static WatchStream* Start(std::unique_ptr<WatchSource<Message>> source, Executor& executor, StreamSet& streams,
                            absl::Duration pause) {
    auto* stream = new WatchStream(std::move(source), executor, streams, pause);
    stream->Begin();
    return stream;
  }

  void Stop(const absl::Status& status) override { EndWith(status); }
  void Wake() override {
    {
      absl::MutexLock lock(&mu_);
      woken_ = true;
      if (busy_) return;
      busy_ = true;
    }
    Submit();
  }
  void OnCancel() override { EndWith(absl::CancelledError("the caller has gone")); }

  void OnWriteDone(bool ok) override {
    if (!ok) EndWith(absl::CancelledError("the caller has gone"));
    if (!ok || pause_ == absl::ZeroDuration() || source_->Ended()) return Submit();
    alarm_.Set(DeadlineAfter(pause_), [this](bool) { Submit(); });
  }

  void OnDone() override {
    if (registered_) streams_.Remove(this);
    delete this;
  }

 private:
  WatchStream(std::unique_ptr<WatchSource<Message>> source, Executor& executor, StreamSet& streams,
              absl::Duration pause)
      : executor_(executor), streams_(streams), pause_(pause), source_(std::move(source)) {}

  void Begin() {
    const absl::Status added = streams_.Add(this);
    registered_ = added.ok();
    if (!added.ok()) return this->Finish(ToRpcStatus(added));
    source_->Subscribe([this] { Wake(); });
    Submit();
  }

  void EndWith(const absl::Status& status) {
    {
      absl::MutexLock lock(&mu_);
      if (end_.ok()) end_ = status;
    }
    Wake();
  }

  // Only by whoever holds `busy_`.
  void Submit() {
    executor_.Submit([this] { Step(); });
  }

  void Step() {
    absl::Status end;
    {
      absl::MutexLock lock(&mu_);
      woken_ = false;
      end = end_;
    }
    NextStep<Message> next = end.ok() ? source_->Next() : NextStep<Message>(End{end});
    // After Finish or StartWrite another thread may have deleted this.
    if (auto* last = std::get_if<End>(&next)) return this->Finish(ToRpcStatus(last->status));
    if (auto* message = std::get_if<Message>(&next)) {
      message_ = std::move(*message);
      return this->StartWrite(&message_);
    }
    {
      absl::MutexLock lock(&mu_);
      busy_ = woken_;
      if (!busy_) return;
    }
    Submit();
  }

  Executor& executor_;
  StreamSet& streams_;
  const absl::Duration pause_;
  bool registered_ = false;  // set before anybody else knows the stream
  Message message_;          // belongs to whoever holds busy_
  grpc::Alarm alarm_;

  absl::Mutex mu_;  // a wake-up is either seen by the step that runs or starts the next one
  // From the first with Begin: who finds the stream in the set must not ask a source that isn't subscribed.
  bool busy_ ABSL_GUARDED_BY(mu_) = true;
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);

  const std::unique_ptr<WatchSource<Message>> source_;  // last: its destructor ends the calls of Wake
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_WATCH_STREAM_H_
