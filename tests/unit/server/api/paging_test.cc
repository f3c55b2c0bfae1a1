// Proves that a page token brings its key back, and that no other text passes for one: every single-character change of
// a token, tokens of other lists, and random text are refused.
#include "server/api/paging.h"

#include <gtest/gtest.h>

#include "storage/base/bytes.h"
#include "storage/base/random.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

template <typename Key>
std::optional<Key> ThroughToken(const Key& key) {
  const auto text = ReadPageToken("list", MakePageToken("list", KeyText(key)));
  EXPECT_TRUE(text.ok() && text->has_value());
  return ParseKey(**text, static_cast<const Key*>(nullptr));
}

TEST(PageToken, BringsEveryKindOfKeyBack) {
  EXPECT_EQ(ThroughToken(int64_t{0}), 0);
  EXPECT_EQ(ThroughToken(INT64_MAX), INT64_MAX);
  EXPECT_EQ(ThroughToken(int64_t{-5}), -5);
  EXPECT_EQ(ThroughToken(std::string("66841cd4")), "66841cd4");
  EXPECT_EQ(ThroughToken(catalog::HostId("h1")), catalog::HostId("h1"));
  EXPECT_EQ(ThroughToken(catalog::VmKey{catalog::HostId("h1"), "u1"}), (catalog::VmKey{catalog::HostId("h1"), "u1"}));
  const catalog::RecoveryPointKey key{absl::FromUnixMicros(1'800'000'000'123'456), catalog::RecoveryPointId("p")};
  const auto back = ThroughToken(key);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->point_time, key.point_time);
  EXPECT_EQ(back->id, key.id);
}

TEST(PageToken, EmptyMeansTheFirstPage) {
  const auto key = ReadPageToken("list", "");
  ASSERT_TRUE(key.ok());
  EXPECT_FALSE(key->has_value());
}

void ExpectRefused(std::string_view list, const std::string& token) {
  const auto key = ReadPageToken(list, token);
  EXPECT_EQ(key.status().code(), absl::StatusCode::kInvalidArgument) << token;
  EXPECT_EQ(base::ReasonOf(key.status()), "INVALID_PAGE_TOKEN") << token;
}

TEST(PageToken, EveryChangedCharacterIsNoticed) {
  const std::string token = MakePageToken("jobs", "1234567");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == '0' ? '1' : '0';
    ExpectRefused("jobs", changed);
  }
  for (size_t i = 1; i < token.size(); ++i) ExpectRefused("jobs", token.substr(0, i));
  ExpectRefused("jobs", token + "00");
}

TEST(PageToken, BelongsToItsListAndFilters) {
  ExpectRefused("jobs kind=", MakePageToken("jobs kind=backup", "7"));
}

TEST(PageToken, RandomTextIsRefused) {
  base::SeededRandom random(7);
  for (int i = 0; i < 500; ++i) {
    std::string text(static_cast<size_t>(random.Fraction() * 80) + 1, '\0');
    random.Fill(std::as_writable_bytes(std::span(text.data(), text.size())));
    ExpectRefused("jobs", text);
    ExpectRefused("jobs", base::ToHex(base::AsBytes(text)));
  }
  ExpectRefused("jobs", std::string(1 << 20, 'a'));
}

TEST(PageSize, IsBounded) {
  EXPECT_EQ(*PageSize(0), kPageSizeDefault);
  EXPECT_EQ(*PageSize(1), 1);
  EXPECT_EQ(*PageSize(INT32_MAX), kPageSizeMax);
  EXPECT_EQ(base::ReasonOf(PageSize(-1).status()), "INVALID_REQUEST");
}

}  // namespace
}  // namespace umbra::api
