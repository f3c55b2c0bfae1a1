// Pages of lists (AIP-158): sizes within bounds, and tokens that say after which item the next page starts.
//
// A token is opaque: hexadecimal text with a checksum over the list it belongs to (method and filters) and the key of
// the last item seen. It stays good while items come and go, and over restarts. Whoever edits it, or takes it to
// another list or filter, gets INVALID_ARGUMENT / INVALID_PAGE_TOKEN. It guards against mistakes; it keeps no secret.
#ifndef UMBRA_SERVER_API_PAGING_H_
#define UMBRA_SERVER_API_PAGING_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"

namespace umbra::api {

inline constexpr int kPageSizeDefault = 100;
inline constexpr int kPageSizeMax = 1000;

// 0 means kPageSizeDefault, more than kPageSizeMax means that. INVALID_ARGUMENT / INVALID_REQUEST when negative.
absl::StatusOr<int> PageSize(int32_t requested);

// `list` names the list with its filters: a token is good for the same text only.
std::string MakePageToken(std::string_view list, std::string_view key);
// The key in `token`; empty optional for the first page (empty token).
absl::StatusOr<std::optional<std::string>> ReadPageToken(std::string_view list, std::string_view token);

// Keys of the catalog's lists as text. A text that is no key gives an empty optional.
std::string KeyText(int64_t key);
std::string KeyText(const std::string& key);
std::string KeyText(const catalog::HostId& key);
std::string KeyText(const catalog::VmKey& key);
std::string KeyText(const catalog::RecoveryPointKey& key);
std::optional<int64_t> ParseKey(std::string_view text, const int64_t*);
std::optional<std::string> ParseKey(std::string_view text, const std::string*);
std::optional<catalog::HostId> ParseKey(std::string_view text, const catalog::HostId*);
std::optional<catalog::VmKey> ParseKey(std::string_view text, const catalog::VmKey*);
std::optional<catalog::RecoveryPointKey> ParseKey(std::string_view text, const catalog::RecoveryPointKey*);

absl::Status InvalidPageToken();

// What a request's page_size and page_token ask of the catalog's list.
template <typename Key, typename Request>
absl::StatusOr<catalog::ListOptions<Key>> ListOptionsOf(const Request& request, std::string_view list) {
  catalog::ListOptions<Key> options;
  const auto size = PageSize(request.page_size());
  if (!size.ok()) return size.status();
  options.page_size = *size;
  const auto text = ReadPageToken(list, request.page_token());
  if (!text.ok()) return text.status();
  if (!text->has_value()) return options;
  options.after_key = ParseKey(**text, static_cast<const Key*>(nullptr));
  if (!options.after_key) return InvalidPageToken();
  return options;
}

// next_page_token for a page that ended at `next_key`.
template <typename Key>
std::string NextPageToken(const std::optional<Key>& next_key, std::string_view list) {
  return next_key ? MakePageToken(list, KeyText(*next_key)) : std::string();
}

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_PAGING_H_
