#include "agent/hypervisor/libvirt/connection.h"

#include <csignal>

#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

// Process-wide: libvirt would print every error to standard error; and it writes to its socket without MSG_NOSIGNAL, so
// the first call after a restart of its daemon would kill the process by SIGPIPE, unless somebody cares for that signal.
void SetUpLibvirt() {
  static const bool done = [] {
    virInitialize();
    virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
    struct sigaction action {};
    if (sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
    return true;
  }();
  static_cast<void>(done);
}

bool IsConnectionError(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_AUTH_CANCELLED:
      return true;
    default:
      // A daemon that went away: "Cannot recv data", "End of file while reading data", "client socket is closed".
      return error.domain == VIR_FROM_RPC || error.domain == VIR_FROM_REMOTE;
  }
}

}  // namespace

int LastErrorCode() {
  const virErrorPtr error = virGetLastError();
  return error == nullptr ? VIR_ERR_OK : error->code;
}

std::string LastErrorText() { return virGetLastErrorMessage(); }

absl::Status LibvirtError(std::string_view what) {
  const virErrorPtr error = virGetLastError();
  if (error == nullptr) return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "{}: libvirt gave no reason", what);
  auto with = [&](StatusCode code, std::string_view reason) {
    return base::Error(code, reason, "{}: {} (libvirt code {})", what, error->message, error->code);
  };
  if (IsConnectionError(*error)) return with(StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE");
  switch (error->code) {
    case VIR_ERR_NO_DOMAIN:
      return with(StatusCode::kNotFound, "VM_NOT_FOUND");
    case VIR_ERR_DOM_EXIST:
      return with(StatusCode::kAlreadyExists, "VM_EXISTS");
    case VIR_ERR_OPERATION_TIMEOUT:
      return with(StatusCode::kFailedPrecondition, "VM_HAS_FOREIGN_JOB");
    case VIR_ERR_OPERATION_INVALID:
      if (LastErrorText().find("not running") != std::string::npos) {
        return with(StatusCode::kFailedPrecondition, "GUEST_NOT_RUNNING");
      }
      [[fallthrough]];
    default:
      return with(StatusCode::kInternal, "HYPERVISOR_ERROR");
  }
}

Connection::Connection(std::string uri) : uri_(std::move(uri)) { SetUpLibvirt(); }

absl::StatusOr<ConnectionPtr> Connection::Get() {
  absl::MutexLock lock(&mu_);
  // Without an event loop a closed connection shows only when it is used, so it is asked for something small.
  unsigned long version = 0;
  if (current_ != nullptr && virConnectGetLibVersion(current_.get(), &version) != 0) current_.reset();
  if (current_ == nullptr) {
    current_.reset(virConnectOpen(uri_.c_str()));
    if (current_ == nullptr) {
      return base::Error(StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE", "connect to {}: {}", uri_, LastErrorText());
    }
  }
  virConnectRef(current_.get());
  return ConnectionPtr(current_.get());
}

absl::StatusOr<DomainPtr> Connection::Find(const std::string& uuid) {
  ASSIGN_OR_RETURN(const ConnectionPtr connection, Get());
  DomainPtr domain(virDomainLookupByUUIDString(connection.get(), uuid.c_str()));
  if (domain == nullptr) {
    if (LastErrorCode() == VIR_ERR_INVALID_ARG) {  // not even a uuid
      return base::Error(StatusCode::kNotFound, "VM_NOT_FOUND", "there is no virtual machine '{}'", uuid);
    }
    return LibvirtError("look up the virtual machine");
  }
  return domain;
}

}  // namespace umbra::hypervisor
