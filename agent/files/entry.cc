#include "agent/files/entry.h"

namespace umbra::files {
namespace {

filetree::Entry::Type ToProto(base::TreeEntryType type) {
  switch (type) {
    case base::TreeEntryType::kFile:
      return filetree::Entry::TYPE_FILE;
    case base::TreeEntryType::kFolder:
      return filetree::Entry::TYPE_FOLDER;
    case base::TreeEntryType::kSymlink:
      return filetree::Entry::TYPE_SYMLINK;
    case base::TreeEntryType::kHardLink:
      return filetree::Entry::TYPE_HARD_LINK;
  }
  return filetree::Entry::TYPE_UNSPECIFIED;
}

}  // namespace

filetree::Entry ToProto(const base::TreeEntry& from) {
  filetree::Entry to;
  to.set_path(from.path);
  to.set_type(ToProto(from.type));
  to.set_mode(from.metadata.mode);
  to.set_uid(from.metadata.uid);
  to.set_gid(from.metadata.gid);
  to.set_modify_time_ns(from.metadata.modify_time_ns);
  to.set_size_bytes(from.size_bytes);
  to.set_link_target(from.link_target);
  uint64_t bytes = 0;
  for (const base::TreeAttribute& attribute : from.metadata.attributes) {
    bytes += attribute.name.size() + attribute.value.size();
    if (bytes > filetree::kAttributesBytesMax) break;
    auto* kept = to.add_attributes();
    kept->set_name(attribute.name);
    kept->set_value(attribute.value);
  }
  return to;
}

base::TreeMetadata MetadataOf(const filetree::Entry& from) {
  base::TreeMetadata to;
  to.mode = from.mode();
  to.uid = from.uid();
  to.gid = from.gid();
  to.modify_time_ns = from.modify_time_ns();
  for (const auto& attribute : from.attributes()) to.attributes.push_back({attribute.name(), attribute.value()});
  return to;
}

base::TreeEntryType TypeOf(const filetree::Entry& entry) {
  switch (entry.type()) {
    case filetree::Entry::TYPE_FOLDER:
      return base::TreeEntryType::kFolder;
    case filetree::Entry::TYPE_SYMLINK:
      return base::TreeEntryType::kSymlink;
    case filetree::Entry::TYPE_HARD_LINK:
      return base::TreeEntryType::kHardLink;
    default:
      return base::TreeEntryType::kFile;
  }
}

}  // namespace umbra::files
