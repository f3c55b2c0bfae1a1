#include "server/api/paging.h"

#include <algorithm>
#include <charconv>

#include "storage/base/bytes.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr size_t kChecksumSize = 8;
// Parts of a key; no id holds this character.
constexpr char kSeparator = '\n';
// Longer than any key: a longer token isn't even decoded.
constexpr size_t kTokenSizeMax = 2048;

std::string Checksum(std::string_view list, std::string_view key) {
  const std::string text = fmt::format("umbra page token 1{}{}{}{}", kSeparator, list, kSeparator, key);
  return std::string(base::AsText(base::Sha256(text)).substr(0, kChecksumSize));
}

struct Halves {
  std::string first;
  std::string second;
};

std::optional<Halves> SplitOnce(std::string_view text) {
  const size_t at = text.find(kSeparator);
  if (at == std::string_view::npos) return std::nullopt;
  return Halves{std::string(text.substr(0, at)), std::string(text.substr(at + 1))};
}

}  // namespace

absl::Status InvalidPageToken() {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN",
                     "page_token: not a token of this list with these filters");
}

absl::StatusOr<int> PageSize(int32_t requested) {
  if (requested < 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "page_size: must not be negative");
  }
  return requested == 0 ? kPageSizeDefault : std::min<int>(requested, kPageSizeMax);
}

std::string MakePageToken(std::string_view list, std::string_view key) {
  return base::ToHex(base::AsBytes(Checksum(list, key) + std::string(key)));
}

absl::StatusOr<std::optional<std::string>> ReadPageToken(std::string_view list, std::string_view token) {
  if (token.empty()) return std::optional<std::string>();
  if (token.size() > kTokenSizeMax) return InvalidPageToken();
  const std::optional<std::string> raw = base::FromHex(token);
  if (!raw || raw->size() < kChecksumSize) return InvalidPageToken();
  std::string key = raw->substr(kChecksumSize);
  if (raw->substr(0, kChecksumSize) != Checksum(list, key)) return InvalidPageToken();
  return std::optional<std::string>(std::move(key));
}

std::string KeyText(int64_t key) {
  return std::to_string(key);
}
std::string KeyText(const std::string& key) {
  return key;
}
std::string KeyText(const catalog::HostId& key) {
  return key.value;
}
std::string KeyText(const catalog::VmKey& key) {
  return key.host.value + kSeparator + key.uuid;
}
std::string KeyText(const catalog::RecoveryPointKey& key) {
  return std::to_string(absl::ToUnixMicros(key.point_time)) + kSeparator + key.id.value;
}

std::optional<int64_t> ParseKey(std::string_view text, const int64_t*) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string> ParseKey(std::string_view text, const std::string*) {
  return std::string(text);
}

std::optional<catalog::HostId> ParseKey(std::string_view text, const catalog::HostId*) {
  return catalog::HostId(std::string(text));
}

std::optional<catalog::VmKey> ParseKey(std::string_view text, const catalog::VmKey*) {
  std::optional<Halves> halves = SplitOnce(text);
  if (!halves) return std::nullopt;
  return catalog::VmKey{catalog::HostId(std::move(halves->first)), std::move(halves->second)};
}

std::optional<catalog::RecoveryPointKey> ParseKey(std::string_view text, const catalog::RecoveryPointKey*) {
  std::optional<Halves> halves = SplitOnce(text);
  if (!halves) return std::nullopt;
  const std::optional<int64_t> time_us = ParseKey(halves->first, static_cast<const int64_t*>(nullptr));
  if (!time_us) return std::nullopt;
  return catalog::RecoveryPointKey{absl::FromUnixMicros(*time_us), catalog::RecoveryPointId(std::move(halves->second))};
}

}  // namespace umbra::api
