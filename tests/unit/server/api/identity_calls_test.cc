// Proves what the calls about people and programs decide themselves: whose resources one may see and change, what
// "me" and "current" are, etags, masks and pages, that secrets are in the one answer that makes them, and what a check
// of the audit log says. The rules behind them are proven in tests/unit/server/identity.
#include "server/api/identity_calls.h"

#include "tests/unit/server/identity/fixture.h"

namespace umbra::api {
namespace {

using identity::Identity;
using identity::kPassword;
using identity::Principal;
using identity::ReasonOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class IdentityCallsTest : public identity::IdentityTest {
 protected:
  IdentityCallsTest() {
    AddUser("root", {{.role = "admin"}});
    AddUser("alice", {{.role = "viewer"}});
    AddUser("bob", {{.role = "viewer"}});
    alice_ = PrincipalOf("alice");
    root_ = PrincipalOf("root");
  }

  template <typename Request>
  static Request Named(const std::string& name) {
    Request request;
    request.set_name(name);
    return request;
  }
  template <typename Request>
  static Request Below(const std::string& parent) {
    Request request;
    request.set_parent(parent);
    return request;
  }
  v1::CreateApiTokenResponse NewToken(const Principal& caller, const std::string& parent) {
    v1::CreateApiTokenResponse made;
    EXPECT_TRUE(calls_.CreateApiToken(caller, Below<v1::CreateApiTokenRequest>(parent), made).ok());
    return made;
  }

  IdentityCalls calls_{*identity_};
  const Principal local_ = Identity::Local();
  Principal alice_;
  Principal root_;
};

TEST_F(IdentityCallsTest, EverybodySeesHimselfAndWhoMaySeesOthers) {
  v1::User user;
  ASSERT_TRUE(calls_.GetUser(alice_, Named<v1::GetUserRequest>("users/me"), user).ok());
  EXPECT_EQ(user.name(), "users/alice");
  EXPECT_TRUE(user.has_last_sign_in_time());
  ASSERT_THAT(user.grants(), SizeIs(1));
  EXPECT_EQ(user.grants(0).role(), "roles/viewer");
  EXPECT_FALSE(user.grants(0).has_scope());
  EXPECT_TRUE(calls_.GetUser(alice_, Named<v1::GetUserRequest>("users/alice"), user).ok());
  for (const char* name : {"users/bob", "users/nobody"}) {
    EXPECT_EQ(ReasonOf(calls_.GetUser(alice_, Named<v1::GetUserRequest>(name), user)), "PERMISSION_DENIED") << name;
  }
  EXPECT_TRUE(calls_.GetUser(root_, Named<v1::GetUserRequest>("users/bob"), user).ok());
  EXPECT_EQ(ReasonOf(calls_.GetUser(root_, Named<v1::GetUserRequest>("users/nobody"), user)), "USER_NOT_FOUND");
  for (const char* name : {"", "alice", "users/", "users/alice/tokens", "roles/alice"}) {
    EXPECT_EQ(ReasonOf(calls_.GetUser(root_, Named<v1::GetUserRequest>(name), user)), "INVALID_REQUEST") << name;
  }
  EXPECT_EQ(ReasonOf(calls_.GetUser(local_, Named<v1::GetUserRequest>("users/me"), user)), "INVALID_REQUEST")
      << "the socket is no user";
}

TEST_F(IdentityCallsTest, UsersAreMadeChangedByMaskAndListedInPages) {
  v1::CreateUserRequest create;
  create.mutable_user()->set_name("users/carol");
  create.mutable_user()->set_display_name("Carol");
  v1::Grant& grant = *create.mutable_user()->add_grants();
  grant.set_role("roles/operator");
  grant.mutable_scope()->add_hosts("hosts/h1");
  v1::User user;
  ASSERT_TRUE(calls_.CreateUser(local_, create, user).ok());
  EXPECT_EQ(user.grants(0).scope().hosts(0), "hosts/h1");
  EXPECT_EQ(ReasonOf(calls_.CreateUser(local_, create, user)), "USER_EXISTS");
  grant.mutable_scope()->Clear();
  EXPECT_EQ(ReasonOf(calls_.CreateUser(local_, create, user)), "INVALID_REQUEST") << "an empty scope isn't everything";

  v1::UpdateUserRequest update;
  update.mutable_user()->set_name("users/carol");
  update.mutable_user()->set_display_name("C");
  update.mutable_update_mask()->add_paths("display_name");
  update.mutable_user()->set_etag("1");
  user.Clear();
  ASSERT_TRUE(calls_.UpdateUser(local_, update, user).ok());
  EXPECT_EQ(user.display_name(), "C");
  EXPECT_THAT(user.grants(), SizeIs(1)) << "not in the mask";
  EXPECT_EQ(ReasonOf(calls_.UpdateUser(local_, update, user)), "USER_CHANGED");
  update.mutable_user()->set_etag("x");
  EXPECT_EQ(ReasonOf(calls_.UpdateUser(local_, update, user)), "INVALID_REQUEST");
  update.mutable_user()->clear_etag();
  update.mutable_update_mask()->add_paths("create_time");
  EXPECT_EQ(ReasonOf(calls_.UpdateUser(local_, update, user)), "INVALID_REQUEST");
  update.clear_update_mask();
  user.Clear();
  ASSERT_TRUE(calls_.UpdateUser(local_, update, user).ok());
  EXPECT_THAT(user.grants(), SizeIs(0)) << "without a mask all of it";

  std::vector<std::string> names;
  v1::ListUsersRequest list;
  list.set_page_size(3);
  do {
    v1::ListUsersResponse page;
    ASSERT_TRUE(calls_.ListUsers(list, page).ok());
    for (const v1::User& listed : page.users()) names.push_back(listed.name());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_THAT(names, ElementsAre("users/alice", "users/bob", "users/carol", "users/root"));
  EXPECT_TRUE(calls_.DeleteUser(local_, Named<v1::DeleteUserRequest>("users/carol")).ok());
}

TEST_F(IdentityCallsTest, OnesOwnPasswordNeedsTheOldOneAlsoOfWhoManagesUsers) {
  v1::SetPasswordRequest request;
  request.set_name("users/me");
  request.set_new_password("another password");
  for (const Principal& who : {alice_, root_}) {
    request.clear_old_password();
    EXPECT_EQ(ReasonOf(calls_.SetPassword(who, "", request)), "UNAUTHENTICATED") << who.name;
    request.set_old_password(kPassword);
    EXPECT_TRUE(calls_.SetPassword(who, "", request).ok()) << who.name;
  }
  request.set_name("users/bob");
  request.set_old_password(kPassword);
  EXPECT_EQ(ReasonOf(calls_.SetPassword(alice_, "", request)), "PERMISSION_DENIED") << "also with the right one";
  request.clear_old_password();
  EXPECT_TRUE(calls_.SetPassword(root_, "", request).ok());
  EXPECT_TRUE(SignIn("bob", "another password").ok());
}

TEST_F(IdentityCallsTest, RolesInPagesAndPermissionsByName) {
  v1::CreateRoleRequest create;
  create.mutable_role()->set_name("roles/auditor");
  create.mutable_role()->add_permissions("audit.view");
  v1::Role role;
  ASSERT_TRUE(calls_.CreateRole(local_, create, role).ok());
  std::vector<std::string> names;
  v1::ListRolesRequest list;
  list.set_page_size(2);
  do {
    v1::ListRolesResponse page;
    ASSERT_TRUE(calls_.ListRoles(list, page).ok());
    for (const v1::Role& listed : page.roles()) names.push_back(listed.name());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_THAT(names,
              ElementsAre("roles/viewer", "roles/operator", "roles/restore-operator", "roles/admin", "roles/auditor"));
  v1::UpdateRoleRequest update;
  *update.mutable_role() = role;
  update.mutable_role()->set_description("reads");
  update.mutable_update_mask()->add_paths("description");
  ASSERT_TRUE(calls_.UpdateRole(local_, update, role).ok());
  EXPECT_THAT(role.permissions(), ElementsAre("audit.view"));
  EXPECT_EQ(ReasonOf(calls_.UpdateRole(local_, update, role)), "ROLE_CHANGED");
  EXPECT_TRUE(calls_.DeleteRole(local_, Named<v1::DeleteRoleRequest>("roles/auditor")).ok());
  EXPECT_EQ(ReasonOf(calls_.DeleteRole(local_, Named<v1::DeleteRoleRequest>("roles/admin"))), "ROLE_BUILT_IN");
  v1::ListPermissionsResponse permissions;
  ASSERT_TRUE(IdentityCalls::ListPermissions(permissions).ok());
  EXPECT_GT(permissions.permissions_size(), 20);
  EXPECT_EQ(permissions.permissions(0).id(), "audit.view");
  EXPECT_FALSE(permissions.permissions(0).description().empty());
}

TEST_F(IdentityCallsTest, TokensAreOnesOwnOrThoseOfWhomOneManages) {
  const v1::CreateApiTokenResponse made = NewToken(alice_, "users/me");
  EXPECT_TRUE(ByToken(made.secret()).ok());
  EXPECT_EQ(made.token().DebugString().find(made.secret()), std::string::npos);
  v1::CreateApiTokenResponse other;
  EXPECT_EQ(ReasonOf(calls_.CreateApiToken(alice_, Below<v1::CreateApiTokenRequest>("users/bob"), other)),
            "PERMISSION_DENIED");
  const v1::CreateApiTokenResponse of_bob = NewToken(root_, "users/bob");

  v1::ListApiTokensResponse list;
  ASSERT_TRUE(calls_.ListApiTokens(alice_, Below<v1::ListApiTokensRequest>("users/me"), list).ok());
  ASSERT_THAT(list.tokens(), SizeIs(1));
  EXPECT_EQ(list.tokens(0).name(), made.token().name());
  for (const char* parent : {"users/bob", "users/-"}) {
    list.Clear();
    EXPECT_EQ(ReasonOf(calls_.ListApiTokens(alice_, Below<v1::ListApiTokensRequest>(parent), list)),
              "PERMISSION_DENIED");
  }
  ASSERT_TRUE(calls_.ListApiTokens(root_, Below<v1::ListApiTokensRequest>("users/-"), list).ok());
  EXPECT_THAT(list.tokens(), SizeIs(2));

  EXPECT_EQ(ReasonOf(calls_.DeleteApiToken(alice_, Named<v1::DeleteApiTokenRequest>(of_bob.token().name()))),
            "PERMISSION_DENIED");
  // Another's token below one's own name.
  const std::string id = of_bob.token().name().substr(of_bob.token().name().rfind('/') + 1);
  EXPECT_EQ(ReasonOf(calls_.DeleteApiToken(alice_, Named<v1::DeleteApiTokenRequest>("users/me/tokens/" + id))),
            "API_TOKEN_NOT_FOUND");
  EXPECT_TRUE(ByToken(of_bob.secret()).ok());
  EXPECT_TRUE(calls_.DeleteApiToken(root_, Named<v1::DeleteApiTokenRequest>(of_bob.token().name())).ok());
  EXPECT_FALSE(ByToken(of_bob.secret()).ok());
  EXPECT_TRUE(calls_.DeleteApiToken(alice_, Named<v1::DeleteApiTokenRequest>(made.token().name())).ok());
}

TEST_F(IdentityCallsTest, ATokensTimeIsTheOneThatWasAskedFor) {
  v1::CreateApiTokenRequest request = Below<v1::CreateApiTokenRequest>("users/me");
  const int64_t seconds = absl::ToUnixSeconds(clock_.Now() + absl::Hours(5));
  request.mutable_token()->mutable_expire_time()->set_seconds(seconds);
  v1::CreateApiTokenResponse made;
  ASSERT_TRUE(calls_.CreateApiToken(alice_, request, made).ok());
  EXPECT_EQ(made.token().expire_time().seconds(), seconds);
  EXPECT_EQ(made.token().expire_time().nanos(), 0);
  request.mutable_token()->mutable_expire_time()->set_seconds(0);
  EXPECT_EQ(ReasonOf(calls_.CreateApiToken(alice_, request, made)), "INVALID_REQUEST");
}

TEST_F(IdentityCallsTest, SigningInAndOut) {
  v1::CreateSessionRequest request;
  request.set_user("users/alice");
  request.set_password(kPassword);
  v1::CreateSessionResponse made;
  ASSERT_TRUE(calls_.CreateSession("192.0.2.1", "Browser", request, made).ok());
  EXPECT_EQ(made.session().peer(), "192.0.2.1");
  const Principal alice = *BySession(made.session_secret());
  v1::ListSessionsResponse list;
  ASSERT_TRUE(calls_.ListSessions(alice, Below<v1::ListSessionsRequest>("users/me"), list).ok());
  EXPECT_THAT(list.sessions(), SizeIs(2)) << "and the one of the fixture";
  EXPECT_EQ(ReasonOf(calls_.ListSessions(alice, Below<v1::ListSessionsRequest>("users/root"), list)),
            "PERMISSION_DENIED");

  const std::string of_root = "users/root/sessions/" + root_.session;
  EXPECT_EQ(ReasonOf(calls_.DeleteSession(alice, Named<v1::DeleteSessionRequest>(of_root))), "PERMISSION_DENIED");
  EXPECT_EQ(
      ReasonOf(calls_.DeleteSession(alice, Named<v1::DeleteSessionRequest>("users/me/sessions/" + root_.session))),
      "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(calls_.DeleteSession(local_, Named<v1::DeleteSessionRequest>("users/alice/sessions/current"))),
            "INVALID_REQUEST");
  EXPECT_TRUE(calls_.DeleteSession(alice, Named<v1::DeleteSessionRequest>("users/me/sessions/current")).ok());
  EXPECT_FALSE(BySession(made.session_secret()).ok());
  request.set_password("wrong password");
  EXPECT_EQ(ReasonOf(calls_.CreateSession("192.0.2.1", "", request, made)), "UNAUTHENTICATED");
}

TEST_F(IdentityCallsTest, WhoAmI) {
  v1::Identity me;
  ASSERT_TRUE(calls_.GetIdentity(alice_, me).ok());
  EXPECT_EQ(me.name(), "users/alice");
  EXPECT_EQ(me.session().name(), "users/alice/sessions/" + alice_.session);
  ASSERT_THAT(me.grants(), SizeIs(1));
  EXPECT_THAT(me.grants(0).permissions(), ::testing::Contains("jobs.view"));
  me.Clear();
  ASSERT_TRUE(calls_.GetIdentity(local_, me).ok());
  EXPECT_EQ(me.name(), "local");
  EXPECT_FALSE(me.has_session());
  EXPECT_THAT(me.grants(0).permissions(), ElementsAre("*"));

  // A token is shown what it and its user both may.
  const auto token = ByToken(AddToken("alice", {{.role = "viewer", .scope = {.hosts = {"hosts/h"}}}}));
  ASSERT_TRUE(
      identity_->UpdateUser(local_, "alice", {.grants = std::vector<identity::RoleGrant>{{.role = "operator"}}}).ok());
  me.Clear();
  ASSERT_TRUE(calls_.GetIdentity(*token, me).ok());
  ASSERT_THAT(me.grants(), SizeIs(1));
  EXPECT_THAT(me.grants(0).permissions(), ::testing::Not(::testing::Contains("backups.run")));
  EXPECT_THAT(me.grants(0).scope().hosts(), ElementsAre("hosts/h"));
}

TEST_F(IdentityCallsTest, TheAuditLogInPagesAndItsCheck) {
  identity::AuditLog log(*catalog_, clock_);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(log.Append({.principal = "users/alice",
                            .method = "JobService.CreateJob",
                            .object = "hosts/h",
                            .summary = "{}",
                            .code = i == 2 ? 7 : 0,
                            .reason = i == 2 ? "PERMISSION_DENIED" : ""})
                    .ok());
  }
  v1::ListAuditEntriesRequest request;
  request.set_page_size(2);
  request.set_oldest_first(true);
  std::vector<int64_t> numbers;
  do {
    v1::ListAuditEntriesResponse page;
    ASSERT_TRUE(ListAuditEntries(log, request, page).ok());
    for (const v1::AuditEntry& entry : page.entries()) numbers.push_back(entry.number());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(numbers, ElementsAre(1, 2, 3, 4, 5));
  request.set_failures_only(true);
  v1::ListAuditEntriesResponse failures;
  ASSERT_TRUE(ListAuditEntries(log, request, failures).ok());
  ASSERT_THAT(failures.entries(), SizeIs(1));
  EXPECT_EQ(failures.entries(0).code(), "PERMISSION_DENIED");
  EXPECT_EQ(failures.entries(0).request(), "{}");

  v1::VerifyAuditLogResponse check;
  ASSERT_TRUE(VerifyAuditLog(log, {}, check).ok());
  EXPECT_EQ(check.entry_count(), 5);
  EXPECT_EQ(check.first_broken(), 0);
  EXPECT_EQ(check.problem(), "");
  v1::VerifyAuditLogRequest known;
  known.set_known_number(check.newest_number());
  EXPECT_EQ(ReasonOf(VerifyAuditLog(log, known, check)), "INVALID_REQUEST");
  known.set_known_hash(std::string(64, 'a'));
  ASSERT_TRUE(VerifyAuditLog(log, known, check).ok());
  EXPECT_EQ(check.first_broken(), 5);
  EXPECT_THAT(check.problem(), HasSubstr("noted"));
}

}  // namespace
}  // namespace umbra::api
