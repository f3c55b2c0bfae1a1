// Target: a VM's configuration, which comes back from a repository. A rewritten one must be readable again.
#include "agent/hypervisor/libvirt/domain_xml.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {

std::vector<std::string> Seeds() {
  return {R"(<domain type='qemu'><name>g1</name><uuid>4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f</uuid><memory unit='KiB'>196608</memory><os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/vm/g1.qcow2'/><target dev='vda' bus='virtio'/></disk><disk type='block' device='lun'><source dev='/dev/sdb'/><target dev='sda' bus='scsi'/></disk><disk type='file' device='cdrom'><target dev='hdc'/><readonly/></disk><interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface><hostdev mode='subsystem' type='pci'><source><address domain='0x0000'/></source></hostdev><serial type='file'><source path='/log'/></serial><channel type='unix'><source mode='bind' path='/x'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>)"};
}

void TestOneInput(std::string_view input) {
  if (!hypervisor::ParseDomain(input).ok()) return;
  hypervisor::RewriteOptions options;
  options.switch_exists = [](std::string_view, const std::string&) { return true; };
  const auto rewritten = hypervisor::RewriteDomain(input, options);
  if (rewritten.ok()) Require(hypervisor::ParseDomain(rewritten->xml).ok(), "a rewritten configuration can be read");
}

}  // namespace umbra::fuzz
