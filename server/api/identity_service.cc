#include "server/api/identity_service.h"

#include "storage/base/retry_after.h"
#include "storage/base/status.h"

namespace umbra::api {

absl::Status SlowCalls::Busy() {
  return base::WithRetryAfter(base::MakeError(absl::StatusCode::kResourceExhausted, "SIGN_IN_THROTTLED",
                                              "too many sign in at this moment; try again in a second"),
                              absl::Seconds(1));
}

grpc::ServerUnaryReactor* UserService::CreateUser(Context* context, const v1::CreateUserRequest* request,
                                                  v1::User* response) {
  return slow_.Unary(door_, context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.CreateUser(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* UserService::GetUser(Context* context, const v1::GetUserRequest* request,
                                               v1::User* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.GetUser(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* UserService::ListUsers(Context* context, const v1::ListUsersRequest* request,
                                                 v1::ListUsersResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return calls_.ListUsers(*request, *response); });
}

grpc::ServerUnaryReactor* UserService::UpdateUser(Context* context, const v1::UpdateUserRequest* request,
                                                  v1::User* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.UpdateUser(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* UserService::DeleteUser(Context* context, const v1::DeleteUserRequest* request,
                                                  google::protobuf::Empty* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.DeleteUser(who, *request);
  });
}

grpc::ServerUnaryReactor* UserService::SetPassword(Context* context, const v1::SetPasswordRequest* request,
                                                   google::protobuf::Empty* response) {
  return slow_.Unary(door_, context, request, response,
                     [=, this](const identity::Principal& who, const Caller& caller) {
                       return calls_.SetPassword(who, caller.credentials.peer, *request);
                     });
}

grpc::ServerUnaryReactor* RoleService::CreateRole(Context* context, const v1::CreateRoleRequest* request,
                                                  v1::Role* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.CreateRole(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* RoleService::GetRole(Context* context, const v1::GetRoleRequest* request,
                                               v1::Role* response) {
  return door_.Unary(context, request, response, [=, this] { return calls_.GetRole(*request, *response); });
}

grpc::ServerUnaryReactor* RoleService::ListRoles(Context* context, const v1::ListRolesRequest* request,
                                                 v1::ListRolesResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return calls_.ListRoles(*request, *response); });
}

grpc::ServerUnaryReactor* RoleService::UpdateRole(Context* context, const v1::UpdateRoleRequest* request,
                                                  v1::Role* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.UpdateRole(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* RoleService::DeleteRole(Context* context, const v1::DeleteRoleRequest* request,
                                                  google::protobuf::Empty* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.DeleteRole(who, *request);
  });
}

grpc::ServerUnaryReactor* RoleService::ListPermissions(Context* context, const v1::ListPermissionsRequest* request,
                                                       v1::ListPermissionsResponse* response) {
  return door_.Unary(context, request, response, [=] { return IdentityCalls::ListPermissions(*response); });
}

grpc::ServerUnaryReactor* TokenService::CreateApiToken(Context* context, const v1::CreateApiTokenRequest* request,
                                                       v1::CreateApiTokenResponse* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.CreateApiToken(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* TokenService::ListApiTokens(Context* context, const v1::ListApiTokensRequest* request,
                                                      v1::ListApiTokensResponse* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.ListApiTokens(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* TokenService::DeleteApiToken(Context* context, const v1::DeleteApiTokenRequest* request,
                                                       google::protobuf::Empty* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.DeleteApiToken(who, *request);
  });
}

grpc::ServerUnaryReactor* SessionService::CreateSession(Context* context, const v1::CreateSessionRequest* request,
                                                        v1::CreateSessionResponse* response) {
  return slow_.Unary(door_, context, request, response, [=, this](const identity::Principal&, const Caller& caller) {
    return calls_.CreateSession(caller.credentials.peer, caller.client, *request, *response);
  });
}

grpc::ServerUnaryReactor* SessionService::ListSessions(Context* context, const v1::ListSessionsRequest* request,
                                                       v1::ListSessionsResponse* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.ListSessions(who, *request, *response);
  });
}

grpc::ServerUnaryReactor* SessionService::DeleteSession(Context* context, const v1::DeleteSessionRequest* request,
                                                        google::protobuf::Empty* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.DeleteSession(who, *request);
  });
}

grpc::ServerUnaryReactor* SessionService::GetIdentity(Context* context, const v1::GetIdentityRequest* request,
                                                      v1::Identity* response) {
  return door_.Unary(context, request, response, [=, this](const identity::Principal& who, const Caller&) {
    return calls_.GetIdentity(who, *response);
  });
}

grpc::ServerUnaryReactor* AuditService::ListAuditEntries(Context* context, const v1::ListAuditEntriesRequest* request,
                                                         v1::ListAuditEntriesResponse* response) {
  return door_.Unary(context, request, response,
                     [=, this] { return api::ListAuditEntries(log_, *request, *response); });
}

grpc::ServerUnaryReactor* AuditService::VerifyAuditLog(Context* context, const v1::VerifyAuditLogRequest* request,
                                                       v1::VerifyAuditLogResponse* response) {
  return slow_.Unary(door_, context, request, response, [=, this](const identity::Principal&, const Caller&) {
    return api::VerifyAuditLog(log_, *request, *response);
  });
}

}  // namespace umbra::api
