// Proves what is read out of libvirt's domain XML (every kind of disk that can't be backed up among it) and what a restore
// writes: rewritten domains are compared with golden files. UMBRA_UPDATE_GOLDEN=1 writes them anew; read the diff.
#include "agent/hypervisor/libvirt/domain_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::string Path(const std::string& name) { return UMBRA_TEST_DATA "/domain_xml/" + name; }

std::string Read(const std::string& name) {
  std::ifstream file(Path(name));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void ExpectGolden(const std::string& name, const std::string& actual) {
  if (std::getenv("UMBRA_UPDATE_GOLDEN") != nullptr) std::ofstream(Path(name)) << actual;
  EXPECT_EQ(actual, Read(name)) << name;
}

// Everything is there, or nothing is.
SwitchExists Always(bool exists) {
  return [exists](std::string_view, const std::string&) { return exists; };
}

const Disk& DiskOf(const DomainDescription& domain, const std::string& name) {
  for (const Disk& disk : domain.vm.disks) {
    if (disk.name == name) return disk;
  }
  ADD_FAILURE() << "no disk " << name;
  return domain.vm.disks[0];
}

TEST(ParseDomainTest, ReadsIdentityMemoryAndAgent) {
  const DomainDescription domain = ParseDomain(Read("original.xml")).value();
  EXPECT_EQ(domain.vm.name, "db1");
  EXPECT_EQ(domain.vm.uuid, "2d8c09c7-a9f3-4df8-a899-601f701c8609");
  EXPECT_EQ(domain.vm.memory_bytes, 192 * base::kMiB);
  EXPECT_TRUE(domain.guest_agent_configured);
  EXPECT_FALSE(ParseDomain("<domain><devices/></domain>")->guest_agent_configured);
}

TEST(ParseDomainTest, ReadsDisksThatCanBeBackedUp) {
  const DomainDescription domain = ParseDomain(Read("original.xml")).value();
  const Disk& file = DiskOf(domain, "vda");
  EXPECT_EQ(file.path, "/vms/db1/vda.qcow2");
  EXPECT_EQ(file.format, "qcow2");
  EXPECT_EQ(file.exclusion, DiskExclusion::kNone);
  const Disk& block = DiskOf(domain, "vdb");
  EXPECT_EQ(block.path, "/dev/vg0/db1");
  EXPECT_EQ(block.exclusion, DiskExclusion::kNone);
  EXPECT_EQ(DiskOf(domain, "vdc").exclusion, DiskExclusion::kNone);
  ASSERT_THAT(domain.pool_volumes, SizeIs(1));
  EXPECT_EQ(domain.pool_volumes[0].disk, "vdc");
  EXPECT_EQ(domain.pool_volumes[0].pool, "default");
  EXPECT_EQ(domain.pool_volumes[0].volume, "db1-log.qcow2");
}

TEST(ParseDomainTest, SaysWhyOtherDisksCannotBeBackedUp) {
  const DomainDescription domain = ParseDomain(Read("original.xml")).value();
  const struct {
    const char* disk;
    DiskExclusion exclusion;
    const char* detail;
  } kExpected[] = {
      {"sda", DiskExclusion::kPassThrough, "/dev/sdb passed through as LUN"},
      {"vdd", DiskExclusion::kNetwork, "iscsi:iqn.2026-01.example:storage/1"},
      {"sdb", DiskExclusion::kRemovable, "cdrom"},
      {"fda", DiskExclusion::kRemovable, "floppy"},
      {"vde", DiskExclusion::kShared, "shared"},
      {"vdf", DiskExclusion::kShared, "transient"},
      {"vdg", DiskExclusion::kFormatUnsupported, "vmdk"},
      {"hostdev0", DiskExclusion::kPassThrough, "SCSI device scsi_host0 0:3:0"},
      {"hostdev1", DiskExclusion::kPassThrough, "PCI device 0x0000:0x03:0x00.0x0"},
  };
  EXPECT_THAT(domain.vm.disks, SizeIs(3 + std::size(kExpected)));
  for (const auto& expected : kExpected) {
    EXPECT_EQ(DiskOf(domain, expected.disk).exclusion, expected.exclusion) << expected.disk;
    EXPECT_THAT(DiskOf(domain, expected.disk).exclusion_detail, HasSubstr(expected.detail));
  }
}

TEST(ParseDomainTest, ReadsAdapters) {
  const DomainDescription domain = ParseDomain(Read("original.xml")).value();
  ASSERT_THAT(domain.vm.adapters, SizeIs(3));
  EXPECT_EQ(domain.vm.adapters[0].network, "lan");
  EXPECT_EQ(domain.vm.adapters[1].network, "br0");
  EXPECT_EQ(domain.vm.adapters[1].mac, "52:54:00:00:00:02");
  EXPECT_EQ(domain.vm.adapters[2].network, "");
}

TEST(ParseDomainTest, RefusesWhatIsNoDomain) {
  for (const char* text : {"", "<domain", "<network/>", "no xml at all"}) {
    EXPECT_EQ(base::ReasonOf(ParseDomain(text).status()), "INVALID_REQUEST") << text;
  }
}

TEST(RewriteDomainTest, NewVmSharesNothingWithTheOriginal) {
  RewriteOptions options;
  options.new_name = "db1-copy";
  options.new_uuid = "11111111-2222-4333-8444-555555555555";
  options.disk_paths = {{"vda", "/restored/vda.qcow2"}, {"vdb", "/restored/vdb.raw"}, {"vdc", "/restored/vdc.qcow2"}};
  options.switch_exists = Always(true);
  const RewrittenDomain domain = RewriteDomain(Read("original.xml"), options).value();
  EXPECT_EQ(domain.name, options.new_name);
  EXPECT_EQ(domain.uuid, options.new_uuid);
  for (const char* old : {"2d8c09c7", ">db1<", "db1_VARS", "52:54:00", "db1.console", "db1.agent", "5901", "d9c01b5e"}) {
    EXPECT_THAT(domain.xml, Not(HasSubstr(old)));
  }
  const auto count = [&](std::string_view reason) {
    return std::count_if(domain.warnings.begin(), domain.warnings.end(), [&](const Warning& w) { return w.reason == reason; });
  };
  EXPECT_EQ(count("DISK_LEFT_OUT"), 5);
  EXPECT_EQ(count("DEVICE_LEFT_OUT"), 2);
  EXPECT_EQ(count("ADAPTER_DISCONNECTED"), 1) << "that was plugged in nowhere";
  EXPECT_THAT(domain.warnings, SizeIs(8));
  ExpectGolden("new.xml", domain.xml);
}

TEST(RewriteDomainTest, InPlaceKeepsIdentityAndUnplugsAdaptersWithoutSwitch) {
  RewriteOptions options;
  options.disk_paths = {{"vda", "/vms/db1/vda.qcow2"}, {"vdb", "/vms/db1/vdb.raw"}, {"vdc", "/vms/db1/vdc.qcow2"}};
  options.switch_exists = Always(false);
  const RewrittenDomain domain = RewriteDomain(Read("original.xml"), options).value();
  EXPECT_EQ(domain.name, "db1");
  EXPECT_EQ(domain.uuid, "2d8c09c7-a9f3-4df8-a899-601f701c8609");
  EXPECT_THAT(domain.xml, HasSubstr("52:54:00:00:00:01"));
  EXPECT_THAT(domain.xml, HasSubstr("/logs/db1.console"));
  EXPECT_THAT(domain.xml, HasSubstr("bus=\"0x03\"")) << "a PCI device stays with its VM";
  ExpectGolden("in_place.xml", domain.xml);
}

// libvirtd 9.0 dies of it.
TEST(RewriteDomainTest, NeverWritesAnAdapterOfTypeNull) {
  for (const bool exists : {false, true}) {
    for (const char* uuid : {"", "11111111-2222-4333-8444-555555555555"}) {
      const RewriteOptions options{.new_name = *uuid == 0 ? "" : "x", .new_uuid = uuid, .switch_exists = Always(exists)};
      const auto domain = RewriteDomain(Read("original.xml"), options);
      EXPECT_THAT(domain->xml, Not(HasSubstr("\"null\"")));
    }
  }
}

TEST(RewriteDomainTest, AsksForTheRightSwitches) {
  std::vector<std::string> asked;
  RewriteOptions options;
  options.switch_exists = [&](std::string_view kind, const std::string& name) {
    asked.push_back(fmt::format("{} {}", kind, name));
    return true;
  };
  ASSERT_TRUE(RewriteDomain(Read("original.xml"), options).ok());
  EXPECT_THAT(asked, ElementsAre("network lan", "bridge br0"));
}

TEST(RewriteDomainTest, RefusesADiskThatIsNotInTheConfiguration) {
  const RewriteOptions options{.disk_paths = {{"vdz", "/x"}}, .switch_exists = Always(true)};
  EXPECT_EQ(base::ReasonOf(RewriteDomain(Read("original.xml"), options).status()), "INVALID_REQUEST");
}

TEST(BackupXmlTest, NamesEveryDisk) {
  const std::string xml =
      BackupXml(Read("original.xml"), {{"vda", "/s/t-vda.scratch"}, {"vdb", "/s/t-vdb.scratch"}}, "/s/t.nbd").value();
  ExpectGolden("backup.xml", xml);
  EXPECT_EQ(BackupSocket(xml), "/s/t.nbd");
  EXPECT_THAT(BackupSocket("<nonsense"), IsEmpty());
}

TEST(BackupXmlTest, ExportsTheChangesOfSomeDisksSinceACheckpoint) {
  const std::string xml =
      BackupXml(Read("original.xml"), {{"vda", "/s/a", "umbra-one"}, {"vdb", "/s/b"}}, "/s/t.nbd").value();
  EXPECT_THAT(
      xml, HasSubstr(R"(exportname="vda" exportbitmap="changes" backupmode="incremental" incremental="umbra-one">)"));
  EXPECT_THAT(xml, HasSubstr(R"(exportname="vdb">)"));
}

TEST(CheckpointXmlTest, NamesEveryDiskAndCoversTheWantedOnes) {
  const std::string xml = NewCheckpointXml(Read("original.xml"), "umbra-one", {"vda"}).value();
  EXPECT_THAT(xml, HasSubstr("<name>umbra-one</name>"));
  EXPECT_THAT(CheckpointDisks(xml), ElementsAre("vda"));
  const DomainDescription domain = ParseDomain(Read("original.xml")).value();
  for (const Disk& disk : domain.vm.disks) {
    const std::string entry =
        fmt::format(R"(<disk name="{}" checkpoint="{}" />)", disk.name, disk.name == "vda" ? "bitmap" : "no");
    EXPECT_EQ(xml.find(entry) != std::string::npos, !disk.name.starts_with("hostdev")) << disk.name;
  }
  EXPECT_EQ(base::ReasonOf(NewCheckpointXml(Read("original.xml"), "x", {"vdz"}).status()), "INVALID_REQUEST");
  EXPECT_FALSE(NewCheckpointXml("<network/>", "x", {}).ok());
  EXPECT_THAT(CheckpointDisks("<nonsense"), IsEmpty());

  const std::string again = RedefinedCheckpointXml(Read("original.xml"), "umbra-one", {"vda", "vdb"}).value();
  EXPECT_THAT(CheckpointDisks(again), ElementsAre("vda", "vdb"));
  EXPECT_THAT(again, HasSubstr("<creationTime>"));
  EXPECT_THAT(again, HasSubstr("<domain ")) << "libvirt wants to know what it was at the time";
}

TEST(BackupXmlTest, RefusesExcludedAndUnknownDisks) {
  for (const char* disk : {"sda", "sdb", "vdd", "vdz", "hostdev0"}) {
    EXPECT_EQ(base::ReasonOf(BackupXml(Read("original.xml"), {{disk, "/s/x"}}, "/s").status()), "INVALID_REQUEST") << disk;
  }
  EXPECT_FALSE(BackupXml(Read("original.xml"), {}, "/s").ok());
}

TEST(MemorySnapshotXmlTest, NamesEveryDiskAndTakesNone) {
  const std::string xml = MemorySnapshotXml(Read("original.xml"), "/s/job-1-abcdef01_state").value();
  EXPECT_THAT(xml, HasSubstr(R"(<memory snapshot="external" file="/s/job-1-abcdef01_state" />)"));
  const DomainDescription domain = ParseDomain(Read("original.xml")).value();
  for (const Disk& disk : domain.vm.disks) {
    const std::string entry = fmt::format(R"(<disk name="{}" snapshot="no" />)", disk.name);
    EXPECT_EQ(xml.find(entry) != std::string::npos, !disk.name.starts_with("hostdev")) << disk.name;
  }
  EXPECT_FALSE(MemorySnapshotXml("<network/>", "/x").ok());
}

// The memory was made with these devices: only where their other ends are may change.
TEST(RewriteSavedDomainTest, ChangesFilesAndMissingSwitchesOnly) {
  RewriteOptions options;
  options.disk_paths = {{"vda", "/new/a.qcow2"}};
  options.switch_exists = [](std::string_view, const std::string& name) { return name != "br0"; };
  const RewrittenDomain domain = RewriteSavedDomain(Read("original.xml"), options).value();
  const DomainDescription before = ParseDomain(Read("original.xml")).value();
  const DomainDescription after = ParseDomain(domain.xml).value();
  EXPECT_EQ(domain.uuid, before.vm.uuid);
  EXPECT_EQ(domain.name, before.vm.name);
  ASSERT_EQ(after.vm.disks.size(), before.vm.disks.size()) << "a device less, and QEMU refuses the memory";
  for (size_t i = 0; i < after.vm.disks.size(); ++i) {
    EXPECT_EQ(after.vm.disks[i].name, before.vm.disks[i].name);
    EXPECT_EQ(after.vm.disks[i].path, before.vm.disks[i].name == "vda" ? "/new/a.qcow2" : before.vm.disks[i].path);
  }
  ASSERT_EQ(after.vm.adapters.size(), before.vm.adapters.size());
  EXPECT_EQ(after.vm.adapters[0].network, "lan");
  EXPECT_EQ(after.vm.adapters[1].network, "") << "its bridge is gone";
  EXPECT_EQ(after.vm.adapters[1].mac, before.vm.adapters[1].mac);
  EXPECT_THAT(domain.warnings, SizeIs(2)) << "one was plugged in nowhere before";
}

}  // namespace
}  // namespace umbra::hypervisor
