// Ranges of bytes inside files: partial files (only these ranges are backed up, and written over the existing file) and
// directed targets (ranges of a backed-up file that go to ranges of another one).
//
// Text form: "offset:length,offset:length", 64-bit numbers, decimal or hexadecimal with 0x; or "File=PATH" naming a
// ranges file: a 64-bit count, then as many pairs of 64-bit offset and length, all little-endian. A ranges file belongs
// to the backup like the file itself. Source: Microsoft, "Working with Partial Files", "Working with Directed Targets",
// IVssComponent::AddPartialFile.
#ifndef UMBRA_AGENT_VSS_PARTIAL_FILES_H_
#define UMBRA_AGENT_VSS_PARTIAL_FILES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vss/backup_components.h"
#include "storage/base/filesystem.h"

namespace umbra::vss {

struct FileRange {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;

  friend bool operator==(const FileRange&, const FileRange&) = default;
};

// More ranges than this are refused: as a ranges file they would have 64 MiB.
inline constexpr size_t kMaxRanges = 4 * 1024 * 1024;

// What the text of a partial file says: ranges, or where the ranges file is.
struct RangesText {
  std::vector<FileRange> ranges;
  std::string file;  // empty: `ranges` has them

  friend bool operator==(const RangesText&, const RangesText&) = default;
};

// Errors of all below: INVALID_ARGUMENT / INVALID_REQUEST for another form, a range that ends beyond 64 bits, too many.
absl::StatusOr<RangesText> ParseRanges(std::string_view text);
std::string PrintRanges(const std::vector<FileRange>& ranges);  // decimal

absl::StatusOr<std::vector<FileRange>> ParseRangesFile(std::string_view bytes);
std::string PrintRangesFile(const std::vector<FileRange>& ranges);

// The ranges of `text`, read from the ranges file when it names one. Errors of the file system as they are.
absl::StatusOr<std::vector<FileRange>> ReadRanges(base::Filesystem& filesystem, std::string_view text);

// A piece that moves from one file to another.
struct RangeCopy {
  uint64_t source_offset_bytes = 0;
  uint64_t destination_offset_bytes = 0;
  uint64_t length_bytes = 0;

  friend bool operator==(const RangeCopy&, const RangeCopy&) = default;
};

// Pairs the bytes of `source` with those of `destination`, in order; the ranges may be cut differently.
// INVALID_ARGUMENT / INVALID_REQUEST when the sums differ.
absl::StatusOr<std::vector<RangeCopy>> PairRanges(const std::vector<FileRange>& source,
                                                  const std::vector<FileRange>& destination);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_PARTIAL_FILES_H_
