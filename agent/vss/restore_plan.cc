#include "agent/vss/restore_plan.h"

#include <algorithm>
#include <optional>

#include "agent/vss/errors.h"
#include "agent/vss/file_sets.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

template <typename... Args>
absl::Status NoPlace(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "VSS_NOT_SUPPORTED", format, std::forward<Args>(args)...);
}

struct PathParts {
  std::string folder;
  std::string name;
};

PathParts Split(const std::string& path) {
  const size_t at = path.find_last_of("/\\");
  if (at == std::string::npos) return {"", path};
  return {path.substr(0, at), path.substr(at + 1)};
}

FileSet AsSet(const FileMapping& mapping) {
  FileSet set;
  set.path = mapping.path;
  set.filespec = mapping.filespec;
  set.recursive = mapping.recursive;
  return set;
}

std::string_view WithoutTrailingSeparator(std::string_view path) {
  return path.ends_with('/') || path.ends_with('\\') ? path.substr(0, path.size() - 1) : path;
}

// The file's place below the mapping's other folder; `mapping` matches it.
std::string Moved(const FileMapping& mapping, const std::string& file) {
  std::string moved(WithoutTrailingSeparator(mapping.alternate_path));
  return moved + file.substr(WithoutTrailingSeparator(mapping.path).size());
}

class Planner {
 public:
  Planner(base::Filesystem& filesystem, const RestoreRequest& request, const RestoreProbe& probe)
      : filesystem_(filesystem), request_(request), probe_(probe), method_(request.saved.restore_method) {}

  absl::StatusOr<RestorePlan> Plan() {
    RETURN_IF_ERROR(CheckMethod());
    switch (request_.explicit_.restore_target) {
      case RestoreTarget::kAlternate:
        RETURN_IF_ERROR(IsAtReboot() ? ByMethod() : AllToAlternate());
        break;
      case RestoreTarget::kDirected:
        RETURN_IF_ERROR(IsAtReboot() ? ByMethod() : Directed());
        break;
      case RestoreTarget::kOriginalLocation:
        RETURN_IF_ERROR(IsAtReboot() ? ByMethod() : AllToOriginal());
        break;
      case RestoreTarget::kUndefined:
      case RestoreTarget::kOriginal:
        RETURN_IF_ERROR(ByMethod());
        break;
    }
    AddService();
    plan_.reboot_required = plan_.reboot_required || method_.reboot_required;
    return std::move(plan_);
  }

 private:
  absl::Status CheckMethod() const {
    if (method_.method == RestoreMethod::kUndefined) {
      return NoPlace("writer \"{}\" says no way to restore its files", request_.saved.writer_name);
    }
    if (method_.method == RestoreMethod::kCustom && !request_.knows_writer) {
      return NoPlace("writer \"{}\" is restored in its own way only", request_.saved.writer_name);
    }
    return absl::OkStatus();
  }

  // A restore target can't change what happens at the next start.
  bool IsAtReboot() const { return method_.method == RestoreMethod::kRestoreAtReboot; }

  const FileMapping* MappingOf(const std::string& file, const std::vector<FileMapping>& mappings) const {
    const PathParts parts = Split(file);
    const auto found = std::find_if(mappings.begin(), mappings.end(), [&](const FileMapping& m) {
      return Contains(AsSet(m), parts.folder, parts.name, request_.ignore_case);
    });
    return found == mappings.end() ? nullptr : &*found;
  }

  const FileMapping* NewTargetOf(const std::string& file) const {
    return MappingOf(file, request_.explicit_.new_targets);
  }

  void Put(const std::string& file, std::string target, FileAction action) {
    plan_.files.push_back({file, std::move(target), action, {}});
    if (action == FileAction::kRestoreAtReboot) plan_.reboot_required = true;
  }

  absl::Status ToAlternate(const std::string& file, std::string_view why) {
    const FileMapping* mapping = MappingOf(file, method_.alternate_mappings);
    if (mapping == nullptr) return NoPlace("{} {}, and has no alternate location", file, why);
    const auto& used = plan_.used_mappings;
    if (std::find(used.begin(), used.end(), *mapping) == used.end()) plan_.used_mappings.push_back(*mapping);
    Put(file, Moved(*mapping, file), FileAction::kRestore);
    return absl::OkStatus();
  }

  // Files with a new target go there in any case; `other` decides about the rest.
  template <typename Other>
  absl::Status Each(Other other) {
    for (const std::string& file : request_.files) {
      if (const FileMapping* target = NewTargetOf(file)) {
        Put(file, Moved(*target, file), FileAction::kRestore);
      } else {
        RETURN_IF_ERROR(other(file));
      }
    }
    return absl::OkStatus();
  }

  absl::Status AllToAlternate() {
    return Each([&](const std::string& file) { return ToAlternate(file, "must go elsewhere"); });
  }

  absl::Status AllToOriginal() {
    return Each([&](const std::string& file) {
      Put(file, file, FileAction::kRestore);
      return absl::OkStatus();
    });
  }

  template <typename Predicate>
  bool AnyFile(Predicate predicate) const {
    return std::any_of(request_.files.begin(), request_.files.end(),
                       [&](const std::string& file) { return NewTargetOf(file) == nullptr && predicate(file); });
  }

  // All of the component's files, or none.
  absl::Status IfNotThere() {
    if (!AnyFile(probe_.exists)) return AllToOriginal();
    const bool mapped =
        !AnyFile([&](const std::string& f) { return MappingOf(f, method_.alternate_mappings) == nullptr; });
    return mapped ? AllToAlternate() : absl::OkStatus();
  }

  absl::Status IfCanReplace() {
    if (!AnyFile([&](const std::string& file) { return !probe_.can_replace(file); })) return AllToOriginal();
    return Each([&](const std::string& file) { return ToAlternate(file, "or another file of it can't be replaced"); });
  }

  absl::Status AtReboot(bool only_if_in_use) {
    return Each([&](const std::string& file) {
      const bool now = only_if_in_use && probe_.can_replace(file);
      Put(file, file, now ? FileAction::kRestore : FileAction::kRestoreAtReboot);
      return absl::OkStatus();
    });
  }

  absl::Status ByMethod() {
    switch (method_.method) {
      case RestoreMethod::kRestoreIfNotThere:
        return IfNotThere();
      case RestoreMethod::kRestoreIfCanReplace:
        return IfCanReplace();
      case RestoreMethod::kRestoreToAlternateLocation:
        return AllToAlternate();
      case RestoreMethod::kRestoreAtReboot:
        return AtReboot(false);
      case RestoreMethod::kRestoreAtRebootIfCannotReplace:
        return AtReboot(true);
      case RestoreMethod::kStopRestoreStart:
      case RestoreMethod::kRestoreStopStart:
      case RestoreMethod::kCustom:
      case RestoreMethod::kUndefined:
        break;
    }
    return AllToOriginal();
  }

  absl::Status Directed() {
    return Each([&](const std::string& file) -> absl::Status {
      const PathParts parts = Split(file);
      PlannedFile planned{file, "", FileAction::kDirected, {}};
      for (const DirectedTarget& target : request_.explicit_.directed_targets) {
        FileSet source;
        source.path = target.source_path;
        source.filespec = target.source_filename;
        if (!Contains(source, parts.folder, parts.name, request_.ignore_case)) continue;
        ASSIGN_OR_RETURN(const auto from, ReadRanges(filesystem_, target.source_ranges));
        ASSIGN_OR_RETURN(const auto to, ReadRanges(filesystem_, target.destination_ranges));
        ASSIGN_OR_RETURN(auto pieces, PairRanges(from, to));
        planned.directed.push_back(
            {fmt::format("{}/{}", WithoutTrailingSeparator(target.destination_path), target.destination_filename),
             std::move(pieces)});
      }
      // What the writer doesn't direct anywhere goes to its own place.
      if (planned.directed.empty()) {
        planned.target = file;
        planned.action = FileAction::kRestore;
      }
      plan_.files.push_back(std::move(planned));
      return absl::OkStatus();
    });
  }

  void AddService() {
    if (plan_.files.empty()) return;
    if (method_.method == RestoreMethod::kStopRestoreStart) {
      plan_.stop_service_before = method_.service;
      plan_.start_service_after = method_.service;
    }
    if (method_.method == RestoreMethod::kRestoreStopStart) plan_.restart_service_after = method_.service;
  }

  base::Filesystem& filesystem_;
  const RestoreRequest& request_;
  const RestoreProbe& probe_;
  const RestoreMethodInfo& method_;
  RestorePlan plan_;
};

}  // namespace

absl::StatusOr<RestorePlan> PlanRestore(base::Filesystem& filesystem, const RestoreRequest& request,
                                        const RestoreProbe& probe) {
  return Planner(filesystem, request, probe).Plan();
}

}  // namespace umbra::vss
