// umbra repository list | show | verify | prune | confirm-clock | rebuild-catalog, umbra event list | watch
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <map>

#include "absl/time/time.h"

#include "server/cli/context.h"
#include "server/cli/resolve.h"
#include "server/cli/start_job.h"
#include "storage/base/bytes.h"

namespace umbra::cli {
namespace {

std::string Size(int64_t bytes) { return base::FormatSize(static_cast<uint64_t>(bytes)); }

}  // namespace

std::string RepositoryName(Context& context, const std::string& text) {
  if (!text.empty()) return "repositories/" + LastSegment(text);
  std::vector<std::string> names;
  ForEach(*context.client().repositories, &v1::RepositoryService::Stub::ListRepositories, v1::ListRepositoriesRequest(),
          &v1::ListRepositoriesResponse::repositories, 0, [&](const v1::Repository& r) { names.push_back(r.name()); });
  if (names.size() == 1) return names[0];
  throw ExitError{kExitUsage, "there are several repositories, name one: " + JoinText(names, ", "), "INVALID_REQUEST"};
}

namespace {

void ListRepositories(Context& context) {
  Table table({"REPOSITORY", "LOCATION", "POINTS", "LOGICAL", "STORED", "FREE"});
  ForEach(*context.client().repositories, &v1::RepositoryService::Stub::ListRepositories, v1::ListRepositoriesRequest(),
          &v1::ListRepositoriesResponse::repositories, 0, [&](const v1::Repository& r) {
            if (context.json) return context.output().Json(r);
            table.Add({LastSegment(r.name()), r.location(), std::to_string(r.recovery_point_count()), Size(r.logical_bytes()),
                       Size(r.stored_bytes()), Size(r.free_bytes())});
          });
  if (!context.json) table.Print();
}

struct VerifyOptions {
  std::string point;
  std::string level;
  std::string budget;
  uint64_t bytes = 0;
  StartOptions start;
};

std::string RatioText(double ratio) { return ratio > 0 ? fmt::format("{:.2f}x", ratio) : "-"; }

std::string VerificationText(const v1::VerificationState& state, int64_t pack_count) {
  std::string text = state.has_oldest_verify_time()
                         ? fmt::format("least recently on {}", TimeText(true, state.oldest_verify_time()))
                         : "never";
  if (state.has_oldest_verify_time() && state.never_verified_count() > 0) {
    text += fmt::format(", {} of {} packs never", state.never_verified_count(), pack_count);
  }
  return text;
}

std::string DamageText(const v1::VerificationState& state) {
  if (state.damaged_place_count() == 0) {
    return state.quarantined_pack_count() == 0 ? "none known" : "none; what is in quarantine has sound copies, or isn't needed";
  }
  return fmt::format("{} places in {} recovery points; the next backup that has the data heals them", state.damaged_place_count(),
                     state.damaged_recovery_points_size());
}

// The last week; all of it is in --json.
std::string GrowthText(const v1::Repository& repository) {
  constexpr int kDays = 7;
  std::string text;
  for (int i = std::max(0, repository.days_size() - kDays); i < repository.days_size(); ++i) {
    const v1::RepositoryDay& day = repository.days(i);
    if (!day.has_growth_bytes()) continue;
    const int64_t growth = day.growth_bytes();
    text += fmt::format("{}{} {}{}", text.empty() ? "" : ", ", day.date(), growth < 0 ? "-" : "+", Size(growth < 0 ? -growth : growth));
  }
  return text;
}

void ShowRepository(Context& context, const std::string& text) {
  v1::GetRepositoryRequest request;
  request.set_name(RepositoryName(context, text));
  const v1::Repository r = Call(*context.client().repositories, &v1::RepositoryService::Stub::GetRepository, request);
  if (context.json) return context.output().Json(r);
  const v1::VerificationState& verification = r.verification();
  const double ratio = r.stored_bytes() > 0 ? static_cast<double>(r.logical_bytes()) / static_cast<double>(r.stored_bytes()) : 0;
  context.output().Fields({{"Repository", LastSegment(r.name())},
                           {"Location", r.location()},
                           {"Id", r.uuid()},
                           {"Format", fmt::format("version {}, chunks of {}", r.format_version(), Size(r.chunk_size_bytes()))},
                           {"Made", TimeText(r.has_create_time(), r.create_time())},
                           {"Recovery points", std::to_string(r.recovery_point_count())},
                           {"Logical", Size(r.logical_bytes())},
                           {"Unique", fmt::format("{} in {} chunks", Size(r.unique_bytes()), r.chunk_count())},
                           {"Stored", fmt::format("{} in {} packs ({:.1f}x less than logical)", Size(r.stored_bytes()),
                                                  r.pack_count(), ratio)},
                           {"Deduplication", RatioText(r.dedup_ratio())},
                           {"Compression", RatioText(r.compression_ratio())},
                           {"Growth per day", GrowthText(r)},
                           {"Free", Size(r.free_bytes())},
                           {"Clock", r.has_clock_ahead()
                                         ? fmt::format("{} ahead of the time seen to pass; if it is right: umbra repository "
                                                       "confirm-clock {}",
                                                       DurationText(r.clock_ahead()), LastSegment(r.name()))
                                         : ""},
                           {"Verified", VerificationText(verification, r.pack_count())},
                           {"Quarantine", fmt::format("{} packs", verification.quarantined_pack_count())},
                           {"Damage", DamageText(verification)}});
  for (const std::string& point : verification.damaged_recovery_points()) fmt::print("damaged: {}\n", point);
}

void Verify(Context& context, const std::string& text, const VerifyOptions& options) {
  static const std::map<std::string, v1::VerifySpec::Level> kLevels = {{"", v1::VerifySpec::LEVEL_UNSPECIFIED},
                                                                       {"stored", v1::VerifySpec::LEVEL_STORED},
                                                                       {"full", v1::VerifySpec::LEVEL_FULL},
                                                                       {"disks", v1::VerifySpec::LEVEL_DISKS}};
  v1::Job job;
  v1::VerifySpec* spec = job.mutable_verify();
  spec->set_repository(RepositoryName(context, text));
  if (!options.point.empty()) {
    spec->set_recovery_point(ResolveRecoveryPoint(context.client(), options.point, "", "").name());
  }
  spec->set_level(kLevels.at(options.level));
  if (!options.budget.empty()) {
    absl::Duration budget;
    if (!absl::ParseDuration(options.budget, &budget) || budget <= absl::ZeroDuration()) {
      throw ExitError{kExitUsage, fmt::format("--budget: \"{}\" is no time such as 10m or 1h30m", options.budget), "INVALID_REQUEST"};
    }
    spec->mutable_time_budget()->set_seconds(std::max<int64_t>(1, absl::ToInt64Seconds(budget)));
  }
  spec->set_byte_budget(static_cast<int64_t>(options.bytes));
  StartJob(context, job, options.start);
}

void Prune(Context& context, const std::string& text, bool dry_run, const StartOptions& start) {
  v1::Job job;
  job.mutable_prune()->set_repository(RepositoryName(context, text));
  job.mutable_prune()->set_dry_run(dry_run);
  StartJob(context, job, start);
}

void ConfirmClock(Context& context, const std::string& text) {
  v1::ConfirmClockRequest request;
  request.set_name(RepositoryName(context, text));
  const char* user = getenv("USER");
  request.set_requester(user == nullptr ? "" : user);
  const v1::Repository answer =
      Call(*context.client().repositories, &v1::RepositoryService::Stub::ConfirmClock, request);
  if (context.json) return context.output().Json(answer);
  fmt::print("confirmed; removed recovery points of {} go by the machine's clock again, locks by time that really passed\n",
             LastSegment(answer.name()));
}

void RebuildCatalog(Context& context, const std::string& text) {
  v1::RebuildCatalogRequest request;
  request.set_name(RepositoryName(context, text));
  const v1::RebuildCatalogResponse answer =
      Call(*context.client().repositories, &v1::RepositoryService::Stub::RebuildCatalog, request);
  if (context.json) {
    context.output().Json(answer);
  } else {
    fmt::print("found {} recovery points: {} added, {} removed from the catalog\n", answer.found_count(),
               answer.added_count(), answer.removed_count());
    for (const auto& problem : answer.problems()) fmt::print("problem: {}\n", problem);
  }
  if (answer.problems_size() > 0) throw ExitError{kExitDamaged, "", ""};
}

void PrintEvent(Context& context, const v1::Event& event) {
  if (context.json) return context.output().Json(event);
  fmt::print("{:>6}  {}  {:7}  {:20}  {}  {}\n", event.sequence(), TimeText(event.has_time(), event.time()),
             EnumText(v1::Event::Severity_Name(event.severity()), "SEVERITY_"), event.type(), event.resource(),
             event.message());
  std::fflush(stdout);
}

void ListEvents(Context& context, const std::string& resource) {
  v1::ListEventsRequest request;
  request.set_resource(resource);
  ForEach(*context.client().events, &v1::EventService::Stub::ListEvents, request, &v1::ListEventsResponse::events, 0,
          [&](const v1::Event& event) { PrintEvent(context, event); });
}

void WatchEvents(Context& context, const std::string& resource, int64_t after) {
  grpc::ClientContext call;
  v1::WatchEventsRequest request;
  request.set_after_sequence(after);
  request.set_resource(resource);
  auto stream = context.client().events->WatchEvents(&call, request);
  for (v1::Event event; stream->Read(&event);) PrintEvent(context, event);
  if (grpc::Status status = stream->Finish(); !status.ok()) throw ToExitError(status);
}

}  // namespace

void AddRepositoryCommands(CLI::App& app, Context& context) {
  static std::string name;
  CLI::App* repository = app.add_subcommand("repository", "Where recovery points are stored");
  repository->require_subcommand(1);
  repository->add_subcommand("list", "Lists the repositories")->callback([&] { ListRepositories(context); });
  CLI::App* show = repository->add_subcommand("show", "Shows a repository's figures");
  show->add_option("REPOSITORY", name, "Name; may be left out when there is only one");
  show->callback([&] { ShowRepository(context, name); });

  static VerifyOptions options;
  CLI::App* verify = repository->add_subcommand("verify", "Reads every stored chunk and checks it; exit code 7 on damage");
  verify->add_option("REPOSITORY", name, "Name; may be left out when there is only one");
  verify->add_option("--recovery-point", options.point, "Only the disks of this recovery point");
  verify->add_option("--level", options.level,
                     "stored: the bytes are those that were written; full (default): and they decompress to the chunks that they\n"
                     "claim to be; disks: every disk is read as a restore would, and compared with what the backup read")
      ->check(CLI::IsMember({"stored", "full", "disks"}));
  verify->add_option("--budget", options.budget, "Begin nothing more after this time, such as 10m; the least recently verified\n"
                                                 "comes first, so that several runs read everything");
  verify->add_option("--bytes", options.bytes, "Begin nothing more after this many bytes, such as 50GiB")
      ->transform(CLI::AsSizeValue(false));
  AddStartOptions(verify, options.start);
  verify->footer("Examples:\n  umbra repository verify --watch\n  umbra repository verify --level stored --budget 10m\n"
                 "  umbra repository verify --recovery-point 3f2a91bc --watch");
  verify->callback([&] { Verify(context, name, options); });

  static bool dry_run = false;
  static StartOptions prune_start;
  CLI::App* prune = repository->add_subcommand(
      "prune", "Deletes removed recovery points whose time is over, and gives back the space of what no other needs");
  prune->add_option("REPOSITORY", name, "Name; may be left out when there is only one");
  prune->add_flag("--dry-run", dry_run, "Only say what would be freed");
  AddStartOptions(prune, prune_start);
  prune->footer("Examples:\n  umbra repository prune --dry-run --watch\n  umbra repository prune --watch");
  prune->callback([&] { Prune(context, name, dry_run, prune_start); });

  CLI::App* confirm = repository->add_subcommand(
      "confirm-clock", "Says that the machine's clock is right, after it jumped or the daemon was off for long");
  confirm->add_option("REPOSITORY", name, "Name; may be left out when there is only one");
  confirm->footer("Example:\n  umbra repository confirm-clock main");
  confirm->callback([&] { ConfirmClock(context, name); });

  CLI::App* rebuild =
      repository->add_subcommand("rebuild-catalog", "Rebuilds the catalog's recovery points from what the repository holds");
  rebuild->add_option("REPOSITORY", name, "Name; may be left out when there is only one");
  rebuild->callback([&] { RebuildCatalog(context, name); });

  AddRepositoryKeyCommands(*repository, context);

  static std::string resource;
  static int64_t after = -1;
  CLI::App* event = app.add_subcommand("event", "What happened");
  event->require_subcommand(1);
  CLI::App* list = event->add_subcommand("list", "Lists the kept events, oldest first");
  list->add_option("--resource", resource, "Only about this resource, such as jobs/ID");
  list->callback([&] { ListEvents(context, resource); });
  CLI::App* watch = event->add_subcommand("watch", "Follows the events until interrupted");
  watch->add_option("--resource", resource, "Only about this resource, such as jobs/ID");
  watch->add_option("--after", after, "Start after this number; 0 means from the oldest kept, -1 only new ones")
      ->capture_default_str();
  watch->callback([&] { WatchEvents(context, resource, after); });
}

}  // namespace umbra::cli
