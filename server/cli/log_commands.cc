// umbra log show | level
#include "server/cli/context.h"

namespace umbra::cli {
namespace {

void Print(Context& context, const v1::Logging& logging) {
  if (context.json) return context.output().Json(logging);
  context.output().Fields({{"Level", logging.level()}});
}

}  // namespace

void AddLogCommands(CLI::App& app, Context& context) {
  static std::string level;
  CLI::App* log = app.add_subcommand("log", "How much the daemon writes into its log");
  log->require_subcommand(1);
  log->add_subcommand("show", "Shows the level that is in force")->callback([&] {
    Print(context, Call(*context.client().logging, &v1::LoggingService::Stub::GetLogging, v1::GetLoggingRequest()));
  });
  CLI::App* set =
      log->add_subcommand("level", "Changes it at once, until umbrad restarts or reads its configuration again");
  set->add_option("LEVEL", level, "trace, debug, info, warn or error")
      ->required()
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}));
  set->callback([&] {
    v1::SetLogLevelRequest request;
    request.set_level(level);
    Print(context, Call(*context.client().logging, &v1::LoggingService::Stub::SetLogLevel, request));
  });
}

}  // namespace umbra::cli
