#include "agent/vss/partial_files.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using base::Invalid;

constexpr std::string_view kFilePrefix = "File=";
constexpr size_t kPairBytes = 16;

absl::StatusOr<uint64_t> ParseNumber(std::string_view text) {
  text = base::Sv(absl::StripAsciiWhitespace(base::Av(text)));
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hexadecimal ? text.substr(2) : text;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hexadecimal ? 16 : 10);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
    return Invalid("\"{}\" in a list of ranges is no number of 64 bits", text);
  }
  return value;
}

absl::Status CheckRange(const FileRange& range) {
  if (range.length_bytes <= std::numeric_limits<uint64_t>::max() - range.offset_bytes) return absl::OkStatus();
  return Invalid("range {}:{} ends beyond 64 bits", range.offset_bytes, range.length_bytes);
}

absl::StatusOr<FileRange> ParseRange(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return Invalid("\"{}\" is no range offset:length", text);
  FileRange range;
  ASSIGN_OR_RETURN(range.offset_bytes, ParseNumber(text.substr(0, colon)));
  ASSIGN_OR_RETURN(range.length_bytes, ParseNumber(text.substr(colon + 1)));
  RETURN_IF_ERROR(CheckRange(range));
  return range;
}

uint64_t ReadNumber(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

void AppendNumber(std::string* bytes, uint64_t value) {
  for (int i = 0; i < 8; ++i) bytes->push_back(static_cast<char>(value >> (8 * i) & 255));
}

}  // namespace

absl::StatusOr<RangesText> ParseRanges(std::string_view text) {
  RangesText parsed;
  if (absl::StartsWithIgnoreCase(base::Av(text), base::Av(kFilePrefix))) {
    parsed.file = text.substr(kFilePrefix.size());
    if (parsed.file.empty()) return Invalid("\"{}\" names no ranges file", text);
    return parsed;
  }
  if (static_cast<size_t>(std::count(text.begin(), text.end(), ',')) >= kMaxRanges) {
    return Invalid("more than {} ranges", kMaxRanges);
  }
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = rest.find(',');
    ASSIGN_OR_RETURN(const FileRange range, ParseRange(rest.substr(0, comma)));
    parsed.ranges.push_back(range);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) return Invalid("a list of ranges ends with a comma");
  }
  return parsed;
}

std::string PrintRanges(const std::vector<FileRange>& ranges) {
  std::string text;
  for (const FileRange& range : ranges) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", range.offset_bytes, range.length_bytes);
  }
  return text;
}

absl::StatusOr<std::vector<FileRange>> ParseRangesFile(std::string_view bytes) {
  if (bytes.size() < 8) return Invalid("a ranges file has at least 8 bytes, this one {}", bytes.size());
  const uint64_t count = ReadNumber(bytes, 0);
  if (count > kMaxRanges) return Invalid("more than {} ranges", kMaxRanges);
  if (bytes.size() != 8 + count * kPairBytes) {
    return Invalid("a file of {} ranges has {} bytes, this one {}", count, 8 + count * kPairBytes, bytes.size());
  }
  std::vector<FileRange> ranges;
  ranges.reserve(count);
  for (size_t at = 8; at < bytes.size(); at += kPairBytes) {
    ranges.push_back({ReadNumber(bytes, at), ReadNumber(bytes, at + 8)});
    RETURN_IF_ERROR(CheckRange(ranges.back()));
  }
  return ranges;
}

std::string PrintRangesFile(const std::vector<FileRange>& ranges) {
  std::string bytes;
  bytes.reserve(8 + ranges.size() * kPairBytes);
  AppendNumber(&bytes, ranges.size());
  for (const FileRange& range : ranges) {
    AppendNumber(&bytes, range.offset_bytes);
    AppendNumber(&bytes, range.length_bytes);
  }
  return bytes;
}

absl::StatusOr<std::vector<FileRange>> ReadRanges(base::Filesystem& filesystem, std::string_view text) {
  ASSIGN_OR_RETURN(RangesText parsed, ParseRanges(text));
  if (parsed.file.empty()) return std::move(parsed.ranges);
  ASSIGN_OR_RETURN(const std::string bytes, filesystem.ReadFile(parsed.file, 8 + kMaxRanges * kPairBytes));
  return ParseRangesFile(bytes);
}

absl::StatusOr<std::vector<RangeCopy>> PairRanges(const std::vector<FileRange>& source,
                                                  const std::vector<FileRange>& destination) {
  std::vector<RangeCopy> copies;
  size_t s = 0, d = 0;
  uint64_t s_done = 0, d_done = 0;  // of the ranges at s and d
  while (true) {
    while (s < source.size() && s_done == source[s].length_bytes) ++s, s_done = 0;
    while (d < destination.size() && d_done == destination[d].length_bytes) ++d, d_done = 0;
    if (s == source.size() || d == destination.size()) break;
    const uint64_t length = std::min(source[s].length_bytes - s_done, destination[d].length_bytes - d_done);
    copies.push_back({source[s].offset_bytes + s_done, destination[d].offset_bytes + d_done, length});
    s_done += length;
    d_done += length;
  }
  if (s != source.size() || d != destination.size())
    return Invalid("source and destination ranges have different sums");
  return copies;
}

}  // namespace umbra::vss
