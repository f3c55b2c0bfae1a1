// umbra recovery-point list | show | files | remove | undelete | hold | release | lock, umbra restore run
#include <fmt/format.h>
#include <stdlib.h>

#include "absl/time/time.h"
#include "server/cli/context.h"
#include "server/cli/file_sets.h"
#include "server/cli/resolve.h"
#include "server/cli/start_job.h"
#include "storage/base/bytes.h"

namespace umbra::cli {
namespace {

struct RestoreOptions {
  std::string point;
  std::string vm;
  std::string file_set;
  std::string path;
  bool overwrite = false;
  bool in_place = false;
  bool yes = false;
  bool power_on = false;
  bool resume_state = false;
  bool take_cluster_offline = false;
  std::string name;
  std::string host;
  std::string folder;
  StartOptions start;
};

std::string MechanismText(const v1::RecoveryPoint& point) {
  if (point.has_files()) return "files";
  return EnumText(v1::BackupMechanism_Name(point.mechanism()), "BACKUP_MECHANISM_");
}

std::string RatioText(double ratio) { return ratio > 0 ? fmt::format("{:.2f}x", ratio) : "-"; }

std::string HealthText(const v1::RecoveryPoint& point) {
  if (point.health() == v1::RecoveryPoint::HEALTH_DAMAGED) return "damaged; the rest can be restored, and the next backup may heal it";
  return point.health() == v1::RecoveryPoint::HEALTH_HEALED ? "healed: it was damaged, and is whole again" : "no damage known";
}

int64_t DataBytes(const v1::RecoveryPoint& point) {
  int64_t bytes = point.files().data_bytes();
  for (const auto& disk : point.disks()) bytes += disk.data_bytes();
  return bytes;
}

void ListPoints(Context& context, const std::string& vm, const std::string& file_set, int limit,
                v1::ListRecoveryPointsRequest request) {
  if (!vm.empty()) request.set_virtual_machine(ResolveVm(context.client(), vm).name());
  if (!file_set.empty()) request.set_file_set(ResolveFileSet(context.client(), file_set, "").name());
  Table table({"POINT", "VM", "TIME", "MECHANISM", "DISKS", "DATA", "STORED", "FROZEN"});
  ForEach(*context.client().points, &v1::RecoveryPointService::Stub::ListRecoveryPoints, request,
          &v1::ListRecoveryPointsResponse::recovery_points, limit, [&](const v1::RecoveryPoint& point) {
            if (context.json) return context.output().Json(point);
            table.Add({ShortId(point.name()), point.virtual_machine_display_name(),
                       TimeText(point.has_point_time(), point.point_time()), MechanismText(point),
                       std::to_string(point.disks_size()), base::FormatSize(static_cast<uint64_t>(DataBytes(point))),
                       base::FormatSize(static_cast<uint64_t>(point.stored_bytes())), DurationText(point.freeze_duration())});
          });
  if (!context.json) table.Print();
}

void AddProtection(const v1::RecoveryPoint& point, std::vector<std::pair<std::string, std::string>>& fields) {
  const auto by = [](const std::string& who) { return who.empty() ? "" : " by " + who; };
  if (point.has_delete_time()) {
    fields.emplace_back("Removed", fmt::format("{}{}; can be undeleted until {}", TimeText(true, point.delete_time()),
                                               by(point.deleted_by()), TimeText(point.has_purge_time(), point.purge_time())));
  }
  if (point.held()) {
    fields.emplace_back("Held", fmt::format("yes{}{}{}", by(point.held_by()), point.hold_note().empty() ? "" : ": ",
                                            point.hold_note()));
  }
  if (point.has_lock_until_time()) fields.emplace_back("Locked until", TimeText(true, point.lock_until_time()));
}

// Of a file set's point.
void ShowFiles(Context& context, const v1::RecoveryPoint& point) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Recovery point", LastSegment(point.name())},
      {"File set", fmt::format("{} ({})", point.virtual_machine_display_name(), point.file_set())},
      {"Point in time", TimeText(point.has_point_time(), point.point_time())},
      {"Service frozen", DurationText(point.freeze_duration())},
      {"Repository", LastSegment(point.repository())},
      {"Made by", point.job()},
      {"Read", base::FormatSize(static_cast<uint64_t>(point.read_bytes()))},
      {"Stored", base::FormatSize(static_cast<uint64_t>(point.stored_bytes()))},
      {"Files", fmt::format("{}, {} of data; list them with: umbra recovery-point files {}",
                            base::FormatSize(static_cast<uint64_t>(point.files().size_bytes())),
                            base::FormatSize(static_cast<uint64_t>(point.files().data_bytes())), ShortId(point.name()))}};
  for (const std::string& folder : point.files().folders()) fields.emplace_back("Folder", folder);
  AddProtection(point, fields);
  context.output().Fields(fields);
}

void ShowPoint(Context& context, const std::string& text, const std::string& vm, const std::string& file_set,
               bool configuration, bool documents) {
  const v1::RecoveryPoint point = ResolveRecoveryPoint(context.client(), text, vm, file_set, true);
  if (configuration) return fmt::print("{}\n", point.configuration());
  if (documents) {
    for (const auto& document : point.vss_documents()) fmt::print("{}\n", document);
    return;
  }
  if (context.json) return context.output().Json(point);
  if (point.has_files()) return ShowFiles(context, point);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Recovery point", LastSegment(point.name())},
      {"Virtual machine", fmt::format("{} ({})", point.virtual_machine_display_name(), point.virtual_machine())},
      {"Point in time", TimeText(point.has_point_time(), point.point_time())},
      {"Mechanism", point.mechanism_reason().empty() ? MechanismText(point)
                                                     : fmt::format("{} ({})", MechanismText(point), point.mechanism_reason())},
      {"Guest frozen", DurationText(point.freeze_duration())},
      {"Stood still", DurationText(point.downtime())},
      {"Repository", LastSegment(point.repository())},
      {"Made by", point.job()},
      {"Read", base::FormatSize(static_cast<uint64_t>(point.read_bytes()))},
      {"Logical", base::FormatSize(static_cast<uint64_t>(point.figures().logical_bytes()))},
      {"New", base::FormatSize(static_cast<uint64_t>(point.figures().unique_bytes()))},
      {"Stored", base::FormatSize(static_cast<uint64_t>(point.stored_bytes()))},
      {"Deduplication", RatioText(point.figures().dedup_ratio())},
      {"Compression", RatioText(point.figures().compression_ratio())},
      {"Verified", point.has_verify_time() ? TimeText(true, point.verify_time()) : "its disks were never read as a whole"},
      {"Health", HealthText(point)}};
  for (const auto& damage : point.damage()) {
    fields.emplace_back(damage.has_healed_time() ? "Healed" : "Damage",
                        fmt::format("disk {} at byte {}, {} bytes: {} [{}]", damage.disk(), damage.offset_bytes(),
                                    damage.length_bytes(), damage.message(), damage.reason()));
  }
  if (point.has_memory()) {
    fields.emplace_back("Memory", fmt::format("{} saved state, {} of data; restore with --resume-state to go on there",
                                              base::FormatSize(static_cast<uint64_t>(point.memory().size_bytes())),
                                              base::FormatSize(static_cast<uint64_t>(point.memory().data_bytes()))));
  }
  AddProtection(point, fields);
  for (const auto& obstacle : point.mechanism_obstacles()) {
    fields.emplace_back("Obstacle", fmt::format("{} [{}]", obstacle.message(), obstacle.reason()));
  }
  for (const auto& disk : point.disks()) {
    fields.emplace_back("Disk " + disk.name(),
                        fmt::format("{} {}, {} of data, was {}", disk.format(),
                                    base::FormatSize(static_cast<uint64_t>(disk.capacity_bytes())),
                                    base::FormatSize(static_cast<uint64_t>(disk.data_bytes())), disk.path()));
  }
  for (const auto& disk : point.excluded_disks()) {
    fields.emplace_back("Excluded " + disk.name(), fmt::format("{} [{}]", disk.message(), disk.reason()));
  }
  context.output().Fields(fields);
}

// The name of whoever runs this program, for the record.
std::string Requester() {
  for (const char* variable : {"SUDO_USER", "USER", "LOGNAME"}) {
    const char* name = getenv(variable);
    if (name != nullptr && *name != 0) return name;
  }
  return "";
}

void PrintChanged(Context& context, const v1::RecoveryPoint& point) {
  if (context.json) return context.output().Json(point);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Recovery point", LastSegment(point.name())},
      {"Virtual machine", point.virtual_machine_display_name()},
      {"Point in time", TimeText(point.has_point_time(), point.point_time())}};
  AddProtection(point, fields);
  context.output().Fields(fields);
}

void RemovePoint(Context& context, const std::string& text, const std::string& vm) {
  v1::DeleteRecoveryPointRequest request;
  request.set_name(ResolveRecoveryPoint(context.client(), text, vm, "").name());
  request.set_requester(Requester());
  PrintChanged(context, Call(*context.client().points, &v1::RecoveryPointService::Stub::DeleteRecoveryPoint, request));
}

void UndeletePoint(Context& context, const std::string& text) {
  v1::UndeleteRecoveryPointRequest request;
  request.set_name(ResolveRecoveryPoint(context.client(), text, "", "", true).name());
  request.set_requester(Requester());
  PrintChanged(context, Call(*context.client().points, &v1::RecoveryPointService::Stub::UndeleteRecoveryPoint, request));
}

void HoldPoint(Context& context, const std::string& text, const std::string& vm, const std::string& note) {
  v1::HoldRecoveryPointRequest request;
  request.set_name(ResolveRecoveryPoint(context.client(), text, vm, "").name());
  request.set_requester(Requester());
  request.set_note(note);
  PrintChanged(context, Call(*context.client().points, &v1::RecoveryPointService::Stub::HoldRecoveryPoint, request));
}

void ReleasePoint(Context& context, const std::string& text, const std::string& vm) {
  v1::ReleaseRecoveryPointRequest request;
  request.set_name(ResolveRecoveryPoint(context.client(), text, vm, "").name());
  request.set_requester(Requester());
  PrintChanged(context, Call(*context.client().points, &v1::RecoveryPointService::Stub::ReleaseRecoveryPoint, request));
}

struct LockOptions {
  std::string point;
  std::string vm;
  std::string until;
  bool yes = false;
};

// "2027-01-31" (its end, UTC) or "2027-01-31T22:00:00Z".
absl::Time ParseUntil(const std::string& text) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime("%Y-%m-%d", text, &time, &error)) return time + absl::Hours(24);
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return time;
  throw ExitError{kExitUsage, fmt::format("\"{}\" is no date (2027-01-31) and no time (2027-01-31T22:00:00Z)", text),
                  "INVALID_REQUEST"};
}

void LockPoint(Context& context, const LockOptions& options) {
  const absl::Time until = ParseUntil(options.until);
  const v1::RecoveryPoint point = ResolveRecoveryPoint(context.client(), options.point, options.vm, "");
  if (!options.yes) {
    throw ExitError{kExitUsage,
                    fmt::format("nobody can remove {} before {}, or take that back; say --yes to do it", ShortId(point.name()),
                                absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", until, absl::UTCTimeZone())),
                    "INVALID_REQUEST"};
  }
  v1::LockRecoveryPointRequest request;
  request.set_name(point.name());
  request.set_requester(Requester());
  request.mutable_until_time()->set_seconds(absl::ToUnixSeconds(until));
  PrintChanged(context, Call(*context.client().points, &v1::RecoveryPointService::Stub::LockRecoveryPoint, request));
}

void RunRestore(Context& context, const RestoreOptions& options) {
  const v1::RecoveryPoint point = ResolveRecoveryPoint(context.client(), options.point, options.vm, options.file_set);
  if (options.in_place && !options.yes && !options.start.validate_only) {
    throw ExitError{kExitUsage,
                    fmt::format("--in-place turns {} off and replaces it with its state of {}; say --yes to do it",
                                point.virtual_machine_display_name(), TimeText(point.has_point_time(), point.point_time())),
                    "INVALID_REQUEST"};
  }
  v1::Job job;
  v1::RestoreSpec* spec = job.mutable_restore();
  spec->set_recovery_point(point.name());
  spec->set_mode(options.in_place ? v1::RestoreSpec::MODE_IN_PLACE : v1::RestoreSpec::MODE_NEW);
  if (!options.host.empty()) spec->set_target_host(ResolveHost(context.client(), options.host).name());
  spec->set_display_name(options.name);
  spec->set_target_folder(options.folder);
  spec->set_power_on(options.power_on);
  spec->set_resume_state(options.resume_state);
  spec->set_take_cluster_offline(options.take_cluster_offline);
  spec->set_path(options.path);
  spec->set_overwrite(options.overwrite);
  StartJob(context, job, options.start);
}

void AddProtectionCommands(CLI::App* points, Context& context) {
  static std::string text, vm, note;
  const auto add_point = [](CLI::App* command, std::string& into) {
    command->add_option("POINT", into, "Id, the beginning of it, or \"latest\" with --vm")->required();
    command->add_option("--vm", vm, "Virtual machine that \"latest\" is of");
  };
  CLI::App* remove = points->add_subcommand(
      "remove", "Removes a recovery point: it is hidden at once, and can be undeleted until a prune deletes it");
  add_point(remove, text);
  remove->footer("Example:\n  umbra recovery-point remove 3f2a91bc");
  remove->callback([&] { RemovePoint(context, text, vm); });

  CLI::App* undelete = points->add_subcommand("undelete", "Brings a removed recovery point back");
  undelete->add_option("POINT", text, "Id, or the beginning of it")->required();
  undelete->footer("Examples:\n  umbra recovery-point list --removed\n  umbra recovery-point undelete 3f2a91bc");
  undelete->callback([&] { UndeletePoint(context, text); });

  CLI::App* hold = points->add_subcommand("hold", "Keeps a recovery point from being removed, until it is released");
  add_point(hold, text);
  hold->add_option("--note", note, "Why; shown to whoever wants to remove it");
  hold->footer("Example:\n  umbra recovery-point hold latest --vm mail01 --note \"case 4711\"");
  hold->callback([&] { HoldPoint(context, text, vm, note); });

  CLI::App* release = points->add_subcommand("release", "Releases a recovery point that is held");
  add_point(release, text);
  release->footer("Example:\n  umbra recovery-point release 3f2a91bc");
  release->callback([&] { ReleasePoint(context, text, vm); });

  static LockOptions options;
  CLI::App* lock = points->add_subcommand("lock", "Makes a recovery point immutable until a date, for everybody; only ever extended");
  lock->add_option("POINT", options.point, "Id, the beginning of it, or \"latest\" with --vm")->required();
  lock->add_option("--vm", options.vm, "Virtual machine that \"latest\" is of");
  lock->add_option("--until", options.until, "Last day, such as 2027-01-31, or a time such as 2027-01-31T22:00:00Z")->required();
  lock->add_flag("--yes", options.yes, "Really lock it: nobody can take it back");
  lock->footer("Example:\n  umbra recovery-point lock latest --vm mail01 --until 2027-01-31 --yes");
  lock->callback([&] { LockPoint(context, options); });
}

}  // namespace

void AddRecoveryCommands(CLI::App& app, Context& context) {
  static std::string vm;
  static std::string file_set;
  static int limit = 50;
  CLI::App* points = app.add_subcommand("recovery-point", "What virtual machines and file sets can be restored from");
  points->require_subcommand(1);
  CLI::App* list = points->add_subcommand("list", "Lists recovery points, newest first");
  CLI::Option* list_vm = list->add_option("--vm", vm, "Only this virtual machine");
  list->add_option("--file-set", file_set, "Only this file set")->excludes(list_vm);
  list->add_option("--limit", limit, "Most lines; 0 means all")->capture_default_str();
  static v1::ListRecoveryPointsRequest which;
  static std::string repository;
  list->add_option("--repository", repository, "Only those in this repository");
  const auto only = [&](const char* flag, v1::ListRecoveryPointsRequest::Filter filter, const char* help) {
    return list->add_flag_callback(
        flag, [filter] { which.set_filter(filter); }, help);
  };
  CLI::Option* removed = only("--removed", v1::ListRecoveryPointsRequest::FILTER_REMOVED,
                              "Only those that are removed and can still be undeleted");
  CLI::Option* held = only("--held", v1::ListRecoveryPointsRequest::FILTER_HELD, "Only those on hold");
  CLI::Option* locked = only("--locked", v1::ListRecoveryPointsRequest::FILTER_LOCKED, "Only those that are locked");
  removed->excludes(held)->excludes(locked);
  held->excludes(locked);
  list->callback([&] {
    if (!repository.empty()) which.set_repository("repositories/" + LastSegment(repository));
    ListPoints(context, vm, file_set, limit, which);
  });
  AddProtectionCommands(points, context);

  static std::string text;
  static bool configuration = false;
  static bool documents = false;
  CLI::App* show = points->add_subcommand("show", "Shows a recovery point");
  show->add_option("POINT", text, "Id, the beginning of it, or \"latest\" with --vm or --file-set")->required();
  CLI::Option* show_vm = show->add_option("--vm", vm, "Virtual machine that \"latest\" is of");
  show->add_option("--file-set", file_set, "File set that \"latest\" is of")->excludes(show_vm);
  show->add_flag("--configuration", configuration, "Print only the virtual machine's configuration");
  show->add_flag("--documents", documents, "Print only the VSS documents");
  show->callback([&] { ShowPoint(context, text, vm, file_set, configuration, documents); });

  static int files_limit = 0;
  CLI::App* files = points->add_subcommand("files", "Lists the files of a file set's recovery point");
  files->add_option("POINT", text, "Id, the beginning of it, or \"latest\" with --file-set")->required();
  files->add_option("--file-set", file_set, "File set that \"latest\" is of");
  files->add_option("--limit", files_limit, "Most lines; 0 means all")->capture_default_str();
  files->footer("Example:\n  umbra recovery-point files latest --file-set shop");
  files->callback([&] { ListPointFiles(context, text, file_set, files_limit); });

  static RestoreOptions options;
  CLI::App* restore = app.add_subcommand("restore", "Brings virtual machines and files back");
  restore->require_subcommand(1);
  CLI::App* run = restore->add_subcommand("run", "Restores a virtual machine, as a new one or in place, or the files of a file set to a folder");
  run->add_option("POINT", options.point, "Recovery point: id, the beginning of it, or \"latest\" with --vm or --file-set")
      ->required();
  CLI::Option* of_vm = run->add_option("--vm", options.vm, "Virtual machine that \"latest\" is of");
  CLI::Option* of_files = run->add_option("--file-set", options.file_set, "File set that \"latest\" is of")->excludes(of_vm);
  CLI::Option* in_place =
      run->add_flag("--in-place", options.in_place, "Replace the original virtual machine")->excludes(of_files);
  run->add_flag("--yes", options.yes, "Really replace it");
  run->add_option("--name", options.name, "Name of the new virtual machine")->excludes(in_place);
  run->add_option("--host", options.host, "Host that gets it; the original's when not given");
  run->add_option("--target-folder", options.folder, "Folder for the disks on that host; of a file set: the new folder for the files");
  run->add_option("--path", options.path, "Of a file set: only this file or folder, by its path at backup time");
  run->add_flag("--overwrite", options.overwrite, "Of a file set: the target folder gives way, whole, when everything is restored");
  run->add_flag("--power-on", options.power_on, "Start it when everything is restored");
  run->add_flag("--take-cluster-offline", options.take_cluster_offline,
                "Take the machine's cluster resource offline for the restore, and bring it back after")
      ->needs(in_place);
  run->add_flag("--resume-state", options.resume_state,
                "Go on at the very instant of the backup, from the saved memory, instead of booting from the disks")
      ->needs(in_place);
  AddStartOptions(run, options.start);
  run->footer(
      "Examples:\n  umbra restore run latest --vm mail01 --name mail01-test --power-on --watch\n"
      "  umbra restore run 3f2a91bc --in-place --yes --power-on --watch\n"
      "  umbra restore run 3f2a91bc --in-place --yes --resume-state --watch\n"
      "  umbra restore run latest --file-set shop --target-folder /srv/shop-restored --watch");
  run->callback([&] { RunRestore(context, options); });
}

}  // namespace umbra::cli
