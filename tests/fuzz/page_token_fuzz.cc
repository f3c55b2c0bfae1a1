// Target: page tokens, and the names of resources that a caller gives.
#include "server/api/names.h"
#include "server/api/paging.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

constexpr char kList[] = "events of jobs/j1";

template <typename Key>
void CheckKey(const std::string& text) {
  const std::optional<Key> key = api::ParseKey(text, static_cast<const Key*>(nullptr));
  if (!key) return;
  const std::optional<Key> again = api::ParseKey(api::KeyText(*key), static_cast<const Key*>(nullptr));
  Require(again == key, "a key is read as it was written");
}

void FuzzKey(std::string_view input) {
  const std::string text(input);
  CheckKey<int64_t>(text);
  CheckKey<std::string>(text);
  CheckKey<catalog::HostId>(text);
  CheckKey<catalog::VmKey>(text);
  if (const auto key = api::ParseKey(text, static_cast<const catalog::RecoveryPointKey*>(nullptr))) {
    const auto again = api::ParseKey(api::KeyText(*key), static_cast<const catalog::RecoveryPointKey*>(nullptr));
    Require(again && again->id == key->id && again->point_time == key->point_time, "a key is read as it was written");
  }
  const auto token = api::ReadPageToken(kList, api::MakePageToken(kList, text.substr(0, 900)));
  Require(token.ok() && *token == text.substr(0, 900), "a token is read as it was made");
  Require(!api::ReadPageToken("events of jobs/j2", api::MakePageToken(kList, text)).ok(), "a token is of one list");
}

void FuzzToken(std::string_view input) {
  const auto key = api::ReadPageToken(kList, input);
  if (!key.ok() || !key->has_value()) return;
  Require(api::ReadPageToken(kList, api::MakePageToken(kList, **key)).ok(), "an accepted token could have been made");
}

void FuzzName(std::string_view input) {
  if (const auto id = api::ParseHostName(input, "f"); id.ok()) {
    Require(api::NameOf(*id) == input, "a name is read as it is written");
  }
  if (const auto id = api::ParseJobName(input, "f"); id.ok()) {
    Require(api::NameOf(*id) == input, "a name is read as it is written");
  }
  if (const auto key = api::ParseVmName(input, "f"); key.ok()) {
    Require(api::NameOf(*key) == input, "a name is read as it is written");
  }
  if (const auto key = api::ParseFileSetName(input, "f"); key.ok()) {
    Require(api::NameOf(*key) == input, "a name is read as it is written");
  }
  if (const auto disk = api::ParseDiskName(input, "f"); disk.ok()) {
    Require(disk->disk.find('/') == std::string::npos, "a disk's name has no slash");
  }
  (void)api::ParseNotificationName(input, "f");
  (void)api::ParseRepositoryKeyName(input, "f");
}

}  // namespace

std::vector<std::string> Seeds() {
  return {"0" + api::MakePageToken(kList, "1234"),
          "0" + api::MakePageToken(kList, ""),
          "11234",
          "11700000000000000\np1",
          "1h1\nu1",
          "2hosts/h1",
          "2jobs/j1",
          "2hosts/h1/virtualMachines/u1",
          "2hosts/h1/fileSets/shop",
          "2recoveryPoints/p1/disks/sda",
          "2notificationChannels/c/notifications/n",
          "2repositories/main/keys/k"};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  switch (static_cast<unsigned char>(input[0]) % 3) {
    case '0' % 3:
      return FuzzToken(input.substr(1));
    case '1' % 3:
      return FuzzKey(input.substr(1));
    default:
      return FuzzName(input.substr(1));
  }
}

}  // namespace umbra::fuzz
