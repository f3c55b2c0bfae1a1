// Proves what is read out of libvirt's descriptions of a VM's own snapshots, that they travel in a configuration
// without a trace in the domain, and which of them a restore keeps: those whose content is in other files, in a tree
// that holds together.
#include "agent/hypervisor/libvirt/checkpoint_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "agent/hypervisor/libvirt/domain_xml.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kDomain[] =
    "<domain type='qemu'>\n  <name>db1</name>\n  <uuid>2d8c09c7-0000-4000-8000-000000000001</uuid>\n"
    "  <devices>\n    <disk type='file' device='disk'>\n      <driver name='qemu' type='qcow2'/>\n"
    "      <source file='/vms/db1.3'/>\n      <target dev='vda' bus='virtio'/>\n    </disk>\n  </devices>\n</domain>\n";

// As libvirt prints one; `before` is the file of vda at its moment.
CheckpointXml Checkpoint(const std::string& name, const std::string& parent, const std::string& kind,
                         const std::string& before, const std::string& memory = "<memory snapshot='no'/>") {
  return {
      fmt::format("<domainsnapshot>\n  <name>{}</name>\n  <state>disk-snapshot</state>\n{}  <creationTime>1700000000"
                  "</creationTime>\n  {}\n  <disks>\n    <disk name='vda' snapshot='{}' type='file'>\n      <source "
                  "file='/vms/db1.{}'/>\n    </disk>\n    <disk name='vdb' snapshot='no'/>\n  </disks>\n  <domain>\n"
                  "    <uuid>2d8c09c7-0000-4000-8000-000000000001</uuid>\n    <devices>\n      <disk type='file'>\n"
                  "        <source file='{}'/>\n        <target dev='vda'/>\n      </disk>\n    </devices>\n"
                  "  </domain>\n</domainsnapshot>\n",
                  name, parent.empty() ? "" : fmt::format("  <parent>\n    <name>{}</name>\n  </parent>\n", parent),
                  memory, kind, name, before),
      false};
}

std::vector<CheckpointXml> Tree() {
  std::vector<CheckpointXml> tree = {
      Checkpoint("1", "", "external", "/vms/db1.qcow2"),
      Checkpoint("2", "1", "internal", "/vms/db1.1", "<memory snapshot='internal'/>"),
      Checkpoint("3", "2", "external", "/vms/db1.1", "<memory snapshot='external' file='/vms/db1.mem'/>"),
  };
  tree[2].current = true;
  return tree;
}

std::vector<std::string> NamesAndParents(const std::vector<CheckpointXml>& checkpoints) {
  std::vector<std::string> names;
  for (const CheckpointXml& checkpoint : checkpoints) {
    const OwnCheckpoint own = ParseCheckpoint(checkpoint).value();
    names.push_back(fmt::format("{}<{}{}", own.name, own.parent, own.current ? " current" : ""));
  }
  return names;
}

TEST(CheckpointXmlTest, ReadsWhatACheckpointIs) {
  const std::vector<CheckpointXml> tree = Tree();
  const absl::Time made = absl::FromUnixSeconds(1700000000);
  EXPECT_EQ(*ParseCheckpoint(tree[0]), (OwnCheckpoint{"1", "", CheckpointKind::kExternal, false, made, false}));
  EXPECT_EQ(*ParseCheckpoint(tree[1]), (OwnCheckpoint{"2", "1", CheckpointKind::kInternal, true, made, false}));
  EXPECT_EQ(*ParseCheckpoint(tree[2]), (OwnCheckpoint{"3", "2", CheckpointKind::kExternal, true, made, true}));
  // Old ones say nothing of memory: it is with them when the VM ran.
  EXPECT_TRUE(ParseCheckpoint({"<domainsnapshot><name>x</name><state>running</state></domainsnapshot>"})->has_memory);
  EXPECT_FALSE(ParseCheckpoint({"<domainsnapshot><name>x</name><state>shutoff</state></domainsnapshot>"})->has_memory);
  EXPECT_TRUE(IsDiskOnly(tree[0].xml));
  EXPECT_FALSE(IsDiskOnly("<domainsnapshot><name>x</name><state>shutoff</state></domainsnapshot>"));
  for (const char* text : {"", "<domain/>", "<domainsnapshot/>"}) {
    EXPECT_EQ(base::ReasonOf(ParseCheckpoint({text}).status()), "INVALID_REQUEST") << text;
  }
}

TEST(CheckpointXmlTest, TravelInAConfigurationWithoutATraceInTheDomain) {
  const std::string with = EmbedCheckpoints(kDomain, Tree()).value();
  EXPECT_EQ(ParseDomain(with)->vm.disks.size(), 1u) << "their own <domain> is none of its";
  const ConfigurationParts parts = TakeCheckpoints(with).value();
  EXPECT_THAT(parts.domain_xml, Not(HasSubstr("metadata")));
  EXPECT_EQ(TakeCheckpoints(parts.domain_xml)->domain_xml, parts.domain_xml);
  EXPECT_EQ(NamesAndParents(parts.checkpoints), NamesAndParents(Tree()));
  EXPECT_THAT(parts.checkpoints[1].xml, HasSubstr("<memory snapshot=\"internal\""));

  EXPECT_EQ(EmbedCheckpoints(kDomain, {}).value(), kDomain) << "nothing to carry, nothing changed";
  EXPECT_EQ(TakeCheckpoints(kDomain)->domain_xml, kDomain);
  EXPECT_EQ(base::ReasonOf(EmbedCheckpoints("<x/>", Tree()).status()), "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(TakeCheckpoints("<x/>").status()), "INVALID_REQUEST");
}

TEST(CheckpointXmlTest, KeepTheMetadataOfOthers) {
  std::string domain = kDomain;
  domain.insert(domain.find("  <devices>"), "  <metadata><app:tag xmlns:app='urn:app'>keep</app:tag></metadata>\n");
  const ConfigurationParts parts = TakeCheckpoints(EmbedCheckpoints(domain, Tree()).value()).value();
  EXPECT_THAT(parts.domain_xml, HasSubstr("keep"));
  EXPECT_THAT(parts.domain_xml, Not(HasSubstr("domainsnapshot")));
}

TEST(CheckpointXmlTest, AConfigurationStaysSmall) {
  std::vector<CheckpointXml> many;
  for (int i = 0; i < 1000; ++i)
    many.push_back(Checkpoint(std::to_string(i), i == 0 ? "" : std::to_string(i - 1), "external", "/x"));
  many.front().xml.insert(many.front().xml.find("  <disks>"),
                          "<description>" + std::string(100'000, 'x') + "</description>");
  const std::string with = EmbedCheckpoints(kDomain, many).value();
  EXPECT_LT(with.size(), 2 * kCheckpointsBytesMax);
  const ConfigurationParts parts = TakeCheckpoints(with).value();
  EXPECT_GT(parts.checkpoints.size(), 100u);
  EXPECT_LT(parts.checkpoints.size(), 1000u);
}

TEST(CheckpointXmlTest, ARestoreKeepsThoseWhoseContentIsInOtherFiles) {
  std::set<std::string> there = {"/vms/db1.qcow2", "/vms/db1.1", "/vms/db1.mem"};
  const auto kept = [&](const std::vector<std::string>& replaced) {
    return NamesAndParents(
        KeptCheckpoints(Tree(), replaced, [&](const std::string& path) { return there.contains(path); }));
  };
  EXPECT_THAT(kept({"/vms/db1.3"}), ElementsAre("1<", "3<1 current")) << "2 is inside an image, and 3 hangs on 1";
  EXPECT_THAT(kept({"/vms/db1.1"}), ElementsAre("1< current")) << "the file of 3 was replaced: the disks go on from 1";
  EXPECT_THAT(kept({"/vms/db1.qcow2"}), ElementsAre("3< current"));
  there.erase("/vms/db1.mem");
  EXPECT_THAT(kept({"/vms/db1.3"}), ElementsAre("1< current"));
  there.clear();
  EXPECT_THAT(kept({"/vms/db1.3"}), IsEmpty()) << "another host";
}

}  // namespace
}  // namespace umbra::hypervisor
