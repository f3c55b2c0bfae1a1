// From what a person types to resource names: a full name, an id, the beginning of an id, or a display name.
#ifndef UMBRA_SERVER_CLI_RESOLVE_H_
#define UMBRA_SERVER_CLI_RESOLVE_H_

#include <string>

#include "server/cli/client.h"

namespace umbra::cli {

// All throw ExitError: kExitNotFound when nothing fits, kExitUsage when several do (the message lists them).
v1::VirtualMachine ResolveVm(Client& client, const std::string& text);
v1::Host ResolveHost(Client& client, const std::string& text);
v1::Job ResolveJob(Client& client, const std::string& text);
// Of this host ("hosts/{host}") when it is given; else of any.
v1::FileSet ResolveFileSet(Client& client, const std::string& text, const std::string& host);
// Also "latest", when `vm` or `file_set` is given; a point that is of neither doesn't fit then.
v1::RecoveryPoint ResolveRecoveryPoint(Client& client, const std::string& text, const std::string& vm,
                                       const std::string& file_set, bool removed_too = false);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_RESOLVE_H_
