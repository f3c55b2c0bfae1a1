// The bytes of a file tree: a header, the list of files, their contents (docs/formats/repository.md, "File trees").
//
// The only code that knows them. It is kept like a disk of the name kFileTreeName, cut into chunks; so contents are laid
// out for deduplication: an unchanged file finds its chunks again although files before it changed.
#ifndef UMBRA_STORAGE_FILETREE_FILE_TREE_H_
#define UMBRA_STORAGE_FILETREE_FILE_TREE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/bytes.h"
#include "umbra/store/v1/file_tree.pb.h"

namespace umbra::filetree {

using Entry = store::v1::FileTreeEntry;

// What a tree is called among the disks of its recovery point, and its format there.
inline constexpr char kFileTreeName[] = "files.tree";
inline constexpr char kFileTreeFormat[] = "umbra-file-tree";

inline constexpr size_t kHeaderBytes = 64;
inline constexpr uint32_t kVersion = 1;
// Bounds of what a reader has to take. A tree beyond them is refused when it is made: FILE_SET_TOO_LARGE.
inline constexpr uint64_t kListBytesMax = 1 * base::kGiB;
inline constexpr uint64_t kEntriesMax = 4'000'000;
inline constexpr uint64_t kEntryBytesMax = 256 * base::kKiB;
inline constexpr uint64_t kAttributesBytesMax = 128 * base::kKiB;  // of an entry: names and values
inline constexpr uint64_t kTreeBytesMax = 16 * 1024 * base::kGiB;

struct Header {
  uint64_t list_bytes = 0;   // header and entries: what comes before the data
  uint64_t entry_count = 0;
  uint64_t data_begin = 0;   // offset in the tree to which Entry::data_offset_bytes counts
  uint64_t tree_bytes = 0;
};

// `bytes`: the beginning of a tree of `tree_bytes`, at least kHeaderBytes of it.
// DATA_LOSS / FILE_TREE_DAMAGED; UNIMPLEMENTED / FILE_TREE_DAMAGED when a newer version made it.
absl::StatusOr<Header> ParseHeader(base::Bytes bytes, uint64_t tree_bytes);

// A tree without its contents.
struct Plan {
  std::string list;  // its first bytes
  Header header;
};

// Decides where each file's content lies and fills in data_offset_bytes. `entries` are in order (base::TreePathLess),
// without duplicates. `chunk_bytes`: of the repository.
// RESOURCE_EXHAUSTED / FILE_SET_TOO_LARGE beyond a bound; INVALID_ARGUMENT / INVALID_REQUEST when two have one path.
absl::StatusOr<Plan> MakePlan(std::vector<Entry>& entries, uint64_t chunk_bytes);

// Reads entries one by one and refuses what must not be in a tree: paths that are none, out of order, or below
// something that is no folder; contents that overlap or lie outside; what is over a bound.
class ListReader {
 public:
  explicit ListReader(const Header& header) : header_(header) {}
  // To go on at an entry: an offset() and position() of an earlier reader. What came before isn't compared with.
  ListReader(const Header& header, uint64_t offset, uint64_t position)
      : header_(header), offset_(offset), position_(position) {}

  // All entries are read.
  bool at_end() const { return position_ == header_.entry_count; }
  uint64_t offset() const { return offset_; }      // of the next entry in the tree
  uint64_t position() const { return position_; }  // number of the next entry, from 0

  // The next entry. `list`: bytes of the tree from `list_offset` on. OUT_OF_RANGE when more bytes are needed: at most
  // kEntryBytesMax + 4 from offset() on, or up to Header::list_bytes. DATA_LOSS / FILE_TREE_DAMAGED.
  absl::StatusOr<Entry> Next(base::Bytes list, uint64_t list_offset);

 private:
  absl::Status Check(const Entry& entry);
  absl::Status CheckPlace(const Entry& entry);
  absl::Status CheckContent(const Entry& entry);

  const Header header_;
  uint64_t offset_ = kHeaderBytes;
  uint64_t position_ = 0;
  uint64_t content_end_ = 0;  // of the files so far, in the data
  std::string previous_;      // path of the entry before; empty for the first
  // The last entry that is no folder, above which nothing may lie.
  std::string last_leaf_;
};

// The whole list at once. `list`: the first Header::list_bytes of the tree. Also checks that each hard link names a file
// of the list. DATA_LOSS / FILE_TREE_DAMAGED.
absl::StatusOr<std::vector<Entry>> ReadList(base::Bytes list, const Header& header);

}  // namespace umbra::filetree

#endif  // UMBRA_STORAGE_FILETREE_FILE_TREE_H_
