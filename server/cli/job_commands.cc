// umbra job list | show | watch | cancel, umbra backup run | list | summary | show | watch | cancel
#include <fmt/format.h>

#include "absl/time/time.h"
#include "server/cli/context.h"
#include "server/cli/resolve.h"
#include "server/cli/start_job.h"
#include "server/cli/watch.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"

namespace umbra::cli {
namespace {

struct ListOptions {
  bool active = false;
  std::string kind;
  int limit = 50;
};

struct BackupOptions {
  std::vector<std::string> vms;
  std::vector<std::string> file_sets;
  std::string repository;
  bool allow_crash_consistent = false;
  bool no_saved_state = false;
  bool child_snapshot_only = false;
  bool full = false;
  int freeze_timeout_s = 10;
  int priority = 0;
  int retries = 0;
  int begin_within_s = 0;
  int upload_mib_per_second = 0;
  std::string pre_hook, post_hook;
  bool ignore_pre_failure = false;
  StartOptions start;
};

std::string Took(const v1::Job& job) {
  if (!job.has_start_time() || !job.has_end_time()) return "-";
  return DurationText(Between(job.start_time(), job.end_time()));
}

std::string Note(const v1::Job& job) {
  if (job.has_error()) return job.error().reason() + ": " + job.error().message();
  if (job.recovery_points_size() > 0) return "point " + ShortId(job.recovery_points(0));
  return job.wait_reason();
}

void ListJobs(Context& context, const ListOptions& options) {
  v1::ListJobsRequest request;
  request.set_active_only(options.active);
  request.set_kind(options.kind);
  Table table({"JOB", "KIND", "STATE", "CREATED", "TOOK", "NEW", "NOTE"});
  ForEach(*context.client().jobs, &v1::JobService::Stub::ListJobs, request, &v1::ListJobsResponse::jobs, options.limit,
          [&](const v1::Job& job) {
            if (context.json) return context.output().Json(job);
            table.Add({ShortId(job.name()), KindText(job), StateText(job), TimeText(job.has_create_time(), job.create_time()),
                       Took(job), base::FormatSize(static_cast<uint64_t>(job.progress().new_bytes())), Note(job)});
          });
  if (!context.json) table.Print();
}

// Asked for by its name: only then it comes with its phases.
void ShowJob(Context& context, const std::string& text) {
  v1::GetJobRequest request;
  request.set_name(ResolveJob(context.client(), text).name());
  PrintJob(context.output(), Call(*context.client().jobs, &v1::JobService::Stub::GetJob, request));
}

// Days of this machine's time zone, today the last one.
void SummarizeBackups(Context& context, int days) {
  const absl::TimeZone zone = absl::LocalTimeZone();
  const absl::CivilDay today(absl::ToCivilDay(base::SystemClock().Now(), zone));
  Table table({"DAY", "OK", "WITH WARNINGS", "FAILED", "CANCELLED", "POINTS", "READ", "STORED"});
  for (int back = days - 1; back >= 0; --back) {
    // A day at a time: one on which the clocks change isn't as long as the others.
    const absl::Time start = absl::FromCivil(today - back, zone);
    v1::SummarizeBackupsRequest request;
    request.mutable_start_time()->set_seconds(absl::ToUnixSeconds(start));
    request.mutable_period()->set_seconds(absl::ToInt64Seconds(absl::FromCivil(today - back + 1, zone) - start));
    request.set_count(1);
    const auto response = Call(*context.client().jobs, &v1::JobService::Stub::SummarizeBackups, request);
    for (const v1::BackupSummary& day : response.summaries()) {
      if (context.json) {
        context.output().Json(day);
        continue;
      }
      table.Add({absl::FormatCivilTime(today - back), std::to_string(day.succeeded_count()),
                 std::to_string(day.warned_count()), std::to_string(day.failed_count()),
                 std::to_string(day.cancelled_count()), std::to_string(day.recovery_point_count()),
                 base::FormatSize(static_cast<uint64_t>(day.read_bytes())),
                 base::FormatSize(static_cast<uint64_t>(day.stored_bytes()))});
    }
  }
  if (!context.json) table.Print();
}

void CancelJob(Context& context, const std::string& text, bool watch) {
  v1::CancelJobRequest request;
  request.set_name(ResolveJob(context.client(), text).name());
  const v1::Job job = Call(*context.client().jobs, &v1::JobService::Stub::CancelJob, request);
  if (watch) throw ExitError{WatchJob(context, job.name()), "", ""};
  PrintJob(context.output(), job);
}

void RunBackup(Context& context, const BackupOptions& options) {
  v1::Job job;
  v1::BackupSpec* spec = job.mutable_backup();
  if (options.vms.empty() && options.file_sets.empty()) {
    throw ExitError{kExitUsage, "name a virtual machine, or a file set with --file-set", "INVALID_REQUEST"};
  }
  for (const auto& vm : options.vms) spec->add_virtual_machines(ResolveVm(context.client(), vm).name());
  std::string host;  // the same name may be used on another
  if (!options.vms.empty()) host = spec->virtual_machines(0).substr(0, spec->virtual_machines(0).find("/virtualMachines/"));
  for (const auto& set : options.file_sets) spec->add_file_sets(ResolveFileSet(context.client(), set, host).name());
  if (!options.repository.empty()) spec->set_repository("repositories/" + LastSegment(options.repository));
  spec->set_allow_crash_consistent(options.allow_crash_consistent);
  spec->set_forbid_saved_state(options.no_saved_state);
  spec->set_full_read(options.full);
  if (!options.pre_hook.empty()) spec->mutable_hooks()->set_pre(options.pre_hook);
  if (!options.post_hook.empty()) spec->mutable_hooks()->set_post(options.post_hook);
  if (options.ignore_pre_failure) spec->mutable_hooks()->set_ignore_pre_failure(true);
  if (options.child_snapshot_only) {
    spec->set_mechanism_preference(v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY);
  }
  spec->mutable_freeze_timeout()->set_seconds(options.freeze_timeout_s);
  job.set_priority(options.priority);
  if (options.retries > 0) job.mutable_retry()->set_max_retries(options.retries);
  if (options.begin_within_s > 0) {
    const absl::Time until = base::SystemClock().Now() + absl::Seconds(options.begin_within_s);
    job.mutable_not_after()->set_seconds(absl::ToUnixSeconds(until) + 1);
  }
  job.set_upload_bytes_per_second(int64_t{options.upload_mib_per_second} << 20);
  StartJob(context, job, options.start);
}

// show, watch and cancel are the same for jobs of any kind.
void AddJobVerbs(CLI::App* parent, Context& context) {
  static std::string name;
  static bool watch = false;
  CLI::App* show = parent->add_subcommand("show", "Shows a job");
  show->add_option("JOB", name, "Id, or the beginning of it")->required();
  show->callback([&] { ShowJob(context, name); });

  CLI::App* follow = parent->add_subcommand("watch", "Follows a job to its end; the exit code tells how it ended");
  follow->add_option("JOB", name, "Id, or the beginning of it")->required();
  follow->callback([&] { throw ExitError{WatchJob(context, ResolveJob(context.client(), name).name()), "", ""}; });

  CLI::App* cancel = parent->add_subcommand("cancel", "Stops a job; everything is put back");
  cancel->add_option("JOB", name, "Id, or the beginning of it")->required();
  cancel->add_flag("--watch", watch, "Wait until it has ended");
  cancel->callback([&] { CancelJob(context, name, watch); });
}

CLI::App* AddListVerb(CLI::App* parent, Context& context, ListOptions& options, const std::string& help) {
  CLI::App* list = parent->add_subcommand("list", help);
  list->add_flag("--active", options.active, "Only those that have not ended");
  list->add_option("--limit", options.limit, "Most lines; 0 means all")->capture_default_str();
  list->callback([&] { ListJobs(context, options); });
  return list;
}

}  // namespace

void AddStartOptions(CLI::App* command, StartOptions& options) {
  command->add_flag("--watch", options.watch, "Follow it to its end; the exit code tells how it ended");
  command->add_flag("--validate-only", options.validate_only, "Check the request, start nothing");
  command->add_option("--request-id", options.request_id, "Repeating a request with the same id doesn't start it twice");
}

void StartJob(Context& context, const v1::Job& job, const StartOptions& options) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  request.set_validate_only(options.validate_only);
  request.set_request_id(options.request_id.empty() ? base::SystemRandom().Uuid() : options.request_id);
  const v1::Job started = Call(*context.client().jobs, &v1::JobService::Stub::CreateJob, request);
  if (options.validate_only) {
    fmt::print(stderr, "the request is valid; nothing was started\n");
  } else if (options.watch) {
    throw ExitError{WatchJob(context, started.name()), "", ""};
  } else {
    PrintJob(context.output(), started);
    fmt::print(stderr, "follow it with: umbra job watch {}\n", ShortId(started.name()));
  }
}

void AddJobCommands(CLI::App& app, Context& context) {
  static ListOptions job_list;
  CLI::App* job = app.add_subcommand("job", "Everything that takes time");
  job->require_subcommand(1);
  AddListVerb(job, context, job_list, "Lists jobs, newest first")
      ->add_option("--kind", job_list.kind, "backup, restore, verify or prune")
      ->check(CLI::IsMember({"backup", "restore", "verify", "prune"}));
  AddJobVerbs(job, context);

  static ListOptions backup_list{.kind = "backup"};
  static BackupOptions options;
  CLI::App* backup = app.add_subcommand("backup", "Backs virtual machines and file sets up");
  backup->require_subcommand(1);
  CLI::App* run = backup->add_subcommand("run", "Backs virtual machines and file sets up now; several become one set: all or none");
  run->add_option("VM", options.vms, "Name, uuid, beginning of the uuid, or resource name");
  run->add_option("--file-set", options.file_sets, "A file set of the same host: its service stands still together with the machines; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--repository", options.repository, "Where to; the default repository when not given");
  run->add_flag("--no-saved-state", options.no_saved_state,
                "Stop no virtual machine for a moment to save its memory, although its guest can't freeze; refuse it instead");
  CLI::Option* crash = run->add_flag("--allow-crash-consistent", options.allow_crash_consistent,
                                     "Accept a point in time without the guest's help, as after a power cut, where nothing "
                                     "better is possible and allowed; with --no-saved-state");
  run->add_flag("--child-snapshot-only", options.child_snapshot_only,
                "Refuse every running virtual machine whose guest can't freeze itself")
      ->excludes(crash);
  run->add_flag(
      "--full", options.full,
      "Read all disks whole, although the hypervisor knows what changed since the last backup; the recovery point is "
      "the same, and only changed chunks are sent");
  run->add_option("--freeze-timeout", options.freeze_timeout_s, "Longest freeze of a guest, in seconds")
      ->check(CLI::Range(1, 60))
      ->capture_default_str();
  run->add_option("--priority", options.priority, "Jobs of a higher priority are begun first")
      ->check(CLI::Range(-100, 100));
  run->add_option("--retries", options.retries,
                  "Further attempts after one that fails for a reason that passes; every 10 minutes")
      ->check(CLI::Range(0, 100));
  run->add_option("--begin-within", options.begin_within_s,
                  "Give up when it couldn't begin within so many seconds; 0: wait on")
      ->check(CLI::NonNegativeNumber);
  run->add_option("--upload-mib-per-second", options.upload_mib_per_second, "Most that the host sends; 0: no limit")
      ->check(CLI::Range(0, 1 << 20));
  run->add_option("--pre-hook", options.pre_hook, "Run this program of the host's folder of hooks before");
  run->add_option("--post-hook", options.post_hook, "And this one when it is over, however it ended");
  run->add_flag("--ignore-pre-hook-failure", options.ignore_pre_failure, "Back up also when the program before fails");
  AddStartOptions(run, options.start);
  run->footer(
      "A guest that can freeze itself is backed up while it runs. Any other is stopped for a moment (about a second "
      "per GiB of\n"
      "memory in use), its memory is saved with its disks, and it goes on; `umbra vm show` tells beforehand, and why.\n"
      "A virtual machine that is off, saved or paused stays so. Where the hypervisor tracks changes, only they are "
      "read; the\n"
      "recovery point is complete all the same. `umbra job show` tells how each disk was read, and why.\n\n"
      "Examples:\n  umbra backup run mail01 --watch\n  umbra backup run app01 db01 --watch --json\n"
      "  umbra backup run app01 --file-set shop --watch\n"
      "  umbra backup run old01 --no-saved-state --allow-crash-consistent");
  run->callback([&] { RunBackup(context, options); });
  AddListVerb(backup, context, backup_list, "Lists backups, newest first");
  static int days = 7;
  CLI::App* summary = backup->add_subcommand("summary", "How the backups of the last days went");
  summary->add_option("--days", days, "How many, today included")->check(CLI::Range(1, 100))->capture_default_str();
  summary->footer("Example:\n  umbra backup summary --days 30");
  summary->callback([&context] { SummarizeBackups(context, days); });
  AddJobVerbs(backup, context);
}

}  // namespace umbra::cli
