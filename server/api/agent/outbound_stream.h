// A server stream: one message is on its way while an executor prepares the next. A slow reader slows the disk down.
#ifndef UMBRA_SERVER_API_AGENT_OUTBOUND_STREAM_H_
#define UMBRA_SERVER_API_AGENT_OUTBOUND_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/stream_set.h"

namespace umbra::api {

// Where a stream's messages come from. One call at a time, on an executor's thread; destroyed when the stream is done.
class StreamSource {
 public:
  virtual ~StreamSource() = default;
  // Fills in the next message; false at the end (then `message` is not sent). An error ends the stream with it, after the
  // messages before have left.
  virtual absl::StatusOr<bool> Next(grpc::ByteBuffer& message) = 0;
};

// Owners: itself until OnDone, and the task that is under way.
class OutboundStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public Stoppable {
 public:
  // Returns what the service hands to gRPC. `executor` and `streams` outlive the server.
  static OutboundStream* Start(Executor& executor, StreamSet& streams, std::unique_ptr<StreamSource> source);

  OutboundStream(Executor& executor, StreamSet& streams, std::unique_ptr<StreamSource> source)
      : executor_(executor), streams_(streams), source_(std::move(source)) {}

  void Stop(const absl::Status& status) override;

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Prepare();

  Executor& executor_;
  StreamSet& streams_;
  const std::unique_ptr<StreamSource> source_;  // used by the one task that is under way
  std::shared_ptr<OutboundStream> self_;

  absl::Mutex mu_;  // one write, one task; Finish once, without either
  std::optional<grpc::ByteBuffer> ready_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);
  bool preparing_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // nothing more will be prepared
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status result_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_OUTBOUND_STREAM_H_
