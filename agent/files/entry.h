// Entries of folder trees as they are kept, and back.
#ifndef UMBRA_AGENT_FILES_ENTRY_H_
#define UMBRA_AGENT_FILES_ENTRY_H_

#include "storage/base/folder_tree.h"
#include "storage/filetree/file_tree.h"

namespace umbra::files {

// Without the place of its content. Attributes beyond what a tree may hold are left out.
filetree::Entry ToProto(const base::TreeEntry& entry);
base::TreeMetadata MetadataOf(const filetree::Entry& entry);
// `entry` is one that filetree::ListReader gave.
base::TreeEntryType TypeOf(const filetree::Entry& entry);

}  // namespace umbra::files

#endif  // UMBRA_AGENT_FILES_ENTRY_H_
