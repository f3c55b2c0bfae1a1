// Keeps questions about block devices apart from the moments in which QEMU makes images.
//
// At the begin of a backup libvirt lets QEMU make scratch images. A QEMU 7.2 that is asked about its block devices just
// then, as virDomainGetBlockInfo does, ends with a failed assertion (qcow2_get_specific_info), and the virtual machine
// with it: seen when an inventory coincided with a backup.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_IMAGE_MAKING_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_IMAGE_MAKING_H_

#include "absl/synchronization/mutex.h"

namespace umbra::hypervisor {

// Shared by those who make images, of different machines at the same time (50 ms, with a frozen guest: they must not
// wait for each other); exclusive for a question (1 ms). One for the process: it is the only one that does either for
// us.
inline absl::Mutex& ImageMaking() {
  static absl::Mutex making;
  return making;
}

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_IMAGE_MAKING_H_
