// Proves the texts of secrets: their randomness and forms, which header is a token, and which address a peer has.
#include "server/identity/secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace umbra::identity {
namespace {

TEST(SecretsTest, Base32IsThatOfTheStandard) {
  // RFC 4648 section 10, in lower case and without padding.
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "my"},
                                                         {"fo", "mzxq"},
                                                         {"foo", "mzxw6"},
                                                         {"foob", "mzxw6yq"},
                                                         {"fooba", "mzxw6ytb"},
                                                         {"foobar", "mzxw6ytboi"}};
  for (const auto& [plain, encoded] : vectors) EXPECT_EQ(Base32(base::AsBytes(plain)), encoded);
}

TEST(SecretsTest, NewOnesAreOfTheirFormAndDiffer) {
  base::SystemRandom random;
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string token = NewTokenText(random);
    const std::string session = NewSessionText(random);
    const std::string password = NewPasswordText(random);
    EXPECT_TRUE(IsTokenText(token)) << token;
    EXPECT_FALSE(IsSessionText(token));
    EXPECT_TRUE(IsSessionText(session)) << session;
    EXPECT_FALSE(IsTokenText(session));
    EXPECT_THAT(password, ::testing::MatchesRegex("([a-z2-7]{4}-){7}[a-z2-7]{4}")) << "160 bits in groups";
    for (const std::string& text : {token, session, password}) EXPECT_TRUE(seen.insert(text).second);
  }
}

TEST(SecretsTest, NothingElseIsAToken) {
  base::SystemRandom random;
  const std::string good = NewTokenText(random);
  std::string bad_padding = good;
  bad_padding.back() = 'b';
  std::string upper = good;
  upper[10] = 'A';
  std::string zero = good;
  zero[20] = '\0';
  for (const std::string& text : {std::string(), good + "a", good.substr(1), good.substr(0, good.size() - 1),
                                  " " + good, bad_padding, upper, zero, "umbrad" + good.substr(6), good + "\n"}) {
    EXPECT_FALSE(IsTokenText(text)) << text;
  }
}

TEST(SecretsTest, TheHeader) {
  base::SystemRandom random;
  const std::string token = NewTokenText(random);
  EXPECT_EQ(BearerToken("Bearer " + token), token);
  EXPECT_EQ(BearerToken("bearer   " + token), token);
  EXPECT_EQ(BearerToken("BEARER " + token), token);
  for (const std::string& header :
       {std::string(), token, "Bearer" + token, std::string("Bearer "), std::string("Bearer"), "Basic " + token,
        "Bearer " + token + " ", "Bearer " + token + "," + token, " Bearer " + token,
        "Bearer " + NewSessionText(random)}) {
    EXPECT_FALSE(BearerToken(header).has_value()) << header;
  }
}

TEST(SecretsTest, Addresses) {
  EXPECT_EQ(AddressOf("ipv4:192.0.2.1:5000"), "192.0.2.1");
  EXPECT_EQ(AddressOf("192.0.2.1:5000"), "192.0.2.1");
  EXPECT_EQ(AddressOf("192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(AddressOf("ipv6:[2001:db8::1]:5000"), "2001:db8::1");
  EXPECT_EQ(AddressOf("ipv6:%5B2001:db8::1%5D:5000"), "2001:db8::1");
  EXPECT_EQ(AddressOf("2001:db8::1"), "2001:db8::1");
  EXPECT_EQ(AddressOf("unix:"), "");
  EXPECT_EQ(AddressOf("local"), "");
  EXPECT_EQ(AddressOf("unix:/run/umbra.sock"), "");
  EXPECT_EQ(AddressOf(""), "");
  EXPECT_LE(AddressOf(std::string(100'000, ':')).size(), 128u);
  EXPECT_EQ(NetworkOf("192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(NetworkOf("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
  EXPECT_EQ(NetworkOf("2001:db8:1:2:ffff::1%eth0"), "2001:db8:1:2::");
  EXPECT_EQ(NetworkOf("::ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(NetworkOf("what"), "what");
}

}  // namespace
}  // namespace umbra::identity
