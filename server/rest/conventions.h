// Small agreements of HTTP that several answers follow: etags, cookies, origins, compression. Pure functions.
#ifndef UMBRA_SERVER_REST_CONVENTIONS_H_
#define UMBRA_SERVER_REST_CONVENTIONS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rest/http.h"

namespace umbra::rest {

// The tag of an answer, with its quotes: the resource's own etag, which a change may be made conditional on, and what
// the body is, since some of what a resource shows isn't part of its etag. `etag` may be empty.
std::string TagOf(std::string_view etag, std::string_view body);

// The resource's etag in an If-Match: what TagOf made of it, or the etag itself; quotes and "W/" may be there or not.
// nullopt for "*" and an empty one.
std::optional<std::string> EtagOfIfMatch(std::string_view if_match);

// True when `if_none_match` lists `tag` (compared weakly) or is "*".
bool Matches(std::string_view if_none_match, std::string_view tag);

// The value of cookie `name` in the Cookie header; nullopt: it isn't there, or is no token.
std::optional<std::string> CookieValue(std::string_view cookies, std::string_view name);

// gzip is among what the client takes.
bool AcceptsGzip(std::string_view accept_encoding);
std::string Gzip(const std::string& text);

// A number of seconds, from 0.001 to 600, such as "30" or "0.5". INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text);

// Letters, digits and "._-", 1 to 64: what may come back in a header and a log line.
bool IsRequestId(std::string_view text);

struct ByteRange {
  int64_t offset = 0;  // negative: so many bytes before the end
  int64_t length = 0;  // 0: up to the end
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};
// "bytes=FIRST-LAST", "bytes=FIRST-" or "bytes=-COUNT". nullopt: anything else, several ranges too; that means the
// whole.
std::optional<ByteRange> ParseRange(std::string_view range);

// ---- Server-sent events ----

// One event; `data` is one line. `id` and `name` may be empty.
std::string FormatEvent(std::string_view id, std::string_view name, std::string_view data);
inline constexpr char kHeartbeat[] = ": still here\n\n";

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_CONVENTIONS_H_
