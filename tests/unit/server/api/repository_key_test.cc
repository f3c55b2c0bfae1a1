// Proves the service of repository keys: what it lists, what it makes, what it refuses, through a real socket, and that
// a key that it made opens the repository.
#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Stub = v1::RepositoryKeyService::Stub;

class RepositoryKeyTest : public ApiTest {
 protected:
  v1::ListRepositoryKeysResponse List(int page_size = 0, const std::string& token = "") {
    v1::ListRepositoryKeysRequest request;
    request.set_parent("repositories/main");
    request.set_page_size(page_size);
    request.set_page_token(token);
    v1::ListRepositoryKeysResponse response;
    EXPECT_EQ(Outcome(Call(keys_, &Stub::ListRepositoryKeys, request, &response)), "OK");
    return response;
  }

  std::string Create(v1::RepositoryKey::Kind kind, const std::string& passphrase, v1::CreateRepositoryKeyResponse* out,
                     const std::string& label = "mine") {
    v1::CreateRepositoryKeyRequest request;
    request.set_parent("repositories/main");
    request.mutable_key()->set_kind(kind);
    request.mutable_key()->set_label(label);
    request.set_passphrase(passphrase);
    return Outcome(Call(keys_, &Stub::CreateRepositoryKey, request, out));
  }

  std::string Delete(const std::string& name) {
    v1::DeleteRepositoryKeyRequest request;
    request.set_name(name);
    google::protobuf::Empty response;
    return Outcome(Call(keys_, &Stub::DeleteRepositoryKey, request, &response));
  }

  // Whether the key opens the repository once nobody has it open.
  bool Opens(const repo::KeySecret& secret) {
    StopServer();
    repositories_.reset();
    repo::RepositoryOptions options;
    options.key = secret;
    return repo::Repository::Open(files_, clock_, random_, dir_.File("main"), options).ok();
  }
};

TEST_F(RepositoryKeyTest, ARecoveryKeyIsShownOnceAndOpens) {
  v1::CreateRepositoryKeyResponse made;
  ASSERT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "", &made, "safe"), "OK");
  EXPECT_EQ(made.key().label(), "safe");
  EXPECT_EQ(made.key_file(), "");
  const auto secret = repo::ParseRecoveryKey(made.recovery_key());
  ASSERT_TRUE(secret.ok());
  const auto list = List();
  ASSERT_EQ(list.keys_size(), 2);
  EXPECT_EQ(list.epoch(), 1);
  EXPECT_THAT(list.DebugString(), Not(HasSubstr(made.recovery_key())));
  EXPECT_TRUE(Opens(*secret));
}

TEST_F(RepositoryKeyTest, PassphrasesAndKeyFilesOpen) {
  v1::CreateRepositoryKeyResponse made;
  ASSERT_EQ(Create(v1::RepositoryKey::KIND_PASSPHRASE, "correct horse battery", &made), "OK");
  EXPECT_EQ(made.recovery_key() + made.key_file(), "");
  ASSERT_EQ(Create(v1::RepositoryKey::KIND_KEY_FILE, "", &made), "OK");
  const auto file = repo::ParseKeyFile(made.key_file());
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(Opens(*file));
  EXPECT_TRUE(Opens(*repo::PassphraseSecret("correct horse battery")));
  EXPECT_FALSE(Opens(*repo::PassphraseSecret("correct horse batterz")));
}

TEST_F(RepositoryKeyTest, WhatMakesNoSenseIsRefused) {
  v1::CreateRepositoryKeyResponse made;
  EXPECT_EQ(Create(v1::RepositoryKey::KIND_UNSPECIFIED, "", &made), "INVALID_ARGUMENT INVALID_REQUEST");
  EXPECT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "mine to choose", &made), "INVALID_ARGUMENT INVALID_REQUEST");
  EXPECT_EQ(Create(v1::RepositoryKey::KIND_PASSPHRASE, "short", &made), "INVALID_ARGUMENT KEY_INVALID");
  EXPECT_EQ(Create(v1::RepositoryKey::KIND_PASSPHRASE, std::string(1025, 'x'), &made), "INVALID_ARGUMENT KEY_INVALID");
  EXPECT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "", &made, std::string(129, 'x')),
            "INVALID_ARGUMENT KEY_INVALID");
  EXPECT_EQ(List().keys_size(), 1);
  const std::string own = List().keys(0).name();
  EXPECT_EQ(Delete(own), "FAILED_PRECONDITION KEY_LAST");
  ASSERT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "", &made), "OK");
  EXPECT_EQ(Delete(own), "FAILED_PRECONDITION KEY_IN_USE");
  EXPECT_EQ(Delete("repositories/main/keys/0000000000000000"), "NOT_FOUND KEY_NOT_FOUND");
  EXPECT_EQ(Delete("repositories/other/keys/0000000000000000"), "NOT_FOUND REPOSITORY_NOT_FOUND");
  EXPECT_EQ(Delete("repositories/main"), "INVALID_ARGUMENT INVALID_REQUEST");
}

TEST_F(RepositoryKeyTest, ARemovedKeyOpensNothingAfterARotation) {
  v1::CreateRepositoryKeyResponse gone, stays;
  ASSERT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "", &gone), "OK");
  ASSERT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "", &stays), "OK");
  ASSERT_EQ(Delete(gone.key().name()), "OK");
  v1::RotateRepositoryKeysRequest request;
  request.set_parent("repositories/main");
  v1::RotateRepositoryKeysResponse rotated;
  ASSERT_EQ(Outcome(Call(keys_, &Stub::RotateRepositoryKeys, request, &rotated)), "OK");
  EXPECT_EQ(rotated.epoch(), 2);
  EXPECT_EQ(rotated.keys_size(), 2);
  EXPECT_FALSE(Opens(*repo::ParseRecoveryKey(gone.recovery_key())));
  EXPECT_TRUE(Opens(*repo::ParseRecoveryKey(stays.recovery_key())));
}

TEST_F(RepositoryKeyTest, ListsComeInPages) {
  v1::CreateRepositoryKeyResponse made;
  for (int i = 0; i < 4; ++i) ASSERT_EQ(Create(v1::RepositoryKey::KIND_RECOVERY_KEY, "", &made), "OK");
  std::vector<std::string> names;
  std::string token;
  do {
    const auto page = List(2, token);
    for (const auto& key : page.keys()) names.push_back(key.name());
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_EQ(names.size(), 5u);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

}  // namespace
}  // namespace umbra::api
