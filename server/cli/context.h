// What every command of the command line shares: the parsed global options, the connection, the output.
#ifndef UMBRA_SERVER_CLI_CONTEXT_H_
#define UMBRA_SERVER_CLI_CONTEXT_H_

#include <CLI/CLI.hpp>
#include <memory>

#include "server/cli/client.h"
#include "server/cli/output.h"

namespace umbra::cli {

struct Context {
  std::string socket;
  bool json = false;

  // Connects on first use. Throws ExitError when the daemon can't be reached.
  Client& client() {
    if (!client_) client_ = std::make_unique<Client>(socket);
    return *client_;
  }
  Output output() const { return Output(json); }

 private:
  std::unique_ptr<Client> client_;
};

// Each adds its commands below `app`; the callbacks run after parsing. They throw ExitError, which main alone catches:
// CLI11's callbacks have no other way to end a program with a chosen exit code.
void AddHostCommands(CLI::App& app, Context& context);
void AddVmCommands(CLI::App& app, Context& context);
void AddFileSetCommands(CLI::App& app, Context& context);
void AddJobCommands(CLI::App& app, Context& context);       // job, backup
void AddRecoveryCommands(CLI::App& app, Context& context);  // recovery-point, restore
void AddRepositoryCommands(CLI::App& app, Context& context);  // repository, event
void AddRepositoryKeyCommands(CLI::App& repository, Context& context);  // repository key
void AddPolicyCommands(CLI::App& app, Context& context);  // policy, coverage
void AddCatalogCommands(CLI::App& app, Context& context);
void AddLogCommands(CLI::App& app, Context& context);
void AddNotificationCommands(CLI::App& app, Context& context);
void AddIdentityCommands(CLI::App& app, Context& context);  // user, role, token, session, audit
void AddCompletionCommand(CLI::App& app);

// The named repository, or the only one, as a resource name.
std::string RepositoryName(Context& context, const std::string& text);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_CONTEXT_H_
