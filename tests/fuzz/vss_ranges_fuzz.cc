// Target: the ranges of partial files, as text and as a ranges file, and file patterns. What is accepted prints, and
// what was printed is accepted again with the same content.
#include "agent/vss/file_sets.h"
#include "agent/vss/partial_files.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {

std::vector<std::string> Seeds() {
  return {
      "0"
      "0:512,4096:512,0x10000:0x200",
      "0File=D:\\ranges.bin",
      "1" + vss::PrintRangesFile({{0, 512}, {4096, 512}}),
      "2*.log\nedb*.log",
  };
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  const std::string_view rest = input.substr(1);
  if (input[0] % 3 == 0) {
    const auto parsed = vss::ParseRanges(rest);
    if (!parsed.ok() || !parsed->file.empty()) return;
    const auto again = vss::ParseRanges(vss::PrintRanges(parsed->ranges));
    Require(again.ok() && *again == *parsed, "ranges survive a round trip");
  } else if (input[0] % 3 == 1) {
    const auto ranges = vss::ParseRangesFile(rest);
    if (!ranges.ok()) return;
    Require(vss::PrintRangesFile(*ranges) == rest, "a ranges file survives a round trip");
    Require(vss::PairRanges(*ranges, *ranges).ok(), "ranges pair with themselves");
  } else {
    const size_t line = std::min(rest.find('\n'), rest.size());
    const std::string_view pattern = rest.substr(0, line), name = rest.substr(std::min(line + 1, rest.size()));
    const bool matches = vss::MatchesPattern(pattern, name, false);
    Require(!matches || vss::MatchesPattern(pattern, name, true), "what matches does so in any case");
    // A name is a pattern without wildcards: sets of the two overlap exactly when it matches.
    if (vss::HasWildcard(name)) return;
    vss::FileSet one, other;
    one.path = other.path = "/x";
    one.filespec = pattern;
    other.filespec = name;
    Require(vss::MayOverlap(one, other, false) == matches, "a set overlaps the files that it names");
  }
}

}  // namespace umbra::fuzz
