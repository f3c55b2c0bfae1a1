// umbra_fleet: many agents with simulated virtual machines in one process, against a real umbrad.
//
//   umbra_fleet run --folder F --api-socket S --enrolment A [--agents N] [--vms M] [faults]
//   umbra_fleet limits --folder F
//
// `run` enrols the agents, prints {"ready":true} and takes lines from its input; each is answered by one line of JSON:
//   stats            what has happened so far
//   start            all agents connect
//   die SHARE        from now on agents die in so many of all assignments; `cut SHARE`, the same for links
//   storm SECONDS    all agents die at once and come back after about that time
//   cutall           all links are cut at once
//   lists SECONDS    measures the List calls in the background; `lists?` gives the figures, or null while they are
//   taken
//   reports N MS     from now on each backup tells of N steps of progress, 1 MiB each, one every so many milliseconds;
//                    `reported` gives the moments at which they were told, in seconds since 1970
//   commits FILE     writes the ids of all recovery points that the daemon said it has, one a line
// The end of the input ends it. `limits` prints what this machine can do at most.
#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/base/tuning.h"
#include "tests/fleet/fleet.h"
#include "tests/fleet/limits.h"
#include "tests/fleet/list_probe.h"

namespace umbra::fleet {
namespace {

using nlohmann::json;

// Between two List calls: a person or two at their screens, not a load of its own.
constexpr absl::Duration kListPause = absl::Milliseconds(20);
constexpr absl::Duration kLimitTime = absl::Seconds(2);

json StatsOf(Tally& tally) {
  absl::MutexLock lock(&tally.mu);
  return {{"connected", tally.connected.load()}, {"attempts", tally.attempts.load()},
          {"welcomes", tally.welcomes.load()},   {"assignments", tally.assignments.load()},
          {"working", tally.working.load()},     {"commits", tally.commits.load()},
          {"results", tally.results.load()},     {"acknowledged", tally.acknowledged.load()},
          {"cancelled", tally.cancelled.load()}, {"deaths", tally.deaths.load()},
          {"cuts", tally.cuts.load()},           {"overlaps", tally.overlaps.load()},
          {"failures", tally.failures}};
}

double Millis(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

json FiguresOf(std::map<std::string, std::vector<absl::Duration>> times) {
  json figures = json::object();
  for (auto& [name, of_list] : times) {
    std::sort(of_list.begin(), of_list.end());
    const size_t last = of_list.size() - 1;
    figures[name] = {{"count", of_list.size()},
                     {"p50_ms", Millis(of_list[last / 2])},
                     {"p99_ms", Millis(of_list[last * 99 / 100])},
                     {"max_ms", Millis(of_list[last])}};
  }
  return figures;
}

class Console {
 public:
  Console(Fleet& fleet, Options& options, Tally& tally, base::Clock& clock)
      : fleet_(fleet), options_(options), tally_(tally), clock_(clock) {}

  json Answer(const std::string& line) {
    std::istringstream words(line);
    std::string command, text;
    words >> command >> text;
    const double number = std::strtod(text.c_str(), nullptr);
    if (command == "stats") return StatsOf(tally_);
    if (command == "start") return fleet_.Start(), true;
    if (command == "die") return options_.die = number, true;
    if (command == "cut") return options_.cut = number, true;
    if (command == "storm") return fleet_.Storm(absl::Seconds(number)), true;
    if (command == "cutall") return fleet_.CutLinks(), true;
    if (command == "lists") return StartLists(absl::Seconds(number)), true;
    if (command == "lists?") return Lists();
    if (command == "reports") return SetReports(static_cast<int>(number), words);
    if (command == "reported") return Reported();
    if (command == "commits") return WriteCommits(text);
    return {{"error", "unknown command " + command}};
  }

 private:
  void StartLists(absl::Duration time) {
    if (prober_.joinable()) prober_.join();
    {
      absl::MutexLock lock(&mu_);
      figures_.reset();
    }
    prober_ = std::jthread([this, time] {
      json figures = FiguresOf(ProbeLists(options_.api_socket, clock_, time, kListPause));
      absl::MutexLock lock(&mu_);
      figures_ = std::move(figures);
    });
  }

  json Lists() {
    absl::MutexLock lock(&mu_);
    return figures_.value_or(json());
  }

  json SetReports(int count, std::istringstream& words) {
    int every_ms = 0;
    words >> every_ms;
    options_.report_ms = every_ms;
    options_.reports = count;
    return true;
  }

  json Reported() {
    absl::MutexLock lock(&tally_.mu);
    json moments = json::array();
    for (const absl::Time moment : tally_.reported)
      moments.push_back(absl::ToDoubleSeconds(moment - absl::UnixEpoch()));
    return moments;
  }

  json WriteCommits(const std::string& path) {
    absl::MutexLock lock(&tally_.mu);
    std::ofstream file(path);
    for (const std::string& point : tally_.committed_points) file << point << '\n';
    return file.good() ? json(tally_.committed_points.size()) : json({{"error", "can't write " + path}});
  }

  Fleet& fleet_;
  Options& options_;
  Tally& tally_;
  base::Clock& clock_;
  absl::Mutex mu_;
  std::optional<json> figures_ ABSL_GUARDED_BY(mu_);
  std::jthread prober_;  // last: it uses the rest
};

int Run(Options& options) {
  base::PosixFilesystem files;
  base::SystemClock clock;
  base::SeededRandom random(options.seed);
  Tally tally;
  Timers timers(clock);
  const World world{options, tally, timers, clock, random};
  Fleet fleet(files, world);
  if (const absl::Status enrolled = fleet.Enrol(); !enrolled.ok()) {
    fmt::print(stderr, "umbra_fleet: {}\n", base::Describe(enrolled));
    return 1;
  }
  std::cout << json({{"ready", true}}) << std::endl;
  Console console(fleet, options, tally, clock);
  for (std::string line; std::getline(std::cin, line);) std::cout << console.Answer(line) << std::endl;
  fleet.Stop();
  // Calls that are under way know the fleet, and end some time after they are cut: nobody waits for them.
  std::cout.flush();
  _exit(0);
}

int PrintLimits(const std::string& folder) {
  base::PosixFilesystem files;
  base::SystemClock clock;
  base::SystemRandom random;
  const auto limits = MeasureLimits(files, clock, random, folder, kLimitTime);
  if (!limits.ok()) {
    fmt::print(stderr, "umbra_fleet: {}\n", base::Describe(limits.status()));
    return 1;
  }
  std::cout << json({{"syncs", limits->syncs},
                     {"new_files", limits->new_files},
                     {"round_trips", limits->round_trips},
                     {"connections", limits->connections}})
            << std::endl;
  return 0;
}

int Main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  base::TuneForBulkData();
  Options options;
  CLI::App app("Many agents with simulated virtual machines, against a real umbrad");
  app.require_subcommand(1);
  CLI::App* const run = app.add_subcommand("run", "Be a fleet");
  CLI::App* const limits = app.add_subcommand("limits", "Measure what this machine can do at most");
  for (CLI::App* command : {run, limits})
    command->add_option("--folder", options.folder, "For identities, or for rubbish")->required();
  double slow_step = absl::ToDoubleSeconds(options.slow_step), down = absl::ToDoubleSeconds(options.down);
  double die = 0, cut = 0;
  bool same_data = false, one_connection = false;
  run->add_option("--api-socket", options.api_socket, "Of umbrad")->required();
  run->add_option("--enrolment", options.enrolment_address, "Enrolment port of umbrad")->required();
  run->add_option("--agents", options.agents)->capture_default_str();
  run->add_option("--vms", options.vms, "Of each agent")->capture_default_str();
  run->add_option("--seed", options.seed)->capture_default_str();
  run->add_option("--disk-bytes", options.disk_bytes, "At most 64 KiB")->capture_default_str();
  run->add_flag("--same-data", same_data, "A disk is the same in each backup");
  run->add_flag("--one-connection", one_connection, "Data goes over the agent's control connection");
  run->add_option("--die", die, "Part of the assignments in which the agent dies")->capture_default_str();
  run->add_option("--cut", cut, "Part of the assignments in which the link is cut")->capture_default_str();
  run->add_option("--slow", options.slow, "Part of the hosts that are slow")->capture_default_str();
  run->add_option("--slow-step", slow_step, "Seconds that each step of those takes longer")->capture_default_str();
  run->add_option("--down", down, "Seconds from an agent's death to its return, about")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.fresh_data = !same_data;
  options.data_connections = !one_connection;
  options.die = die;
  options.cut = cut;
  options.slow_step = absl::Seconds(slow_step);
  options.down = absl::Seconds(down);
  (void)base::SetUpLogging({.level = "error"});
  return limits->parsed() ? PrintLimits(options.folder) : Run(options);
}

}  // namespace
}  // namespace umbra::fleet

int main(int argc, char** argv) {
  return umbra::fleet::Main(argc, argv);
}
