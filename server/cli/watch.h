// Following a job to its end: a live bar on a terminal, plain lines when piped, JSON lines with --json.
#ifndef UMBRA_SERVER_CLI_WATCH_H_
#define UMBRA_SERVER_CLI_WATCH_H_

#include <string>

#include "server/cli/context.h"

namespace umbra::cli {

// Prints until the job has ended and returns the exit code that its end stands for. Survives a restart of the daemon
// when it is back within a minute.
int WatchJob(Context& context, const std::string& job_name);

// The exit code of a job that has ended.
int ExitCodeOf(const v1::Job& job);

// One line: state, phase, percentage, bytes, rate, ETA. `width` > 0 adds a bar that fits the terminal's width.
std::string ProgressLine(const v1::Job& job, int width);

std::string StateText(const v1::Job& job);
std::string KindText(const v1::Job& job);

// How long it took from one to the other; zero when it was the other way round.
google::protobuf::Duration Between(const google::protobuf::Timestamp& start, const google::protobuf::Timestamp& end);
// "transferring, 12.0 s from 2026-01-31 22:00:05".
std::string PhaseText(const v1::JobPhase& phase);

// Everything about a job, for people.
void PrintJob(const Output& output, const v1::Job& job);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_WATCH_H_
