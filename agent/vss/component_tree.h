// The components of one writer as the tree that their logical paths make: what a backup or restore of some of them
// takes with it.
//
// A component with path P and name N is the ancestor of every component whose path begins with P\N (N at the root), by
// whole elements; the elements between need not be components themselves. A selectable component and everything below
// it is a component set, backed up and restored as a whole. Source: Microsoft, "Logical Pathing of Components",
// "Working with Selectability for Backup", "Working with Selectability for Restore and Subcomponents".
//
// Threads: immutable. Lifetime: points into the metadata, which must outlive it and not change.
#ifndef UMBRA_AGENT_VSS_COMPONENT_TREE_H_
#define UMBRA_AGENT_VSS_COMPONENT_TREE_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss {

// "SRV1\ledger" of path "SRV1" and name "ledger"; the name alone at the root.
std::string FullName(std::string_view logical_path, std::string_view name);

// Whether the component with full name `ancestor` is above the one at `logical_path` (not itself).
bool IsAncestor(std::string_view ancestor, std::string_view logical_path);

// How a component gets into a backup.
enum class Inclusion {
  kMandatory,  // not selectable, nothing selectable above: explicitly, whenever anything of the writer is backed up
  kOptional,   // selectable, nothing selectable above: explicitly, at will
  kImplicit,   // not selectable, below a selectable one: with it, never explicitly
  kEither,     // selectable, below a selectable one: with it, or else explicitly
};

class ComponentTree {
 public:
  explicit ComponentTree(const WriterMetadata& metadata);

  // Of all, in the order of the document.
  const std::vector<const Component*>& components() const { return components_; }

  Inclusion InclusionOf(const Component& component) const;
  // Selectable ones above it, nearest first.
  std::vector<const Component*> SelectableAncestors(const Component& component) const;
  // Everything below it.
  std::vector<const Component*> Descendants(const Component& component) const;
  // Not selectable and not below anything selectable.
  std::vector<const Component*> Mandatory() const;

  // What a backup with these explicit components holds: they and everything that comes with them, each once, in the
  // order of the document. A component brings its set only when it is selectable.
  std::vector<const Component*> Included(const std::vector<const Component*>& explicit_components) const;

  // Whether `explicit_components` may be added together. INVALID_ARGUMENT / INVALID_REQUEST: one is implicit, one
  // comes with another one already, or a mandatory one is missing. None at all is valid.
  absl::Status CheckSelection(const std::vector<const Component*>& explicit_components) const;

  // Chooses the explicit components so that everything that `wanted` lets in is backed up.
  //   1. Out goes what isn't wanted, and whatever is above it, because a set is whole or not at all.
  //   2. When a mandatory component went, nothing of this writer can be backed up: none.
  //   3. Explicit is what is left, may be explicit, and has nothing explicit above it.
  std::vector<const Component*> AutoSelect(const std::function<bool(const Component&)>& wanted) const;

  // How to restore `component` alone out of a backup with these explicit components.
  struct RestoreSelection {
    const Component* selected = nullptr;  // SetSelectedForRestore
    bool as_subcomponent = false;         // AddRestoreSubcomponent with `component`'s full name
  };
  // INVALID_ARGUMENT / INVALID_REQUEST: it comes only with the set that it belongs to.
  // NOT_FOUND / VSS_OBJECT_NOT_FOUND: the backup doesn't hold it.
  absl::StatusOr<RestoreSelection> SelectForRestore(const Component& component,
                                                    const std::vector<const Component*>& explicit_components) const;

  const Component* Find(std::string_view full_name) const;

 private:
  std::vector<const Component*> components_;
};

// The type of a backup that a writer with `schema` can take part in when `asked` is asked for: `asked` itself when the
// schema has it, otherwise kFull (kCopy when a copy is asked for and the schema has it). kUndefined counts as kFull.
BackupType EffectiveBackupType(BackupType asked, uint32_t schema);

// Whether a backup for which `asked` was asked must read any file of the component from a snapshot, when the
// component's writer has `schema`. True also when only its volumes are known.
bool NeedsSnapshot(const Component& component, BackupType asked, uint32_t schema);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_COMPONENT_TREE_H_
