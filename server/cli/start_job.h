// Starting a job of any kind from the command line.
#ifndef UMBRA_SERVER_CLI_START_JOB_H_
#define UMBRA_SERVER_CLI_START_JOB_H_

#include <string>

#include "server/cli/context.h"

namespace umbra::cli {

struct StartOptions {
  bool watch = false;
  bool validate_only = false;
  std::string request_id;  // empty: a new one
};

// --watch, --validate-only, --request-id
void AddStartOptions(CLI::App* command, StartOptions& options);

// Creates the job and prints it, or follows it to its end (then throws ExitError with the code of the end).
void StartJob(Context& context, const v1::Job& job, const StartOptions& options);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_START_JOB_H_
