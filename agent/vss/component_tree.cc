#include "agent/vss/component_tree.h"

#include <algorithm>

#include "agent/vss/errors.h"
#include "agent/vss/file_sets.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using base::Invalid;

std::string FullName(const Component& component) {
  return vss::FullName(component.logical_path, component.name);
}

bool IsAbove(const Component& ancestor, const Component& component) {
  return IsAncestor(FullName(ancestor), component.logical_path);
}

bool Holds(const std::vector<const Component*>& list, const Component* component) {
  return std::find(list.begin(), list.end(), component) != list.end();
}

// Whether a backup takes the set below `component` along.
bool BringsItsSet(const Component& component) {
  return component.selectable;
}

}  // namespace

std::string FullName(std::string_view logical_path, std::string_view name) {
  std::string full(logical_path);
  if (!full.empty()) full += '\\';
  return full.append(name);
}

bool IsAncestor(std::string_view ancestor, std::string_view logical_path) {
  if (!logical_path.starts_with(ancestor)) return false;
  return logical_path.size() == ancestor.size() || logical_path[ancestor.size()] == '\\';
}

ComponentTree::ComponentTree(const WriterMetadata& metadata) {
  for (const Component& component : metadata.components) components_.push_back(&component);
}

const Component* ComponentTree::Find(std::string_view full_name) const {
  const auto found = std::find_if(components_.begin(), components_.end(),
                                  [&](const Component* c) { return FullName(*c) == full_name; });
  return found == components_.end() ? nullptr : *found;
}

std::vector<const Component*> ComponentTree::SelectableAncestors(const Component& component) const {
  std::vector<const Component*> above;
  for (const Component* c : components_) {
    if (c->selectable && IsAbove(*c, component)) above.push_back(c);
  }
  std::sort(above.begin(), above.end(),
            [](const Component* a, const Component* b) { return FullName(*a).size() > FullName(*b).size(); });
  return above;
}

std::vector<const Component*> ComponentTree::Descendants(const Component& component) const {
  std::vector<const Component*> below;
  for (const Component* c : components_) {
    if (IsAbove(component, *c)) below.push_back(c);
  }
  return below;
}

Inclusion ComponentTree::InclusionOf(const Component& component) const {
  const bool below = !SelectableAncestors(component).empty();
  if (component.selectable) return below ? Inclusion::kEither : Inclusion::kOptional;
  return below ? Inclusion::kImplicit : Inclusion::kMandatory;
}

std::vector<const Component*> ComponentTree::Mandatory() const {
  std::vector<const Component*> mandatory;
  for (const Component* c : components_) {
    if (InclusionOf(*c) == Inclusion::kMandatory) mandatory.push_back(c);
  }
  return mandatory;
}

std::vector<const Component*> ComponentTree::Included(const std::vector<const Component*>& explicit_components) const {
  std::vector<const Component*> included;
  for (const Component* c : components_) {
    const bool brought = std::any_of(explicit_components.begin(), explicit_components.end(), [&](const Component* e) {
      return e == c || (BringsItsSet(*e) && IsAbove(*e, *c));
    });
    if (brought) included.push_back(c);
  }
  return included;
}

absl::Status ComponentTree::CheckSelection(const std::vector<const Component*>& explicit_components) const {
  if (explicit_components.empty()) return absl::OkStatus();
  for (const Component* c : explicit_components) {
    const auto above = SelectableAncestors(*c);
    if (!c->selectable && !above.empty()) {
      return Invalid("component {} comes with {}; it can't be chosen by itself", FullName(*c),
                     FullName(*above.front()));
    }
    for (const Component* ancestor : above) {
      if (Holds(explicit_components, ancestor)) {
        return Invalid("component {} comes with {} already", FullName(*c), FullName(*ancestor));
      }
    }
  }
  for (const Component* c : Mandatory()) {
    if (!Holds(explicit_components, c))
      return Invalid("component {} must be in every backup of its writer", FullName(*c));
  }
  return absl::OkStatus();
}

std::vector<const Component*> ComponentTree::AutoSelect(const std::function<bool(const Component&)>& wanted) const {
  std::vector<const Component*> left;
  for (const Component* c : components_) {
    const auto below = Descendants(*c);
    const bool whole = std::all_of(below.begin(), below.end(), [&](const Component* d) { return wanted(*d); });
    if (wanted(*c) && whole) left.push_back(c);
  }
  for (const Component* c : Mandatory()) {
    if (!Holds(left, c)) return {};
  }
  std::vector<const Component*> chosen;
  for (const Component* c : left) {
    const auto above = SelectableAncestors(*c);
    const bool comes_anyway =
        std::any_of(above.begin(), above.end(), [&](const Component* a) { return Holds(left, a); });
    if (!comes_anyway && InclusionOf(*c) != Inclusion::kImplicit) chosen.push_back(c);
  }
  return chosen;
}

absl::StatusOr<ComponentTree::RestoreSelection> ComponentTree::SelectForRestore(
    const Component& component, const std::vector<const Component*>& explicit_components) const {
  if (Holds(explicit_components, &component)) return RestoreSelection{&component, false};
  for (const Component* ancestor : SelectableAncestors(component)) {
    if (!Holds(explicit_components, ancestor)) continue;
    if (component.selectable_for_restore) return RestoreSelection{ancestor, true};
    return Invalid("component {} can only be restored with {}", FullName(component), FullName(*ancestor));
  }
  return Error(Code::kObjectNotFound, "the backup doesn't hold component {}", FullName(component));
}

BackupType EffectiveBackupType(BackupType asked, uint32_t schema) {
  const auto if_has = [&](uint32_t bit) { return (schema & bit) != 0 ? asked : BackupType::kFull; };
  switch (asked) {
    case BackupType::kIncremental:
      return if_has(kSchemaIncremental);
    case BackupType::kDifferential:
      return if_has(kSchemaDifferential);
    case BackupType::kLog:
      return if_has(kSchemaLog);
    case BackupType::kCopy:
      return if_has(kSchemaCopy);
    case BackupType::kOther:
      return asked;  // only a requester that knows the writer asks for it
    case BackupType::kUndefined:
    case BackupType::kFull:
      break;
  }
  return BackupType::kFull;
}

bool NeedsSnapshot(const Component& component, BackupType asked, uint32_t schema) {
  const BackupType type = EffectiveBackupType(asked, schema);
  const auto from_snapshot = [&](const FileSet& set) { return SourceOf(set.backup_type_mask, type).from_snapshot; };
  if (component.files.empty() && component.log_files.empty()) return !component.volumes.empty();
  return std::any_of(component.files.begin(), component.files.end(), from_snapshot) ||
         std::any_of(component.log_files.begin(), component.log_files.end(), from_snapshot);
}

}  // namespace umbra::vss
