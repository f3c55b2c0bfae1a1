#include "server/rest/path_template.h"

#include <algorithm>
#include <utility>

#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

using base::Invalid;

constexpr size_t kParametersMax = 100;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t at; (at = text.find(separator, begin)) != std::string_view::npos; begin = at + 1) {
    parts.push_back(text.substr(begin, at - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

bool IsPlainSegment(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && std::none_of(text.begin(), text.end(), [](char c) {
    return c == '/' || static_cast<unsigned char>(c) < ' ' || c == 0x7f;
  });
}

}  // namespace

std::optional<std::string> DecodePercent(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out.push_back(' ');
    } else if (text[i] != '%') {
      out.push_back(text[i]);
    } else {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexDigit(text[i + 1]);
      const int low = HexDigit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

absl::StatusOr<std::vector<QueryParameter>> ParseQuery(std::string_view query) {
  std::vector<QueryParameter> parameters;
  if (query.empty()) return parameters;
  for (const std::string_view part : Split(query, '&')) {
    if (part.empty()) continue;
    if (parameters.size() == kParametersMax) return Invalid("query: more than {} parameters", kParametersMax);
    const size_t equals = part.find('=');
    auto name = DecodePercent(part.substr(0, equals), true);
    auto value = DecodePercent(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (!name || !value || name->empty()) return Invalid("query: '{}' is not NAME=VALUE, percent-encoded", part);
    parameters.push_back({*std::move(name), *std::move(value)});
  }
  return parameters;
}

absl::StatusOr<PathTemplate> PathTemplate::Parse(std::string_view text) {
  PathTemplate parsed;
  if (text.empty() || text.front() != '/') return Invalid("path template '{}': begins with no '/'", text);
  const size_t last = text.find_last_of("/}");
  if (const size_t colon = text.find(':', last); colon != std::string_view::npos) {
    parsed.verb_ = std::string(text.substr(colon + 1));
    text = text.substr(0, colon);
  }
  text.remove_prefix(1);
  while (!text.empty()) {
    std::string_view part;
    if (text.front() == '{') {
      const size_t close = text.find('}');
      if (close == std::string_view::npos) return Invalid("path template: '{{' without '}}'");
      part = text.substr(1, close - 1);
      text = text.substr(close + 1);
      const size_t equals = part.find('=');
      Variable variable{std::string(part.substr(0, equals)), parsed.segments_.size(), 0};
      for (const std::string_view segment :
           Split(equals == std::string_view::npos ? std::string_view("*") : part.substr(equals + 1), '/')) {
        parsed.segments_.emplace_back(segment);
      }
      variable.end = parsed.segments_.size();
      parsed.variables_.push_back(std::move(variable));
    } else {
      const size_t slash = text.find('/');
      parsed.segments_.emplace_back(text.substr(0, slash));
      text = slash == std::string_view::npos ? std::string_view() : text.substr(slash);
    }
    if (!text.empty()) {
      if (text.front() != '/') return Invalid("path template: '/' expected before '{}'", text);
      text.remove_prefix(1);
    }
  }
  for (const std::string& segment : parsed.segments_) {
    if (segment.empty() || segment == "**") return Invalid("path template: segment '{}' can't be used", segment);
  }
  return parsed;
}

std::optional<std::vector<PathValue>> PathTemplate::Match(std::string_view path) const {
  if (path.empty() || path.front() != '/') return std::nullopt;
  path.remove_prefix(1);
  if (!verb_.empty()) {
    if (path.size() <= verb_.size() || !path.ends_with(verb_) || path[path.size() - verb_.size() - 1] != ':') {
      return std::nullopt;
    }
    path.remove_suffix(verb_.size() + 1);
  }
  const std::vector<std::string_view> parts = Split(path, '/');
  if (parts.size() != segments_.size()) return std::nullopt;
  std::vector<std::string> decoded(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    auto text = DecodePercent(parts[i], false);
    if (!text || !IsPlainSegment(*text)) return std::nullopt;
    if (segments_[i] != "*" && segments_[i] != *text) return std::nullopt;
    // "hosts/h1:drain" is the verb of another template, never a name: no id of ours has a ':'.
    if (verb_.empty() && i + 1 == parts.size() && parts[i].find(':') != std::string_view::npos) return std::nullopt;
    decoded[i] = *std::move(text);
  }
  std::vector<PathValue> values;
  for (const Variable& variable : variables_) {
    PathValue value{variable.field, {}};
    for (size_t i = variable.begin; i < variable.end; ++i) {
      if (i > variable.begin) value.value += '/';
      value.value += decoded[i];
    }
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace umbra::rest
