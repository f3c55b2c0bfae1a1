// Commands about files that other commands' trees hold.
#ifndef UMBRA_SERVER_CLI_FILE_SETS_H_
#define UMBRA_SERVER_CLI_FILE_SETS_H_

#include <string>

#include "server/cli/context.h"

namespace umbra::cli {

// Prints what a file set's recovery point holds, one a line; at most `limit` (0: all).
void ListPointFiles(Context& context, const std::string& point, const std::string& file_set, int limit);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_FILE_SETS_H_
