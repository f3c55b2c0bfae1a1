// The connection to libvirt's daemon: opened when needed, opened again when the daemon was restarted; and the translation
// of libvirt's errors.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_CONNECTION_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_CONNECTION_H_

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace umbra::hypervisor {

struct ConnectionDeleter {
  void operator()(virConnectPtr c) const { virConnectClose(c); }
};
struct DomainDeleter {
  void operator()(virDomainPtr d) const { virDomainFree(d); }
};
struct MallocDeleter {
  void operator()(void* p) const { std::free(p); }
};
// Each counts as one reference; the connection closes with its last.
using ConnectionPtr = std::unique_ptr<virConnect, ConnectionDeleter>;
using DomainPtr = std::unique_ptr<virDomain, DomainDeleter>;
using CString = std::unique_ptr<char, MallocDeleter>;

// What libvirt last said in this thread, as a Status: UNAVAILABLE / HYPERVISOR_UNAVAILABLE the connection is at fault,
// NOT_FOUND / VM_NOT_FOUND, FAILED_PRECONDITION / GUEST_NOT_RUNNING, FAILED_PRECONDITION / VM_HAS_FOREIGN_JOB (a lock of
// another job was waited for), ALREADY_EXISTS / VM_EXISTS, else INTERNAL / HYPERVISOR_ERROR. `what` says what was tried.
absl::Status LibvirtError(std::string_view what);

// libvirt's code (virErrorNumber) and text of that.
int LastErrorCode();
std::string LastErrorText();

// Thread-safe. The first one made sets up libvirt for the process: its own printing is off, and SIGPIPE is ignored unless
// it has a handler.
class Connection {
 public:
  explicit Connection(std::string uri);

  // A connection that answered just now. One round trip (0.1 ms).
  absl::StatusOr<ConnectionPtr> Get();
  absl::StatusOr<DomainPtr> Find(const std::string& uuid);

  const std::string& uri() const { return uri_; }

 private:
  const std::string uri_;
  absl::Mutex mu_;
  ConnectionPtr current_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_CONNECTION_H_
