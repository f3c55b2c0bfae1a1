// Proves that resource names survive a round trip and that everything else is refused with the field that holds it.
#include "server/api/names.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::api {
namespace {

TEST(Names, RoundTrip) {
  EXPECT_EQ(ParseHostName(NameOf(catalog::HostId("h-1")), "f")->value, "h-1");
  EXPECT_EQ(ParseJobName(NameOf(catalog::JobId("j1")), "f")->value, "j1");
  EXPECT_EQ(ParseRecoveryPointName(NameOf(catalog::RecoveryPointId("p1")), "f")->value, "p1");
  EXPECT_EQ(ParseRepositoryName(NameOf(catalog::RepositoryId("main")), "f")->value, "main");
  const catalog::VmKey key{catalog::HostId("h1"), "u1"};
  EXPECT_EQ(*ParseVmName(NameOf(key), "f"), key);
}

TEST(Names, OfDisks) {
  const auto disk = ParseDiskName("recoveryPoints/p1/disks/sda", "f");
  ASSERT_TRUE(disk.ok());
  EXPECT_EQ(disk->point.value, "p1");
  EXPECT_EQ(disk->disk, "sda");
  for (const char* name : {"recoveryPoints/p1", "recoveryPoints/p1/disks/", "recoveryPoints/p1/disks/a/b", "disks/sda",
                           "recoveryPoints//disks/sda", "recoveryPoints/p1/disks/a/disks/b", "jobs/p1/disks/sda"}) {
    EXPECT_EQ(base::ReasonOf(ParseDiskName(name, "f").status()), "INVALID_REQUEST") << name;
  }
}

TEST(Names, AllHosts) {
  EXPECT_FALSE(ParseHostNameOrAll("hosts/-", "f")->has_value());
  EXPECT_EQ((*ParseHostNameOrAll("hosts/h1", "f"))->value, "h1");
  EXPECT_FALSE(ParseHostName("hosts/-", "f").ok());
}

TEST(Names, EverythingElseIsRefused) {
  for (const std::string& name :
       {std::string(), std::string("hosts"), std::string("hosts/"), std::string("/hosts/h1"), std::string("hosts/h1/"),
        std::string("jobs/h1"), std::string("hosts/a b"), std::string("hosts/../x"), std::string("hosts/h\0x", 9),
        std::string("hosts/h1/virtualMachines/u1"), std::string("hosts/") + std::string(200, 'a'),
        std::string("hosts/\xff\xfe")}) {
    const auto id = ParseHostName(name, "request.name");
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(base::ReasonOf(id.status()), "INVALID_REQUEST") << name;
    EXPECT_TRUE(base::MessageOf(id.status()).starts_with("request.name: ")) << base::Describe(id.status());
  }
  for (const char* name :
       {"hosts/h1/virtualMachines", "hosts//virtualMachines/u1", "hosts/-/virtualMachines/u1", "hosts/h1"}) {
    EXPECT_FALSE(ParseVmName(name, "f").ok()) << name;
  }
}

}  // namespace
}  // namespace umbra::api
