// Proves that an identity is stored completely or not at all, and that a damaged one is named instead of used.
#include "agent/link/identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/agent/link/fake_daemon.h"

namespace umbra::link {
namespace {

class IdentityTest : public ::testing::Test {
 protected:
  FakeDaemon daemon_;
  testing::TempDir folder_;
  base::PosixFilesystem files_;
};

TEST_F(IdentityTest, ComesBackAsItWasAndIsSecret) {
  EXPECT_FALSE(LoadIdentity(files_, folder_.path())->has_value());
  const Identity identity = daemon_.MakeIdentity();
  const std::string folder = folder_.File("new/folder");
  ASSERT_TRUE(SaveIdentity(files_, folder, identity).ok());
  const auto loaded = LoadIdentity(files_, folder);
  ASSERT_TRUE(loaded.ok() && loaded->has_value());
  EXPECT_EQ((*loaded)->host_id, identity.host_id);
  EXPECT_EQ((*loaded)->daemon_address, identity.daemon_address);
  EXPECT_TRUE(tls::CheckKeyMatches((*loaded)->certificate_pem, (*loaded)->key_pem).ok());
  EXPECT_EQ(tls::Fingerprint((*loaded)->authority_pem).value(), daemon_.authority().fingerprint());
  struct stat st;
  ASSERT_EQ(stat(IdentityPath(folder).c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(IdentityTest, EveryTruncationIsNoticed) {
  ASSERT_TRUE(SaveIdentity(files_, folder_.path(), daemon_.MakeIdentity()).ok());
  const std::string whole = *files_.ReadFile(IdentityPath(folder_.path()));
  for (size_t length = 0; length + 40 < whole.size(); length += 37) {
    ASSERT_TRUE(files_.WriteFileAtomic(IdentityPath(folder_.path()), whole.substr(0, length)).ok());
    EXPECT_EQ(base::ReasonOf(LoadIdentity(files_, folder_.path()).status()), "IDENTITY_DAMAGED") << length;
  }
}

TEST_F(IdentityTest, AnotherAgentsKeyIsNoticed) {
  Identity identity = daemon_.MakeIdentity();
  identity.key_pem = *tls::GenerateKey();
  ASSERT_TRUE(SaveIdentity(files_, folder_.path(), identity).ok());
  EXPECT_EQ(base::ReasonOf(LoadIdentity(files_, folder_.path()).status()), "IDENTITY_DAMAGED");
}

}  // namespace
}  // namespace umbra::link
