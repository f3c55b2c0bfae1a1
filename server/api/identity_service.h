// umbra.v1's services about people and programs: users, roles, tokens, sessions, the audit log.
//
// The door has let the caller in and knows who he is. What depends on whose resource it is (everybody his own, others'
// with users.view or users.manage) is decided here, what nobody may whatever he has in server/identity.
#ifndef UMBRA_SERVER_API_IDENTITY_SERVICE_H_
#define UMBRA_SERVER_API_IDENTITY_SERVICE_H_

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/api/agent/executor.h"
#include "server/api/door.h"
#include "server/api/identity_calls.h"
#include "server/identity/audit_log.h"
#include "server/identity/identity.h"
#include "umbra/v1/identity.grpc.pb.h"

namespace umbra::api {

// Threads for calls that take their time: those that compute with passwords, which anybody may make, and the check of
// the whole audit log. So many may wait for them; a further one is turned away at once, and holds up nobody.
// Thread-safe.
class SlowCalls {
 public:
  // As Door::UnaryOn. RESOURCE_EXHAUSTED / SIGN_IN_THROTTLED when too many wait.
  template <typename Request, typename Response, typename Work>
  grpc::ServerUnaryReactor* Unary(Door& door, grpc::CallbackServerContext* context, const Request* request,
                                  Response* response, Work work) {
    if (pending_.fetch_add(1) >= kPendingMax) {
      --pending_;
      return door.Unary(context, request, response, [] { return Busy(); });
    }
    // Given back with the work, also when the door doesn't let it be done.
    std::shared_ptr<void> place(nullptr, [this](void*) { --pending_; });
    return door.UnaryOn(executor_, context, request, response,
                        [place, work = std::move(work)](const identity::Principal& who, const Caller& caller) {
                          return work(who, caller);
                        });
  }

 private:
  static constexpr int kThreads = 3;  // two passwords are computed at a time
  static constexpr int kPendingMax = 32;
  static absl::Status Busy();

  std::atomic<int> pending_{0};
  Executor executor_{kThreads};  // last: runs what was submitted while it is destroyed
};

// People. Thread-safe. What it is given outlives it.
class UserService final : public v1::UserService::CallbackService {
 public:
  UserService(Door& door, SlowCalls& slow, identity::Identity& identity) : door_(door), slow_(slow), calls_(identity) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateUser(Context* context, const v1::CreateUserRequest* request,
                                       v1::User* response) override;
  grpc::ServerUnaryReactor* GetUser(Context* context, const v1::GetUserRequest* request, v1::User* response) override;
  grpc::ServerUnaryReactor* ListUsers(Context* context, const v1::ListUsersRequest* request,
                                      v1::ListUsersResponse* response) override;
  grpc::ServerUnaryReactor* UpdateUser(Context* context, const v1::UpdateUserRequest* request,
                                       v1::User* response) override;
  grpc::ServerUnaryReactor* DeleteUser(Context* context, const v1::DeleteUserRequest* request,
                                       google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* SetPassword(Context* context, const v1::SetPasswordRequest* request,
                                        google::protobuf::Empty* response) override;

  Door& door_;
  SlowCalls& slow_;
  IdentityCalls calls_;
};

// Sets of permissions. Thread-safe. What it is given outlives it.
class RoleService final : public v1::RoleService::CallbackService {
 public:
  RoleService(Door& door, identity::Identity& identity) : door_(door), calls_(identity) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateRole(Context* context, const v1::CreateRoleRequest* request,
                                       v1::Role* response) override;
  grpc::ServerUnaryReactor* GetRole(Context* context, const v1::GetRoleRequest* request, v1::Role* response) override;
  grpc::ServerUnaryReactor* ListRoles(Context* context, const v1::ListRolesRequest* request,
                                      v1::ListRolesResponse* response) override;
  grpc::ServerUnaryReactor* UpdateRole(Context* context, const v1::UpdateRoleRequest* request,
                                       v1::Role* response) override;
  grpc::ServerUnaryReactor* DeleteRole(Context* context, const v1::DeleteRoleRequest* request,
                                       google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ListPermissions(Context* context, const v1::ListPermissionsRequest* request,
                                            v1::ListPermissionsResponse* response) override;

  Door& door_;
  IdentityCalls calls_;
};

// Credentials of programs. Thread-safe. What it is given outlives it.
class TokenService final : public v1::TokenService::CallbackService {
 public:
  TokenService(Door& door, identity::Identity& identity) : door_(door), calls_(identity) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateApiToken(Context* context, const v1::CreateApiTokenRequest* request,
                                           v1::CreateApiTokenResponse* response) override;
  grpc::ServerUnaryReactor* ListApiTokens(Context* context, const v1::ListApiTokensRequest* request,
                                          v1::ListApiTokensResponse* response) override;
  grpc::ServerUnaryReactor* DeleteApiToken(Context* context, const v1::DeleteApiTokenRequest* request,
                                           google::protobuf::Empty* response) override;

  Door& door_;
  IdentityCalls calls_;
};

// Sessions of browsers, and who one is. Thread-safe. What it is given outlives it.
class SessionService final : public v1::SessionService::CallbackService {
 public:
  SessionService(Door& door, SlowCalls& slow, identity::Identity& identity)
      : door_(door), slow_(slow), calls_(identity) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateSession(Context* context, const v1::CreateSessionRequest* request,
                                          v1::CreateSessionResponse* response) override;
  grpc::ServerUnaryReactor* ListSessions(Context* context, const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteSession(Context* context, const v1::DeleteSessionRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* GetIdentity(Context* context, const v1::GetIdentityRequest* request,
                                        v1::Identity* response) override;

  Door& door_;
  SlowCalls& slow_;
  IdentityCalls calls_;
};

// The audit log. Thread-safe. What it is given outlives it.
class AuditService final : public v1::AuditService::CallbackService {
 public:
  AuditService(Door& door, SlowCalls& slow, identity::AuditLog& log) : door_(door), slow_(slow), log_(log) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* ListAuditEntries(Context* context, const v1::ListAuditEntriesRequest* request,
                                             v1::ListAuditEntriesResponse* response) override;
  grpc::ServerUnaryReactor* VerifyAuditLog(Context* context, const v1::VerifyAuditLogRequest* request,
                                           v1::VerifyAuditLogResponse* response) override;

  Door& door_;
  SlowCalls& slow_;
  identity::AuditLog& log_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_IDENTITY_SERVICE_H_
