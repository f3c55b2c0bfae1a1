// Proves that no secret is anywhere but where it was shown: passwords, tokens and sessions go through every call, right
// and wrong, and are looked for in every file of the data folder, the log, the audit log and every error.
#include <filesystem>
#include <map>

#include "server/identity/audit_log.h"
#include "storage/base/log.h"
#include "tests/unit/server/identity/fixture.h"

namespace umbra::identity {
namespace {

TEST_F(IdentityTest, PlantedSecretsAreNowhere) {
  ASSERT_TRUE(base::SetUpLogging({.level = "trace", .file = dir_.File("umbrad.log")}));
  std::vector<std::string> secrets = {"planted password one", "planted password two", "planted password wrong"};
  std::string errors;
  const auto note = [&](const absl::Status& status) { errors += base::Describe(status) + "\n"; };

  ASSERT_TRUE(identity_->EnsureFirstUser().ok());
  const std::string first = *filesystem_.ReadFile(dir_.File(kFirstCredentialFile));
  secrets.push_back(first.substr(first.find("password: ") + 10, 39));
  note(identity_
           ->CreateUser(Identity::Local(), {.name = "alice", .password = secrets[0], .grants = {{.role = "viewer"}}})
           .status());
  note(identity_->CreateUser(Identity::Local(), {.name = "alice", .password = secrets[0]}).status());
  for (int i = 0; i < 10; ++i) note(SignIn("alice", secrets[2]).status());
  clock_.Advance(absl::Hours(1));
  const auto signed_in = SignIn("alice", secrets[0]);
  ASSERT_TRUE(signed_in.ok());
  secrets.push_back(signed_in->secret);
  const auto token = identity_->CreateToken(signed_in->principal, {.user = "alice", .description = "ci"});
  ASSERT_TRUE(token.ok()) << base::Describe(token.status());
  secrets.push_back(token->text);
  note(ByToken(token->text).status());
  note(ByToken(token->text + "x").status());
  note(BySession(signed_in->secret).status());
  note(identity_->ChangePassword("alice", secrets[2], secrets[1], ""));
  note(identity_->ChangePassword("alice", secrets[0], secrets[1], ""));
  secrets.push_back("planted password three");
  note(identity_->SetPassword(Identity::Local(), "admin", secrets.back()));
  clock_.Advance(absl::Hours(24 * 100));
  note(ByToken(token->text).status());
  note(BySession(signed_in->secret).status());

  AuditLog log(*catalog_, clock_);
  ASSERT_TRUE(log.Append({.principal = signed_in->principal.name,
                          .peer = "192.0.2.1",
                          .method = "m",
                          .object = SessionName(signed_in->session)})
                  .ok());
  ASSERT_TRUE(log.Append({.principal = TokenName(token->token), .method = "m"}).ok());
  std::string audited;
  const auto page = log.List({}, {});
  for (const AuditEntry& entry : page->items) audited += entry.principal + entry.object + entry.summary;
  base::Log("identity")->flush();

  std::map<std::string, std::string> places = {{"errors", errors}, {"audit", audited}};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
    if (entry.is_regular_file()) places[entry.path()] = *filesystem_.ReadFile(entry.path());
  }
  EXPECT_TRUE(places.contains(dir_.File("catalog.db-wal")) && places.contains(dir_.File("umbrad.log")));
  EXPECT_GT(places[dir_.File("umbrad.log")].size(), 100u) << "something was logged";
  for (const auto& [place, content] : places) {
    for (const std::string& secret : secrets) {
      EXPECT_EQ(content.find(secret), std::string::npos) << secret << " is in " << place;
      // Also without what is the same in all of them.
      EXPECT_EQ(content.find(secret.substr(8)), std::string::npos) << secret << " is in " << place;
    }
  }
  ASSERT_TRUE(base::SetUpLogging({}));
}

}  // namespace
}  // namespace umbra::identity
