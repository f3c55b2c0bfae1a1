// umbra user | role | token | session | audit: who may use the API, and what they did.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "server/cli/context.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/base/terminal.h"

namespace umbra::cli {
namespace {

constexpr size_t kPasswordBytes = 16;
constexpr size_t kPasswordGroup = 4;
constexpr int kExportPageSize = 1000;

using Users = v1::UserService::Stub;
using Roles = v1::RoleService::Stub;
using Tokens = v1::TokenService::Stub;
using Sessions = v1::SessionService::Stub;
using Audit = v1::AuditService::Stub;

std::string Named(std::string_view collection, const std::string& text) {
  return text.starts_with(collection) ? text : std::string(collection) + text;
}

std::string UserName(const std::string& text) {
  return Named("users/", text);
}

std::string RoleName(const std::string& text) {
  return Named("roles/", text);
}

// ---- Grants ----

// "operator", or "operator@hosts/hv1,policies/nightly,env=prod".
v1::Grant ParseGrant(const std::string& text) {
  v1::Grant grant;
  const size_t at = text.find('@');
  grant.set_role(RoleName(text.substr(0, at)));
  if (at == std::string::npos) return grant;
  v1::Scope& scope = *grant.mutable_scope();
  for (const std::string& entry : CLI::detail::split(text.substr(at + 1), ',')) {
    if (entry.starts_with("hosts/")) {
      scope.add_hosts(entry);
    } else if (entry.starts_with("policies/")) {
      scope.add_policies(entry);
    } else if (entry.find('=') != std::string::npos) {
      scope.add_labels(entry);
    } else {
      throw ExitError{kExitUsage, fmt::format("--grant: \"{}\" is no hosts/..., policies/... or KEY=VALUE", entry),
                      "INVALID_REQUEST"};
    }
  }
  return grant;
}

std::string ScopeText(const v1::Scope& scope) {
  std::vector<std::string> entries(scope.hosts().begin(), scope.hosts().end());
  entries.insert(entries.end(), scope.policies().begin(), scope.policies().end());
  entries.insert(entries.end(), scope.labels().begin(), scope.labels().end());
  return JoinText(entries, ",");
}

std::string GrantsText(const google::protobuf::RepeatedPtrField<v1::Grant>& grants) {
  std::vector<std::string> texts;
  for (const v1::Grant& grant : grants) {
    const std::string scope = ScopeText(grant.scope());
    texts.push_back(LastSegment(grant.role()) + (scope.empty() ? "" : "@" + scope));
  }
  return JoinText(texts, " ");
}

template <typename Message>
void AddGrants(const std::vector<std::string>& texts, Message& message) {
  for (const std::string& text : texts) {
    if (text != "none") *message.add_grants() = ParseGrant(text);
  }
}

// ---- Users ----

struct UserOptions {
  std::string name, display_name;
  std::vector<std::string> grants;
  bool prompt = false, no_password = false, disable = false, enable = false, yes = false;
};

std::string NewPassword() {
  base::SystemRandom random;
  const std::string digits = random.Hex(kPasswordBytes);
  std::string password;
  for (size_t i = 0; i < digits.size(); i += kPasswordGroup) {
    if (i > 0) password += '-';
    password += digits.substr(i, kPasswordGroup);
  }
  return password;
}

std::string PasswordOf(const UserOptions& options) {
  if (!options.prompt) return NewPassword();
  const std::string password = base::ReadHiddenLine("New password: ");
  if (isatty(STDIN_FILENO) == 1 && base::ReadHiddenLine("Once more: ") != password) {
    throw ExitError{kExitUsage, "the two passwords differ", "PASSWORD_UNFIT"};
  }
  return password;
}

void PrintPassword(const UserOptions& options, const std::string& password) {
  if (options.prompt || password.empty()) return;
  fmt::print(stderr, "The password is shown this once:\n");
  fmt::print("{}\n", password);
}

void PrintUser(Context& context, const v1::User& user) {
  if (context.json) return context.output().Json(user);
  context.output().Fields({{"User", LastSegment(user.name())},
                           {"Name", user.display_name()},
                           {"State", user.disabled() ? "disabled" : "active"},
                           {"Grants", user.grants().empty() ? "none" : GrantsText(user.grants())},
                           {"Created", TimeText(user.has_create_time(), user.create_time())},
                           {"Signed in", TimeText(user.has_last_sign_in_time(), user.last_sign_in_time())}});
}

v1::User GetUser(Context& context, const std::string& name) {
  v1::GetUserRequest request;
  request.set_name(UserName(name));
  return Call(*context.client().users, &Users::GetUser, request);
}

void ListUsers(Context& context) {
  Table table({"USER", "NAME", "STATE", "GRANTS", "SIGNED IN"});
  ForEach(*context.client().users, &Users::ListUsers, v1::ListUsersRequest(), &v1::ListUsersResponse::users, 0,
          [&](const v1::User& user) {
            if (context.json) return context.output().Json(user);
            table.Add({LastSegment(user.name()), user.display_name(), user.disabled() ? "disabled" : "active",
                       GrantsText(user.grants()), TimeText(user.has_last_sign_in_time(), user.last_sign_in_time())});
          });
  if (!context.json) table.Print();
}

void CreateUser(Context& context, const UserOptions& options) {
  v1::CreateUserRequest request;
  request.mutable_user()->set_name(UserName(options.name));
  request.mutable_user()->set_display_name(options.display_name);
  AddGrants(options.grants, *request.mutable_user());
  if (!options.no_password) request.set_password(PasswordOf(options));
  const v1::User user = Call(*context.client().users, &Users::CreateUser, request);
  if (!context.json) PrintUser(context, user);
  PrintPassword(options, request.password());
}

void UpdateUser(Context& context, const CLI::App& command, const UserOptions& options) {
  v1::UpdateUserRequest request;
  v1::User& user = *request.mutable_user();
  user.set_name(UserName(options.name));
  const auto given = [&](const char* option, const char* path) {
    if (command.get_option(option)->count() > 0) request.mutable_update_mask()->add_paths(path);
  };
  given("--display-name", "display_name");
  user.set_display_name(options.display_name);
  given("--grant", "grants");
  AddGrants(options.grants, user);
  given("--disable", "disabled");
  given("--enable", "disabled");
  user.set_disabled(options.disable);
  if (!request.has_update_mask()) throw ExitError{kExitUsage, "nothing to change was given", "INVALID_REQUEST"};
  PrintUser(context, Call(*context.client().users, &Users::UpdateUser, request));
}

void ResetPassword(Context& context, const UserOptions& options) {
  v1::SetPasswordRequest request;
  request.set_name(UserName(options.name));
  request.set_new_password(PasswordOf(options));
  Call(*context.client().users, &Users::SetPassword, request);
  PrintPassword(options, request.new_password());
}

void RemoveUser(Context& context, const UserOptions& options) {
  if (!options.yes)
    throw ExitError{kExitUsage,
                    fmt::format("this removes user {} with his tokens and sessions; say --yes to do it", options.name),
                    "INVALID_REQUEST"};
  v1::DeleteUserRequest request;
  request.set_name(UserName(options.name));
  Call(*context.client().users, &Users::DeleteUser, request);
}

void AddUserVerbs(CLI::App& app, Context& context) {
  static UserOptions options;
  CLI::App* user = app.add_subcommand("user", "Who may sign in, and what he may do");
  user->require_subcommand(1);
  const auto verb = [&](const char* word, const char* help) {
    CLI::App* command = user->add_subcommand(word, help);
    command->add_option("USER", options.name, "Name")->required();
    return command;
  };
  const auto said = [&](CLI::App* command) {
    command->add_option("--display-name", options.display_name, "Name for people");
    command->add_option(
        "--grant", options.grants,
        "ROLE, or ROLE@SCOPE: hosts/..., policies/... and KEY=VALUE, with commas; again for more; none takes all away");
  };
  CLI::App* list = user->add_subcommand("list", "Lists users");
  list->footer("Example:\n  umbra user list");
  list->callback([&context] { ListUsers(context); });
  CLI::App* show = verb("show", "Shows a user");
  show->footer("Example:\n  umbra user show alice");
  show->callback([&context] { PrintUser(context, GetUser(context, options.name)); });
  CLI::App* create = verb("create", "Makes a user, with a password that is shown once");
  said(create);
  auto* prompt = create->add_flag("--prompt", options.prompt, "Ask for the password instead of making one");
  create->add_flag("--no-password", options.no_password, "Nobody can sign in until it has one")->excludes(prompt);
  create->footer("Example:\n  umbra user create alice --grant operator --grant restore-operator@hosts/hv1,env=test");
  create->callback([&context] { CreateUser(context, options); });
  CLI::App* update = verb("update", "Changes what is given of a user");
  said(update);
  auto* disable = update->add_flag("--disable", options.disable, "He can't sign in, and his tokens are refused");
  update->add_flag("--enable", options.enable, "He can again")->excludes(disable);
  update->footer("Examples:\n  umbra user update alice --grant viewer\n  umbra user update alice --disable");
  update->callback([&context, update] { UpdateUser(context, *update, options); });
  CLI::App* reset = verb("reset-password", "Gives a user another password, shown once; his sessions end");
  reset->add_flag("--prompt", options.prompt, "Ask for the password instead of making one");
  reset->footer("Example:\n  umbra user reset-password admin");
  reset->callback([&context] { ResetPassword(context, options); });
  CLI::App* remove = verb("remove", "Removes a user with his tokens and sessions");
  remove->add_flag("--yes", options.yes, "Really remove it");
  remove->footer("Example:\n  umbra user remove alice --yes");
  remove->callback([&context] { RemoveUser(context, options); });
}

// ---- Roles ----

struct RoleOptions {
  std::string name, description;
  std::vector<std::string> permissions;
  bool yes = false;
};

void PrintRole(Context& context, const v1::Role& role) {
  if (context.json) return context.output().Json(role);
  const std::vector<std::string> permissions(role.permissions().begin(), role.permissions().end());
  context.output().Fields({{"Role", LastSegment(role.name())},
                           {"Description", role.description()},
                           {"Kind", role.built_in() ? "built in" : "custom"},
                           {"Permissions", JoinText(permissions, " ")}});
}

void ListRoles(Context& context) {
  Table table({"ROLE", "KIND", "PERMISSIONS", "DESCRIPTION"});
  ForEach(*context.client().roles, &Roles::ListRoles, v1::ListRolesRequest(), &v1::ListRolesResponse::roles, 0,
          [&](const v1::Role& role) {
            if (context.json) return context.output().Json(role);
            table.Add({LastSegment(role.name()), role.built_in() ? "built in" : "custom",
                       std::to_string(role.permissions_size()), role.description()});
          });
  if (!context.json) table.Print();
}

void ListPermissions(Context& context) {
  const auto answer = Call(*context.client().roles, &Roles::ListPermissions, v1::ListPermissionsRequest());
  Table table({"PERMISSION", "WHOEVER HAS IT MAY"});
  for (const v1::Permission& permission : answer.permissions()) {
    if (context.json) {
      context.output().Json(permission);
    } else {
      table.Add({permission.id(), permission.description()});
    }
  }
  if (!context.json) table.Print();
}

void CreateRole(Context& context, const RoleOptions& options) {
  v1::CreateRoleRequest request;
  v1::Role& role = *request.mutable_role();
  role.set_name(RoleName(options.name));
  role.set_description(options.description);
  role.mutable_permissions()->Assign(options.permissions.begin(), options.permissions.end());
  PrintRole(context, Call(*context.client().roles, &Roles::CreateRole, request));
}

void UpdateRole(Context& context, const CLI::App& command, const RoleOptions& options) {
  v1::UpdateRoleRequest request;
  v1::Role& role = *request.mutable_role();
  role.set_name(RoleName(options.name));
  role.set_description(options.description);
  role.mutable_permissions()->Assign(options.permissions.begin(), options.permissions.end());
  if (command.get_option("--description")->count() > 0) request.mutable_update_mask()->add_paths("description");
  if (command.get_option("--permission")->count() > 0) request.mutable_update_mask()->add_paths("permissions");
  if (!request.has_update_mask()) throw ExitError{kExitUsage, "nothing to change was given", "INVALID_REQUEST"};
  PrintRole(context, Call(*context.client().roles, &Roles::UpdateRole, request));
}

void RemoveRole(Context& context, const RoleOptions& options) {
  if (!options.yes)
    throw ExitError{kExitUsage, fmt::format("this removes role {}; say --yes to do it", options.name),
                    "INVALID_REQUEST"};
  v1::DeleteRoleRequest request;
  request.set_name(RoleName(options.name));
  Call(*context.client().roles, &Roles::DeleteRole, request);
}

void AddRoleVerbs(CLI::App& app, Context& context) {
  static RoleOptions options;
  CLI::App* role = app.add_subcommand("role", "Sets of permissions");
  role->require_subcommand(1);
  const auto verb = [&](const char* word, const char* help) {
    CLI::App* command = role->add_subcommand(word, help);
    command->add_option("ROLE", options.name, "Name")->required();
    return command;
  };
  const auto said = [&](CLI::App* command) {
    command->add_option("--description", options.description, "What it is for");
    return command->add_option("--permission", options.permissions, "Such as jobs.view, jobs.* or *; again for more");
  };
  CLI::App* list = role->add_subcommand("list", "Lists roles");
  list->footer("Example:\n  umbra role list");
  list->callback([&context] { ListRoles(context); });
  CLI::App* permissions = role->add_subcommand("permissions", "Lists what roles can contain");
  permissions->footer("Example:\n  umbra role permissions");
  permissions->callback([&context] { ListPermissions(context); });
  CLI::App* show = verb("show", "Shows a role");
  show->footer("Example:\n  umbra role show operator");
  show->callback([&context] {
    v1::GetRoleRequest request;
    request.set_name(RoleName(options.name));
    PrintRole(context, Call(*context.client().roles, &Roles::GetRole, request));
  });
  CLI::App* create = verb("create", "Makes a role");
  said(create)->required();
  create->footer("Example:\n  umbra role create auditor --permission 'audit.*' --permission users.view");
  create->callback([&context] { CreateRole(context, options); });
  CLI::App* update = verb("update", "Changes what is given of a role");
  said(update);
  update->footer("Example:\n  umbra role update auditor --permission 'audit.*'");
  update->callback([&context, update] { UpdateRole(context, *update, options); });
  CLI::App* remove = verb("remove", "Removes a role that nobody has");
  remove->add_flag("--yes", options.yes, "Really remove it");
  remove->footer("Example:\n  umbra role remove auditor --yes");
  remove->callback([&context] { RemoveRole(context, options); });
}

// ---- Tokens and sessions ----

struct TokenOptions {
  std::string user, name, description;
  std::vector<std::string> grants;
  int days = 0;
};

void CreateToken(Context& context, const TokenOptions& options) {
  v1::CreateApiTokenRequest request;
  request.set_parent(UserName(options.user));
  request.mutable_token()->set_display_name(options.description);
  AddGrants(options.grants, *request.mutable_token());
  if (options.days > 0) {
    base::SystemClock clock;
    const absl::Time end = clock.Now() + absl::Hours(24 * options.days);
    request.mutable_token()->mutable_expire_time()->set_seconds(absl::ToUnixSeconds(end));
  }
  const auto created = Call(*context.client().tokens, &Tokens::CreateApiToken, request);
  if (context.json) return context.output().Json(created);
  const v1::ApiToken& token = created.token();
  fmt::print(stderr, "{}, good until {}. The secret is shown this once:\n", token.name(),
             TimeText(token.has_expire_time(), token.expire_time()));
  fmt::print("{}\n", created.secret());
}

void ListTokens(Context& context, const std::string& user) {
  Table table({"TOKEN", "FOR", "GRANTS", "EXPIRES", "LAST USED"});
  v1::ListApiTokensRequest request;
  request.set_parent(UserName(user.empty() ? "-" : user));
  ForEach(*context.client().tokens, &Tokens::ListApiTokens, request, &v1::ListApiTokensResponse::tokens, 0,
          [&](const v1::ApiToken& token) {
            if (context.json) return context.output().Json(token);
            table.Add({token.name(), token.display_name(),
                       token.grants().empty() ? "its user's" : GrantsText(token.grants()),
                       TimeText(token.has_expire_time(), token.expire_time()),
                       TimeText(token.has_last_used_time(), token.last_used_time())});
          });
  if (!context.json) table.Print();
}

void AddTokenVerbs(CLI::App& app, Context& context) {
  static TokenOptions options;
  CLI::App* token = app.add_subcommand("token", "Credentials of programs");
  token->require_subcommand(1);
  CLI::App* list = token->add_subcommand("list", "Lists tokens");
  list->add_option("--user", options.user, "Only those of this user");
  list->footer("Example:\n  umbra token list --user alice");
  list->callback([&context] { ListTokens(context, options.user); });
  CLI::App* create = token->add_subcommand("create", "Makes a token; its secret is shown once");
  create->add_option("USER", options.user, "Whose: it never may more than he")->required();
  create->add_option("--description", options.description, "What it is for");
  create->add_option("--grant", options.grants, "As of a user; without any it may all that its user may");
  create->add_option("--days", options.days, "How long it is good (90)")->check(CLI::PositiveNumber);
  create->footer("Example:\n  umbra token create alice --description ci --grant operator@env=test --days 30");
  create->callback([&context] { CreateToken(context, options); });
  CLI::App* revoke = token->add_subcommand("revoke", "Ends a token at once");
  revoke->add_option("TOKEN", options.name, "users/USER/tokens/TOKEN")->required();
  revoke->footer("Example:\n  umbra token revoke users/alice/tokens/0123456789ab");
  revoke->callback([&context] {
    v1::DeleteApiTokenRequest request;
    request.set_name(options.name);
    Call(*context.client().tokens, &Tokens::DeleteApiToken, request);
  });
}

void ListSessions(Context& context, const std::string& user) {
  Table table({"SESSION", "FROM", "BEGAN", "LAST SEEN", "ENDS"});
  v1::ListSessionsRequest request;
  request.set_parent(UserName(user));
  const auto answer = Call(*context.client().sessions, &Sessions::ListSessions, request);
  for (const v1::Session& session : answer.sessions()) {
    if (context.json) {
      context.output().Json(session);
      continue;
    }
    table.Add({session.name(), session.peer(), TimeText(session.has_create_time(), session.create_time()),
               TimeText(session.has_last_seen_time(), session.last_seen_time()),
               TimeText(session.has_expire_time(), session.expire_time())});
  }
  if (!context.json) table.Print();
}

void AddSessionVerbs(CLI::App& app, Context& context) {
  static std::string name;
  CLI::App* session = app.add_subcommand("session", "Browsers that somebody signed in with");
  session->require_subcommand(1);
  CLI::App* list = session->add_subcommand("list", "Lists the sessions of a user");
  list->add_option("USER", name, "Name")->required();
  list->footer("Example:\n  umbra session list alice");
  list->callback([&context] { ListSessions(context, name); });
  CLI::App* end = session->add_subcommand("end", "Ends a session at once");
  end->add_option("SESSION", name, "users/USER/sessions/SESSION")->required();
  end->footer("Example:\n  umbra session end users/alice/sessions/0123456789ab");
  end->callback([&context] {
    v1::DeleteSessionRequest request;
    request.set_name(name);
    Call(*context.client().sessions, &Sessions::DeleteSession, request);
  });
}

// ---- The audit log ----

struct AuditOptions {
  v1::ListAuditEntriesRequest filter;
  std::string principal, method, object, known;
  bool failures = false;
  int limit = 50;
};

v1::ListAuditEntriesRequest FilterOf(const AuditOptions& options) {
  v1::ListAuditEntriesRequest request;
  request.set_principal(options.principal);
  request.set_method(options.method);
  request.set_object(options.object);
  request.set_failures_only(options.failures);
  return request;
}

void ListAudit(Context& context, const AuditOptions& options) {
  Table table({"NUMBER", "TIME", "WHO", "FROM", "WHAT", "OF", "RESULT"});
  ForEach(*context.client().audit, &Audit::ListAuditEntries, FilterOf(options), &v1::ListAuditEntriesResponse::entries,
          options.limit, [&](const v1::AuditEntry& entry) {
            if (context.json) return context.output().Json(entry);
            table.Add({std::to_string(entry.number()), TimeText(entry.has_time(), entry.time()), entry.principal(),
                       entry.peer(), entry.method(), entry.object(),
                       entry.reason().empty() ? entry.code() : entry.reason()});
          });
  if (!context.json) table.Print();
}

void ExportAudit(Context& context, const AuditOptions& options) {
  v1::ListAuditEntriesRequest request = FilterOf(options);
  request.set_oldest_first(true);
  request.set_page_size(kExportPageSize);
  const Output lines(true);
  ForEach(*context.client().audit, &Audit::ListAuditEntries, request, &v1::ListAuditEntriesResponse::entries, 0,
          [&](const v1::AuditEntry& entry) { lines.Json(entry); });
}

void VerifyAudit(Context& context, const AuditOptions& options) {
  v1::VerifyAuditLogRequest request;
  if (!options.known.empty()) {
    const size_t colon = options.known.find(':');
    int64_t number = 0;
    if (colon == std::string::npos || !CLI::detail::lexical_cast(options.known.substr(0, colon), number)) {
      throw ExitError{kExitUsage, "--known: NUMBER:HASH, as an earlier check printed", "INVALID_REQUEST"};
    }
    request.set_known_number(number);
    request.set_known_hash(options.known.substr(colon + 1));
  }
  const auto answer = Call(*context.client().audit, &Audit::VerifyAuditLog, request);
  if (context.json) context.output().Json(answer);
  if (!answer.problem().empty()) throw ExitError{kExitDamaged, answer.problem(), "AUDIT_LOG_BROKEN"};
  if (context.json) return;
  context.output().Fields({{"Entries", std::to_string(answer.entry_count())},
                           {"State", "sound"},
                           {"Newest", fmt::format("{}:{}", answer.newest_number(), answer.newest_hash())}});
}

void AddAuditVerbs(CLI::App& app, Context& context) {
  static AuditOptions options;
  CLI::App* audit = app.add_subcommand("audit", "The log of who did what");
  audit->require_subcommand(1);
  const auto filtered = [&](CLI::App* command) {
    command->add_option("--principal", options.principal,
                        "Only what this one did, and what is below its name, such as users/alice");
    command->add_option("--method", options.method, "Only this method, such as JobService.CreateJob");
    command->add_option("--object", options.object, "Only what concerned this resource, or what is below its name");
    command->add_flag("--failures", options.failures, "Only what was refused or failed");
  };
  CLI::App* list = audit->add_subcommand("list", "Lists entries, newest first");
  filtered(list);
  list->add_option("--limit", options.limit, "At most so many; 0: all")->capture_default_str();
  list->footer("Example:\n  umbra audit list --principal users/alice --failures");
  list->callback([&context] { ListAudit(context, options); });
  CLI::App* out = audit->add_subcommand("export", "Prints entries as lines of JSON, oldest first");
  filtered(out);
  out->footer("Example:\n  umbra audit export > audit.jsonl");
  out->callback([&context] { ExportAudit(context, options); });
  CLI::App* verify =
      audit->add_subcommand("verify", "Reads the whole log and names the first entry that isn't as it was written");
  verify->add_option("--known", options.known, "NUMBER:HASH of an entry that was noted elsewhere");
  verify->footer("Example:\n  umbra audit verify");
  verify->callback([&context] { VerifyAudit(context, options); });
}

}  // namespace

void AddIdentityCommands(CLI::App& app, Context& context) {
  AddUserVerbs(app, context);
  AddRoleVerbs(app, context);
  AddTokenVerbs(app, context);
  AddSessionVerbs(app, context);
  AddAuditVerbs(app, context);
}

}  // namespace umbra::cli
