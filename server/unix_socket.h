// The path of a unix socket before and after somebody listens there.
#ifndef UMBRA_SERVER_UNIX_SOCKET_H_
#define UMBRA_SERVER_UNIX_SOCKET_H_

#include <string>

#include "absl/status/status.h"
#include "storage/base/filesystem.h"

namespace umbra::server {

// Makes the folder, and removes a socket that a killed process left. Blocks for one connection attempt on this machine.
// FAILED_PRECONDITION / LISTEN_FAILED: somebody answers there, or the path is no socket.
absl::Status PrepareUnixSocket(base::Filesystem& filesystem, const std::string& path);

// Owner and group may connect (mode 0660), nobody else: this is what protects the local API.
absl::Status ProtectUnixSocket(const std::string& path);

}  // namespace umbra::server

#endif  // UMBRA_SERVER_UNIX_SOCKET_H_
