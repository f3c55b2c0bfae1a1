// Proves the life of users, roles, tokens and sessions over a real catalog: who gets in and for how long, what a change
// ends at once, what nobody can do whatever he may, and how the first user comes to be.
#include "server/identity/identity.h"

#include <sys/stat.h>

#include <thread>

#include "server/identity/secrets.h"
#include "storage/base/retry_after.h"
#include "tests/unit/server/identity/fixture.h"

namespace umbra::identity {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// ---- The first user ----

TEST_F(IdentityTest, TheFirstUserIsMadeOnceAndHisPasswordIsInAFileForTheDaemonOnly) {
  ASSERT_TRUE(identity_->EnsureFirstUser().ok());
  const std::string path = dir_.File(kFirstCredentialFile);
  const auto text = filesystem_.ReadFile(path);
  ASSERT_TRUE(text.ok());
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const size_t at = text->find("password: ");
  ASSERT_NE(at, std::string::npos);
  const std::string password = text->substr(at + 10, 39);

  Restart();
  ASSERT_TRUE(identity_->EnsureFirstUser().ok());
  EXPECT_EQ(*filesystem_.ReadFile(path), *text) << "one that is there stays";
  const auto signed_in = SignIn("admin", password);
  ASSERT_TRUE(signed_in.ok()) << base::Describe(signed_in.status());
  EXPECT_TRUE(Allows(signed_in->principal, "users.manage", {}));
  EXPECT_TRUE(*filesystem_.Exists(path)) << "to sign in is not yet to take another password";

  ASSERT_TRUE(identity_->ChangePassword("admin", password, "another password", "").ok());
  EXPECT_FALSE(*filesystem_.Exists(path));
  Restart();
  ASSERT_TRUE(identity_->EnsureFirstUser().ok());
  EXPECT_FALSE(*filesystem_.Exists(path)) << "there is a user: no second one is made";
  EXPECT_EQ(ReasonOf(SignIn("admin", password)), "UNAUTHENTICATED");
}

TEST_F(IdentityTest, TwoFirstStartsMakeDifferentPasswords) {
  ASSERT_TRUE(identity_->EnsureFirstUser().ok());
  const std::string first = *filesystem_.ReadFile(dir_.File(kFirstCredentialFile));
  catalog_ = *catalog::Catalog::Open(filesystem_, dir_.File("other.db"));
  Restart();
  ASSERT_TRUE(identity_->EnsureFirstUser().ok());
  EXPECT_NE(*filesystem_.ReadFile(dir_.File(kFirstCredentialFile)), first);
}

// ---- Signing in ----

TEST_F(IdentityTest, WhoSignsInIsKnownByHisSession) {
  AddUser("alice", {{.role = "viewer"}});
  const auto signed_in = SignIn("Alice");
  ASSERT_TRUE(signed_in.ok()) << base::Describe(signed_in.status());
  const auto principal = BySession(signed_in->secret);
  ASSERT_TRUE(principal.ok());
  EXPECT_EQ(principal->kind, Principal::Kind::kUser);
  EXPECT_EQ(principal->name, "users/alice");
  EXPECT_EQ(principal->user, "alice");
  EXPECT_EQ(principal->session, signed_in->session.id.value);
  EXPECT_TRUE(Allows(*principal, "jobs.view", {}));
  EXPECT_FALSE(Allows(*principal, "jobs.cancel", {}));
  EXPECT_EQ(signed_in->session.peer, "192.0.2.1");
  EXPECT_TRUE(identity_->GetUser("alice")->last_sign_in.has_value());
  Restart();
  EXPECT_TRUE(BySession(signed_in->secret).ok()) << "also after a restart";
}

TEST_F(IdentityTest, WrongOnesLookAlike) {
  AddUser("alice");
  ASSERT_TRUE(identity_->CreateUser(Identity::Local(), {.name = "nopassword"}).ok());
  ASSERT_TRUE(identity_->CreateUser(Identity::Local(), {.name = "off", .password = kPassword, .disabled = true}).ok());
  const absl::Status statuses[] = {SignIn("alice", "wrong password").status(), SignIn("nobody").status(),
                                   SignIn("nopassword", "").status(), SignIn("nopassword").status(),
                                   SignIn("off", "wrong password").status()};
  for (const absl::Status& status : statuses) EXPECT_EQ(status, statuses[0]);
  EXPECT_EQ(ReasonOf(statuses[0]), "UNAUTHENTICATED");
  EXPECT_EQ(ReasonOf(SignIn("off")), "ACCOUNT_DISABLED") << "he knows the password";
}

TEST_F(IdentityTest, WrongCredentialsLookAlike) {
  AddUser("alice");
  const std::string token = AddToken("alice");
  const std::string session = SignIn("alice")->secret;
  base::SystemRandom random;
  const absl::Status nothing = identity_->Authenticate({}).status();
  EXPECT_EQ(nothing.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ReasonOf(nothing), "UNAUTHENTICATED");
  EXPECT_EQ(ByToken(NewTokenText(random)).status(), nothing);
  EXPECT_EQ(ByToken(session).status(), nothing) << "a session is no token";
  EXPECT_EQ(BySession(token).status(), nothing) << "a token is no session";
  EXPECT_EQ(BySession(NewSessionText(random)).status(), nothing);
  EXPECT_EQ(identity_->Authenticate({.authorization = "Bearer rubbish", .session = session}).status(), nothing)
      << "a header counts, also a wrong one";
}

TEST_F(IdentityTest, GuessingIsSlowedDownAlsoForWhoWouldBeRight) {
  AddUser("alice");
  for (int i = 0; i < 6; ++i) EXPECT_EQ(ReasonOf(SignIn("alice", "wrong password")), "UNAUTHENTICATED");
  const auto throttled = SignIn("alice");
  EXPECT_EQ(ReasonOf(throttled), "SIGN_IN_THROTTLED");
  EXPECT_EQ(base::RetryAfterOf(throttled.status()), absl::Seconds(1));
  EXPECT_EQ(ReasonOf(identity_->ChangePassword("alice", kPassword, "another password", "")), "SIGN_IN_THROTTLED");
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(SignIn("alice").ok());
}

TEST_F(IdentityTest, AnOlderCostIsReplacedBySigningIn) {
  AddUser("alice");
  const auto hash = [&] {
    return **catalog_->Read([](const catalog::Stores& s) { return s.identity.PasswordHash(catalog::UserId("alice")); });
  };
  const std::string before = hash();
  Restart({.passes = 2, .memory_bytes = 16 * base::kKiB});
  ASSERT_TRUE(SignIn("alice").ok());
  EXPECT_THAT(hash(), HasSubstr("m=16,t=2"));
  EXPECT_NE(hash(), before);
  EXPECT_TRUE(SignIn("alice").ok());
}

// ---- Sessions ----

TEST_F(IdentityTest, ASessionEndsWhenItIsIdle) {
  AddUser("alice");
  const std::string secret = SignIn("alice")->secret;
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(kSessionIdleMax - absl::Seconds(1));
    EXPECT_TRUE(BySession(secret).ok()) << "use keeps it alive";
  }
  Restart();
  clock_.Advance(kSessionIdleMax - absl::Seconds(1));
  EXPECT_TRUE(BySession(secret).ok()) << "also over a restart";
  clock_.Advance(kSessionIdleMax);
  EXPECT_EQ(ReasonOf(BySession(secret)), "SESSION_EXPIRED");
  EXPECT_EQ(ReasonOf(BySession(secret)), "SESSION_EXPIRED") << "to ask doesn't bring it back";
  clock_.Advance(kUseWrittenEvery);
  EXPECT_THAT(*identity_->ListSessions("alice"), IsEmpty());
}

TEST_F(IdentityTest, ASessionEndsAfterItsTimeHoweverBusy) {
  AddUser("alice");
  const auto signed_in = SignIn("alice");
  EXPECT_EQ(signed_in->principal.expire_time, signed_in->session.expire_time);
  for (absl::Duration passed; passed + absl::Minutes(20) < kSessionLifetime; passed += absl::Minutes(20)) {
    EXPECT_TRUE(BySession(signed_in->secret).ok()) << passed;
    clock_.Advance(absl::Minutes(20));
  }
  EXPECT_TRUE(BySession(signed_in->secret).ok());
  clock_.Advance(absl::Minutes(20));
  EXPECT_EQ(ReasonOf(BySession(signed_in->secret)), "SESSION_EXPIRED");
}

TEST_F(IdentityTest, UseIsWrittenOnceAMinute) {
  AddUser("alice");
  const auto signed_in = SignIn("alice");
  const std::string token = AddToken("alice");
  int writes = 0;
  catalog_->SetObserver(clock_, [&](const catalog::TransactionFacts& facts) {
    writes += facts.kind == catalog::TransactionKind::kWrite;
  });
  for (int i = 0; i < 60 * 4; ++i) {
    clock_.Advance(absl::Milliseconds(500));
    ASSERT_TRUE(BySession(signed_in->secret).ok());
    ASSERT_TRUE(ByToken(token).ok());
  }
  EXPECT_EQ(writes, 2 + 2) << "the token's first use, and each once a minute";
  const auto session = identity_->GetSession(signed_in->session.id);
  EXPECT_GE(session->last_seen, clock_.Now() - kUseWrittenEvery);
  const auto tokens = identity_->ListTokens("alice", {});
  EXPECT_GE(tokens->items[0].last_used, clock_.Now() - kUseWrittenEvery);
}

TEST_F(IdentityTest, KnownSecretsCostNoReadOfTheCatalog) {
  AddUser("alice");
  const std::string token = AddToken("alice");
  ASSERT_TRUE(ByToken(token).ok());
  int transactions = 0;
  catalog_->SetObserver(clock_, [&](const catalog::TransactionFacts&) { ++transactions; });
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(ByToken(token).ok());
  EXPECT_EQ(transactions, 0);
}

TEST_F(IdentityTest, RevokedSessionsEndAtOnce) {
  AddUser("alice");
  const auto first = SignIn("alice");
  clock_.Advance(absl::Seconds(1));
  const auto second = SignIn("alice");
  const auto sessions = identity_->ListSessions("alice");
  ASSERT_THAT(*sessions, SizeIs(2));
  EXPECT_EQ((*sessions)[0].id, second->session.id) << "newest first";
  ASSERT_TRUE(BySession(first->secret).ok());
  const int64_t generation = identity_->generation();
  ASSERT_TRUE(identity_->RevokeSession(first->session.id).ok());
  EXPECT_GT(identity_->generation(), generation) << "streams look again";
  EXPECT_EQ(ReasonOf(BySession(first->secret)), "UNAUTHENTICATED");
  EXPECT_TRUE(BySession(second->secret).ok());
  EXPECT_EQ(ReasonOf(identity_->RevokeSession(first->session.id)), "SESSION_NOT_FOUND");
  ASSERT_TRUE(identity_->RevokeSessionsOf("alice").ok());
  EXPECT_EQ(ReasonOf(BySession(second->secret)), "UNAUTHENTICATED");
  EXPECT_EQ(ReasonOf(identity_->RevokeSessionsOf("nobody")), "USER_NOT_FOUND");
}

TEST_F(IdentityTest, AFurtherSessionEndsTheOldest) {
  AddUser("alice");
  std::vector<std::string> secrets;
  for (int i = 0; i < kSessionsPerUserMax + 1; ++i) {
    clock_.Advance(absl::Seconds(1));
    secrets.push_back(SignIn("alice")->secret);
    ASSERT_TRUE(BySession(secrets.front()).ok() == (i < kSessionsPerUserMax)) << i;
  }
  EXPECT_TRUE(BySession(secrets[1]).ok());
}

TEST_F(IdentityTest, EveryWayToAnotherPasswordEndsAllSessions) {
  AddUser("alice");
  const std::string next[] = {"another password 1", "another password 2"};
  std::string current = kPassword;
  for (const bool by_himself : {true, false}) {
    const std::string secret = SignIn("alice", current)->secret;
    const std::string token = AddToken("alice");
    ASSERT_TRUE(BySession(secret).ok());
    if (by_himself) {
      ASSERT_TRUE(identity_->ChangePassword("alice", current, next[0], "").ok());
    } else {
      ASSERT_TRUE(identity_->SetPassword(Identity::Local(), "alice", next[1]).ok());
    }
    EXPECT_EQ(ReasonOf(SignIn("alice", current)), "UNAUTHENTICATED");
    current = by_himself ? next[0] : next[1];
    EXPECT_EQ(ReasonOf(BySession(secret)), "UNAUTHENTICATED");
    EXPECT_TRUE(ByToken(token).ok()) << "tokens have secrets of their own";
    EXPECT_TRUE(SignIn("alice", current).ok());
  }
}

TEST_F(IdentityTest, ChangingOnesPasswordNeedsTheOldOneAndAGoodNewOne) {
  AddUser("alice");
  EXPECT_EQ(ReasonOf(identity_->ChangePassword("alice", "wrong password", "another password", "")), "UNAUTHENTICATED");
  EXPECT_EQ(ReasonOf(identity_->ChangePassword("alice", kPassword, "short", "")), "PASSWORD_UNFIT");
  EXPECT_EQ(ReasonOf(identity_->ChangePassword("alice", kPassword, kPassword, "")), "PASSWORD_UNFIT");
  EXPECT_EQ(ReasonOf(identity_->SetPassword(Identity::Local(), "alice", "short")), "PASSWORD_UNFIT");
  EXPECT_EQ(ReasonOf(identity_->SetPassword(Identity::Local(), "nobody", "another password")), "USER_NOT_FOUND");
  EXPECT_TRUE(SignIn("alice").ok()) << "nothing of it changed anything";
}

TEST_F(IdentityTest, DisablingEndsSessionsAndStopsTokens) {
  AddUser("root", {{.role = "admin"}});
  AddUser("alice");
  const std::string secret = SignIn("alice")->secret;
  const std::string token = AddToken("alice");
  ASSERT_TRUE(BySession(secret).ok());
  ASSERT_TRUE(ByToken(token).ok());
  ASSERT_TRUE(identity_->UpdateUser(Identity::Local(), "alice", {.disabled = true}).ok());
  EXPECT_EQ(ReasonOf(BySession(secret)), "UNAUTHENTICATED");
  EXPECT_EQ(ReasonOf(ByToken(token)), "ACCOUNT_DISABLED");
  ASSERT_TRUE(identity_->UpdateUser(Identity::Local(), "alice", {.disabled = false}).ok());
  EXPECT_EQ(ReasonOf(BySession(secret)), "UNAUTHENTICATED") << "what ended stays ended";
  EXPECT_TRUE(ByToken(token).ok());
}

// ---- Users ----

TEST_F(IdentityTest, UsersAreReadBackAsTheyWereMade) {
  const std::vector<RoleGrant> grants = {
      {.role = "viewer"},
      {.role = "operator", .scope = {.hosts = {"hosts/a", "hosts/b"}, .policies = {"policies/p"}, .labels = {"k=v"}}}};
  const auto made = identity_->CreateUser(
      Identity::Local(), {.name = "alice.b-c.example", .display_name = "Alice Ünal", .grants = grants});
  ASSERT_TRUE(made.ok()) << base::Describe(made.status());
  EXPECT_EQ(made->display_name, "Alice Ünal");
  EXPECT_EQ(made->grants, grants);
  EXPECT_FALSE(made->has_password);
  EXPECT_EQ(made->revision, 1);
  EXPECT_FALSE(made->last_sign_in.has_value());
  EXPECT_EQ(ReasonOf(identity_->CreateUser(Identity::Local(), {.name = "alice.b-c.example"})), "USER_EXISTS");
  EXPECT_EQ(ReasonOf(identity_->GetUser("bob")), "USER_NOT_FOUND");
  AddUser("bob");
  const auto first = identity_->ListUsers({.page_size = 1});
  ASSERT_THAT(first->items, SizeIs(1));
  EXPECT_EQ(first->items[0].grants, grants);
  const auto second = identity_->ListUsers({.page_size = 1, .after_key = first->next_key});
  EXPECT_EQ(second->items[0].name.value, "bob");
  EXPECT_FALSE(second->next_key.has_value());
}

TEST_F(IdentityTest, WhatNoUserCanBe) {
  for (const std::string& name :
       {std::string(), std::string("Alice"), std::string("a b"), std::string("a/b"), std::string("a_b"),
        std::string("me"), std::string("-a"), std::string("ä"), std::string(65, 'a'), std::string("a\n")}) {
    EXPECT_EQ(ReasonOf(identity_->CreateUser(Identity::Local(), {.name = name})), "INVALID_REQUEST") << name;
  }
  const Principal local = Identity::Local();
  EXPECT_EQ(ReasonOf(identity_->CreateUser(local, {.name = "a", .display_name = "two\nlines"})), "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(identity_->CreateUser(local, {.name = "a", .display_name = std::string(129, 'x')})),
            "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(identity_->CreateUser(local, {.name = "a", .password = "short"})), "PASSWORD_UNFIT");
  EXPECT_EQ(ReasonOf(identity_->CreateUser(local, {.name = "a", .grants = {{.role = "nothing"}}})), "ROLE_NOT_FOUND");
  EXPECT_EQ(
      ReasonOf(identity_->CreateUser(local, {.name = "a", .grants = {{.role = "viewer", .scope = {.hosts = {"h"}}}}})),
      "INVALID_REQUEST");
  EXPECT_EQ(
      ReasonOf(identity_->CreateUser(local, {.name = "a", .grants = std::vector<RoleGrant>(65, {.role = "viewer"})})),
      "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(identity_->GetUser("a")), "USER_NOT_FOUND");
}

TEST_F(IdentityTest, AChangeOfGrantsCountsFromTheNextCallOn) {
  AddUser("root", {{.role = "admin"}});
  AddUser("alice", {{.role = "viewer"}});
  const std::string secret = SignIn("alice")->secret;
  ASSERT_FALSE(Allows(*BySession(secret), "backups.run", {}));
  const auto changed =
      identity_->UpdateUser(Identity::Local(), "alice", {.grants = {{{.role = "operator"}}}, .revision = 1});
  ASSERT_TRUE(changed.ok()) << base::Describe(changed.status());
  EXPECT_EQ(changed->revision, 2);
  EXPECT_TRUE(Allows(*BySession(secret), "backups.run", {}));
  EXPECT_EQ(ReasonOf(identity_->UpdateUser(Identity::Local(), "alice", {.display_name = "x", .revision = 1})),
            "USER_CHANGED");
  EXPECT_EQ(ReasonOf(identity_->DeleteUser(Identity::Local(), "alice", 1)), "USER_CHANGED");
  ASSERT_TRUE(identity_->UpdateUser(Identity::Local(), "alice", {.display_name = "A"}).ok());
  EXPECT_THAT(identity_->GetUser("alice")->grants, ElementsAre(RoleGrant{.role = "operator"}))
      << "what isn't said stays";
}

TEST_F(IdentityTest, AUserGoesWithTokensAndSessions) {
  AddUser("root", {{.role = "admin"}});
  AddUser("alice");
  const std::string secret = SignIn("alice")->secret;
  const std::string token = AddToken("alice");
  ASSERT_TRUE(ByToken(token).ok());
  ASSERT_TRUE(identity_->DeleteUser(Identity::Local(), "alice").ok());
  EXPECT_EQ(ReasonOf(BySession(secret)), "UNAUTHENTICATED");
  EXPECT_EQ(ReasonOf(ByToken(token)), "UNAUTHENTICATED");
  AddUser("alice");
  EXPECT_EQ(ReasonOf(ByToken(token)), "UNAUTHENTICATED") << "a new one of the name inherits nothing";
  EXPECT_THAT(identity_->ListTokens(std::nullopt, {})->items, IsEmpty());
}

TEST_F(IdentityTest, TheLastWhoMayDoEverythingStays) {
  AddUser("root", {{.role = "admin"}});
  AddUser("scoped", {{.role = "admin", .scope = {.hosts = {"hosts/h"}}}});
  ASSERT_TRUE(identity_
                  ->CreateUser(Identity::Local(),
                               {.name = "off", .password = kPassword, .grants = {{.role = "admin"}}, .disabled = true})
                  .ok());
  ASSERT_TRUE(identity_->CreateUser(Identity::Local(), {.name = "nopassword", .grants = {{.role = "admin"}}}).ok());
  const Principal local = Identity::Local();
  EXPECT_EQ(ReasonOf(identity_->DeleteUser(local, "root")), "LAST_ADMIN");
  EXPECT_EQ(ReasonOf(identity_->UpdateUser(local, "root", {.disabled = true})), "LAST_ADMIN");
  EXPECT_EQ(ReasonOf(identity_->UpdateUser(local, "root", {.grants = std::vector<RoleGrant>{{.role = "operator"}}})),
            "LAST_ADMIN");
  EXPECT_TRUE(SignIn("root").ok());
  EXPECT_FALSE(identity_->GetUser("root")->disabled);
  // A role of one's own that contains everything is as good, and stays so while it is the last.
  ASSERT_TRUE(identity_->CreateRole(local, {.name = "boss", .permissions = {"*"}}).ok());
  AddUser("boss", {{.role = "boss"}});
  EXPECT_TRUE(identity_->DeleteUser(local, "root").ok());
  EXPECT_EQ(ReasonOf(identity_->UpdateRole(local, "boss", {.permissions = std::vector<std::string>{"jobs.*"}})),
            "LAST_ADMIN");
  EXPECT_EQ(ReasonOf(identity_->DeleteUser(local, "boss")), "LAST_ADMIN");
}

TEST_F(IdentityTest, OfTwoAdminsWhoRemoveEachOtherOneStays) {
  for (int round = 0; round < 10; ++round) {
    const std::string a = "a" + std::to_string(round);
    const std::string b = "b" + std::to_string(round);
    AddUser(a, {{.role = "admin"}});
    AddUser(b, {{.role = "admin"}});
    if (round > 0) {
      const auto users = identity_->ListUsers({.page_size = 100});
      for (const User& user : users->items) {
        const std::string& name = user.name.value;
        if (name == a || name == b) continue;
        ASSERT_TRUE(identity_->DeleteUser(Identity::Local(), name).ok());
      }
    }
    {
      std::jthread first([&] { (void)identity_->DeleteUser(Identity::Local(), a); });
      std::jthread second([&] { (void)identity_->DeleteUser(Identity::Local(), b); });
    }
    EXPECT_THAT(identity_->ListUsers({})->items, SizeIs(1));
  }
}

// ---- Nobody gives more than he has ----

TEST_F(IdentityTest, ALimitedManagerStaysWithinHisLimits) {
  AddUser("root", {{.role = "admin"}});
  ASSERT_TRUE(identity_->CreateRole(Identity::Local(), {.name = "people", .permissions = {"users.*"}}).ok());
  AddUser("manager", {{.role = "people"}, {.role = "viewer"}});
  AddUser("peer", {{.role = "viewer"}});
  const Principal manager = PrincipalOf("manager");
  EXPECT_TRUE(identity_->CreateUser(manager, {.name = "new", .grants = {{.role = "viewer"}}}).ok());
  EXPECT_TRUE(identity_->SetPassword(manager, "peer", "another password").ok());

  EXPECT_EQ(ReasonOf(identity_->CreateUser(manager, {.name = "x", .grants = {{.role = "operator"}}})),
            "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->UpdateUser(manager, "manager", {.grants = std::vector<RoleGrant>{{.role = "admin"}}})),
            "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->UpdateUser(manager, "peer", {.grants = std::vector<RoleGrant>{{.role = "admin"}}})),
            "GRANT_TOO_WIDE");
  // To get hold of somebody who may more would be as good.
  EXPECT_EQ(ReasonOf(identity_->SetPassword(manager, "root", "another password")), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->UpdateUser(manager, "root", {.disabled = true})), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->DeleteUser(manager, "root")), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->CreateToken(manager, {.user = "root"})), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->CreateToken(manager, {.grants = {{.role = "admin"}}})), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->CreateRole(manager, {.name = "x", .permissions = {"jobs.cancel"}})), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->UpdateRole(manager, "people", {.permissions = std::vector<std::string>{"*"}})),
            "GRANT_TOO_WIDE");
  EXPECT_TRUE(SignIn("root").ok());
}

TEST_F(IdentityTest, AScopedManagerGivesNoMoreThanHisScope) {
  AddUser("root", {{.role = "admin"}});
  const Scope mine{.hosts = {"hosts/a"}, .labels = {"team=db"}};
  AddUser("team", {{.role = "admin", .scope = mine}});
  const Principal team = PrincipalOf("team");
  EXPECT_TRUE(
      identity_->CreateUser(team, {.name = "one", .grants = {{.role = "operator", .scope = {.labels = {"team=db"}}}}})
          .ok());
  EXPECT_TRUE(identity_->CreateUser(team, {.name = "two", .grants = {{.role = "operator", .scope = mine}}}).ok());
  EXPECT_EQ(ReasonOf(identity_->CreateUser(team, {.name = "x", .grants = {{.role = "viewer"}}})), "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->CreateUser(
                team, {.name = "x", .grants = {{.role = "viewer", .scope = {.hosts = {"hosts/a", "hosts/b"}}}}})),
            "GRANT_TOO_WIDE");
}

// ---- Roles ----

TEST_F(IdentityTest, RolesOfOnesOwn) {
  const Principal local = Identity::Local();
  const auto made = identity_->CreateRole(
      local, {.name = "auditor", .description = "reads", .permissions = {"jobs.view", "audit.view", "jobs.view"}});
  ASSERT_TRUE(made.ok()) << base::Describe(made.status());
  EXPECT_THAT(made->permissions, ElementsAre("audit.view", "jobs.view"));
  EXPECT_FALSE(made->built_in);
  EXPECT_THAT(*identity_->ListRoles(), SizeIs(5));
  EXPECT_EQ(ReasonOf(identity_->CreateRole(local, {.name = "auditor", .permissions = {"jobs.view"}})), "ROLE_EXISTS");
  EXPECT_EQ(ReasonOf(identity_->CreateRole(local, {.name = "viewer", .permissions = {"jobs.view"}})), "ROLE_EXISTS");
  EXPECT_EQ(ReasonOf(identity_->CreateRole(local, {.name = "x", .permissions = {"jobs.fly"}})), "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(identity_->CreateRole(local, {.name = "x"})), "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(identity_->CreateRole(local, {.name = "X", .permissions = {"jobs.view"}})), "INVALID_REQUEST");

  AddUser("alice", {{.role = "auditor"}});
  const std::string secret = SignIn("alice")->secret;
  ASSERT_TRUE(Allows(*BySession(secret), "audit.view", {}));
  EXPECT_EQ(ReasonOf(identity_->DeleteRole(local, "auditor")), "ROLE_IN_USE");
  EXPECT_EQ(ReasonOf(identity_->UpdateRole(local, "auditor", {.description = "x", .revision = 7})), "ROLE_CHANGED");
  ASSERT_TRUE(
      identity_->UpdateRole(local, "auditor", {.permissions = std::vector<std::string>{"events.*"}, .revision = 1})
          .ok());
  EXPECT_FALSE(Allows(*BySession(secret), "audit.view", {})) << "at once";
  EXPECT_TRUE(Allows(*BySession(secret), "events.view", {}));
  ASSERT_TRUE(identity_->UpdateUser(local, "alice", {.grants = std::vector<RoleGrant>{}}).ok());
  AddToken("", {{.role = "auditor"}});
  EXPECT_EQ(ReasonOf(identity_->DeleteRole(local, "auditor")), "ROLE_IN_USE") << "a token has it";
  ASSERT_TRUE(identity_->RevokeToken(identity_->ListTokens("", {})->items[0].id).ok());
  EXPECT_TRUE(identity_->DeleteRole(local, "auditor").ok());
  EXPECT_EQ(ReasonOf(identity_->GetRole("auditor")), "ROLE_NOT_FOUND");
}

TEST_F(IdentityTest, BuiltInRolesStay) {
  for (const char* name : {"viewer", "operator", "restore-operator", "admin"}) {
    EXPECT_TRUE(identity_->GetRole(name)->built_in);
    EXPECT_EQ(ReasonOf(identity_->UpdateRole(Identity::Local(), name, {.description = "x"})), "ROLE_BUILT_IN");
    EXPECT_EQ(ReasonOf(identity_->DeleteRole(Identity::Local(), name)), "ROLE_BUILT_IN");
  }
}

// ---- API tokens ----

TEST_F(IdentityTest, ATokenOfAUserMayWhatBothMayAtPresent) {
  AddUser("root", {{.role = "admin"}});
  AddUser("alice", {{.role = "operator"}});
  const std::string whole = AddToken("alice");
  const std::string part = AddToken("alice", {{.role = "viewer", .scope = {.hosts = {"hosts/a"}}}});
  const Object a{.name = "hosts/a"};
  ASSERT_TRUE(ByToken(part).ok());
  EXPECT_EQ(ByToken(part)->kind, Principal::Kind::kToken);
  EXPECT_THAT(ByToken(part)->name, ::testing::StartsWith("users/alice/tokens/"));
  EXPECT_TRUE(Allows(*ByToken(whole), "backups.run", {}));
  EXPECT_TRUE(Allows(*ByToken(part), "hosts.view", a));
  EXPECT_FALSE(Allows(*ByToken(part), "hosts.view", {.name = "hosts/b"}));
  EXPECT_FALSE(Allows(*ByToken(part), "backups.run", a));
  ASSERT_TRUE(identity_
                  ->UpdateUser(Identity::Local(), "alice",
                               {.grants = std::vector<RoleGrant>{{.role = "viewer", .scope = {.hosts = {"hosts/b"}}}}})
                  .ok());
  EXPECT_FALSE(Allows(*ByToken(whole), "backups.run", {}));
  EXPECT_FALSE(Allows(*ByToken(part), "hosts.view", a)) << "its user may no longer";
}

TEST_F(IdentityTest, ATokenIsWithinWhatItsUserMay) {
  AddUser("alice", {{.role = "viewer"}});
  EXPECT_EQ(ReasonOf(identity_->CreateToken(Identity::Local(), {.user = "alice", .grants = {{.role = "operator"}}})),
            "GRANT_TOO_WIDE");
  EXPECT_EQ(ReasonOf(identity_->CreateToken(Identity::Local(), {.user = "nobody"})), "USER_NOT_FOUND");
  EXPECT_EQ(ReasonOf(identity_->CreateToken(Identity::Local(), {.user = "alice", .grants = {{.role = "x"}}})),
            "ROLE_NOT_FOUND");
}

TEST_F(IdentityTest, ATokenMakesNoTokenThatIsMoreThanItself) {
  AddUser("alice", {{.role = "operator"}});
  const Principal token = *ByToken(AddToken("alice", {{.role = "viewer"}}, absl::Hours(1)));
  EXPECT_EQ(ReasonOf(identity_->CreateToken(token, {.user = "alice"})), "GRANT_TOO_WIDE")
      << "it would have all of its user's";
  const std::vector<RoleGrant> viewer = {{.role = "viewer"}};
  EXPECT_EQ(ReasonOf(identity_->CreateToken(
                token, {.user = "alice", .grants = viewer, .expire_time = clock_.Now() + absl::Hours(2)})),
            "INVALID_REQUEST");
  const auto child = identity_->CreateToken(token, {.user = "alice", .grants = viewer});
  ASSERT_TRUE(child.ok()) << base::Describe(child.status());
  EXPECT_EQ(child->token.expire_time, token.expire_time);
  EXPECT_EQ(child->token.creator, token.name);
}

TEST_F(IdentityTest, TokensExpire) {
  AddUser("alice");
  const auto by_default = identity_->CreateToken(Identity::Local(), {.user = "alice"});
  EXPECT_EQ(by_default->token.expire_time - by_default->token.create_time, kTokenLifetimeDefault);
  const std::string text = AddToken("alice", {}, absl::Minutes(5));
  EXPECT_TRUE(ByToken(text).ok());
  clock_.Advance(absl::Minutes(5));
  EXPECT_EQ(ReasonOf(ByToken(text)), "TOKEN_EXPIRED");
  Restart();
  EXPECT_EQ(ReasonOf(ByToken(text)), "TOKEN_EXPIRED");
  for (const absl::Time bad : {clock_.Now(), clock_.Now() - absl::Seconds(1), absl::InfinitePast(),
                               absl::InfiniteFuture(), clock_.Now() + kTokenLifetimeMax + absl::Seconds(1)}) {
    EXPECT_EQ(ReasonOf(identity_->CreateToken(Identity::Local(), {.user = "alice", .expire_time = bad})),
              "INVALID_REQUEST");
  }
  clock_.Advance(kExpiredTokensKept + absl::Minutes(1));
  ASSERT_TRUE(identity_->Clean().ok());
  Restart();
  EXPECT_EQ(ReasonOf(ByToken(text)), "UNAUTHENTICATED") << "forgotten";
  EXPECT_THAT(identity_->ListTokens("alice", {})->items, SizeIs(1));
}

TEST_F(IdentityTest, RevokedTokensEndAtOnce) {
  AddUser("alice");
  const auto token = identity_->CreateToken(Identity::Local(), {.user = "alice", .description = "ci"});
  ASSERT_TRUE(ByToken(token->text).ok());
  EXPECT_EQ(identity_->GetToken(token->token.id)->description, "ci");
  ASSERT_TRUE(identity_->RevokeToken(token->token.id).ok());
  EXPECT_EQ(ReasonOf(ByToken(token->text)), "UNAUTHENTICATED");
  EXPECT_EQ(ReasonOf(identity_->RevokeToken(token->token.id)), "API_TOKEN_NOT_FOUND");
}

TEST_F(IdentityTest, ServiceTokensHaveGrantsOfTheirOwn) {
  EXPECT_EQ(ReasonOf(identity_->CreateToken(Identity::Local(), {.description = "x"})), "INVALID_REQUEST");
  const auto principal = ByToken(AddToken("", {{.role = "operator"}}));
  ASSERT_TRUE(principal.ok()) << base::Describe(principal.status());
  EXPECT_THAT(principal->name, ::testing::StartsWith("serviceTokens/"));
  EXPECT_EQ(principal->user, "");
  EXPECT_TRUE(Allows(*principal, "backups.run", {}));
  EXPECT_FALSE(Allows(*principal, "users.view", {}));
}

TEST_F(IdentityTest, OneHasOnlySoManyTokens) {
  AddUser("alice");
  for (int i = 0; i < kTokensPerUserMax; ++i) AddToken("alice");
  EXPECT_EQ(ReasonOf(identity_->CreateToken(Identity::Local(), {.user = "alice"})), "API_TOKEN_LIMIT");
  size_t count = 0;
  catalog::ListOptions<catalog::ApiTokenId> options{.page_size = 7};
  do {
    const auto page = identity_->ListTokens("alice", options);
    count += page->items.size();
    options.after_key = page->next_key;
  } while (options.after_key.has_value());
  EXPECT_EQ(count, static_cast<size_t>(kTokensPerUserMax));
}

// ---- Side by side ----

TEST_F(IdentityTest, AChangeAndAnAuthenticationAtOnceNeverLeaveWhatWasBefore) {
  AddUser("root", {{.role = "admin"}});
  AddUser("alice", {{.role = "viewer"}});
  const std::string token = AddToken("alice");
  for (int i = 0; i < 20; ++i) {
    std::atomic<bool> stop = false;
    std::jthread asker([&] {
      while (!stop) (void)ByToken(token);
    });
    const std::string role = i % 2 == 0 ? "operator" : "viewer";
    ASSERT_TRUE(
        identity_->UpdateUser(Identity::Local(), "alice", {.grants = std::vector<RoleGrant>{{.role = role}}}).ok());
    EXPECT_EQ(Allows(*ByToken(token), "backups.run", {}), i % 2 == 0);
    stop = true;
  }
}

// SQLite's check at the opening took a table of grants for damaged, once it had rows.
TEST_F(IdentityTest, ACatalogWithUsersTokensAndSessionsOpensAgain) {
  AddUser("alice", {{"operator", {.hosts = {"hosts/h1"}, .policies = {}, .labels = {"env=prod"}}}, {"viewer", {}}});
  AddToken("alice", {{"viewer", {.hosts = {"hosts/h1"}, .policies = {}, .labels = {}}}});
  ASSERT_TRUE(SignIn("alice").ok());
  identity_.reset();
  catalog_.reset();
  auto catalog = catalog::Catalog::Open(filesystem_, dir_.File("catalog.db"));
  ASSERT_TRUE(catalog.ok()) << base::Describe(catalog.status());
  catalog_ = *std::move(catalog);
  Restart();
  EXPECT_TRUE(SignIn("alice").ok());
}

}  // namespace
}  // namespace umbra::identity
