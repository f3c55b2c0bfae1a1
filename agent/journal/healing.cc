#include "agent/journal/healing.h"

#include <fmt/format.h>

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::journal {
namespace {

// One intent on its way to be healed.
struct Patient {
  Intent intent;
  bool thawed = false;
  bool resumed = false;
  absl::Status last = absl::OkStatus();
};

void Thaw(hypervisor::Hypervisor& hypervisor, const HealOptions& options, Patient& patient, HealReport& report) {
  if (patient.thawed || patient.intent.kind != IntentKind::kFrozenPointInTime) {
    patient.thawed = true;
    return;
  }
  const auto thawed = hypervisor.Thaw(patient.intent.vm_uuid, options.thaw_timeout);
  // Without a virtual machine or an agent channel nothing can be frozen.
  patient.thawed = thawed.ok() || absl::IsNotFound(thawed.status()) || absl::IsFailedPrecondition(thawed.status());
  if (!patient.thawed) patient.last = thawed.status();
  if (thawed.ok() && *thawed > 0) {
    report.actions.push_back(fmt::format("thawed {} file systems of {}", *thawed, patient.intent.vm_uuid));
  }
}

// A virtual machine that a save stopped runs again; one that is off or gone by now has nothing to go on with.
absl::Status ResumeSaved(hypervisor::Hypervisor& hypervisor, const Intent& intent, HealReport& report) {
  const auto vm = hypervisor.GetVm(intent.vm_uuid);
  if (absl::IsNotFound(vm.status())) return absl::OkStatus();
  RETURN_IF_ERROR(vm.status());
  if (vm->state != hypervisor::VmState::kPaused) return absl::OkStatus();
  RETURN_IF_ERROR(hypervisor.Resume(intent.vm_uuid));
  report.actions.push_back(fmt::format("resumed {}, which was stopped to be saved", intent.vm_uuid));
  return absl::OkStatus();
}

void Resume(hypervisor::Hypervisor& hypervisor, Patient& patient, HealReport& report) {
  if (patient.resumed) return;
  const absl::Status resumed = patient.intent.kind == IntentKind::kSave && patient.intent.resume
                                   ? ResumeSaved(hypervisor, patient.intent, report)
                                   : absl::OkStatus();
  patient.resumed = resumed.ok();
  if (!patient.resumed) patient.last = resumed;
}

absl::Status CleanUp(hypervisor::Hypervisor& hypervisor, base::Filesystem& files, const Intent& intent,
                     HealReport& report) {
  const auto cleaned = hypervisor.CleanUp(intent.vm_uuid, intent.scratch_folder, intent.owner_tag);
  if (absl::IsNotFound(cleaned.status())) {
    report.actions.push_back(fmt::format("virtual machine {} is gone; files of {} may be left in {}", intent.vm_uuid,
                                         intent.owner_tag, intent.scratch_folder));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(cleaned.status());
  report.actions.insert(report.actions.end(), cleaned->actions.begin(), cleaned->actions.end());
  // What was removed must not come back with a power cut when its intent has gone.
  if (const absl::Status synced = files.SyncDirectory(intent.scratch_folder); !absl::IsNotFound(synced)) {
    RETURN_IF_ERROR(synced);
  }
  if (intent.checkpoint.empty()) return absl::OkStatus();
  const std::string& keep = intent.committing ? intent.checkpoint : intent.base_checkpoint;
  ASSIGN_OR_RETURN(const auto removed, hypervisor.RemoveCheckpoints(intent.vm_uuid, keep));
  report.actions.insert(report.actions.end(), removed.actions.begin(), removed.actions.end());
  return absl::OkStatus();
}

// All bytes are there and durable: what is left are names and the registration.
absl::Status FinishRestore(hypervisor::Hypervisor& hypervisor, base::Filesystem& files, const Intent& intent,
                           bool registered, HealReport& report) {
  hypervisor::DefineOptions define;
  define.configuration = intent.restore.configuration;
  for (const RestoredDisk& disk : intent.restore.disks) {
    define.disk_paths.emplace_back(disk.name, disk.path);
    if (disk.written_path == disk.path) continue;
    ASSIGN_OR_RETURN(const bool waits, files.Exists(disk.written_path));
    if (waits) RETURN_IF_ERROR(files.Rename(disk.written_path, disk.path));
    RETURN_IF_ERROR(files.SyncDirectory(base::DirectoryOf(disk.path)));
  }
  if (registered) return absl::OkStatus();
  ASSIGN_OR_RETURN(const hypervisor::DefinedVm defined, hypervisor.DefineVm(define));
  report.actions.push_back(fmt::format("finished the restore of {} ({}): all its disks are those of the recovery point; it is "
                                       "registered, off", defined.name, defined.uuid));
  for (const hypervisor::Warning& warning : defined.warnings) {
    report.actions.push_back("of that restore: " + warning.message);
  }
  return absl::OkStatus();
}

// Its memory went when it was deleted: it boots from its old disks, as after a power cut.
absl::Status StartAgain(hypervisor::Hypervisor& hypervisor, const std::string& vm_uuid, HealReport& report) {
  const auto vm = hypervisor.GetVm(vm_uuid);
  if (absl::IsNotFound(vm.status())) return absl::OkStatus();
  RETURN_IF_ERROR(vm.status());
  if (vm->state != hypervisor::VmState::kOff) return absl::OkStatus();
  const absl::Status started = hypervisor.Start(vm_uuid);
  if (absl::IsUnavailable(started)) return started;
  report.actions.push_back(started.ok() ? fmt::format("started {} ({}) again, which ran before its restore", vm->name, vm_uuid)
                                        : fmt::format("{} ({}) ran before its restore and could not be started again, so it is "
                                                      "off: {}", vm->name, vm_uuid, base::Describe(started)));
  return absl::OkStatus();
}

absl::Status HealRestore(hypervisor::Hypervisor& hypervisor, base::Filesystem& files, const Intent& intent,
                         HealReport& report) {
  const auto vm = hypervisor.GetVm(intent.vm_uuid);
  if (!vm.ok() && !absl::IsNotFound(vm.status())) return vm.status();
  if (intent.restore.renaming) return FinishRestore(hypervisor, files, intent, vm.ok(), report);
  if (!vm.ok() && !intent.restore.former_configuration.empty()) {
    hypervisor::DefineOptions define;
    define.configuration = intent.restore.former_configuration;
    define.unchanged = true;
    ASSIGN_OR_RETURN(const hypervisor::DefinedVm defined, hypervisor.DefineVm(define));
    report.actions.push_back(fmt::format("registered {} ({}) again as it was before its restore, with its old disks",
                                         defined.name, defined.uuid));
  }
  return intent.restore.ran ? StartAgain(hypervisor, intent.vm_uuid, report) : absl::OkStatus();
}

// One round over everybody; what is healed leaves `patients`.
void Round(hypervisor::Hypervisor& hypervisor, IntentJournal& journal, const HealOptions& options,
           std::vector<Patient>& patients, HealReport& report) {
  for (Patient& patient : patients) Thaw(hypervisor, options, patient, report);
  for (Patient& patient : patients) Resume(hypervisor, patient, report);
  for (Patient& patient : patients) {
    const absl::Status cleaned = patient.intent.kind == IntentKind::kRestore
                                     ? HealRestore(hypervisor, journal.filesystem(), patient.intent, report)
                                     : CleanUp(hypervisor, journal.filesystem(), patient.intent, report);
    if (!cleaned.ok()) patient.last = cleaned;
    if (!cleaned.ok() || !patient.thawed || !patient.resumed) continue;
    patient.last = journal.Remove(patient.intent);
    if (!patient.last.ok()) continue;
    report.healed.push_back(patient.intent);
    patient.intent.owner_tag.clear();
  }
  std::erase_if(patients, [](const Patient& patient) { return patient.intent.owner_tag.empty(); });
}

}  // namespace

absl::StatusOr<HealReport> Heal(hypervisor::Hypervisor& hypervisor, IntentJournal& journal, base::Clock& clock,
                                const HealOptions& options) {
  ASSIGN_OR_RETURN(IntentList list, journal.List());
  HealReport report;
  report.damaged = std::move(list.damaged);
  std::vector<Patient> patients;
  for (Intent& intent : list.intents) {
    if (!journal.IsLive(intent)) patients.push_back({std::move(intent)});
  }
  const absl::Duration deadline = clock.Monotonic() + options.patience;
  absl::Duration wait = options.first_wait;
  while (!patients.empty()) {
    Round(hypervisor, journal, options, patients, report);
    if (patients.empty() || clock.Monotonic() + wait > deadline) break;
    clock.Sleep(wait);
    wait = std::min(wait * 2, options.longest_wait);
  }
  for (Patient& patient : patients) report.open.push_back({std::move(patient.intent), std::move(patient.last)});
  return report;
}

}  // namespace umbra::journal
