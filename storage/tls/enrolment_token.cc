#include "storage/tls/enrolment_token.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::tls {
namespace {

constexpr size_t kPartSize = 64;  // 32 bytes in hexadecimal

bool IsPart(std::string_view text) {
  return text.size() == kPartSize &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace

std::string FormatEnrolmentToken(const EnrolmentToken& token) {
  return token.secret + "." + token.fingerprint;
}

absl::StatusOr<EnrolmentToken> ParseEnrolmentToken(std::string_view text) {
  text = Trim(text);
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || !IsPart(text.substr(0, dot)) || !IsPart(text.substr(dot + 1))) {
    return base::Error(
        absl::StatusCode::kInvalidArgument, "ENROLMENT_TOKEN_INVALID",
        "this is no enrolment token; a token is two runs of 64 characters (0-9, a-f) with a dot between");
  }
  return EnrolmentToken{std::string(text.substr(0, dot)), std::string(text.substr(dot + 1))};
}

}  // namespace umbra::tls
