#include "tests/sim/service.h"

#include "storage/base/status.h"

namespace umbra::sim {

writers::FileSet ServiceFileSet() {
  writers::FileSet set;
  set.name = kServiceName;
  set.folders = {{"/srv/service"}};
  set.freeze = {{"freeze"}, absl::Seconds(10)};
  set.thaw = {{"thaw"}, absl::Seconds(5)};
  return set;
}

absl::StatusOr<base::CommandResult> ServiceCommands::Run(const base::Command& command) {
  const std::string& hook = command.arguments.front();
  return life_.Through("hook." + hook, [&] { return hook == "freeze" ? Freeze(command) : Thaw(); });
}

absl::StatusOr<base::CommandResult> ServiceCommands::Freeze(const base::Command& command) {
  const absl::Duration called_at = run_.scheduler.Monotonic();
  const FaultKind kind = calm_ || !service_.freeze_goes_wrong ? FaultKind::kDelay : plan_.service.freeze;
  service_.freeze_goes_wrong = false;
  if (kind != FaultKind::kDelay) run_.probes.Hit("hook fault: freeze");
  if (kind == FaultKind::kVetoBefore) return base::CommandResult{.exit_status = 1};
  const bool frozen = service_.app.Freeze(called_at, absl::Seconds(5));
  if (kind == FaultKind::kHang) {
    run_.Sleep(command.timeout);
    return base::MakeError(absl::StatusCode::kDeadlineExceeded, "COMMAND_TIMEOUT", "the simulation's hook hung");
  }
  return base::CommandResult{.exit_status = frozen && kind == FaultKind::kDelay ? 0 : 1};
}

absl::StatusOr<base::CommandResult> ServiceCommands::Thaw() {
  if (!calm_ && service_.thaw_failures > 0) {
    --service_.thaw_failures;
    run_.probes.Hit("hook fault: thaw");
    return base::CommandResult{.exit_status = 1};
  }
  if (service_.app.frozen() && life_.healing) run_.probes.Hit("healing: thawed a service");
  service_.app.Thaw(absl::ZeroDuration());
  return base::CommandResult{};
}

absl::StatusOr<base::FolderSize> ServiceCopier::Measure(const base::FolderSelection&, const std::string&,
                                                        const base::FolderCopyLimits&) {
  return base::FolderSize{1, 16, false};
}

absl::StatusOr<base::FolderCopyReport> ServiceCopier::Copy(const base::FolderSelection&, const std::string& to,
                                                           const base::FolderCopyLimits&) {
  return life_.Through("copy", [&]() -> absl::StatusOr<base::FolderCopyReport> {
    RETURN_IF_ERROR(service_.files.MakeDirectories(to));
    RETURN_IF_ERROR(service_.files.Open(to + "/hands", base::OpenMode::kCreate).status());
    service_.copies[to] = {service_.app.hands(), service_.app.frozen()};
    return base::FolderCopyReport{1, 16, 0};
  });
}

absl::Status ServiceCopier::RemoveTree(const std::string& folder) {
  return life_.Through("remove copy", [&]() -> absl::Status {
    for (const std::string& file : service_.files.AllFiles(folder)) {
      RETURN_IF_ERROR(service_.files.Remove(file));
      RETURN_IF_ERROR(service_.files.Remove(base::DirectoryOf(file)));
    }
    ASSIGN_OR_RETURN(const bool exists, service_.files.Exists(folder));
    return exists ? service_.files.Remove(folder) : absl::OkStatus();
  });
}

}  // namespace umbra::sim
