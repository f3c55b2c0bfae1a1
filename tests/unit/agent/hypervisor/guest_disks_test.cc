// Proves which disks count as attached by the guest itself, from answers of guest agents as they are: of Windows, which
// names the bus, of Linux, which doesn't, and of agents that know less.
#include "agent/hypervisor/libvirt/guest_disks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace umbra::hypervisor {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kPci[] = R"("pci-controller":{"domain":0,"bus":0,"slot":7,"function":0})";
constexpr char kNoPci[] = R"("pci-controller":{"domain":-1,"bus":-1,"slot":-1,"function":-1})";

std::string Disk(const std::string& name, const std::string& bus, const char* pci, bool partition = false) {
  std::string text = R"({"name":")" + name + R"(","partition":)" + (partition ? "true" : "false");
  if (!bus.empty()) text += R"(,"address":{"bus-type":")" + bus + R"(","bus":0,"unit":0,"target":0,)" + pci + "}";
  return text + "}";
}

std::string Reply(const std::vector<std::string>& entries) {
  std::string text = R"({"return":[)";
  for (const std::string& entry : entries) text += (text.back() == '[' ? "" : ",") + entry;
  return text + "]}";
}

std::vector<std::string> Texts(const std::vector<GuestDisk>& disks) {
  std::vector<std::string> texts;
  for (const GuestDisk& disk : disks) texts.push_back(disk.name + " " + disk.bus);
  return texts;
}

TEST(GuestDisksTest, WindowsNamesTheBus) {
  const std::string disks =
      Reply({Disk(R"(\\\\.\\PhysicalDrive0)", "scsi", kPci), Disk(R"(\\\\.\\PhysicalDrive1)", "iscsi", kNoPci),
             Disk(R"(\\\\.\\PhysicalDrive2)", "sata", kPci)});
  EXPECT_THAT(Texts(OwnDisks(disks, "")), ElementsAre(R"(\\.\PhysicalDrive1 iscsi)"));
}

TEST(GuestDisksTest, OnLinuxASoftwareInitiatorHasNoPciDevice) {
  const std::string disks =
      Reply({Disk("/dev/vda", "virtio", kPci), Disk("/dev/vda1", "virtio", kPci, true), Disk("/dev/sda", "scsi", kPci),
             Disk("/dev/sdb", "unknown", kNoPci), Disk("/dev/sdc", "", kNoPci), Disk("/dev/sdc1", "", kNoPci, true),
             Disk("/dev/nbd0", "", kNoPci), Disk("/dev/loop0", "", kNoPci), Disk("/dev/dm-0", "", kNoPci),
             Disk("/dev/sr0", "ide", kPci)});
  EXPECT_THAT(Texts(OwnDisks(disks, "")), ElementsAre("/dev/sdb iscsi", "/dev/sdc iscsi", "/dev/nbd0 nbd"));
}

// Machines without PCI: there a missing address means nothing.
TEST(GuestDisksTest, WithoutAnyAddressNothingIsSaidOfScsiDisks) {
  EXPECT_THAT(OwnDisks(Reply({Disk("/dev/vda", "", kPci), Disk("/dev/sda", "", kPci)}), ""), IsEmpty());
}

TEST(GuestDisksTest, OldAgentsTellOfFileSystemsOnly) {
  const std::string filesystems =
      R"({"return":[{"name":"vda2","mountpoint":"/","type":"ext4","disk":[{"bus-type":"virtio",)" + std::string(kPci) +
      R"(,"dev":"/dev/vda2"}]},{"name":"sdb1","mountpoint":"/mnt","type":"ext4","disk":[{"bus-type":"unknown",)" +
      kNoPci + R"(,"dev":"/dev/sdb1"}]}]})";
  EXPECT_THAT(Texts(OwnDisks(R"({"error":{"class":"CommandNotFound"}})", filesystems)), ElementsAre("/dev/sdb1 iscsi"));

  // With both, the disk is told once, and the file system lies on it.
  const std::string disks = Reply({Disk("/dev/vda", "virtio", kPci), Disk("/dev/sdb", "unknown", kNoPci)});
  const std::vector<GuestDisk> own = OwnDisks(disks, filesystems);
  EXPECT_THAT(Texts(own), ElementsAre("/dev/sdb iscsi"));
  std::vector<GuestFilesystem> known = {{"/", "ext4", {"vda"}, true}, {"/mnt", "ext4", {}, true}};
  AddOwnDisks(filesystems, own, known);
  AddOwnDisks(filesystems, own, known);
  EXPECT_THAT(known[0].disk_names, ElementsAre("vda"));
  EXPECT_THAT(known[1].disk_names, ElementsAre("/dev/sdb"));
}

TEST(GuestDisksTest, AnswersThatMakeNoSenseTellOfNoDisk) {
  for (const char* text :
       {"", "null", "[]", "{}", R"({"return":1})", R"({"return":[1,null,{}]})", R"({"return":[{"name":7}]})",
        R"({"return":[{"disk":{"dev":"/dev/sdb"}},{"mountpoint":"/","disk":[1,{"dev":2}]}]})"}) {
    EXPECT_THAT(OwnDisks(text, text), IsEmpty()) << text;
    std::vector<GuestFilesystem> filesystems = {{"/", "ext4", {}, true}};
    AddOwnDisks(text, {{"/dev/sdb", "iscsi"}}, filesystems);
    EXPECT_THAT(filesystems[0].disk_names, IsEmpty()) << text;
  }
}

}  // namespace
}  // namespace umbra::hypervisor
