// Proves that a token survives the trip through a person's hands, and that anything else is refused with its reason.
#include "storage/tls/enrolment_token.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::tls {
namespace {

const std::string kSecret(64, 'a');
const std::string kPin(64, '7');

TEST(EnrolmentToken, RoundTripIgnoresSurroundingSpace) {
  const auto parsed = ParseEnrolmentToken(" " + FormatEnrolmentToken({kSecret, kPin}) + "\n");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->secret, kSecret);
  EXPECT_EQ(parsed->fingerprint, kPin);
}

TEST(EnrolmentToken, RefusesEverythingElse) {
  for (const std::string& text : {std::string(), kSecret, kSecret + ".", "." + kPin, kSecret + "." + kPin + "." + kPin,
                                  kSecret + "." + kPin.substr(1), std::string(64, 'A') + "." + kPin}) {
    const auto parsed = ParseEnrolmentToken(text);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(base::ReasonOf(parsed.status()), "ENROLMENT_TOKEN_INVALID") << text;
  }
}

}  // namespace
}  // namespace umbra::tls
