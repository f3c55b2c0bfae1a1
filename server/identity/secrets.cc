#include "server/identity/secrets.h"

#include <arpa/inet.h>
#include <sodium.h>

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"

namespace umbra::identity {
namespace {

constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
constexpr size_t kSecretTextSize = 52;  // of 256 bits; the last letter has one of them
constexpr size_t kPasswordBytes = 20;
constexpr size_t kPasswordGroup = 4;
constexpr size_t kAddressSizeMax = 128;
constexpr std::string_view kScheme = "bearer ";

std::string RandomText(base::Random& random) {
  std::array<std::byte, kSecretBytes> bytes;
  random.Fill(bytes);
  std::string text = Base32(bytes);
  sodium_memzero(bytes.data(), bytes.size());
  return text;
}

bool IsSecretText(std::string_view text, std::string_view prefix) {
  if (text.size() != prefix.size() + kSecretTextSize || text.substr(0, prefix.size()) != prefix) return false;
  const std::string_view letters = text.substr(prefix.size());
  const bool all_known = letters.find_first_not_of(kAlphabet) == std::string_view::npos;
  // One bit is the secret's, four are padding: 'a' or 'q'.
  return all_known && (letters.back() == 'a' || letters.back() == 'q');
}

// The part of "ADDRESS:PORT" before the port; brackets go.
std::string_view WithoutPort(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    const size_t end = text.find(']');
    return end == std::string_view::npos ? text : text.substr(1, end - 1);
  }
  // Two colons: an IPv6 address without a port.
  const size_t colon = text.find(':');
  return colon != text.rfind(':') ? text : text.substr(0, colon);
}

}  // namespace

std::string Base32(base::Bytes bytes) {
  std::string text;
  uint32_t bits = 0;
  int bit_count = 0;
  for (const std::byte byte : bytes) {
    bits = bits << 8 | std::to_integer<uint32_t>(byte);
    for (bit_count += 8; bit_count >= 5; bit_count -= 5) text += kAlphabet[bits >> (bit_count - 5) & 31];
    bits &= (1u << bit_count) - 1;
  }
  if (bit_count > 0) text += kAlphabet[bits << (5 - bit_count) & 31];
  return text;
}

std::string NewTokenText(base::Random& random) {
  return std::string(kTokenPrefix) + RandomText(random);
}

std::string NewSessionText(base::Random& random) {
  return std::string(kSessionPrefix) + RandomText(random);
}

std::string NewPasswordText(base::Random& random) {
  std::array<std::byte, kPasswordBytes> bytes;
  random.Fill(bytes);
  const std::string letters = Base32(bytes);
  std::string text;
  for (size_t i = 0; i < letters.size(); i += kPasswordGroup) {
    if (i > 0) text += '-';
    text += letters.substr(i, kPasswordGroup);
  }
  return text;
}

bool IsTokenText(std::string_view text) {
  return IsSecretText(text, kTokenPrefix);
}

bool IsSessionText(std::string_view text) {
  return IsSecretText(text, kSessionPrefix);
}

std::string HashOfSecret(std::string_view text) {
  return base::ToHex(base::Sha256(text));
}

std::optional<std::string_view> BearerToken(std::string_view authorization) {
  if (!absl::StartsWithIgnoreCase(base::Av(authorization), base::Av(kScheme))) return std::nullopt;
  std::string_view token = authorization.substr(kScheme.size());
  token.remove_prefix(std::min(token.find_first_not_of(' '), token.size()));
  if (!IsTokenText(token)) return std::nullopt;
  return token;
}

std::string AddressOf(std::string_view peer) {
  if (peer == "local" || peer.substr(0, 5) == "unix:" || peer.substr(0, 14) == "unix-abstract:") return "";
  for (const std::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (peer.substr(0, scheme.size()) == scheme) peer.remove_prefix(scheme.size());
  }
  const std::string plain = absl::StrReplaceAll(base::Av(peer.substr(0, kAddressSizeMax)),
                                                {{"%5B", "["}, {"%5D", "]"}, {"%5b", "["}, {"%5d", "]"}, {"%25", "%"}});
  return std::string(WithoutPort(plain));
}

std::string NetworkOf(const std::string& address) {
  in6_addr parsed;
  const std::string without_zone = address.substr(0, address.find('%'));
  if (inet_pton(AF_INET6, without_zone.c_str(), &parsed) != 1) return address;
  if (IN6_IS_ADDR_V4MAPPED(&parsed)) {
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &parsed.s6_addr[12], text, sizeof(text));
    return text;
  }
  std::fill(parsed.s6_addr + 8, parsed.s6_addr + 16, 0);
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, &parsed, text, sizeof(text));
  return text;
}

}  // namespace umbra::identity
