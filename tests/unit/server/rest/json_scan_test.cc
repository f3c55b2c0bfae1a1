// Proves that nothing deep or unbalanced reaches protobuf's parser, in time that grows with the length alone.
#include "server/rest/json_scan.h"

#include <gtest/gtest.h>

#include <string>

namespace umbra::rest {
namespace {

TEST(ScanJson, LetsPlainJsonPass) {
  for (const char* text :
       {"", "{}", "[]", "1", R"({"a":[1,{"b":"]}"}],"c":"\"[{"})", R"({"a":'}'})", R"("\\")", " { } "}) {
    EXPECT_TRUE(ScanJson(text).ok()) << text;
  }
}

TEST(ScanJson, RefusesWhatIsNotNested) {
  for (const char* text : {"{", "[", "}", "[}", "{]", "{}}", R"({"a)", R"("\")", R"({"a":"}")", "'"}) {
    EXPECT_FALSE(ScanJson(text).ok()) << text;
  }
  EXPECT_FALSE(ScanJson(std::string_view("{\0}", 3)).ok());
}

TEST(ScanJson, StopsAtTheDepth) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(ScanJson(nested(kJsonDepthMax)).ok());
  EXPECT_FALSE(ScanJson(nested(kJsonDepthMax + 1)).ok());
  // Minutes of protobuf's parser; a moment of ours.
  EXPECT_FALSE(ScanJson(nested(500'000)).ok());
  EXPECT_FALSE(ScanJson(std::string(1'000'000, '{')).ok());
  // Width is no depth.
  std::string wide = "[";
  for (int i = 0; i < 100'000; ++i) wide += "[],";
  EXPECT_TRUE(ScanJson(wide + "[]]").ok());
}

}  // namespace
}  // namespace umbra::rest
