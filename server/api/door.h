// The door: every call of umbra.v1, by gRPC and by REST, comes through here. Who calls is found out, whether he may is
// decided by what the method's proto says (umbra/v1/options.proto), what others own is left out of lists and streams,
// and what was done or refused goes into the audit log.
//
// Two edges lead here. The unix socket: whoever may open it may do everything, unless he shows a token. REST, by calls
// within the process that carry a secret which only it knows, and what the caller brought along; without any of that he
// is nobody.
#ifndef UMBRA_SERVER_API_DOOR_H_
#define UMBRA_SERVER_API_DOOR_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/rpc_status.h"
#include "server/api/agent/stream_set.h"
#include "server/api/methods.h"
#include "server/api/objects.h"
#include "server/api/watch_stream.h"
#include "server/identity/audit_log.h"
#include "server/identity/identity.h"
#include "storage/base/clock.h"

namespace umbra::api {

// Metadata of calls within the process, set by the REST edge alone. What the network brings under these names is never
// handed on by it, and means nothing without the secret.
inline constexpr char kEdgeMetadata[] = "umbra-edge";
inline constexpr char kPeerMetadata[] = "umbra-peer";
inline constexpr char kSessionMetadata[] = "umbra-session";
inline constexpr char kClientMetadata[] = "umbra-client";
inline constexpr char kAuthorizationMetadata[] = "authorization";

// What a call brings along.
struct Caller {
  identity::Credentials credentials;
  std::string client;  // the program, as it calls itself
  bool local = false;  // by the unix socket, without a token
  bool forged = false;  // claims to come from the REST edge
};

// Thread-safe. What it is given outlives it.
class Door {
 public:
  // `edge_secret`: see above; empty: there is no REST edge.
  Door(Executor& executor, catalog::Catalog& catalog, base::Clock& clock, identity::Identity& identity,
       identity::AuditLog& audit, std::string edge_secret)
      : executor_(executor),
        clock_(clock),
        identity_(identity),
        audit_(audit),
        objects_(catalog),
        edge_secret_(std::move(edge_secret)) {}

  // Answers a unary call with what `work` says: an absl::Status, from nothing or from the caller (const
  // identity::Principal&, const Caller&). It runs on the executor, if the caller may. What the call lent (request,
  // response) stays valid until then, also when the caller has gone.
  template <typename Request, typename Response, typename Work>
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const Request* request, Response* response,
                                  Work work) {
    return UnaryOn(executor_, context, request, response, std::move(work));
  }

  // The same on other threads, for work that takes its time.
  template <typename Request, typename Response, typename Work>
  grpc::ServerUnaryReactor* UnaryOn(Executor& executor, grpc::CallbackServerContext* context, const Request* request,
                                    Response* response, Work work) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    executor.Submit([=, this, work = std::move(work)] {
      const auto answer = [&](const identity::Principal& principal, const Caller& caller) -> absl::Status {
        if constexpr (std::is_invocable_v<Work, const identity::Principal&, const Caller&>) {
          return work(principal, caller);
        } else {
          return work();
        }
      };
      reactor->Finish(ToRpcStatus(Answer(CallerOf(*context), *request, *response, answer)));
    });
    return reactor;
  }

  // Answers a call with a stream of what comes from `source`, as far as the caller may see it. A stream ends with
  // UNAUTHENTICATED when its caller's session or token does: StreamGuard sees to it.
  template <typename Request, typename Message>
  WatchStream<Message>* Watch(grpc::CallbackServerContext* context, const Request* request,
                              std::unique_ptr<WatchSource<Message>> source, StreamSet& streams, absl::Duration pause) {
    return WatchOn(executor_, context, request, std::move(source), streams, pause);
  }

  // The same on other threads, for steps that take their time.
  template <typename Request, typename Message>
  WatchStream<Message>* WatchOn(Executor& executor, grpc::CallbackServerContext* context, const Request* request,
                                std::unique_ptr<WatchSource<Message>> source, StreamSet& streams, absl::Duration pause);

  // ---- The steps ----

  Caller CallerOf(const grpc::CallbackServerContext& context) const;
  // As identity::Identity::Authenticate.
  absl::StatusOr<identity::Principal> WhoIs(const Caller& caller);
  // PERMISSION_DENIED / PERMISSION_DENIED, naming the permission: for what isn't there as for what is somebody else's.
  absl::Status Admit(const identity::Principal& principal, const MethodFacts& method,
                     const google::protobuf::Message& request);
  // Whether an item of a list or a stream is something that the caller may see.
  absl::StatusOr<bool> MaySee(const identity::Principal& principal, const std::string& permission,
                              const google::protobuf::Message& item);
  // All of the above, then `work`, then the audit log.
  absl::Status Answer(const Caller& caller, const google::protobuf::Message& request,
                      google::protobuf::Message& response,
                      absl::FunctionRef<absl::Status(const identity::Principal&, const Caller&)> work);
  void Record(const Caller& caller, const identity::Principal& principal, const MethodFacts& method,
              const google::protobuf::Message& request, const absl::Status& status);

  // For GuardedSource.
  int64_t generation() const { return identity_.generation(); }
  absl::Time now() const { return clock_.Now(); }
  // A stream goes on until then, unless it looks again.
  void NoteExpiry(absl::Time time);

  // For StreamGuard: whether one of the times that were noted has come. They are forgotten then.
  bool TakeExpired();

 private:
  absl::Status LeaveOut(const identity::Principal& principal, const std::string& permission,
                        google::protobuf::Message& page);

  Executor& executor_;
  base::Clock& clock_;
  identity::Identity& identity_;
  identity::AuditLog& audit_;
  Objects objects_;
  const std::string edge_secret_;
  std::atomic<int64_t> next_expiry_us_ = std::numeric_limits<int64_t>::max();  // unix time
};

// A stream's source behind the door.
template <typename Request, typename Message>
class GuardedSource final : public WatchSource<Message> {
 public:
  GuardedSource(Door& door, Caller caller, const Request& request, std::unique_ptr<WatchSource<Message>> source)
      : door_(door), caller_(std::move(caller)), request_(request), source_(std::move(source)) {}

  void Subscribe(std::function<void()> wake) override {
    wake_ = wake;
    source_->Subscribe(std::move(wake));
  }

  bool Ended() const override { return source_->Ended(); }

  NextStep<Message> Next() override {
    if (const absl::Status welcome = Check(); !welcome.ok()) return End{welcome};
    // In between others get their turn.
    for (int looked_at = 0; looked_at < kLookedAtMax; ++looked_at) {
      NextStep<Message> next = source_->Next();
      const auto* message = std::get_if<Message>(&next);
      if (message == nullptr) return next;
      if (!of_everything_) return next;
      const absl::StatusOr<bool> seen = door_.MaySee(principal_, permission_, *message);
      if (!seen.ok()) return End{seen.status()};
      if (*seen) return next;
    }
    wake_();
    return NothingNew{};
  }

 private:
  static constexpr int kLookedAtMax = 200;

  // Once, and again whenever somebody's permissions have changed.
  absl::Status Check() {
    if (generation_ == door_.generation() && door_.now() < principal_.expire_time) {
      door_.NoteExpiry(principal_.expire_time);
      return absl::OkStatus();
    }
    const int64_t generation = door_.generation();
    const MethodFacts& method = MethodOf(*Request::descriptor());
    permission_ = method.access.permission();
    absl::StatusOr<identity::Principal> principal = door_.WhoIs(caller_);
    const absl::Status admitted = principal.ok() ? door_.Admit(*principal, method, request_) : principal.status();
    if (!admitted.ok()) {
      door_.Record(caller_, principal.ok() ? *principal : identity::Principal(), method, request_, admitted);
      return admitted;
    }
    principal_ = *std::move(principal);
    door_.NoteExpiry(principal_.expire_time);
    of_everything_ = OwnedNamesIn(request_).empty();
    // What gives away more than how things are is written down.
    if (generation_ < 0 && !permission_.ends_with(".view")) door_.Record(caller_, principal_, method, request_, admitted);
    generation_ = generation;
    return absl::OkStatus();
  }

  Door& door_;
  const Caller caller_;
  const Request request_;
  const std::unique_ptr<WatchSource<Message>> source_;
  std::function<void()> wake_;
  identity::Principal principal_;
  std::string permission_;
  bool of_everything_ = true;  // the caller asked for nothing in particular, and sees what he may
  int64_t generation_ = -1;    // before the first check
};

template <typename Request, typename Message>
WatchStream<Message>* Door::WatchOn(Executor& executor, grpc::CallbackServerContext* context, const Request* request,
                                    std::unique_ptr<WatchSource<Message>> source, StreamSet& streams,
                                    absl::Duration pause) {
  return WatchStream<Message>::Start(std::make_unique<GuardedSource<Request, Message>>(*this, CallerOf(*context),
                                                                                       *request, std::move(source)),
                                     executor, streams, pause);
}

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_DOOR_H_
