// Target: what Pacemaker's tools print, and a libvirt domain's description.
#include "agent/cluster/pacemaker/pacemaker_xml.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {

std::vector<std::string> Seeds() {
  return {
      R"(<resources><template id="t" class="ocf" provider="heartbeat" type="VirtualDomain"/><group id="g"><primitive id="a" template="t"><instance_attributes id="i"><nvpair id="n" name="config" value="/vms/a.xml"/></instance_attributes><meta_attributes id="m"><nvpair id="o" name="maintenance" value="true"/><nvpair id="p" name="target-role" value="Stopped"/></meta_attributes></primitive></group><clone id="c"><group id="h"><primitive id="b" class="ocf" type="x"/></group></clone><bundle id="u"><primitive id="d"/></bundle></resources>)",
      R"(<pacemaker-result api-version="2.25"><summary><current_dc present="true" version="2.1.5" name="node1"/></summary><resources><group id="g"><resource id="a" role="Started" target_role="Stopped" active="true" managed="false" orphaned="false" blocked="false" failed="true" pending="Monitoring"><node name="n"/></resource></group><clone id="c"><resource id="b:0" role="Stopped"/><resource id="b:1" active="true"/></clone><bundle id="u"><replica id="0"><resource id="d" active="true"/></replica></bundle></resources><status code="0"/></pacemaker-result>)",
      R"(<domain type='kvm'><name>mail01</name><uuid>4E5B3C1A-90D2-4C5E-8F17-0A6B7C8D9E0F</uuid></domain>)"};
}

void TestOneInput(std::string_view input) {
  if (const auto primitives = cluster::ParseResources(input); primitives.ok()) {
    for (const cluster::PacemakerPrimitive& primitive : *primitives) {
      Require(!primitive.id.empty() && !primitive.settings_id.empty(), "a primitive has its names");
    }
  }
  if (const auto status = cluster::ParseStatus(input); status.ok()) {
    for (const auto& [id, resource] : status->resources) Require(!id.empty(), "a resource has a name");
  }
  if (const auto identity = cluster::ParseDomainIdentity(input); identity.ok()) {
    Require(!identity->name.empty(), "a domain has a name");
  }
}

}  // namespace umbra::fuzz
