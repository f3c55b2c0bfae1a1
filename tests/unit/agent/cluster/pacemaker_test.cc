// Proves how Pacemaker's answers are read and what its tools are told, without a cluster: groups, clones and templates,
// all states, every way of saying no, and that only our own settings are taken back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cluster/pacemaker/pacemaker_cluster.h"
#include "agent/cluster/pacemaker/pacemaker_xml.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/support/fake_command_runner.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kResources[] = R"(<resources>
  <template id="guest" class="ocf" provider="heartbeat" type="VirtualDomain">
    <instance_attributes id="t"><nvpair id="t1" name="hypervisor" value="qemu:///system"/><nvpair id="t2" name="config" value="/t.xml"/></instance_attributes>
  </template>
  <primitive id="ip" class="ocf" provider="heartbeat" type="IPaddr2"/>
  <primitive id="a" class="ocf" provider="heartbeat" type="VirtualDomain">
    <instance_attributes id="i"><nvpair id="i1" name="config" value="/vms/a.xml"/></instance_attributes>
    <meta_attributes id="m"><nvpair id="m1" name="target-role" value="Started"/></meta_attributes>
    <meta_attributes id="n"><nvpair id="n1" name="maintenance" value="yes"/></meta_attributes>
  </primitive>
  <group id="g">
    <meta_attributes id="gm"><nvpair id="gm1" name="target-role" value="Stopped"/></meta_attributes>
    <primitive id="b" template="guest"><instance_attributes id="j"><nvpair id="j1" name="config" value="/vms/b.xml"/></instance_attributes></primitive>
  </group>
  <clone id="c">
    <meta_attributes id="cm"><nvpair id="cm1" name="maintenance" value="false"/></meta_attributes>
    <group id="cg"><primitive id="d" template="guest"/></group>
  </clone>
</resources>)";

std::string StatusXml(const std::string& resources, bool leader = true) {
  return fmt::format(
      R"(<pacemaker-result api-version="2.25"><summary><current_dc present="{}" version="2.1.5" name="node1"/></summary>
    <resources>{}</resources><status code="0" message="OK"/></pacemaker-result>)",
      leader, resources);
}

std::string ResourceXml(const std::string& id, const std::string& role, bool managed = true,
                        const std::string& more = "") {
  return fmt::format(
      R"(<resource id="{}" role="{}" active="{}" managed="{}" orphaned="false" blocked="false" failed="false" {}>{}</resource>)",
      id, role, role != "Stopped", managed, more, role == "Stopped" ? "" : R"(<node name="node2" id="2"/>)");
}

TEST(PacemakerXmlTest, ReadsPrimitivesWhereverTheyAre) {
  const auto primitives = ParseResources(kResources);
  ASSERT_TRUE(primitives.ok()) << base::Describe(primitives.status());
  ASSERT_THAT(*primitives, SizeIs(4));
  const PacemakerPrimitive &ip = (*primitives)[0], &a = (*primitives)[1], &b = (*primitives)[2], &d = (*primitives)[3];
  EXPECT_EQ(ip.agent, "ocf:heartbeat:IPaddr2");
  EXPECT_EQ(a.settings_id, "a");
  EXPECT_EQ(a.target_role, "Started");
  EXPECT_EQ(a.maintenance, "yes");
  // A group's settings are inherited, not the primitive's own.
  EXPECT_EQ(b.settings_id, "b");
  EXPECT_EQ(b.target_role, std::nullopt);
  EXPECT_EQ(b.agent, "ocf:heartbeat:VirtualDomain");
  EXPECT_EQ(b.parameters.at("config"), "/vms/b.xml");
  EXPECT_EQ(b.parameters.at("hypervisor"), "qemu:///system");
  // A clone keeps the settings of what is in it.
  EXPECT_EQ(d.settings_id, "c");
  EXPECT_EQ(d.maintenance, "false");
  EXPECT_EQ(d.parameters.at("config"), "/t.xml");
}

TEST(PacemakerXmlTest, ReadsTheStateOfResources) {
  const auto status = ParseStatus(
      StatusXml(ResourceXml("a", "Started") + R"(<group id="g">)" +
                ResourceXml("b", "Stopped", true, R"(target_role="Stopped")") + R"(</group><clone id="c">)" +
                ResourceXml("d:0", "Stopped") + ResourceXml("d:1", "Started") + ResourceXml("d:2", "Stopped") +
                "</clone>" + R"(<resource id="old" role="Started" active="true" managed="true" orphaned="true"/>)"));
  ASSERT_TRUE(status.ok()) << base::Describe(status.status());
  EXPECT_EQ(status->leader, "node1");
  EXPECT_THAT(status->resources, SizeIs(3));
  EXPECT_EQ(status->resources.at("a").node, "node2");
  EXPECT_EQ(status->resources.at("b").target_role, "Stopped");
  EXPECT_TRUE(status->resources.at("d").active);
  EXPECT_EQ(ParseStatus(StatusXml("", false))->leader, "");
}

TEST(PacemakerXmlTest, RefusesWhatIsNoAnswer) {
  for (const std::string& text :
       {std::string(), std::string("no xml"), std::string("<other/>"), std::string("<resources>"),
        "<resources>" + std::string(kPacemakerXmlBytesMax, ' ') + "</resources>"}) {
    EXPECT_EQ(base::ReasonOf(ParseResources(text).status()), "CLUSTER_ANSWER_INVALID");
    EXPECT_EQ(base::ReasonOf(ParseStatus(text).status()), "CLUSTER_ANSWER_INVALID");
    EXPECT_EQ(base::ReasonOf(ParseDomainIdentity(text).status()), "CLUSTER_ANSWER_INVALID");
  }
  // An external entity is not fetched, and a deep nesting not followed.
  const auto entity =
      ParseDomainIdentity("<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain><name>x&e;</name></domain>");
  EXPECT_EQ(entity.value_or(DomainIdentity{"x&e;", ""}).name, "x&e;");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<group id='g'>";
  EXPECT_FALSE(ParseResources("<resources>" + deep).ok());
}

TEST(PacemakerXmlTest, ReadsADomainsNames) {
  const auto identity = ParseDomainIdentity(
      "<!-- made by virsh -->\n<domain "
      "type='kvm'><name>mail01</name><uuid>4E5B3C1A-90D2-4C5E-8F17-0A6B7C8D9E0F</uuid></domain>");
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity->name, "mail01");
  EXPECT_EQ(identity->uuid, "4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f");
}

// Tools that answer from two texts, and change the settings of primitive "a".
class PacemakerClusterTest : public ::testing::Test {
 protected:
  absl::StatusOr<base::CommandResult> Answer(const base::Command& command) {
    if (!failure_.ok()) return failure_;
    if (exit_status_ != 0) return base::CommandResult{.exit_status = exit_status_, .errors = "tool: no\n"};
    const std::string& tool = command.arguments.front();
    if (tool == "crm_mon") {
      if (statuses_.size() > 1) statuses_.erase(statuses_.begin());
      return base::CommandResult{.output = StatusXml(statuses_.front())};
    }
    if (tool == "cibadmin") return base::CommandResult{.output = resources_};
    return base::CommandResult{};
  }
  // What the settings of "a" are.
  void Configure(const std::string& nvpairs) {
    resources_ =
        R"(<resources><primitive id="a" class="ocf" provider="heartbeat" type="VirtualDomain"><instance_attributes id="i"><nvpair id="c" name="config" value=")" +
        dir_.File("a.xml") + R"("/></instance_attributes><meta_attributes id="m">)" + nvpairs +
        "</meta_attributes></primitive></resources>";
  }
  std::vector<std::string> Changes() {
    std::vector<std::string> changes;
    for (const std::string& line : commands_.lines()) {
      if (line.starts_with("crm_resource")) changes.push_back(line);
    }
    return changes;
  }
  ResourceState StateOf(const std::string& xml) {
    statuses_ = {xml};
    return cluster_.ListResources()->front().state;
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::SteppingClock clock_;
  std::string resources_;
  std::vector<std::string> statuses_{ResourceXml("a", "Started")};  // one for each look; the last stays
  absl::Status failure_;
  int exit_status_ = 0;
  umbra::testing::FakeCommandRunner commands_{[this](const base::Command& command) { return Answer(command); }};
  PacemakerCluster cluster_{commands_, files_, clock_};
};

TEST_F(PacemakerClusterTest, TellsTheStates) {
  Configure("");
  EXPECT_EQ(StateOf(ResourceXml("a", "Started")), ResourceState::kOnline);
  EXPECT_EQ(StateOf(ResourceXml("a", "Stopped")), ResourceState::kDown);
  EXPECT_EQ(StateOf(ResourceXml("a", "Stopped", true, R"(target_role="stopped")")), ResourceState::kOffline);
  EXPECT_EQ(StateOf(ResourceXml("a", "Stopped", false)), ResourceState::kOffline);
  EXPECT_EQ(StateOf(ResourceXml("a", "Starting", true, R"(pending="Starting")")), ResourceState::kChanging);
  EXPECT_EQ(StateOf(ResourceXml("a", "Stopped", true, R"(pending="Starting")")), ResourceState::kChanging);
  EXPECT_EQ(StateOf(ResourceXml("a", "Stopping")), ResourceState::kChanging);
  EXPECT_EQ(StateOf(""), ResourceState::kDown);  // the cluster has not looked at it yet
  statuses_ = {ResourceXml("a", "Stopping")};
  EXPECT_EQ(base::ReasonOf(cluster_.Plan(DeedKind::kPlannedSave, "a").status()), "CLUSTER_RESOURCE_CHANGING");
}

TEST_F(PacemakerClusterTest, FindsTheVmByItsFileOrByTheFilesName) {
  Configure("");
  EXPECT_EQ((*cluster_.FindVm("some-uuid", "a"))->id, "a");  // the file isn't there: its name counts
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("a.xml"), "<domain><name>mail01</name><uuid>u-1</uuid></domain>").ok());
  EXPECT_EQ((*cluster_.FindVm("u-1", "whatever"))->vm_name, "mail01");
  EXPECT_FALSE(cluster_.FindVm("u-2", "mail01")->has_value());  // another machine of that name
}

TEST_F(PacemakerClusterTest, APlannedSaveIsMaintenance) {
  Configure("");
  const Deed deed = cluster_.Plan(DeedKind::kPlannedSave, "a").value();
  EXPECT_THAT(Changes(), IsEmpty());
  statuses_ = {ResourceXml("a", "Started", false)};
  ASSERT_TRUE(cluster_.Begin(deed).ok());
  EXPECT_THAT(Changes(),
              ElementsAre("crm_resource --resource a --meta --set-parameter maintenance --parameter-value true",
                          "crm_resource --wait --timeout=60s"));
  Configure(R"(<nvpair id="x" name="maintenance" value="true"/>)");
  ASSERT_TRUE(cluster_.End(deed).ok());
  EXPECT_EQ(Changes().back(), "crm_resource --resource a --meta --delete-parameter maintenance");
}

TEST_F(PacemakerClusterTest, TheFormerValueComesBackAndForeignOnesStay) {
  Configure(R"(<nvpair id="x" name="maintenance" value="false"/>)");
  const Deed deed = cluster_.Plan(DeedKind::kPlannedSave, "a").value();
  Configure(R"(<nvpair id="x" name="maintenance" value="true"/>)");
  ASSERT_TRUE(cluster_.End(deed).ok());
  EXPECT_EQ(Changes().back(), "crm_resource --resource a --meta --set-parameter maintenance --parameter-value false");
  // Somebody else has changed it since, or it was so before us.
  const size_t before = Changes().size();
  Configure(R"(<nvpair id="x" name="maintenance" value="1"/>)");
  ASSERT_TRUE(cluster_.End(deed).ok());
  Configure(R"(<nvpair id="x" name="maintenance" value="true"/>)");
  ASSERT_TRUE(cluster_.End(cluster_.Plan(DeedKind::kPlannedSave, "a").value()).ok());
  EXPECT_THAT(Changes(), SizeIs(before));
}

TEST_F(PacemakerClusterTest, OfflineWaitsForTheStop) {
  Configure("");
  const Deed deed = cluster_.Plan(DeedKind::kOffline, "a").value();
  const std::string stopping = ResourceXml("a", "Stopping", true, R"(pending="Stopping")");
  statuses_ = {"", ResourceXml("a", "Started"), stopping, stopping, ResourceXml("a", "Stopped")};
  ASSERT_TRUE(cluster_.Begin(deed).ok());
  EXPECT_THAT(statuses_, SizeIs(1));
  EXPECT_EQ(clock_.Monotonic(), 3 * PacemakerLimits{}.poll);
  statuses_ = {stopping};
  EXPECT_EQ(base::ReasonOf(cluster_.Begin(deed)), "CLUSTER_TIMEOUT");
  statuses_ = {ResourceXml("a", "Started", false)};
  EXPECT_EQ(base::ReasonOf(cluster_.Begin(deed)), "CLUSTER_REFUSED");
}

TEST_F(PacemakerClusterTest, OnlineIsWaitedForUnlessSomebodyKeepsItDown) {
  Configure(R"(<nvpair id="x" name="target-role" value="Stopped"/>)");
  const Deed deed{DeedKind::kOffline, "a", "unset"};
  statuses_ = {"", ResourceXml("a", "Stopped"), ResourceXml("a", "Starting", true, R"(pending="Starting")"),
               ResourceXml("a", "Started")};
  ASSERT_TRUE(cluster_.End(deed).ok());
  EXPECT_THAT(Changes(), ElementsAre("crm_resource --resource a --meta --delete-parameter target-role"));
  EXPECT_THAT(statuses_, SizeIs(1));
  statuses_ = {ResourceXml("a", "Stopped")};
  EXPECT_EQ(base::ReasonOf(cluster_.End(deed)), "CLUSTER_TIMEOUT");
  statuses_ = {ResourceXml("a", "Stopped", true, R"(target_role="Stopped")")};  // inherited from its group
  EXPECT_TRUE(cluster_.End(deed).ok());
}

TEST_F(PacemakerClusterTest, EveryNoHasItsReason) {
  Configure("");
  const std::vector<std::pair<int, std::string>> statuses{{102, "CLUSTER_UNAVAILABLE"},
                                                          {105, "CLUSTER_RESOURCE_NOT_FOUND"},
                                                          {124, "CLUSTER_TIMEOUT"},
                                                          {1, "CLUSTER_REFUSED"}};
  for (const auto& [status, reason] : statuses) {
    exit_status_ = status;
    const absl::Status told = cluster_.ListResources().status();
    EXPECT_EQ(base::ReasonOf(told), reason);
    EXPECT_THAT(base::MessageOf(told), HasSubstr("tool: no"));
  }
  exit_status_ = 0;
  failure_ = base::Error(absl::StatusCode::kNotFound, "COMMAND_NOT_FOUND", "there is no program crm_mon");
  EXPECT_EQ(base::ReasonOf(cluster_.ListResources().status()), "CLUSTER_UNAVAILABLE");
  failure_ = base::Error(absl::StatusCode::kDeadlineExceeded, "COMMAND_TIMEOUT", "crm_mon did not end");
  EXPECT_EQ(base::ReasonOf(cluster_.ListResources().status()), "CLUSTER_TIMEOUT");
}

}  // namespace
}  // namespace umbra::cluster
