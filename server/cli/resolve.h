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
// Also "latest", when `vm` is given.
v1::RecoveryPoint ResolveRecoveryPoint(Client& client, const std::string& text, const std::string& vm);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_RESOLVE_H_
