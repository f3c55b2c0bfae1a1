// A catalog with nobody in it, a clock that the test moves, and passwords that cost nothing.
#ifndef UMBRA_TESTS_UNIT_SERVER_IDENTITY_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_IDENTITY_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/identity/identity.h"
#include "storage/base/status.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::identity {

inline constexpr char kPassword[] = "correct horse battery";
inline constexpr PasswordCost kCheap = {.passes = 1, .memory_bytes = 8 * base::kKiB};

inline std::string ReasonOf(const absl::Status& status) {
  return base::ReasonOf(status);
}
template <typename T>
std::string ReasonOf(const absl::StatusOr<T>& result) {
  return base::ReasonOf(result.status());
}

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() {
    catalog_ = *catalog::Catalog::Open(filesystem_, dir_.File("catalog.db"));
    Restart();
  }

  // As after a restart of the daemon: nothing but the catalog is left.
  void Restart(PasswordCost cost = kCheap) {
    identity_ = std::make_unique<Identity>(*catalog_, filesystem_, clock_, random_, dir_.path(),
                                           IdentityOptions{.passwords = {.cost = cost}});
  }

  void AddUser(const std::string& name, std::vector<RoleGrant> grants = {}) {
    const auto user =
        identity_->CreateUser(Identity::Local(), {.name = name, .password = kPassword, .grants = std::move(grants)});
    ASSERT_TRUE(user.ok()) << base::Describe(user.status());
  }
  absl::StatusOr<SignedIn> SignIn(const std::string& name, const std::string& password = kPassword) {
    return identity_->SignIn({.name = name, .password = password, .peer = "ipv4:192.0.2.1:5000", .client = "Browser"});
  }
  // Of a new session.
  Principal PrincipalOf(const std::string& name) {
    const auto signed_in = SignIn(name);
    EXPECT_TRUE(signed_in.ok()) << base::Describe(signed_in.status());
    return signed_in.ok() ? signed_in->principal : Principal();
  }
  std::string AddToken(const std::string& user, std::vector<RoleGrant> grants = {},
                       absl::Duration lifetime = absl::ZeroDuration()) {
    NewApiToken wanted{.user = user, .description = "t", .grants = std::move(grants)};
    if (lifetime != absl::ZeroDuration()) wanted.expire_time = clock_.Now() + lifetime;
    const auto token = identity_->CreateToken(Identity::Local(), wanted);
    EXPECT_TRUE(token.ok()) << base::Describe(token.status());
    return token.ok() ? token->text : "";
  }
  absl::StatusOr<Principal> ByToken(const std::string& text) {
    return identity_->Authenticate({.authorization = "Bearer " + text});
  }
  absl::StatusOr<Principal> BySession(const std::string& secret) {
    return identity_->Authenticate({.session = secret});
  }

  testing::TempDir dir_;
  base::PosixFilesystem filesystem_;
  testing::ManualClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<Identity> identity_;
};

}  // namespace umbra::identity

#endif  // UMBRA_TESTS_UNIT_SERVER_IDENTITY_FIXTURE_H_
