// The texts of secrets: what an API token, a session and a made-up password look like, and what is kept of them. Pure.
#ifndef UMBRA_SERVER_IDENTITY_SECRETS_H_
#define UMBRA_SERVER_IDENTITY_SECRETS_H_

#include <optional>
#include <string>
#include <string_view>

#include "storage/base/bytes.h"
#include "storage/base/random.h"

namespace umbra::identity {

inline constexpr std::string_view kTokenPrefix = "umbra_";
inline constexpr std::string_view kSessionPrefix = "umbras_";
inline constexpr size_t kSecretBytes = 32;

// RFC 4648 base 32 in lower case, without padding.
std::string Base32(base::Bytes bytes);

// A prefix and 256 random bits. Scanners of source code find the prefix.
std::string NewTokenText(base::Random& random);
std::string NewSessionText(base::Random& random);
// 160 random bits, in groups that a person can type.
std::string NewPasswordText(base::Random& random);

// Exactly what NewTokenText, or NewSessionText, could have made.
bool IsTokenText(std::string_view text);
bool IsSessionText(std::string_view text);

// What is kept of either: lower-case hexadecimal SHA-256.
std::string HashOfSecret(std::string_view text);

// The token of an "Authorization" header: "Bearer TOKEN", the scheme in any case. Absent: it is none.
std::optional<std::string_view> BearerToken(std::string_view authorization);

// The address of "ipv4:192.0.2.1:5000", "ipv6:[2001:db8::1]:5000" or "192.0.2.1:5000", without the port; "" of a unix
// socket ("local"). What can't be read comes back as it is, cut to a bounded size.
std::string AddressOf(std::string_view peer);
// What one party surely has many of counts as one: of an IPv6 address its first 64 bits.
std::string NetworkOf(const std::string& address);

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_SECRETS_H_
