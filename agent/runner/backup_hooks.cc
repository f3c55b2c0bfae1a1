#include "agent/runner/backup_hooks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "storage/base/crash_point.h"
#include "storage/base/folder_tree.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

constexpr size_t kNameSizeMax = 63;
constexpr size_t kShownMax = 2000;  // of what a hook prints
constexpr absl::Duration kKillGrace = absl::Seconds(5);
constexpr std::string_view kFailedReason = "HOOK_FAILED";
constexpr char kIntentSuffix[] = ".hooks";
constexpr std::string_view kIntent = "umbra hooks intent 1\n";
constexpr uint64_t kIntentBytesMax = 64 * base::kKiB;  // 64 machines with their names, and more

// As the daemon checks it; but a host trusts nobody's check but its own.
bool IsName(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= kNameSizeMax && name.front() != '.' && std::ranges::all_of(name, plain);
}

template <typename... Args>
absl::Status NotTrusted(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "HOOK_NOT_TRUSTED", format, std::forward<Args>(args)...);
}

// One line each, so that a name can't be taken for another line.
std::string OneLine(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return text;
}

std::string IntentNameOf(const HookedJob& job) {
  std::string name;
  for (const char c : job.job_id) {
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-') name.push_back(c);
  }
  return fmt::format("{}.{}", name, job.attempt);
}

std::string IntentText(const HookedJob& job) {
  std::string text(kIntent);
  const auto line = [&text](std::string_view key, const std::string& value) {
    text += fmt::format("{}={}\n", key, OneLine(value));
  };
  line("job", job.job_id);
  line("attempt", std::to_string(job.attempt));
  line("post", job.post);
  for (size_t i = 0; i < job.vm_uuids.size(); ++i) {
    line("vm", job.vm_uuids[i]);
    line("name", i < job.vm_names.size() ? job.vm_names[i] : "");
  }
  for (const std::string& set : job.file_sets) line("file_set", set);
  return text;
}

std::optional<HookedJob> ParseIntent(std::string_view text) {
  HookedJob job;
  if (!text.starts_with(kIntent)) return std::nullopt;
  text.remove_prefix(kIntent.size());
  const auto id = base::TakeLine("job=", &text), attempt = base::TakeLine("attempt=", &text);
  const auto post = base::TakeLine("post=", &text);
  if (!id || !attempt || !post) return std::nullopt;
  job.job_id = *id;
  job.post = *post;
  const auto [end, error] = std::from_chars(attempt->data(), attempt->data() + attempt->size(), job.attempt);
  if (error != std::errc() || end != attempt->data() + attempt->size()) return std::nullopt;
  while (const auto vm = base::TakeLine("vm=", &text)) {
    const auto name = base::TakeLine("name=", &text);
    if (!name) return std::nullopt;
    job.vm_uuids.push_back(*vm);
    job.vm_names.push_back(*name);
  }
  while (const auto set = base::TakeLine("file_set=", &text)) job.file_sets.push_back(*set);
  return text.empty() ? std::optional(job) : std::nullopt;
}

HookOutcome Failed(const HookedJob& job, std::string message, std::string note) {
  base::Log("runner")->warn("hook failed job={} attempt={} error=\"{}\"", job.job_id, job.attempt, message);
  return {base::MakeError(absl::StatusCode::kAborted, kFailedReason, std::move(message)), std::move(note)};
}

// The end of what it printed: where the error is.
std::string Shown(const base::CommandResult& result) {
  std::string all = result.output;
  if (!all.empty() && !result.errors.empty() && all.back() != '\n') all += '\n';
  all += result.errors;
  while (!all.empty() && (all.back() == '\n' || all.back() == '\r')) all.pop_back();
  const bool cut = all.size() > kShownMax;
  if (cut) all = all.substr(all.size() - kShownMax);
  for (char& c : all) {
    if (c != '\n' && (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f)) c = '?';
  }
  return all.empty() ? "" : fmt::format(":\n{}{}", cut ? "... " : "", all);
}

}  // namespace

BackupHooks::BackupHooks(HookSettings settings, base::CommandRunner& commands, base::Filesystem& files,
                         std::string intents_folder)
    : settings_(std::move(settings)),
      commands_(commands),
      files_(files),
      intents_(files, std::move(intents_folder), kIntentSuffix, kIntentBytesMax) {}

absl::StatusOr<std::string> BackupHooks::Find(const std::string& name) const {
  if (!IsName(name)) return NotTrusted("'{}' is no name of a hook", OneLine(name.substr(0, kNameSizeMax)));
  const auto entries = files_.ListEntries(settings_.folder);
  if (!entries.ok() && !absl::IsNotFound(entries.status())) return entries.status();
  const auto is_it = [&](const base::FolderEntry& entry) { return entry.name == name; };
  const auto entry =
      entries.ok() ? std::ranges::find_if(*entries, is_it) : std::vector<base::FolderEntry>::const_iterator();
  if (!entries.ok() || entry == entries->end()) {
    return base::Error(absl::StatusCode::kNotFound, "HOOK_NOT_FOUND", "this host has no hook {} in {}", name,
                       settings_.folder);
  }
  const std::string path = settings_.folder + "/" + name;
  if (entry->kind != base::EntryKind::kFile) return NotTrusted("the hook {} is no plain file", path);
  for (const std::string& looked_at : {settings_.folder, path}) {
    ASSIGN_OR_RETURN(const bool others, base::OthersMayWrite(looked_at));
    if (others)
      return NotTrusted("others than root and the agent's user may change {}: chown it to root and chmod go-w",
                        looked_at);
  }
  return path;
}

HookOutcome BackupHooks::Run(const HookedJob& job, const std::string& name, std::string_view kind,
                             const Environment& more, std::function<absl::Status()> check) {
  const auto path = Find(name);
  if (!path.ok()) return {path.status(), ""};
  std::vector<std::string> names;
  for (const std::string& vm : job.vm_names) names.push_back(OneLine(vm));
  base::Command command;
  command.arguments = {*path};
  command.environment = {{"UMBRA_HOOK", std::string(kind)},
                         {"UMBRA_JOB", job.job_id},
                         {"UMBRA_ATTEMPT", std::to_string(job.attempt)},
                         {"UMBRA_VMS", fmt::format("{}", fmt::join(job.vm_uuids, " "))},
                         {"UMBRA_VM_NAMES", fmt::format("{}", fmt::join(names, "\n"))},
                         {"UMBRA_FILE_SETS", fmt::format("{}", fmt::join(job.file_sets, " "))}};
  command.environment.insert(command.environment.end(), more.begin(), more.end());
  command.timeout = settings_.timeout;
  command.kill_grace = kKillGrace;
  command.check = check;
  const auto ran = commands_.Run(command);
  const std::string what = fmt::format("{} hook {}", kind, name);
  if (const absl::Status stopped = check != nullptr ? check() : absl::OkStatus(); !ran.ok() && !stopped.ok()) {
    base::Log("runner")->info("hook ended job={} attempt={} kind={} hook={} reason={}", job.job_id, job.attempt, kind,
                              name, base::ReasonOf(stopped));
    return {stopped, what + " was ended: the job was told to stop"};
  }
  if (!ran.ok()) return Failed(job, fmt::format("{}: {}", what, base::MessageOf(ran.status())), "");
  const std::string took = fmt::format("{:.1f} s", absl::ToDoubleSeconds(ran->duration));
  if (ran->ok()) {
    base::Log("runner")->info("hook ran job={} attempt={} kind={} hook={} took={}", job.job_id, job.attempt, kind, name,
                              took);
    return {absl::OkStatus(), fmt::format("{} ran for {}{}", what, took, Shown(*ran))};
  }
  const std::string ended = fmt::format("{} ended with status {} after {}", what, ran->exit_status, took);
  return Failed(job, fmt::format("{}: {}", ended, base::LastLineOf(ran->errors.empty() ? ran->output : ran->errors)),
                ended + Shown(*ran));
}

HookOutcome BackupHooks::Before(const HookedJob& job, const transfer::Cancellation& cancellation) {
  for (const std::string& name : {job.pre, job.post}) {
    if (name.empty()) continue;
    if (const auto found = Find(name); !found.ok()) return {found.status(), ""};
  }
  if (!job.post.empty()) {
    if (const absl::Status s = intents_.Record(IntentNameOf(job), IntentText(job)); !s.ok()) {
      return {base::Annotate(s, "write down that the post hook is owed"), ""};
    }
  }
  base::CrashPoint("agent.hook.recorded");
  if (job.pre.empty()) return {absl::OkStatus(), "", true};
  HookOutcome ran = Run(job, job.pre, "pre", {}, [&] { return cancellation.Check(); });
  base::CrashPoint("agent.hook.pre_ran");
  // Whoever finds that it can't be run says so without a note.
  ran.began = ran.status.ok() || base::ReasonOf(ran.status) == kFailedReason || !ran.note.empty();
  if (!ran.began) (void)intents_.Remove(IntentNameOf(job));  // if it stays, healing runs a post hook too many
  return ran;
}

HookOutcome BackupHooks::After(const HookedJob& job, const absl::Status& result) {
  if (job.post.empty()) return {absl::OkStatus(), ""};
  const std::string reason = base::ReasonOf(result);
  const std::string outcome = result.ok() ? "succeeded" : reason == "CANCELLED" ? "cancelled" : "failed";
  HookOutcome ran = Run(job, job.post, "post", {{"UMBRA_RESULT", outcome}, {"UMBRA_REASON", reason}});
  base::CrashPoint("agent.hook.post_ran");
  const absl::Status removed = intents_.Remove(IntentNameOf(job));
  if (ran.status.ok()) ran.status = base::Annotate(removed, "forget that the post hook is owed");
  return ran;
}

absl::StatusOr<std::vector<std::string>> BackupHooks::Heal() {
  std::vector<std::string> actions;
  ASSIGN_OR_RETURN(const base::DurableEntries::Listing listing, intents_.List());
  for (const base::DurableEntries::Entry& entry : listing.entries) {
    if (intents_.IsLive(entry.name)) continue;
    // One that can't be read stays for a person to look at.
    const std::optional<HookedJob> job = ParseIntent(entry.text);
    if (!job) continue;
    const HookOutcome ran =
        Run(*job, job->post, "post", {{"UMBRA_RESULT", "failed"}, {"UMBRA_REASON", "AGENT_RESTARTED"}});
    actions.push_back(fmt::format("job {} was interrupted: {}", job->job_id,
                                  ran.status.ok() ? ran.note : base::Describe(ran.status)));
    RETURN_IF_ERROR(intents_.Remove(entry.name));
  }
  return actions;
}

}  // namespace umbra::runner
