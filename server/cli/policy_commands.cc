// umbra policy create | list | show | update | delete | pause | resume | run | preview | retention, umbra coverage
#include <fmt/format.h>

#include <charconv>

#include "server/cli/context.h"
#include "server/cli/resolve.h"
#include "storage/base/random.h"

namespace umbra::cli {
namespace {

// A list of one word "none" is an empty one: how an update takes a list away.
constexpr char kNone[] = "none";

struct PolicyOptions {
  std::string description;
  std::vector<std::string> vms, hosts, file_sets;
  std::string select, exclude;
  bool everything_else = false;
  std::vector<std::string> schedules, windows, closed;
  std::string zone, spread, repository, grouping, retry_after, keep_within, rpo;
  bool skip_missed = false, no_saved_state = false, crash_consistent = false, child_snapshot_only = false;
  int freeze_timeout_s = 10, retries = 0, priority = 0, weight = 1, jobs = 0, jobs_per_host = 0;
  int64_t upload_mib = 0;
  std::string pre_hook, post_hook;
  bool ignore_pre_failure = false;
  int last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
};

// "90s", "15m", "4h", "7d", "2w".
google::protobuf::Duration ParseDuration(const std::string& option, const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  int64_t unit = 0;
  if (end == text.data() + text.size() - 1 && error == std::errc()) {
    switch (*end) {
      case 's':
        unit = 1;
        break;
      case 'm':
        unit = 60;
        break;
      case 'h':
        unit = 3600;
        break;
      case 'd':
        unit = 86400;
        break;
      case 'w':
        unit = 7 * 86400;
        break;
      default:
        break;
    }
  }
  if (unit == 0 || number < 0 || number > 10'000'000) {
    throw ExitError{kExitUsage, fmt::format("{}: \"{}\" is no duration; examples: 90s, 15m, 4h, 7d, 2w", option, text),
                    "INVALID_REQUEST"};
  }
  google::protobuf::Duration duration;
  duration.set_seconds(number * unit);
  return duration;
}

std::string PolicyName(const std::string& text) {
  return text.starts_with("policies/") ? text : "policies/" + text;
}

v1::Policy GetPolicy(Context& context, const std::string& text) {
  v1::GetPolicyRequest request;
  request.set_name(PolicyName(text));
  return Call(*context.client().policies, &v1::PolicyService::Stub::GetPolicy, request);
}

// Takes the options that were given into `policy`, and says which in `mask`.
class Filler {
 public:
  Filler(Context& context, CLI::App& command, v1::Policy& policy, google::protobuf::FieldMask& mask)
      : context_(context), command_(command), policy_(policy), mask_(mask) {}

  void Fill(const PolicyOptions& o) {
    v1::PolicySelection& selection = *policy_.mutable_selection();
    if (Given("--description", "description")) policy_.set_description(o.description);
    FillMembers(o, selection);
    if (Given("--select", "selection.expression")) selection.set_expression(o.select == kNone ? "" : o.select);
    if (Given("--exclude", "selection.exclude")) selection.set_exclude(o.exclude == kNone ? "" : o.exclude);
    if (Given("--everything-else", "selection.everything_else")) selection.set_everything_else(o.everything_else);
    if (Given("--schedule", "schedules")) Set(o.schedules, *policy_.mutable_schedules());
    if (Given("--window", "windows")) Set(o.windows, *policy_.mutable_windows());
    if (Given("--closed", "closed")) Set(o.closed, *policy_.mutable_closed());
    if (Given("--zone", "time_zone")) policy_.set_time_zone(o.zone);
    if (Given("--spread", "spread")) *policy_.mutable_spread() = ParseDuration("--spread", o.spread);
    if (Given("--skip-missed", "skip_missed")) policy_.set_skip_missed(o.skip_missed);
    if (Given("--repository", "repository")) policy_.set_repository("repositories/" + LastSegment(o.repository));
    if (Given("--rpo", "rpo")) *policy_.mutable_rpo() = ParseDuration("--rpo", o.rpo);
    FillHow(o);
    FillRetention(o);
  }

  void FillRetention(const PolicyOptions& o) {
    v1::PolicyRetention& keep = *policy_.mutable_retention();
    if (Given("--keep-last", "retention.last")) keep.set_last(o.last);
    if (Given("--keep-hourly", "retention.hourly")) keep.set_hourly(o.hourly);
    if (Given("--keep-daily", "retention.daily")) keep.set_daily(o.daily);
    if (Given("--keep-weekly", "retention.weekly")) keep.set_weekly(o.weekly);
    if (Given("--keep-monthly", "retention.monthly")) keep.set_monthly(o.monthly);
    if (Given("--keep-yearly", "retention.yearly")) keep.set_yearly(o.yearly);
    if (Given("--keep-within", "retention.within"))
      *keep.mutable_within() = ParseDuration("--keep-within", o.keep_within);
  }

 private:
  bool Given(const std::string& option, const std::string& path) {
    if (command_.get_option(option)->count() == 0) return false;
    mask_.add_paths(path);
    return true;
  }

  template <typename Repeated>
  void Set(const std::vector<std::string>& texts, Repeated& out) {
    for (const std::string& text : texts) {
      if (text != kNone) *out.Add() = text;
    }
  }

  void FillMembers(const PolicyOptions& o, v1::PolicySelection& selection) {
    const bool vms = command_.get_option("--vm")->count() > 0, sets = command_.get_option("--file-set")->count() > 0;
    if (vms || sets) mask_.add_paths("selection.members");
    for (const std::string& vm : o.vms) {
      if (vm != kNone) selection.add_members(ResolveVm(context_.client(), vm).name());
    }
    for (const std::string& set : o.file_sets) selection.add_members(ResolveFileSet(context_.client(), set, "").name());
    if (!Given("--host", "selection.hosts")) return;
    for (const std::string& host : o.hosts) {
      if (host != kNone) selection.add_hosts(ResolveHost(context_.client(), host).name());
    }
  }

  void FillHow(const PolicyOptions& o) {
    if (Given("--no-saved-state", "forbid_saved_state")) policy_.set_forbid_saved_state(o.no_saved_state);
    if (Given("--allow-crash-consistent", "allow_crash_consistent"))
      policy_.set_allow_crash_consistent(o.crash_consistent);
    if (Given("--child-snapshot-only", "mechanism_preference")) {
      policy_.set_mechanism_preference(o.child_snapshot_only ? v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY
                                                             : v1::BackupSpec::MECHANISM_PREFERENCE_AUTO);
    }
    if (Given("--freeze-timeout", "freeze_timeout")) policy_.mutable_freeze_timeout()->set_seconds(o.freeze_timeout_s);
    if (Given("--group", "grouping")) {
      policy_.set_grouping(o.grouping == "host" ? v1::Policy::GROUPING_HOST : v1::Policy::GROUPING_VIRTUAL_MACHINE);
    }
    if (Given("--retries", "retry.max_retries")) policy_.mutable_retry()->set_max_retries(o.retries);
    if (Given("--retry-after", "retry.backoff"))
      *policy_.mutable_retry()->mutable_backoff() = ParseDuration("--retry-after", o.retry_after);
    if (Given("--pre-hook", "hooks.pre")) policy_.mutable_hooks()->set_pre(o.pre_hook == kNone ? "" : o.pre_hook);
    if (Given("--post-hook", "hooks.post")) policy_.mutable_hooks()->set_post(o.post_hook == kNone ? "" : o.post_hook);
    if (Given("--ignore-pre-hook-failure", "hooks.ignore_pre_failure"))
      policy_.mutable_hooks()->set_ignore_pre_failure(o.ignore_pre_failure);
    if (Given("--priority", "priority")) policy_.set_priority(o.priority);
    if (Given("--weight", "weight")) policy_.set_weight(o.weight);
    if (Given("--upload-mib", "upload_bytes_per_second"))
      policy_.set_upload_bytes_per_second(o.upload_mib * 1024 * 1024);
    if (Given("--jobs", "concurrency.jobs")) policy_.mutable_concurrency()->set_jobs(o.jobs);
    if (Given("--jobs-per-host", "concurrency.jobs_per_host"))
      policy_.mutable_concurrency()->set_jobs_per_host(o.jobs_per_host);
  }

  Context& context_;
  CLI::App& command_;
  v1::Policy& policy_;
  google::protobuf::FieldMask& mask_;
};

void AddRetentionOptions(CLI::App* command, PolicyOptions& o) {
  command->add_option("--keep-last", o.last, "Keep the newest N points")->check(CLI::NonNegativeNumber);
  command->add_option("--keep-hourly", o.hourly, "Keep the newest point of N hours")->check(CLI::NonNegativeNumber);
  command->add_option("--keep-daily", o.daily, "Of N days")->check(CLI::NonNegativeNumber);
  command->add_option("--keep-weekly", o.weekly, "Of N weeks")->check(CLI::NonNegativeNumber);
  command->add_option("--keep-monthly", o.monthly, "Of N months")->check(CLI::NonNegativeNumber);
  command->add_option("--keep-yearly", o.yearly, "Of N years")->check(CLI::NonNegativeNumber);
  command->add_option("--keep-within", o.keep_within,
                      "Keep everything not older than this, counted from the newest point, such as 7d");
}

void AddPolicyOptions(CLI::App* command, PolicyOptions& o) {
  const auto list = [&](const char* name, std::vector<std::string>& values, const char* help) {
    command->add_option(name, values, help)->allow_extra_args(false);
  };
  command->add_option("--description", o.description, "For people");
  list("--vm", o.vms, "A virtual machine; may be repeated");
  list("--host", o.hosts, "All virtual machines of a host; may be repeated");
  list("--file-set", o.file_sets, "A file set; may be repeated");
  command->add_option("--select", o.select,
                      "An expression, such as \"name=web* and not host=lab-*\", label.env=prod, or all");
  command->add_option("--exclude", o.exclude, "An expression; what it matches is left out");
  command->add_flag("--everything-else,!--no-everything-else", o.everything_else,
                    "Every virtual machine that no other policy selects");
  list("--schedule", o.schedules, "When, such as \"daily at 22:00\"; may be repeated");
  command->add_option("--zone", o.zone, "Time zone, such as Europe/Berlin; UTC when not given");
  list("--window", o.windows, "Begin jobs only then, such as \"mon-fri 20:00-06:00\"; may be repeated");
  list("--closed", o.closed, "Begin no job then, such as 2026-12-24..2026-12-27; may be repeated");
  command->add_option("--spread", o.spread, "Spread the jobs of a run over this time, such as 2h");
  command->add_flag("--skip-missed,!--no-skip-missed", o.skip_missed,
                    "Skip what was due while the daemon was down; else it runs once");
  command->add_option("--repository", o.repository, "Where to; the default repository when not given");
  command->add_option("--rpo", o.rpo, "Promise: the newest good point is never older than this, such as 26h");
  command->add_flag("--no-saved-state,!--saved-state", o.no_saved_state,
                    "Stop no virtual machine, not even for a moment");
  command->add_flag("--allow-crash-consistent,!--no-crash-consistent", o.crash_consistent,
                    "Accept a point in time without the guest's help");
  command->add_flag("--child-snapshot-only,!--any-mechanism", o.child_snapshot_only,
                    "Refuse a running machine whose guest can't freeze itself");
  command->add_option("--freeze-timeout", o.freeze_timeout_s, "Longest freeze of a guest, in seconds")
      ->check(CLI::Range(1, 60));
  command->add_option("--group", o.grouping, "What becomes one job, all or none: vm or host")
      ->check(CLI::IsMember({"vm", "host"}));
  command->add_option("--retries", o.retries, "Further attempts of a job")->check(CLI::Range(0, 100));
  command->add_option("--retry-after", o.retry_after, "Time from one attempt to the next, such as 10m");
  command->add_option("--pre-hook", o.pre_hook, "Run this program of the host's folder of hooks before each job");
  command->add_option("--post-hook", o.post_hook, "And this one when it is over, however it ended");
  command->add_flag("--ignore-pre-hook-failure,!--heed-pre-hook-failure", o.ignore_pre_failure,
                    "Back up also when the program before fails");
  command->add_option("--priority", o.priority, "-100 to 100; higher ones are begun first")
      ->check(CLI::Range(-100, 100));
  command
      ->add_option("--weight", o.weight,
                   "Its share beside other policies, from 1 to 100: twice the weight, twice the jobs")
      ->check(CLI::Range(1, 100));
  command->add_option("--upload-mib", o.upload_mib, "Most that a job sends, in MiB a second; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--jobs", o.jobs, "Most jobs of the policy at once; 0: no limit")->check(CLI::NonNegativeNumber);
  command->add_option("--jobs-per-host", o.jobs_per_host, "The same on one host; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  AddRetentionOptions(command, o);
}

std::string RetentionText(const v1::PolicyRetention& keep) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, int32_t count) {
    if (count > 0) parts.push_back(fmt::format("{} {}", name, count));
  };
  add("last", keep.last()), add("hourly", keep.hourly()), add("daily", keep.daily());
  add("weekly", keep.weekly()), add("monthly", keep.monthly()), add("yearly", keep.yearly());
  if (keep.within().seconds() > 0) parts.push_back("within " + DurationText(keep.within()));
  return parts.empty() ? "everything" : JoinText(parts, ", ");
}

template <typename Texts>
std::string ListText(const Texts& texts) {
  return JoinText(std::vector<std::string>(texts.begin(), texts.end()), "; ");
}

std::string SelectionText(const v1::PolicySelection& selection) {
  std::vector<std::string> parts(selection.members().begin(), selection.members().end());
  parts.insert(parts.end(), selection.hosts().begin(), selection.hosts().end());
  if (!selection.expression().empty()) parts.push_back(selection.expression());
  if (selection.everything_else()) parts.emplace_back("everything else");
  if (!selection.exclude().empty()) parts.push_back("without " + selection.exclude());
  return JoinText(parts, "; ");
}

std::string HooksText(const v1::BackupHooks& hooks) {
  std::vector<std::string> parts;
  if (!hooks.pre().empty()) parts.push_back(fmt::format("before: {}{}", hooks.pre(), hooks.ignore_pre_failure() ? " (may fail)" : ""));
  if (!hooks.post().empty()) parts.push_back("after: " + hooks.post());
  return JoinText(parts, ", ");
}

void PrintPolicy(Context& context, const v1::Policy& policy) {
  if (context.json) return context.output().Json(policy);
  const bool only_child = policy.mechanism_preference() == v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY;
  context.output().Fields(
      {{"Policy", LastSegment(policy.name())},
       {"Description", policy.description()},
       {"State", policy.paused() ? "paused" : "active"},
       {"Selects", SelectionText(policy.selection())},
       {"Schedules", policy.schedules().empty() ? "none: only when asked to run" : ListText(policy.schedules())},
       {"Time zone", policy.time_zone().empty() ? "UTC" : policy.time_zone()},
       {"Windows", ListText(policy.windows())},
       {"Closed", ListText(policy.closed())},
       {"Spread", policy.has_spread() ? DurationText(policy.spread()) : ""},
       {"Missed runs", policy.skip_missed() ? "skipped" : "run once"},
       {"Repository", LastSegment(policy.repository())},
       {"Mechanism", fmt::format("{}{}{}", only_child ? "child snapshot only" : "auto",
                                 policy.forbid_saved_state() ? ", no saved state" : "",
                                 policy.allow_crash_consistent() ? ", crash-consistent allowed" : "")},
       {"One job for", policy.grouping() == v1::Policy::GROUPING_HOST ? "each host" : "each virtual machine"},
       {"Further attempts", policy.has_retry() ? fmt::format("{}, after {}", policy.retry().max_retries(),
                                                             DurationText(policy.retry().backoff()))
                                               : ""},
       {"Hooks", HooksText(policy.hooks())},
       {"Priority", policy.priority() == 0 ? "" : std::to_string(policy.priority())},
       {"Weight", policy.weight() <= 1 ? "" : std::to_string(policy.weight())},
       {"Keeps", RetentionText(policy.retention())},
       {"Promise (RPO)", policy.has_rpo() ? DurationText(policy.rpo()) : ""},
       {"Last due", TimeText(policy.has_last_due_time(), policy.last_due_time())},
       {"Next run", TimeText(policy.has_next_run_time(), policy.next_run_time())}});
}

void ListPolicies(Context& context, const std::string& vm) {
  v1::ListPoliciesRequest request;
  if (!vm.empty()) request.set_member(ResolveVm(context.client(), vm).name());
  Table table({"POLICY", "STATE", "SELECTS", "SCHEDULES", "KEEPS", "LAST DUE", "NEXT RUN"});
  ForEach(*context.client().policies, &v1::PolicyService::Stub::ListPolicies, request,
          &v1::ListPoliciesResponse::policies, 0, [&](const v1::Policy& policy) {
            if (context.json) return context.output().Json(policy);
            table.Add({LastSegment(policy.name()), policy.paused() ? "paused" : "active",
                       SelectionText(policy.selection()), ListText(policy.schedules()),
                       RetentionText(policy.retention()), TimeText(policy.has_last_due_time(), policy.last_due_time()),
                       TimeText(policy.has_next_run_time(), policy.next_run_time())});
          });
  if (!context.json) table.Print();
}

void PrintRuns(const v1::PreviewScheduleResponse& response) {
  Table table({"DUE", "BEGINS", "LAST JOB", "NOT AFTER"});
  for (const v1::PlannedRun& run : response.runs()) {
    table.Add({TimeText(run.has_due_time(), run.due_time()), TimeText(run.has_start_time(), run.start_time()),
               TimeText(run.has_last_start_time(), run.last_start_time()),
               TimeText(run.has_not_after(), run.not_after())});
  }
  table.Print();
  fmt::print("{}{} runs of {} jobs; {} members are selected now\n", response.truncated() ? "more than " : "",
             response.runs_size(), response.job_count(), response.member_count());
}

// What `policy`, which was only checked, would do.
void PreviewPolicy(Context& context, const v1::Policy& policy) {
  v1::PreviewPolicyRequest request;
  *request.mutable_policy() = policy;
  const v1::PreviewPolicyResponse response =
      Call(*context.client().policies, &v1::PolicyService::Stub::PreviewPolicy, request);
  PrintPolicy(context, policy);
  if (context.json) return context.output().Json(response);
  fmt::print("\n");
  PrintRuns(response.schedule());
  for (int i = 0; i < response.schedule().members_size(); ++i) {
    const bool named = i < response.member_display_names_size();
    fmt::print("  {}{}\n", response.schedule().members(i), named ? "  " + response.member_display_names(i) : "");
  }
  fmt::print("\n");
  Table points({"A MACHINE WOULD HAVE", "KEPT BY"});
  for (const v1::ExpectedRecoveryPoint& point : response.expected_points()) {
    points.Add({TimeText(point.has_point_time(), point.point_time()), ListText(point.kept_by())});
  }
  points.Print();
  fmt::print(stderr, "this would be so; nothing was changed\n");
}

void CreatePolicy(Context& context, CLI::App& command, const std::string& name, const PolicyOptions& options,
                  bool dry_run) {
  v1::CreatePolicyRequest request;
  request.set_validate_only(dry_run);
  request.set_policy_id(name);
  google::protobuf::FieldMask mask;
  Filler(context, command, *request.mutable_policy(), mask).Fill(options);
  const v1::Policy policy = Call(*context.client().policies, &v1::PolicyService::Stub::CreatePolicy, request);
  dry_run ? PreviewPolicy(context, policy) : PrintPolicy(context, policy);
}

void UpdatePolicy(Context& context, CLI::App& command, const std::string& name, const PolicyOptions& options,
                  bool dry_run) {
  v1::UpdatePolicyRequest request;
  request.set_validate_only(dry_run);
  Filler(context, command, *request.mutable_policy(), *request.mutable_update_mask()).Fill(options);
  if (request.update_mask().paths().empty()) throw ExitError{kExitUsage, "say what to change", "INVALID_REQUEST"};
  request.mutable_policy()->set_name(PolicyName(name));
  const v1::Policy policy = Call(*context.client().policies, &v1::PolicyService::Stub::UpdatePolicy, request);
  dry_run ? PreviewPolicy(context, policy) : PrintPolicy(context, policy);
}

void DeletePolicy(Context& context, const std::string& text, bool yes) {
  const v1::Policy policy = GetPolicy(context, text);
  if (!yes) {
    throw ExitError{
        kExitUsage,
        fmt::format(
            "this deletes policy {}; its recovery points stay, and nothing thins them any more; say --yes to do it",
            LastSegment(policy.name())),
        "INVALID_REQUEST"};
  }
  v1::DeletePolicyRequest request;
  request.set_name(policy.name());
  request.set_etag(policy.etag());
  Call(*context.client().policies, &v1::PolicyService::Stub::DeletePolicy, request);
  fmt::print(stderr, "deleted policy {}\n", LastSegment(policy.name()));
}

void RunPolicy(Context& context, const std::string& text, const std::string& request_id) {
  v1::RunPolicyRequest request;
  request.set_name(PolicyName(text));
  request.set_request_id(request_id.empty() ? base::SystemRandom().Uuid() : request_id);
  const v1::RunPolicyResponse response = Call(*context.client().policies, &v1::PolicyService::Stub::RunPolicy, request);
  if (context.json) return context.output().Json(response);
  for (const std::string& job : response.jobs()) fmt::print("{}\n", ShortId(job));
  fmt::print(stderr, "{} jobs; follow them with: umbra job list --active\n", response.job_count());
}

void Preview(Context& context, const std::string& text, int days) {
  v1::PreviewScheduleRequest request;
  request.set_name(PolicyName(text));
  request.mutable_period()->set_seconds(int64_t{days} * 86400);
  const v1::PreviewScheduleResponse response =
      Call(*context.client().policies, &v1::PolicyService::Stub::PreviewSchedule, request);
  if (context.json) return context.output().Json(response);
  PrintRuns(response);
  for (const std::string& member : response.members()) fmt::print("  {}\n", member);
}

void PreviewRetention(Context& context, CLI::App& command, const std::string& text, const PolicyOptions& options,
                      bool removed_only) {
  v1::PreviewRetentionRequest request;
  request.set_name(PolicyName(text));
  v1::Policy tried;
  google::protobuf::FieldMask given;
  Filler(context, command, tried, given).FillRetention(options);
  if (!given.paths().empty()) *request.mutable_retention() = tried.retention();
  Table table({"POINT", "OF", "TIME", "", "WHY"});
  int removed = 0, all = 0;
  ForEach(*context.client().policies, &v1::PolicyService::Stub::PreviewRetention, request,
          &v1::PreviewRetentionResponse::verdicts, 0, [&](const v1::RetentionVerdict& verdict) {
            const bool goes = verdict.kept_by().empty();
            if (removed_only && !goes) return;
            ++all;
            removed += goes ? 1 : 0;
            if (context.json) return context.output().Json(verdict);
            table.Add({ShortId(verdict.recovery_point()), verdict.display_name(),
                       TimeText(verdict.has_point_time(), verdict.point_time()), goes ? "goes" : "stays",
                       ListText(verdict.kept_by())});
          });
  if (context.json) return;
  table.Print();
  fmt::print(stderr, "{} of {} would be removed; nothing was\n", removed, all);
}

void ListCoverage(Context& context, const std::string& filter, int limit) {
  v1::ListCoverageRequest request;
  if (filter == "unprotected") request.set_filter(v1::ListCoverageRequest::FILTER_UNPROTECTED);
  if (filter == "rpo-missed") request.set_filter(v1::ListCoverageRequest::FILTER_RPO_MISSED);
  if (filter == "at-risk") request.set_filter(v1::ListCoverageRequest::FILTER_AT_RISK);
  Table table({"VM", "HOST", "POLICIES", "LAST GOOD POINT", "PROMISE", "STATE"});
  ForEach(
      *context.client().policies, &v1::PolicyService::Stub::ListCoverage, request, &v1::ListCoverageResponse::coverage,
      limit, [&](const v1::Coverage& coverage) {
        if (context.json) return context.output().Json(coverage);
        std::vector<std::string> policies;
        for (const std::string& name : coverage.policies()) policies.push_back(LastSegment(name));
        const char* const state = policies.empty() ? "unprotected" : coverage.rpo_missed() ? "promise missed" : "ok";
        table.Add({coverage.display_name(), coverage.host_display_name(), JoinText(policies, ", "),
                   TimeText(coverage.has_last_good_time(), coverage.last_good_time()),
                   coverage.has_rpo() ? DurationText(coverage.rpo()) : "-", state});
      });
  if (!context.json) table.Print();
}

void PrintCoverageSummary(Context& context) {
  const v1::CoverageSummary sums =
      Call(*context.client().policies, &v1::PolicyService::Stub::GetCoverageSummary, v1::GetCoverageSummaryRequest());
  if (context.json) return context.output().Json(sums);
  context.output().Fields({{"Virtual machines", std::to_string(sums.total_count())},
                           {"Protected", std::to_string(sums.protected_count())},
                           {"Failing", std::to_string(sums.failing_count())},
                           {"Unprotected", std::to_string(sums.unprotected_count())},
                           {"Never backed up", std::to_string(sums.never_count())},
                           {"Late", std::to_string(sums.late_count())}});
  if (sums.failing().empty()) return;
  fmt::print("\n");
  Table table({"FAILING", "JOB", "WHY"});
  for (const v1::FailingVirtualMachine& vm : sums.failing()) {
    table.Add(
        {vm.display_name(), ShortId(vm.job()), fmt::format("{} [{}]", vm.error().message(), vm.error().reason())});
  }
  table.Print();
}

constexpr char kCreateExamples[] =
    "Schedules: every 15 minutes, hourly at :15, daily at 22:00, weekdays at 21:00, weekly on sat,sun at 03:30,\n"
    "monthly on 1,last at 02:00, monthly on first sun at 02:00, yearly on 12-31 at 23:00, or cron: 30 2 * * "
    "mon-fri.\n\n"
    "Examples:\n"
    "  umbra policy create nightly --select all --schedule \"daily at 22:00\" --zone Europe/Berlin --spread 2h \\\n"
    "      --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --rpo 26h\n"
    "  umbra policy create shop --vm app01 --vm db01 --group host --schedule \"every 15 minutes\" --keep-within 2d "
    "--keep-daily 30\n"
    "  umbra policy create rest --everything-else --schedule \"weekly on sun at 03:00\" --window \"sat,sun "
    "00:00-24:00\" --keep-last 4";

constexpr char kDryRunHelp[] =
    "Check it and show what it would do: whom it selects, when it runs, which points a machine would have; changes "
    "nothing";

template <typename Request>
void AddStateVerb(CLI::App* policy, Context& context, std::string& name, const char* verb, const char* help,
                  grpc::Status (v1::PolicyService::Stub::*method)(grpc::ClientContext*, const Request&, v1::Policy*)) {
  CLI::App* command = policy->add_subcommand(verb, help);
  command->add_option("POLICY", name, "Name")->required();
  command->footer(fmt::format("Example:\n  umbra policy {} nightly", verb));
  command->callback([&context, &name, method] {
    Request request;
    request.set_name(PolicyName(name));
    PrintPolicy(context, Call(*context.client().policies, method, request));
  });
}

void AddPreviewVerbs(CLI::App* policy, Context& context, std::string& name) {
  static PolicyOptions tried;
  static int days = 30;
  static bool removed_only = false;
  CLI::App* preview = policy->add_subcommand("preview", "Shows what a policy would do; changes nothing");
  preview->add_option("POLICY", name, "Name")->required();
  preview->add_option("--days", days, "How far ahead")->check(CLI::Range(1, 366))->capture_default_str();
  preview->footer("Example:\n  umbra policy preview nightly --days 7");
  preview->callback([&] { Preview(context, name, days); });

  CLI::App* retention = policy->add_subcommand(
      "retention", "Shows which recovery points would be removed, and what keeps each other one; changes nothing");
  retention->add_option("POLICY", name, "Name")->required();
  retention->add_flag("--removed", removed_only, "Only those that would be removed");
  AddRetentionOptions(retention, tried);
  retention->footer(
      "Rules given here are tried instead of the policy's own.\n\nExamples:\n  umbra policy retention nightly "
      "--removed\n"
      "  umbra policy retention nightly --keep-daily 7 --keep-weekly 4");
  retention->callback(
      [&context, &name, retention] { PreviewRetention(context, *retention, name, tried, removed_only); });
}

}  // namespace

void AddPolicyCommands(CLI::App& app, Context& context) {
  static std::string name, request_id;
  static bool yes = false, dry_run = false;
  static PolicyOptions options;
  CLI::App* policy = app.add_subcommand("policy", "What is backed up when, and how long it is kept");
  policy->require_subcommand(1);
  static std::string list_vm;
  CLI::App* list = policy->add_subcommand("list", "Lists policies");
  list->add_option("--vm", list_vm, "Only those that select this virtual machine");
  list->callback([&] { ListPolicies(context, list_vm); });
  CLI::App* show = policy->add_subcommand("show", "Shows a policy");
  show->add_option("POLICY", name, "Name")->required();
  show->callback([&] { PrintPolicy(context, GetPolicy(context, name)); });

  CLI::App* create = policy->add_subcommand("create", "Makes a policy");
  create->add_option("NAME", name, "1 to 63 of a-z, 0-9 and -")->required();
  AddPolicyOptions(create, options);
  create->add_flag("--dry-run", dry_run, kDryRunHelp);
  create->footer(kCreateExamples);
  create->callback([&context, create] { CreatePolicy(context, *create, name, options, dry_run); });

  CLI::App* update = policy->add_subcommand("update", "Changes what is given of a policy");
  update->add_option("POLICY", name, "Name")->required();
  AddPolicyOptions(update, options);
  update->add_flag("--dry-run", dry_run, kDryRunHelp);
  update->footer(
      "A list is replaced as a whole; \"none\" empties it.\n\nExamples:\n  umbra policy update nightly --schedule "
      "\"daily at 21:00\" --keep-daily 30\n"
      "  umbra policy update nightly --window none\n"
      "  umbra policy update nightly --keep-daily 30 --dry-run");
  update->callback([&context, update] { UpdatePolicy(context, *update, name, options, dry_run); });

  CLI::App* remove = policy->add_subcommand("delete", "Deletes a policy; recovery points stay");
  remove->add_option("POLICY", name, "Name")->required();
  remove->add_flag("--yes", yes, "Really delete it");
  remove->callback([&] { DeletePolicy(context, name, yes); });

  AddStateVerb(policy, context, name, "pause", "Stops the runs of a policy", &v1::PolicyService::Stub::PausePolicy);
  AddStateVerb(policy, context, name, "resume", "Lets them go on; what was due meanwhile is not made up for",
               &v1::PolicyService::Stub::ResumePolicy);

  CLI::App* run = policy->add_subcommand("run", "Runs a policy now");
  run->add_option("POLICY", name, "Name")->required();
  run->add_option("--request-id", request_id, "Repeating a request with the same id doesn't start it twice");
  run->footer("Example:\n  umbra policy run nightly");
  run->callback([&] { RunPolicy(context, name, request_id); });
  AddPreviewVerbs(policy, context, name);

  static std::string filter = "all";
  static int limit = 0;
  CLI::App* coverage = app.add_subcommand("coverage", "How virtual machines are protected");
  coverage->add_option("--only", filter, "all, unprotected, rpo-missed, or at-risk for both")
      ->check(CLI::IsMember({"all", "unprotected", "rpo-missed", "at-risk"}));
  coverage->add_option("--limit", limit, "Most lines; 0 means all")->capture_default_str();
  static bool summary = false;
  coverage->add_flag("--summary", summary, "Only how many, and which fail")->excludes("--only")->excludes("--limit");
  coverage->footer(
      "Examples:\n  umbra coverage --summary\n  umbra coverage --only unprotected\n  umbra coverage --only rpo-missed "
      "--json");
  coverage->callback([&] { summary ? PrintCoverageSummary(context) : ListCoverage(context, filter, limit); });
}

}  // namespace umbra::cli
