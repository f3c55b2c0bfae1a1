// Target: the list of files at the beginning of a file tree. What is accepted names nothing outside, nothing twice, and no
// content but its own.
#include "storage/base/folder_tree.h"
#include "storage/filetree/file_tree.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

filetree::Entry Of(filetree::Entry::Type type, const char* path, uint64_t size = 0, const char* target = "") {
  filetree::Entry entry;
  entry.set_type(type);
  entry.set_path(path);
  entry.set_size_bytes(size);
  entry.set_link_target(target);
  return entry;
}

}  // namespace

std::vector<std::string> Seeds() {
  using filetree::Entry;
  std::vector<Entry> entries = {Of(Entry::TYPE_FOLDER, "a"), Of(Entry::TYPE_FILE, "a/b", 70000), Of(Entry::TYPE_HARD_LINK, "a/c", 0, "a/b"),
                                Of(Entry::TYPE_FILE, "a/d", 5), Of(Entry::TYPE_SYMLINK, "e", 0, "/x")};
  entries[1].add_attributes()->set_name("user.a");
  std::vector<Entry> none;
  return {filetree::MakePlan(entries, 65536)->list, filetree::MakePlan(none, 65536)->list};
}

void TestOneInput(std::string_view input) {
  // The size of the tree is known from elsewhere: take what the header says, so that mutations get past it.
  uint64_t tree_bytes = 0;
  for (size_t i = 0; i < 8 && 40 + i < input.size(); ++i) tree_bytes |= uint64_t{static_cast<uint8_t>(input[40 + i])} << (8 * i);
  const auto header = filetree::ParseHeader(base::AsBytes(input), tree_bytes);
  if (!header.ok() || header->list_bytes > input.size()) return;
  const auto entries = filetree::ReadList(base::AsBytes(input.substr(0, header->list_bytes)), *header);
  if (!entries.ok()) return;
  uint64_t content_end = 0;
  const filetree::Entry* previous = nullptr;
  for (const filetree::Entry& entry : *entries) {
    Require(base::IsTreePath(entry.path()), "a path is one within the tree");
    Require(previous == nullptr || base::TreePathLess(previous->path(), entry.path()), "entries are in order");
    Require(previous == nullptr || previous->type() == filetree::Entry::TYPE_FOLDER || !base::IsAtOrBelow(entry.path(), previous->path()),
            "nothing lies below what is no folder");
    if (entry.size_bytes() > 0) {
      Require(entry.data_offset_bytes() >= content_end, "contents don't overlap");
      content_end = entry.data_offset_bytes() + entry.size_bytes();
      Require(content_end <= tree_bytes - header->data_begin, "contents lie in the tree");
    }
    previous = &entry;
  }
}

}  // namespace umbra::fuzz
