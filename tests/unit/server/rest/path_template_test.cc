// Proves which paths fit which templates, what the variables get, and that no encoding makes a name of another shape.
#include "server/rest/path_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace umbra::rest {
namespace {

using ::testing::ElementsAre;

std::optional<std::vector<PathValue>> Match(std::string_view text, std::string_view path) {
  const auto parsed = PathTemplate::Parse(text);
  EXPECT_TRUE(parsed.ok()) << text;
  return parsed.ok() ? parsed->Match(path) : std::nullopt;
}

TEST(PathTemplate, GivesVariablesTheirSegments) {
  const std::string text = "/v1/{name=hosts/*/virtualMachines/*}:setLabels";
  EXPECT_THAT(*Match(text, "/v1/hosts/h1/virtualMachines/u2:setLabels"),
              ElementsAre(PathValue{"name", "hosts/h1/virtualMachines/u2"}));
  EXPECT_THAT(*Match("/v1/{policy.name=policies/*}", "/v1/policies/nightly"),
              ElementsAre(PathValue{"policy.name", "policies/nightly"}));
  EXPECT_THAT(*Match("/v1/{parent=hosts/*}/writers/{id}", "/v1/hosts/h/writers/w"),
              ElementsAre(PathValue{"parent", "hosts/h"}, PathValue{"id", "w"}));
  EXPECT_TRUE(Match("/v1/events:watch", "/v1/events:watch")->empty());
}

TEST(PathTemplate, FitsNothingElse) {
  const std::string text = "/v1/{name=jobs/*}";
  for (const char* path : {"", "/", "v1/jobs/a", "/v1/jobs", "/v1/jobs/", "/v1/jobs/a/b", "/v1/job/a",
                           "/v1/jobs/a:cancel", "/v1/jobs/.", "/v1/jobs/..", "/v1//a", "/v1/jobs/a/"}) {
    EXPECT_FALSE(Match(text, path)) << path;
  }
  EXPECT_FALSE(Match(text + ":cancel", "/v1/jobs/a"));
  EXPECT_FALSE(Match(text + ":cancel", "/v1/jobs/:cancel"));
  EXPECT_FALSE(Match(text + ":cancel", "/v1/jobs/acancel"));
}

TEST(PathTemplate, DecodesWithoutChangingTheShape) {
  const std::string text = "/v1/{name=jobs/*}";
  EXPECT_THAT(*Match(text, "/v1/jobs/a%20b%C3%A4"), ElementsAre(PathValue{"name", "jobs/a bä"}));
  EXPECT_THAT(*Match(text, "/v1/%6aobs/a"), ElementsAre(PathValue{"name", "jobs/a"}));
  for (const char* path : {"/v1/jobs/a%2Fb", "/v1/jobs/%2e%2e", "/v1/jobs/a%00", "/v1/jobs/a%0d%0ab", "/v1/jobs/a%7f",
                           "/v1/jobs/a%", "/v1/jobs/a%2", "/v1/jobs/a%zz"}) {
    EXPECT_FALSE(Match(text, path)) << path;
  }
}

TEST(PathTemplate, RefusesWhatItCantUse) {
  for (const char* text : {"", "v1/jobs", "/v1/{name=jobs/**}", "/v1/{name", "/v1//jobs", "/v1/{name}x"}) {
    EXPECT_FALSE(PathTemplate::Parse(text).ok()) << text;
  }
}

TEST(ParseQuery, DecodesAndBounds) {
  const auto parsed = ParseQuery("a=1&b=x%26y+z&c&&d=");
  ASSERT_TRUE(parsed.ok());
  ASSERT_EQ(parsed->size(), 4);
  EXPECT_EQ((*parsed)[1].value, "x&y z");
  EXPECT_EQ((*parsed)[2].value, "");
  EXPECT_TRUE(ParseQuery("")->empty());
  for (const char* text : {"a=%", "=1", "a=%4", "%zz=1"}) EXPECT_FALSE(ParseQuery(text).ok()) << text;
  std::string many;
  for (int i = 0; i < 101; ++i) many += "a=1&";
  EXPECT_FALSE(ParseQuery(many).ok());
}

}  // namespace
}  // namespace umbra::rest
