// Proves that secrets are sealed on the disk and plain for who has the key, that nothing but the right key and the
// unchanged bytes open them, that plain ones of before go on working, and that there is a way back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/secrets/sealed_filesystem.h"
#include "server/secrets/sealing_key.h"
#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::secrets {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kKeyText[] = "0123456789abcdef0123456789abcdef";
constexpr char kSecret[] = "the planted secret\n";

class SealingTest : public ::testing::Test {
 protected:
  SealingTest() {
    EXPECT_TRUE(disk_.MakeDirectories(dir_.File("secrets")).ok());
    paths_ = {.files = {key_file_}, .folders = {dir_.File("secrets")}};
  }
  SealedFilesystem With(const char* key_text = kKeyText) {
    return {disk_, random_, *SealingKey::FromText(key_text), paths_};
  }

  testing::TempDir dir_;
  base::PosixFilesystem disk_;
  base::SystemRandom random_;
  const std::string key_file_ = dir_.File("main.key");
  const std::string mail_ = dir_.File("secrets/mail");
  const std::string other_ = dir_.File("other");
  SecretPaths paths_;
};

TEST_F(SealingTest, WhatIsSealedOpensWithItsKeyOnly) {
  const SealingKey key = *SealingKey::FromText(kKeyText);
  for (const std::string& plain : {std::string(), std::string(kSecret), std::string(100'000, '\0')}) {
    const std::string sealed = key.Seal(plain, random_);
    EXPECT_TRUE(IsSealed(sealed));
    EXPECT_NE(key.Seal(plain, random_), sealed) << "another one each time";
    EXPECT_EQ(*key.Open(sealed), plain);
    EXPECT_EQ(*SealingKey::FromText(std::string("  ") + kKeyText + "\n")->Open(sealed), plain)
        << "white space is none of it";
    const auto wrong = SealingKey::FromText(std::string(kKeyText) + "x")->Open(sealed);
    EXPECT_EQ(base::ReasonOf(wrong.status()), "SECRETS_KEY_WRONG");
  }
  EXPECT_EQ(base::ReasonOf(SealingKey::FromText(std::string(31, 'a')).status()), "SECRETS_KEY_INVALID");
  EXPECT_EQ(base::ReasonOf(SealingKey::FromText("").status()), "SECRETS_KEY_INVALID");
}

TEST_F(SealingTest, EveryChangeIsNoticed) {
  const SealingKey key = *SealingKey::FromText(kKeyText);
  const std::string sealed = key.Seal(kSecret, random_);
  for (size_t i = 0; i < sealed.size() - 1; ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(key.Open(changed).ok()) << i;
    EXPECT_FALSE(key.Open(sealed.substr(0, i)).ok()) << i;
  }
  EXPECT_FALSE(key.Open(sealed + "AAAA").ok());
}

TEST_F(SealingTest, UsersOfTheFilesNeedNotKnow) {
  SealedFilesystem sealed = With();
  for (const std::string& path : {key_file_, mail_, other_}) {
    ASSERT_TRUE(sealed.WriteFileAtomic(path, kSecret).ok());
    EXPECT_EQ(*sealed.ReadFile(path), kSecret);
    EXPECT_EQ(*With().ReadFile(path), kSecret) << "as after a restart";
    const std::string on_disk = *disk_.ReadFile(path);
    EXPECT_EQ(IsSealed(on_disk), path != other_) << "others stay as they are";
    EXPECT_EQ(on_disk.find("planted") == std::string::npos, path != other_);
  }
  EXPECT_EQ(base::ReasonOf(With("another key of at least 32 characters").ReadFile(mail_).status()),
            "SECRETS_KEY_WRONG");
  EXPECT_EQ(base::ReasonOf(sealed.ReadFile(dir_.File("secrets/none")).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(sealed.ReadFile(mail_, 3).status()), "FILE_TOO_LARGE")
      << "limits are those of the plain size";
  EXPECT_EQ(*sealed.List(dir_.File("secrets")), std::vector<std::string>{"mail"}) << "nothing is left beside it";
}

TEST_F(SealingTest, PlainOnesOfBeforeAreReadAndSealedAtTheStart) {
  ASSERT_TRUE(disk_.WriteFileAtomic(key_file_, kSecret).ok());
  ASSERT_TRUE(disk_.WriteFileAtomic(mail_, kSecret).ok());
  SealedFilesystem sealed = With();
  EXPECT_EQ(*sealed.ReadFile(key_file_), kSecret);
  ASSERT_TRUE(sealed.SealAll().ok());
  for (const std::string& path : {key_file_, mail_}) {
    EXPECT_TRUE(IsSealed(*disk_.ReadFile(path)));
    EXPECT_EQ(*sealed.ReadFile(path), kSecret);
  }
  const std::string before = *disk_.ReadFile(mail_);
  ASSERT_TRUE(sealed.SealAll().ok());
  EXPECT_EQ(*disk_.ReadFile(mail_), before) << "once";
  EXPECT_EQ(base::ReasonOf(With("another key of at least 32 characters").SealAll()), "SECRETS_KEY_WRONG")
      << "a start with the wrong key is refused";
  EXPECT_EQ(*disk_.ReadFile(mail_), before);

  const absl::Status none = CheckNoneSealed(disk_, paths_);
  EXPECT_EQ(base::ReasonOf(none), "SECRETS_KEY_MISSING");
  EXPECT_THAT(base::MessageOf(none), HasSubstr("main.key"));
  ASSERT_TRUE(sealed.UnsealAll().ok());
  EXPECT_EQ(*disk_.ReadFile(mail_), kSecret);
  EXPECT_TRUE(CheckNoneSealed(disk_, paths_).ok());
}

TEST_F(SealingTest, TheKeyComesFromTheFirstSourceThatHasOne) {
  const std::string file = dir_.File("key");
  const std::string credential = dir_.File(kCredentialName);
  const auto opens = [&](const KeySources& sources, const std::string& text) {
    const auto found = FindKey(disk_, sources);
    EXPECT_TRUE(found.ok() && found->has_value()) << found.status();
    return found.ok() && found->has_value() && (*found)->Open(SealingKey::FromText(text)->Seal(kSecret, random_)).ok();
  };
  const std::string of_file = "in the file, 32 characters or more";
  const std::string of_credential = "in the credential, 32 characters or more";
  const std::string of_environment = "in the environment, 32 characters or more";
  ASSERT_TRUE(disk_.WriteFileAtomic(file, of_file + "\n").ok());
  EXPECT_TRUE(opens({"", dir_.path(), of_environment}, of_environment)) << "a service without that credential";
  ASSERT_TRUE(disk_.WriteFileAtomic(credential, of_credential).ok());
  EXPECT_TRUE(opens({file, dir_.path(), of_environment}, of_file));
  EXPECT_TRUE(opens({"", dir_.path(), of_environment}, of_credential));
  EXPECT_FALSE(FindKey(disk_, {})->has_value());
  EXPECT_EQ(base::ReasonOf(FindKey(disk_, {"", "", "short"}).status()), "SECRETS_KEY_INVALID");
  EXPECT_EQ(base::ReasonOf(FindKey(disk_, {dir_.File("none"), "", of_environment}).status()), "FILE_NOT_FOUND")
      << "no other source stands in for one that was named";
}

TEST_F(SealingTest, NothingIsThereYet) {
  paths_.folders.push_back(dir_.File("nowhere"));
  SealedFilesystem sealed = With();
  EXPECT_TRUE(sealed.SealAll().ok());
  EXPECT_TRUE(CheckNoneSealed(disk_, paths_).ok());
}

TEST_F(SealingTest, AFaultOfTheDiskLosesNoSecret) {
  ASSERT_TRUE(disk_.WriteFileAtomic(mail_, kSecret).ok());
  for (uint64_t call = 1;; ++call) {
    testing::FaultFilesystem faulty(disk_);
    faulty.FailAt(call, testing::Fault::kIoError, false);
    SealedFilesystem sealed(faulty, random_, *SealingKey::FromText(kKeyText), paths_);
    const absl::Status done = sealed.SealAll();
    EXPECT_EQ(*With().ReadFile(mail_), kSecret) << call;
    if (done.ok()) break;
    ASSERT_LT(call, 100u);
  }
  EXPECT_THAT(*disk_.ReadFile(mail_), Not(HasSubstr("planted")));
}

}  // namespace
}  // namespace umbra::secrets
