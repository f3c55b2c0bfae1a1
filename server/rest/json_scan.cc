#include "server/rest/json_scan.h"

#include <string>

#include "storage/base/status.h"

namespace umbra::rest {
namespace {

absl::Status Bad(size_t at, std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "body: byte {}: {}", at, what);
}

// The position after the string that begins at `at`, or npos when it doesn't end.
size_t AfterString(std::string_view text, size_t at) {
  const char quote = text[at];  // protobuf's parser takes both
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

}  // namespace

absl::Status ScanJson(std::string_view text, int depth_max) {
  std::string open;  // the brackets that are open, each as what closes it
  size_t at = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      const size_t after = AfterString(text, at);
      if (after == std::string_view::npos) return Bad(at, "a string that doesn't end");
      at = after;
      continue;
    }
    if (c == '\0') return Bad(at, "a NUL");
    if (c == '{' || c == '[') {
      if (open.size() == static_cast<size_t>(depth_max)) return Bad(at, "nested too deep");
      open.push_back(c == '{' ? '}' : ']');
    } else if (c == '}' || c == ']') {
      if (open.empty() || open.back() != c) return Bad(at, "a bracket that closes nothing");
      open.pop_back();
    }
    ++at;
  }
  if (!open.empty()) return Bad(text.size(), "a bracket isn't closed");
  return absl::OkStatus();
}

}  // namespace umbra::rest
