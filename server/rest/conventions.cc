#include "server/rest/conventions.h"

#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/sha.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::rest {
namespace {

constexpr size_t kHashSize = 8;  // bytes; against chance, not against an enemy
constexpr absl::Duration kTimeoutMin = absl::Milliseconds(1);
constexpr absl::Duration kTimeoutMax = absl::Minutes(10);

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Calls `each` with every part of a comma separated list.
template <typename Each>
void ForEachPart(std::string_view list, char separator, Each each) {
  while (!list.empty()) {
    const size_t at = list.find(separator);
    each(Trim(list.substr(0, at)));
    list = at == std::string_view::npos ? std::string_view() : list.substr(at + 1);
  }
}

std::string_view WithoutWeak(std::string_view tag) {
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  return tag;
}

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string HashOf(std::string_view body) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(body.data()), body.size(), digest);
  std::string text;
  for (size_t i = 0; i < kHashSize; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace

std::string TagOf(std::string_view etag, std::string_view body) {
  return etag.empty() ? fmt::format("\"{}\"", HashOf(body)) : fmt::format("\"{}.{}\"", etag, HashOf(body));
}

std::optional<std::string> EtagOfIfMatch(std::string_view if_match) {
  std::string_view tag = WithoutWeak(Trim(if_match));
  if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') tag = tag.substr(1, tag.size() - 2);
  if (tag.empty() || tag == "*") return std::nullopt;
  const size_t dot = tag.rfind('.');
  if (dot != std::string_view::npos && tag.size() - dot - 1 == 2 * kHashSize && IsHex(tag.substr(dot + 1))) {
    tag = tag.substr(0, dot);
  }
  return std::string(tag);
}

bool Matches(std::string_view if_none_match, std::string_view tag) {
  bool matches = false;
  ForEachPart(if_none_match, ',', [&](std::string_view part) {
    matches = matches || part == "*" || WithoutWeak(part) == WithoutWeak(tag);
  });
  return matches;
}

std::optional<std::string> CookieValue(std::string_view cookies, std::string_view name) {
  std::optional<std::string> value;
  ForEachPart(cookies, ';', [&](std::string_view part) {
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos || part.substr(0, equals) != name || value) return;
    if (IsHeaderName(part.substr(equals + 1))) value = std::string(part.substr(equals + 1));
  });
  return value;
}

bool AcceptsGzip(std::string_view accept_encoding) {
  bool accepts = false;
  ForEachPart(accept_encoding, ',', [&](std::string_view part) {
    const size_t semicolon = part.find(';');
    if (!EqualsNoCase(Trim(part.substr(0, semicolon)), "gzip")) return;
    const std::string_view weight = semicolon == std::string_view::npos ? "" : Trim(part.substr(semicolon + 1));
    accepts = weight.find_first_not_of("q=0.") != std::string_view::npos || weight.empty();
  });
  return accepts;
}

std::string Gzip(const std::string& text) {
  namespace io = google::protobuf::io;
  std::string packed;
  {
    io::StringOutputStream sink(&packed);
    io::GzipOutputStream::Options options;
    options.compression_level = 4;
    io::GzipOutputStream gzip(&sink, options);
    void* place = nullptr;
    int room = 0;
    for (size_t done = 0; done < text.size();) {
      if (!gzip.Next(&place, &room)) return {};
      const size_t count = std::min(static_cast<size_t>(room), text.size() - done);
      memcpy(place, text.data() + done, count);
      gzip.BackUp(room - static_cast<int>(count));
      done += count;
    }
    gzip.Close();
  }
  return packed;
}

absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
  if (error == std::errc() && end == text.data() + text.size()) {
    const absl::Duration timeout = absl::Seconds(seconds);
    if (timeout >= kTimeoutMin && timeout <= kTimeoutMax) return timeout;
  }
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                     "Request-Timeout: a number of seconds from 0.001 to 600");
}

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

std::optional<ByteRange> ParseRange(std::string_view range) {
  if (!range.starts_with("bytes=")) return std::nullopt;
  range.remove_prefix(6);
  const size_t dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view text) -> std::optional<int64_t> {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
    return value;
  };
  const auto first = number(range.substr(0, dash));
  const auto last = number(range.substr(dash + 1));
  if (dash == 0) return last && *last > 0 ? std::optional(ByteRange{-*last, 0}) : std::nullopt;
  if (!first || (!last && dash + 1 != range.size())) return std::nullopt;
  if (!last || *last == INT64_MAX) return ByteRange{*first, 0};
  return *last < *first ? std::nullopt : std::optional(ByteRange{*first, *last - *first + 1});
}

std::string FormatEvent(std::string_view id, std::string_view name, std::string_view data) {
  std::string text;
  if (!id.empty()) text += fmt::format("id: {}\n", id);
  if (!name.empty()) text += fmt::format("event: {}\n", name);
  text += "data: ";
  text += data;
  text += "\n\n";
  return text;
}

}  // namespace umbra::rest
