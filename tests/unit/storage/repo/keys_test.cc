// Proves that every kind of key opens a repository and no other does, that keys can be added, removed and rotated
// without touching data, that a removed key stops at the next rotation, and that keys survive damage, faults and
// forgery as promised.
#include "storage/repo/key_format.h"
#include "storage/repo/key_store.h"
#include "tests/support/fault_filesystem.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;

TEST(RecoveryKey, IsPrintedForPeopleAndReadFromThem) {
  base::SeededRandom random(5);
  for (int i = 0; i < 200; ++i) {
    const KeySecret secret = NewRecoverySecret(random);
    const std::string text = PrintRecoveryKey(secret);
    EXPECT_EQ(text.size(), 8 * 5 + 7u);
    EXPECT_EQ(ParseRecoveryKey(text)->bytes, secret.bytes);
    std::string sloppy;
    for (char c : text) {
      if (c == '-') c = ' ';
      if (c == '0') c = 'o';
      if (c == '1') c = i % 2 == 0 ? 'l' : 'I';
      sloppy += static_cast<char>(tolower(c));
    }
    EXPECT_EQ(ParseRecoveryKey(sloppy + "\n")->bytes, secret.bytes) << sloppy;
  }
}

TEST(RecoveryKey, AMistypedGroupIsNamed) {
  base::SeededRandom random(5);
  const std::string text = PrintRecoveryKey(NewRecoverySecret(random));
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '-') continue;
    std::string wrong = text;
    wrong[at] = text[at] == '7' ? '8' : '7';
    const auto parsed = ParseRecoveryKey(wrong);
    EXPECT_EQ(ReasonOf(parsed.status()), "KEY_INVALID");
    EXPECT_NE(base::MessageOf(parsed.status()).find(fmt::format("group {} ", at / 6 + 1)), std::string::npos)
        << parsed.status();
  }
  std::string swapped = text.substr(6, 6) + text.substr(0, 6) + text.substr(12);
  EXPECT_EQ(ReasonOf(ParseRecoveryKey(swapped).status()), "KEY_INVALID");
  for (const std::string& bad : {std::string(), text.substr(1), text + "0", std::string(40, 'U')}) {
    EXPECT_EQ(ReasonOf(ParseRecoveryKey(bad).status()), "KEY_INVALID") << bad;
  }
}

TEST(KeyFile, IsTextWithComments) {
  base::SeededRandom random(6);
  const KeySecret secret = NewKeyFileSecret(random);
  const std::string text = PrintKeyFile(secret, "Key of main");
  EXPECT_TRUE(text.starts_with("# Key of main\n")) << text;
  EXPECT_EQ(ParseKeyFile(text)->bytes, secret.bytes);
  EXPECT_EQ(ParseKeyFile("# more\r\n" + text.substr(0, text.size() - 1) + "\r\n")->bytes, secret.bytes);
  for (const std::string& bad : {std::string(), std::string("umbra-key-1 12"), text.substr(0, text.size() - 3)}) {
    EXPECT_EQ(ReasonOf(ParseKeyFile(bad).status()), "KEY_INVALID") << bad;
  }
}

// RFC 5869, test cases 1 and 3; NIST GCM vectors are OpenSSL's own matter.
TEST(Seal, HkdfIsTheStandards) {
  const std::string secret(22, '\x0b');
  const std::string salt = *base::FromHex("000102030405060708090a0b0c");
  const std::string info = *base::FromHex("f0f1f2f3f4f5f6f7f8f9");
  std::array<std::byte, 42> out;
  DeriveBytes(base::AsBytes(secret), base::AsBytes(salt),
              {base::AsBytes(info).first(3), base::AsBytes(info).subspan(3)}, out);
  EXPECT_EQ(base::ToHex(out), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  DeriveBytes(base::AsBytes(secret), {}, {}, out);
  EXPECT_EQ(base::ToHex(out), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(Seal, OpensWhatItSealedAndNothingElse) {
  base::SeededRandom random(9);
  Key key;
  random.Fill(key.bytes);
  Sealer sealer;
  Opener opener;
  sealer.SetKey(key);
  opener.SetKey(key);
  for (const size_t size : {0, 1, 15, 16, 17, 4096, 131072}) {
    std::vector<std::byte> data(size + kTagSize), plain(size);
    random.Fill(plain);
    std::copy(plain.begin(), plain.end(), data.begin());
    sealer.Seal(7, base::AsBytes("aad"), {data.data(), size}, data.data());  // in place
    std::vector<std::byte> out(size);
    EXPECT_TRUE(opener.Open(7, base::AsBytes("aad"), data, out.data()));
    EXPECT_EQ(out, plain);
    EXPECT_FALSE(opener.Open(8, base::AsBytes("aad"), data, out.data()));
    EXPECT_FALSE(opener.Open(7, base::AsBytes("aae"), data, out.data()));
    for (size_t bit = 0; bit < data.size() * 8; bit += 1 + bit / 3) {
      data[bit / 8] ^= std::byte{1} << bit % 8;
      EXPECT_FALSE(opener.Open(7, base::AsBytes("aad"), data, out.data())) << bit;
      data[bit / 8] ^= std::byte{1} << bit % 8;
    }
    EXPECT_TRUE(opener.Open(7, base::AsBytes("aad"), data, data.data())) << "in place";
  }
}

class Keys : public RepositoryTest {
 protected:
  static KeySecret Passphrase(const std::string& text = "correct horse battery") { return *PassphraseSecret(text); }

  absl::StatusOr<std::unique_ptr<Repository>> OpenWith(const KeySecret& secret) {
    repository_.reset();
    RepositoryOptions options = SmallOptions();
    options.key = secret;
    return Repository::Open(fs_, clock_, random_, kPath, options);
  }
  std::string ReasonWith(const KeySecret& secret) { return ReasonOf(OpenWith(secret).status()); }
  void Reuse(absl::StatusOr<std::unique_ptr<Repository>> opened) {
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }
  std::vector<std::string> Files(const std::string& folder) { return fs_.AllFiles(std::string(kPath) + "/" + folder); }
  std::string SlotPath(const std::string& id) { return std::string(kPath) + "/keys/" + id + ".slot"; }

  const ModelVm vm_ = {{"vda", ModelDisk::OfChunks({1, 2, 0, 3, 4, 5})}};
};

TEST_F(Keys, EveryKindOpensAndReadsTheSameBytes) {
  const std::string point = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  const KeySecret recovery = NewRecoverySecret(random_), file = NewKeyFileSecret(random_);
  ASSERT_TRUE(repository_->AddKey(recovery, "safe").ok());
  ASSERT_TRUE(repository_->AddKey(file, "stick").ok());
  ASSERT_TRUE(repository_->AddKey(Passphrase(), "ann").ok());
  for (const KeySecret& secret : {testing::TestKey(), recovery, file, Passphrase()}) {
    Reuse(OpenWith(secret));
    EXPECT_EQ(CompareVm(*repository_, point, vm_), absl::OkStatus());
    const KeyList list = *repository_->ListKeys();
    ASSERT_EQ(list.keys.size(), 4u);
    for (const KeyInfo& key : list.keys) EXPECT_EQ(key.problem, "");
    EXPECT_EQ(std::ranges::count_if(list.keys, &KeyInfo::in_use), 1);
  }
}

TEST_F(Keys, WrongAndMissingKeysAreToldApart) {
  ASSERT_TRUE(repository_->AddKey(Passphrase(), "").ok());
  EXPECT_EQ(ReasonWith(KeySecret()), "KEY_MISSING");
  EXPECT_EQ(ReasonWith(Passphrase("correct horse batterz")), "KEY_WRONG");
  EXPECT_EQ(ReasonWith(NewKeyFileSecret(random_)), "KEY_WRONG");
  EXPECT_EQ(ReasonWith(NewRecoverySecret(random_)), "KEY_WRONG");
  // The same bytes as another kind of key are another key.
  EXPECT_EQ(ReasonWith({KeyKind::kPassphrase, testing::TestKey().bytes}), "KEY_WRONG");
  EXPECT_EQ(ReasonOf(Repository::Create(fs_, clock_, random_, "/new").status()), "KEY_MISSING");
  EXPECT_TRUE(OpenWith(testing::TestKey()).ok());
}

TEST_F(Keys, TheLastKeyAndTheOneInUseStay) {
  const std::string own = repository_->ListKeys()->keys[0].id;
  EXPECT_EQ(ReasonOf(repository_->RemoveKey(own)), "KEY_LAST");
  EXPECT_EQ(ReasonOf(repository_->RemoveKey("0123456789abcdef")), "KEY_NOT_FOUND");
  EXPECT_EQ(ReasonOf(repository_->RemoveKey("../umbra-repository")), "KEY_NOT_FOUND");
  const std::string other = repository_->AddKey(Passphrase(), "")->id;
  EXPECT_EQ(ReasonOf(repository_->RemoveKey(own)), "KEY_IN_USE");
  // A slot that is damaged opens nothing, so it doesn't count.
  const std::string damaged = repository_->AddKey(NewRecoverySecret(random_), "")->id;
  fs_.FlipBit(SlotPath(damaged), 800);
  EXPECT_EQ(repository_->RemoveKey(other), absl::OkStatus());
  EXPECT_EQ(ReasonOf(repository_->RemoveKey(own)), "KEY_LAST");
  EXPECT_EQ(repository_->RemoveKey(damaged), absl::OkStatus()) << "also what is damaged can be removed";
  EXPECT_EQ(ReasonWith(Passphrase()), "KEY_WRONG");
}

TEST_F(Keys, ChangingKeysTouchesNoData) {
  const std::string point = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  std::map<std::string, std::string> before;
  for (const std::string& path : fs_.AllFiles(kPath)) {
    if (path.find("/keys/") == std::string::npos) before[path] = *fs_.ReadFile(path);
  }
  const std::string id = repository_->AddKey(Passphrase(), "")->id;
  ASSERT_TRUE(repository_->RotateKeys().ok());
  ASSERT_TRUE(repository_->RemoveKey(id).ok());
  for (const auto& [path, content] : before) EXPECT_EQ(*fs_.ReadFile(path), content) << path;
  EXPECT_EQ(CompareVm(*repository_, point, vm_), absl::OkStatus());
}

TEST_F(Keys, ARotationReachesEveryKeyButThoseRemovedBefore) {
  const std::string old_point = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  const KeySecret gone = NewRecoverySecret(random_), stays = NewRecoverySecret(random_),
                  later = NewRecoverySecret(random_);
  const std::string gone_id = repository_->AddKey(gone, "left the company")->id;
  ASSERT_TRUE(repository_->AddKey(stays, "").ok());
  ASSERT_TRUE(repository_->AddKey(Passphrase(), "").ok());
  const std::string kept_copy = *fs_.ReadFile(SlotPath(gone_id));
  ASSERT_TRUE(repository_->RemoveKey(gone_id).ok());
  const auto rotated = repository_->RotateKeys();
  ASSERT_TRUE(rotated.ok()) << rotated.status();
  EXPECT_EQ(rotated->epoch, 2u);
  ASSERT_TRUE(repository_->AddKey(later, "").ok());
  const ModelVm new_vm = {{"vda", ModelDisk::OfChunks({11, 12, 13, 1})}};
  const std::string new_point = Backup(*repository_, "vm1", new_vm)->recovery_point_id();
  // Whoever kept the slot puts it back: it opens nothing any more, and the list says so.
  ASSERT_TRUE(fs_.WriteFileAtomic(SlotPath(gone_id), kept_copy).ok());
  const KeyList list = *repository_->ListKeys();
  for (const KeyInfo& key : list.keys) EXPECT_EQ(key.problem.empty(), key.id != gone_id) << key.id << key.problem;
  EXPECT_EQ(ReasonWith(gone), "KEY_WRONG");
  for (const KeySecret& secret : {testing::TestKey(), stays, Passphrase(), later}) {
    Reuse(OpenWith(secret));
    EXPECT_EQ(CompareVm(*repository_, old_point, vm_), absl::OkStatus());
    EXPECT_EQ(CompareVm(*repository_, new_point, new_vm), absl::OkStatus());
  }
  // Another rotation passes it over as well.
  Reuse(OpenWith(stays));
  const auto again = repository_->RotateKeys();
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->epoch, 3u);
  EXPECT_EQ(ReasonWith(gone), "KEY_WRONG");
  EXPECT_TRUE(OpenWith(later).ok());
}

TEST_F(Keys, ASlotThatSomebodyElseMadeIsNotReached) {
  // A key pair of the attacker's, in a slot with everything right but what needs the root key.
  const std::string victim = repository_->AddKey(NewRecoverySecret(random_), "")->id;
  KeySlot forged = *DecodeSlot(ToRawUuid(repository_->info().uuid), *fs_.ReadFile(SlotPath(victim)));
  random_.Fill(forged.public_key);
  ASSERT_TRUE(fs_.WriteFileAtomic(SlotPath(victim), EncodeSlot(forged)).ok());
  const auto rotated = repository_->RotateKeys();
  ASSERT_TRUE(rotated.ok());
  size_t refused = 0;
  for (const KeyInfo& key : rotated->keys) refused += key.problem.empty() ? 0 : 1;
  EXPECT_EQ(refused, 1u);
  for (const std::string& path : Files("keys")) {
    if (path.find("00000002") == std::string::npos) continue;
    const auto ring = DecodeRing(ToRawUuid(repository_->info().uuid), *fs_.ReadFile(path));
    ASSERT_TRUE(ring.ok());
    EXPECT_EQ(ring->ring.members.size(), 1u);
  }
}

TEST_F(Keys, OneCopyOfTheRingIsEnoughAndTheOtherComesBack) {
  for (const char copy : {'a', 'b'}) {
    for (const bool gone : {true, false}) {
      const std::string path = std::string(kPath) + "/" + RingName(1, copy);
      const std::string original = *fs_.ReadFile(path);
      repository_.reset();
      if (gone) {
        ASSERT_TRUE(fs_.Remove(path).ok());
      } else {
        fs_.FlipBit(path, 700);
      }
      Reuse(OpenWith(testing::TestKey()));
      EXPECT_EQ(*fs_.ReadFile(path), original);
    }
  }
  for (const char copy : {'a', 'b'}) fs_.FlipBit(std::string(kPath) + "/" + RingName(1, copy), 700);
  EXPECT_EQ(ReasonWith(testing::TestKey()), "KEYS_DAMAGED");
}

// Bits of slot and ring with the hash at the end made right again: only cryptography can notice.
TEST_F(Keys, ChangedKeysAreNoticedWithoutTheHash) {
  repository_.reset();
  const auto with_hash = [](std::string bytes) {
    const Hash hash = HashOf(base::AsBytes(bytes).first(bytes.size() - 32));
    std::memcpy(bytes.data() + bytes.size() - 32, hash.data(), 32);
    return bytes;
  };
  const auto all = Files("keys");
  ASSERT_EQ(all.size(), 3u);
  std::map<std::string, std::string> original;
  for (const std::string& path : all) original[path] = *fs_.ReadFile(path);
  for (const auto& [path, content] : original) {
    const bool ring = path.ends_with(".ring");
    for (size_t bit = 0; bit < (content.size() - 32) * 8; bit += 5) {
      std::string changed = content;
      changed[bit / 8] ^= static_cast<char>(1 << bit % 8);
      changed = with_hash(changed);
      for (const auto& [other, bytes] : original) {
        if (other != path && !(ring && other.ends_with(".ring"))) continue;
        ASSERT_TRUE(fs_.WriteFileAtomic(other, changed).ok());
      }
      const std::string reason = ReasonWith(testing::TestKey());
      EXPECT_TRUE(reason == "KEYS_DAMAGED" || reason == "KEY_WRONG") << path << " bit " << bit << " " << reason;
    }
    for (const auto& [other, bytes] : original) ASSERT_TRUE(fs_.WriteFileAtomic(other, bytes).ok());
  }
  EXPECT_EQ(ReasonWith(testing::TestKey()), "");
}

TEST_F(Keys, AnExchangedHeaderIsNoticed) {
  RepositoryInfo info = repository_->info();
  repository_.reset();
  info.chunk_size_bytes *= 2;
  ASSERT_TRUE(fs_.WriteFileAtomic(std::string(kPath) + "/" + kHeaderName, EncodeHeader(info)).ok());
  EXPECT_EQ(ReasonWith(testing::TestKey()), "KEYS_DAMAGED");
}

TEST_F(Keys, WhatACutShortCreateLeavesIsInNobodysWay) {
  repository_.reset();
  // Keys are written before the header, and everything else after it.
  for (const std::string& file : fs_.AllFiles(std::string(kPath) + "/keys")) {
    const std::string copy = "/cut" + file.substr(std::string(kPath).size());
    ASSERT_TRUE(fs_.MakeDirectories(base::DirectoryOf(copy)).ok());
    ASSERT_TRUE(fs_.WriteFileAtomic(copy, *fs_.ReadFile(file)).ok());
  }
  const auto made = Repository::OpenOrCreate(fs_, clock_, random_, "/cut", SmallOptions());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(fs_.AllFiles("/cut/keys").size(), 3u) << "one slot, two copies of a ring";
  const std::string point = Backup(**made, "vm1", vm_)->recovery_point_id();
  EXPECT_EQ(CompareVm(**made, point, vm_), absl::OkStatus());
  // But a stranger's folder of that name is not deleted.
  ASSERT_TRUE(fs_.MakeDirectories("/home/keys").ok());
  ASSERT_TRUE(fs_.WriteFileAtomic("/home/keys/house.txt", "door").ok());
  EXPECT_EQ(ReasonOf(Repository::Create(fs_, clock_, random_, "/home", SmallOptions()).status()), "TARGET_EXISTS");
  EXPECT_EQ(*fs_.ReadFile("/home/keys/house.txt"), "door");
}

// Every file-system call of adding, rotating and removing fails once: what was reported done is done, the rest of the
// keys opens, and data of both epochs reads.
TEST(KeyFaults, NoFailedCallLosesAKey) {
  size_t failures = 0;
  for (uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    testing::MemoryFilesystem real;
    testing::FaultFilesystem fs(real);
    base::SystemClock clock;
    base::SeededRandom random(call);
    const KeySecret recovery = NewRecoverySecret(random);
    const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 2, 3})}}, next = {{"vda", ModelDisk::OfChunks({4, 5, 6})}};
    std::string first, second;
    bool added = false, struck = false;
    {
      auto repository = *Repository::Create(fs, clock, random, "/r", SmallOptions());
      first = Backup(*repository, "vm1", vm)->recovery_point_id();
      fs.FailAt(call, testing::Fault::kIoError, false);
      added = repository->AddKey(recovery, "").ok();
      const bool rotated = repository->RotateKeys().ok();
      struck = fs.struck();
      fs.FailAt(0, testing::Fault::kIoError, false);
      failures += added && rotated ? 0 : 1;
      second = Backup(*repository, "vm1", next)->recovery_point_id();
      ASSERT_TRUE(repository->RotateKeys().ok()) << "whatever a failed rotation left";
    }
    for (const bool with_recovery : {false, true}) {
      if (with_recovery && !added) continue;
      RepositoryOptions options = SmallOptions();
      if (with_recovery) options.key = recovery;
      auto repository = Repository::Open(fs, clock, random, "/r", options);
      ASSERT_TRUE(repository.ok()) << repository.status();
      EXPECT_EQ(CompareVm(**repository, first, vm), absl::OkStatus());
      EXPECT_EQ(CompareVm(**repository, second, next), absl::OkStatus());
    }
    if (!struck) break;
  }
  EXPECT_GT(failures, 5u);
}

}  // namespace
}  // namespace umbra::repo
