// A client stream: messages come in, one answer goes out. The work is done on an executor, one message at a time, while
// the next one is being received; nothing further is read before there is room, so a slow disk, or a sink that wants a
// pause, slows the sender down.
#ifndef UMBRA_SERVER_API_AGENT_INBOUND_STREAM_H_
#define UMBRA_SERVER_API_AGENT_INBOUND_STREAM_H_

#include <grpcpp/alarm.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/stream_set.h"

namespace umbra::api {

// What a stream feeds. One call at a time, on an executor's thread; destroyed when the stream is done.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  // Takes a message; an error ends the stream with it. Empties `message` as soon as it can.
  virtual absl::Status Take(grpc::ByteBuffer& message) = 0;
  // After a message was taken: how long the stream rests before anything else is done for it, without a thread.
  virtual absl::Duration Pause() { return absl::ZeroDuration(); }
  // The sender has said everything; fills in the answer.
  virtual absl::Status Finish(grpc::ByteBuffer& response) = 0;
};

// Owners: itself until OnDone, and the task that is under way.
class InboundStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                            public Stoppable,
                            public std::enable_shared_from_this<InboundStream> {
 public:
  // Returns what the service hands to gRPC. `executor` and `streams` outlive the server. While the stream waits for its
  // turn among `streams` nothing of it is received, so that it holds no memory but the transport's window.
  static InboundStream* Start(Executor& executor, StreamSet& streams, std::unique_ptr<StreamSink> sink,
                              grpc::ByteBuffer* response);

  InboundStream(Executor& executor, StreamSet& streams, std::unique_ptr<StreamSink> sink, grpc::ByteBuffer* response)
      : executor_(executor), streams_(streams), sink_(std::move(sink)), response_(response) {}

  void Stop(const absl::Status& status) override;
  void TurnCame() override;

 private:
  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Work(grpc::ByteBuffer message);
  void WorkLast();
  void RestLocked(absl::Duration pause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Executor& executor_;
  StreamSet& streams_;
  const std::unique_ptr<StreamSink> sink_;  // used by the one task that is under way
  grpc::ByteBuffer* const response_;        // gRPC's, until Finish
  std::shared_ptr<InboundStream> self_;
  grpc::ByteBuffer incoming_;  // of the one read that is under way
  grpc::Alarm alarm_;          // set while resting_

  absl::Mutex mu_;  // one read, one task; Finish once, and only without a task
  std::optional<grpc::ByteBuffer> ready_ ABSL_GUARDED_BY(mu_);
  bool begun_ ABSL_GUARDED_BY(mu_) = false;  // nothing is received before
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool working_ ABSL_GUARDED_BY(mu_) = false;
  bool resting_ ABSL_GUARDED_BY(mu_) = false;  // no task begins before the alarm
  bool ended_ ABSL_GUARDED_BY(mu_) = false;    // nothing more will be received
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status failed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_INBOUND_STREAM_H_
