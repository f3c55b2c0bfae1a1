#include "storage/filetree/file_tree.h"

#include <algorithm>
#include <utility>

#include "storage/base/folder_tree.h"
#include "storage/base/status.h"

namespace umbra::filetree {
namespace {

constexpr std::string_view kMagic = "UMBRAFT1";
constexpr uint32_t kModeMax = 07777;
constexpr uint32_t kNobody = 0xffffffff;  // means "leave it" to the system
constexpr size_t kAttributeNameMax = 255;
constexpr size_t kAttributeValueMax = 64 * base::kKiB;
constexpr size_t kLinkTargetMax = 4095;
constexpr size_t kLengthBytes = 4;

// Smaller files lie one after another.
constexpr uint64_t kPackedShare = 4;  // of a chunk
constexpr uint64_t kPackedAlignment = 512;
// One in so many packed files begins a chunk whatever came before it, chosen by its name: so a file that is added, gone
// or resized moves only the few up to the next such one.
constexpr uint32_t kRunLength = 16;

template <typename... Args>
absl::Status Damaged(fmt::format_string<Args...> format, Args&&... args) {
  return base::MakeError(absl::StatusCode::kDataLoss, "FILE_TREE_DAMAGED",
                         "the list of files is damaged: " + fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
absl::Status TooLarge(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kResourceExhausted, "FILE_SET_TOO_LARGE", format, std::forward<Args>(args)...);
}

template <typename T>
void Put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <typename T>
T Take(base::Bytes in, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<uint64_t>(in[at + i]) << (8 * i);
  return static_cast<T>(value);
}

uint64_t RoundUp(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

// FNV-1a: the same on every machine and for ever, since what it decides is deduplication.
uint32_t NameHash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash ^ (hash >> 16);
}

bool BeginsRun(std::string_view path) { return NameHash(path) % kRunLength == 0; }

// Where contents go, one after another.
class Layout {
 public:
  explicit Layout(uint64_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}

  uint64_t Place(const Entry& entry) {
    const std::string_view folder = base::TreeParentOf(entry.path());
    const uint64_t size = entry.size_bytes();
    const bool packed = size < chunk_bytes_ / kPackedShare;
    bool begins_chunk = !packed || !packing_ || folder != folder_ || BeginsRun(entry.path());
    uint64_t at = RoundUp(end_, kPackedAlignment);
    begins_chunk = begins_chunk || at / chunk_bytes_ != (at + size - 1) / chunk_bytes_;
    if (begins_chunk) at = RoundUp(end_, chunk_bytes_);
    packing_ = packed;
    folder_ = folder;
    end_ = at + size;
    return at;
  }

  uint64_t end() const { return end_; }

 private:
  const uint64_t chunk_bytes_;
  uint64_t end_ = 0;
  bool packing_ = false;
  std::string folder_;
};

std::string EncodeHeader(const Header& header) {
  std::string out(kMagic);
  Put(out, kVersion);
  Put(out, static_cast<uint32_t>(kHeaderBytes));
  Put(out, header.list_bytes);
  Put(out, header.entry_count);
  Put(out, header.data_begin);
  Put(out, header.tree_bytes);
  out.resize(kHeaderBytes, '\0');
  return out;
}

}  // namespace

absl::StatusOr<Header> ParseHeader(base::Bytes bytes, uint64_t tree_bytes) {
  if (bytes.size() < kHeaderBytes || base::AsText(bytes).substr(0, kMagic.size()) != kMagic) {
    return Damaged("it doesn't begin as one");
  }
  if (const auto version = Take<uint32_t>(bytes, 8); version != kVersion) {
    return base::Error(absl::StatusCode::kUnimplemented, "FILE_TREE_DAMAGED",
                       "the list of files has version {}, and this program knows {}", version, kVersion);
  }
  Header header;
  header.list_bytes = Take<uint64_t>(bytes, 16);
  header.entry_count = Take<uint64_t>(bytes, 24);
  header.data_begin = Take<uint64_t>(bytes, 32);
  header.tree_bytes = Take<uint64_t>(bytes, 40);
  const bool fits = Take<uint32_t>(bytes, 12) == kHeaderBytes && header.tree_bytes == tree_bytes &&
                    header.tree_bytes <= kTreeBytesMax && header.list_bytes >= kHeaderBytes &&
                    header.list_bytes <= kListBytesMax && header.list_bytes <= header.data_begin &&
                    header.data_begin <= header.tree_bytes && header.entry_count <= kEntriesMax;
  if (!fits) return Damaged("its sizes don't fit together");
  return header;
}

absl::StatusOr<Plan> MakePlan(std::vector<Entry>& entries, uint64_t chunk_bytes) {
  if (entries.size() > kEntriesMax) return TooLarge("there are {} files, more than {}", entries.size(), kEntriesMax);
  Plan plan;
  plan.list.resize(kHeaderBytes);
  Layout layout(chunk_bytes);
  const Entry* previous = nullptr;
  for (Entry& entry : entries) {
    if (previous != nullptr && !base::TreePathLess(previous->path(), entry.path())) {
      return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "/{} is in the tree twice", entry.path());
    }
    previous = &entry;
    if (entry.type() == Entry::TYPE_FILE && entry.size_bytes() > 0) {
      if (entry.size_bytes() > kTreeBytesMax) return TooLarge("/{} is too large", entry.path());
      entry.set_data_offset_bytes(layout.Place(entry));
      if (layout.end() > kTreeBytesMax) return TooLarge("the files have more than {}", base::FormatSize(kTreeBytesMax));
    }
    const size_t size = entry.ByteSizeLong();
    if (size > kEntryBytesMax) return TooLarge("what is known of /{} is too long", entry.path());
    Put(plan.list, static_cast<uint32_t>(size));
    entry.AppendToString(&plan.list);
    if (plan.list.size() > kListBytesMax) return TooLarge("the list of files has more than {}", base::FormatSize(kListBytesMax));
  }
  plan.header = {.list_bytes = plan.list.size(),
                 .entry_count = entries.size(),
                 .data_begin = RoundUp(plan.list.size(), chunk_bytes),
                 .tree_bytes = plan.list.size()};
  if (layout.end() > 0) plan.header.tree_bytes = plan.header.data_begin + layout.end();
  if (layout.end() == 0) plan.header.data_begin = plan.header.tree_bytes;
  if (plan.header.tree_bytes > kTreeBytesMax) return TooLarge("the files have more than {}", base::FormatSize(kTreeBytesMax));
  plan.list.replace(0, kHeaderBytes, EncodeHeader(plan.header));
  return plan;
}

absl::StatusOr<Entry> ListReader::Next(base::Bytes list, uint64_t list_offset) {
  if (at_end()) return Damaged("it has fewer entries");
  if (offset_ < kHeaderBytes || offset_ > header_.list_bytes || header_.list_bytes - offset_ < kLengthBytes) {
    return Damaged("it ends too early");
  }
  const auto missing = [] { return absl::OutOfRangeError("more of the list is needed"); };
  if (offset_ < list_offset || offset_ - list_offset + kLengthBytes > list.size()) return missing();
  const size_t at = offset_ - list_offset;
  const uint64_t length = Take<uint32_t>(list, at);
  if (length == 0 || length > kEntryBytesMax || length > header_.list_bytes - offset_ - kLengthBytes) {
    return Damaged("entry {} has {} bytes", position_, length);
  }
  if (at + kLengthBytes + length > list.size()) return missing();
  Entry entry;
  if (!entry.ParseFromArray(list.data() + at + kLengthBytes, static_cast<int>(length))) {
    return Damaged("entry {} can't be read", position_);
  }
  RETURN_IF_ERROR(Check(entry));
  offset_ += kLengthBytes + length;
  ++position_;
  if (at_end() && offset_ != header_.list_bytes) return Damaged("it has more entries than it says");
  return entry;
}

absl::Status ListReader::Check(const Entry& entry) {
  if (!base::IsTreePath(entry.path())) return Damaged("entry {} has no path within a tree", position_);
  RETURN_IF_ERROR(CheckPlace(entry));
  if (entry.mode() > kModeMax) return Damaged("/{} has mode {:o}", entry.path(), entry.mode());
  if (entry.uid() == kNobody || entry.gid() == kNobody) return Damaged("/{} has no owner", entry.path());
  uint64_t bytes = 0;
  for (const auto& attribute : entry.attributes()) {
    const std::string& name = attribute.name();
    const bool sound = !name.empty() && name.size() <= kAttributeNameMax && name.find('\0') == std::string::npos &&
                       attribute.value().size() <= kAttributeValueMax;
    bytes += name.size() + attribute.value().size();
    if (!sound || bytes > kAttributesBytesMax) return Damaged("/{} has an attribute that can't be", entry.path());
  }
  return CheckContent(entry);
}

absl::Status ListReader::CheckPlace(const Entry& entry) {
  const std::string& path = entry.path();
  if (!previous_.empty() && !base::TreePathLess(previous_, path)) {
    return Damaged("/{} comes after /{}", path, previous_);
  }
  // In this order, whatever lies below the last leaf would come right after it.
  if (!last_leaf_.empty() && base::IsAtOrBelow(path, last_leaf_)) return Damaged("/{} lies in no folder", path);
  previous_ = path;
  if (entry.type() != Entry::TYPE_FOLDER) last_leaf_ = path;
  return absl::OkStatus();
}

absl::Status ListReader::CheckContent(const Entry& entry) {
  const std::string& path = entry.path();
  const std::string& target = entry.link_target();
  const bool is_file = entry.type() == Entry::TYPE_FILE;
  if (!is_file && (entry.size_bytes() > 0 || entry.data_offset_bytes() > 0)) return Damaged("/{} has content", path);
  switch (entry.type()) {
    case Entry::TYPE_FOLDER:
      return target.empty() ? absl::OkStatus() : Damaged("/{} has a target", path);
    case Entry::TYPE_SYMLINK:
      if (!target.empty() && target.size() <= kLinkTargetMax && target.find('\0') == std::string::npos) return absl::OkStatus();
      return Damaged("/{} has no target", path);
    case Entry::TYPE_HARD_LINK:
      if (base::IsTreePath(target) && base::TreePathLess(target, path)) return absl::OkStatus();
      return Damaged("/{} is a name of what doesn't come before it", path);
    case Entry::TYPE_FILE:
      break;
    default:
      return Damaged("/{} is of an unknown type", path);
  }
  if (!target.empty()) return Damaged("/{} has a target", path);
  if (entry.size_bytes() == 0) return absl::OkStatus();
  const uint64_t room = header_.tree_bytes - header_.data_begin;
  const uint64_t begin = entry.data_offset_bytes();
  if (begin < content_end_ || begin > room || entry.size_bytes() > room - begin) {
    return Damaged("the content of /{} lies outside, or in another's", path);
  }
  content_end_ = begin + entry.size_bytes();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Entry>> ReadList(base::Bytes list, const Header& header) {
  if (list.size() != header.list_bytes) return Damaged("{} bytes where there are {}", list.size(), header.list_bytes);
  std::vector<Entry> entries;
  ListReader reader(header);
  while (!reader.at_end()) {
    ASSIGN_OR_RETURN(Entry entry, reader.Next(list, 0));
    if (entry.type() == Entry::TYPE_HARD_LINK) {
      const auto file = std::lower_bound(entries.begin(), entries.end(), entry.link_target(), [](const Entry& e, const std::string& path) {
        return base::TreePathLess(e.path(), path);
      });
      if (file == entries.end() || file->path() != entry.link_target() || file->type() != Entry::TYPE_FILE) {
        return Damaged("/{} is a name of no file", entry.path());
      }
    }
    entries.push_back(std::move(entry));
  }
  if (reader.offset() != header.list_bytes) return Damaged("it has more entries than it says");
  return entries;
}

}  // namespace umbra::filetree
