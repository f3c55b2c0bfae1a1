#include "agent/vss/restore_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

// Goes through the text part by part.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool at_end() {
    SkipSpace();
    return at_ == text_.size();
  }
  // Takes `c` when it comes next.
  bool Take(char c) {
    SkipSpace();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  absl::StatusOr<std::string> Quoted() {
    if (!Take('"')) return Malformed("a quote is missing");
    const size_t end = text_.find('"', at_);
    if (end == std::string_view::npos) return Malformed("a quote isn't closed");
    std::string part(text_.substr(at_, end - at_));
    at_ = end + 1;
    return part;
  }
  absl::Status Malformed(std::string_view what) const {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "restore options: {} at character {} of {}", what, at_, text_);
  }

 private:
  void SkipSpace() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

absl::StatusOr<RestoreOption> ReadOption(Reader& reader) {
  RestoreOption option;
  ASSIGN_OR_RETURN(option.name, reader.Quoted());
  if (reader.Take(':')) {
    option.subcomponent = std::move(option.name);
    ASSIGN_OR_RETURN(option.name, reader.Quoted());
  }
  if (option.name.empty()) return reader.Malformed("an option has no name");
  if (!reader.Take('=')) return reader.Malformed("an option has no value");
  ASSIGN_OR_RETURN(option.value, reader.Quoted());
  return option;
}

}  // namespace

bool IsRestoreOptionList(std::string_view text) {
  return Reader(text).Take('"');
}

absl::StatusOr<std::vector<RestoreOption>> ParseRestoreOptionList(std::string_view text) {
  std::vector<RestoreOption> options;
  Reader reader(text);
  while (!reader.at_end()) {
    if (!options.empty() && !reader.Take(',')) return reader.Malformed("a comma is missing");
    ASSIGN_OR_RETURN(RestoreOption option, ReadOption(reader));
    const bool twice = std::any_of(options.begin(), options.end(), [&](const RestoreOption& other) {
      return other.subcomponent == option.subcomponent && other.name == option.name;
    });
    if (twice) return reader.Malformed(fmt::format("\"{}\" is there twice", option.name));
    options.push_back(std::move(option));
  }
  return options;
}

std::string PrintRestoreOptionList(const std::vector<RestoreOption>& options) {
  std::string text;
  for (const RestoreOption& option : options) {
    if (!text.empty()) text += ',';
    if (!option.subcomponent.empty()) text += fmt::format("\"{}\":", option.subcomponent);
    text += fmt::format("\"{}\"=\"{}\"", option.name, option.value);
  }
  return text;
}

absl::StatusOr<bool> ParseRestoreSwitch(const RestoreOption& option) {
  for (const char* yes : {"true", "yes", "1"}) {
    if (absl::EqualsIgnoreCase(option.value, yes)) return true;
  }
  for (const char* no : {"false", "no", "0"}) {
    if (absl::EqualsIgnoreCase(option.value, no)) return false;
  }
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                     "restore option \"{}\" is neither true nor false: \"{}\"", option.name, option.value);
}

}  // namespace umbra::vss
