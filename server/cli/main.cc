// umbra: the command line. A client of umbra.v1 and nothing else.
#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <cstdlib>

#include "server/cli/context.h"

namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  umbra vm list\n"
    "  umbra backup run mail01 --watch\n"
    "  umbra restore run latest --vm mail01 --name mail01-test --power-on --watch\n"
    "  umbra repository verify --watch\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 umbrad can't be reached, 5 refused in the present state,\n"
    "6 cancelled, 7 damaged data found.\n"
    "Every command takes --json: one JSON object for each resource, on a line of its own.";

std::string DefaultSocket() {
  const char* socket = std::getenv("UMBRA_SOCKET");
  return socket != nullptr ? socket : "/run/umbra/umbrad.sock";
}

void PrintError(const umbra::cli::ExitError& error, bool json) {
  if (error.message.empty()) return;
  if (json) {
    google::protobuf::Struct object;
    auto& fields = *object.mutable_fields();
    (*fields["error"].mutable_struct_value()->mutable_fields())["reason"].set_string_value(error.reason);
    (*fields["error"].mutable_struct_value()->mutable_fields())["message"].set_string_value(error.message);
    if (error.retry_after_s > 0) {
      auto& wait = (*fields["error"].mutable_struct_value()->mutable_fields())["retryAfterSeconds"];
      wait.set_number_value(static_cast<double>(error.retry_after_s));
    }
    std::string text;
    if (google::protobuf::util::MessageToJsonString(object, &text).ok()) fmt::print("{}\n", text);
    return;
  }
  fmt::print(stderr, "umbra: {}{}\n", error.message, error.reason.empty() ? "" : " [" + error.reason + "]");
  if (error.retry_after_s > 0) fmt::print(stderr, "Try again in {} s.\n", error.retry_after_s);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Umbra: backup and restore of virtual machines", "umbra");
  umbra::cli::Context context;
  context.socket = DefaultSocket();
  app.add_option("--socket", context.socket, "Unix socket of umbrad (also UMBRA_SOCKET)")->capture_default_str();
  app.add_flag("--json", context.json, "Machine-readable output");
  app.set_version_flag("--version", "umbra " UMBRA_VERSION);
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  umbra::cli::AddVmCommands(app, context);
  umbra::cli::AddFileSetCommands(app, context);
  umbra::cli::AddJobCommands(app, context);
  umbra::cli::AddRecoveryCommands(app, context);
  umbra::cli::AddPolicyCommands(app, context);
  umbra::cli::AddNotificationCommands(app, context);
  umbra::cli::AddRepositoryCommands(app, context);
  umbra::cli::AddHostCommands(app, context);
  umbra::cli::AddCatalogCommands(app, context);
  umbra::cli::AddIdentityCommands(app, context);
  umbra::cli::AddLogCommands(app, context);
  umbra::cli::AddCompletionCommand(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? umbra::cli::kExitOk : umbra::cli::kExitUsage;
  } catch (const umbra::cli::ExitError& error) {
    PrintError(error, context.json);
    return error.code;
  }
  return umbra::cli::kExitOk;
}
