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

absl::Status CleanUp(hypervisor::Hypervisor& hypervisor, const Intent& intent, HealReport& report) {
  const auto cleaned = hypervisor.CleanUp(intent.vm_uuid, intent.scratch_folder, intent.owner_tag);
  if (absl::IsNotFound(cleaned.status())) {
    report.actions.push_back(fmt::format("virtual machine {} is gone; files of {} may be left in {}", intent.vm_uuid,
                                         intent.owner_tag, intent.scratch_folder));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(cleaned.status());
  report.actions.insert(report.actions.end(), cleaned->actions.begin(), cleaned->actions.end());
  return absl::OkStatus();
}

// One round over everybody; what is healed leaves `patients`.
void Round(hypervisor::Hypervisor& hypervisor, IntentJournal& journal, const HealOptions& options,
           std::vector<Patient>& patients, HealReport& report) {
  for (Patient& patient : patients) Thaw(hypervisor, options, patient, report);
  for (Patient& patient : patients) {
    const absl::Status cleaned = CleanUp(hypervisor, patient.intent, report);
    if (!cleaned.ok()) patient.last = cleaned;
    if (!cleaned.ok() || !patient.thawed) continue;
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
