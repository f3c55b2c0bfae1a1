// Calls of the daemon's own services, by name and with bytes, without a thread for each.
#ifndef UMBRA_SERVER_REST_CALLS_H_
#define UMBRA_SERVER_REST_CALLS_H_

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace grpc {
class Channel;
}

namespace umbra::rest {

struct CallRequest {
  std::string rpc;   // "/umbra.v1.JobService/GetJob"
  std::string body;  // the message, serialized
  // Lower-case names; values are printable ASCII (IsHeaderValue): anything else would end the process inside gRPC.
  std::vector<std::pair<std::string, std::string>> metadata;
  absl::Duration timeout = absl::InfiniteDuration();
};

// A call that can be ended from outside. Thread-safe.
class Cancellable {
 public:
  virtual ~Cancellable() = default;
  virtual void Cancel() = 0;
};

// A stream of answers. Thread-safe.
class Stream : public Cancellable {
 public:
  // Asks for the next message; once after each OnMessage. So a slow reader slows the service down.
  virtual void Next() = 0;
};

class StreamListener {
 public:
  virtual ~StreamListener() = default;
  // One at a time. On a thread of gRPC: must not block.
  virtual void OnMessage(std::string message) = 0;
  // The last call.
  virtual void OnEnd(absl::Status status) = 0;
};

// Thread-safe.
class Calls {
 public:
  explicit Calls(std::shared_ptr<grpc::Channel> channel);
  // After Stop.
  ~Calls();
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  // `done` is called once, on a thread of gRPC. Errors are those of the house: code, reason, message.
  using Done = std::function<void(absl::Status status, std::string answer)>;
  std::shared_ptr<Cancellable> StartUnary(CallRequest request, Done done);
  // The first message is asked for already. The call keeps its listener until OnEnd.
  std::shared_ptr<Stream> StartStream(CallRequest request, std::shared_ptr<StreamListener> listener);

  // None is started any more: it ends at once with UNAVAILABLE / SERVER_STOPPING. Those under way have `grace` to end,
  // then they are cancelled; returns when all have ended.
  void Stop(base::Clock& clock, absl::Duration grace);

 private:
  class Call;
  class UnaryCall;
  class StreamCall;
  bool Add(const std::shared_ptr<Call>& call);
  void Remove(const Call* call);
  bool NoneLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return calls_.empty() && leaving_ == 0; }

  struct Stub;
  const std::unique_ptr<Stub> stub_;
  absl::Mutex mu_;  // no call is added once it is stopped
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::unordered_map<const Call*, std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mu_);  // they own themselves so
  int leaving_ ABSL_GUARDED_BY(mu_) = 0;  // out of `calls_`, but not deleted yet
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_CALLS_H_
