// Target: what a stranger says of himself: the authorization header, the cookie's secret, the name of his address, and
// the password that he wants.
#include <cctype>

#include "server/identity/passwords.h"
#include "server/identity/permissions.h"
#include "server/identity/principal.h"
#include "server/identity/secrets.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

void FuzzHeader(std::string_view input) {
  const auto token = identity::BearerToken(input);
  if (!token.has_value()) return;
  Require(identity::IsTokenText(*token), "an accepted token has its form");
  Require(input.substr(input.size() - token->size()) == *token, "a token is the end of its header");
  Require(identity::BearerToken("Bearer " + std::string(*token)) == *token, "a token is read as it was written");
}

void FuzzSession(std::string_view input) {
  if (!identity::IsSessionText(input)) return;
  Require(!identity::IsTokenText(input), "a session is no token");
  for (const char c : input)
    Require(std::isalnum(static_cast<unsigned char>(c)) || c == '_', "an accepted secret is plain text");
}

void FuzzAddress(std::string_view input) {
  const std::string address = identity::AddressOf(input);
  Require(address.size() <= 128, "an address is bounded");
  const std::string network = identity::NetworkOf(address);
  Require(network.size() <= 128, "a network is bounded");
  Require(identity::NetworkOf(network) == network, "a network is its own network");
}

void FuzzGrant(std::string_view input) {
  const identity::Scope scope{.hosts = {std::string(input)}, .policies = {}, .labels = {std::string(input)}};
  (void)identity::CheckScope(scope);
  (void)identity::CheckScope({.hosts = {std::string(input)}});
  identity::Principal principal;
  principal.grants = {{{std::string(input)}, {}}};
  for (const identity::Permission& permission : identity::kPermissions) {
    const bool allowed = identity::Allows(principal, permission.name, {});
    Require(!allowed || identity::IsPermissionPattern(input), "only a known pattern allows something");
  }
}

void FuzzPassword(std::string_view input) {
  if (!identity::CheckPassword(input, "admin").ok()) return;
  Require(input.size() >= identity::kPasswordCharactersMin && input.size() <= identity::kPasswordBytesMax,
          "a password is neither short nor endless");
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string letters(51, 'q');
  return {"0Bearer umbra_" + letters + "a",
          "1umbras_" + letters + "q",
          "2ipv6:%5B2001:db8::1%5D:5000",
          "2ipv4:192.0.2.1:5000",
          "3hosts/h",
          "3env=prod",
          "3jobs.*",
          "4correct horse battery"};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  const std::string_view rest = input.substr(1);
  switch (static_cast<unsigned char>(input[0]) % 5) {
    case '0' % 5:
      return FuzzHeader(rest);
    case '1' % 5:
      return FuzzSession(rest);
    case '2' % 5:
      return FuzzAddress(rest);
    case '3' % 5:
      return FuzzGrant(rest);
    default:
      return FuzzPassword(rest);
  }
}

}  // namespace umbra::fuzz
