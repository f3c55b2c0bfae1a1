// Proves the text form of restore options: what is read, that print and parse are each other's opposite, and that every
// other text is refused with the place.
#include "agent/vss/restore_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using ::testing::HasSubstr;

TEST(RestoreOptionsTest, ReadsListsAndPrintsThemAgain) {
  const std::vector<RestoreOption> options = {
      {"Sub\\One", "Authoritative", "true"}, {"", "Roll Forward", ""}, {"Sub\\One", "Owner's own, =:", "a \\ b"}};
  const std::string text = R"("Sub\One":"Authoritative"="true","Roll Forward"="","Sub\One":"Owner's own, =:"="a \ b")";
  EXPECT_EQ(*ParseRestoreOptionList(text), options);
  EXPECT_EQ(PrintRestoreOptionList(options), text);
  EXPECT_EQ(*ParseRestoreOptionList(R"( "Sub\One" : "Authoritative" = "true" , "x"="y" )"),
            (std::vector<RestoreOption>{{"Sub\\One", "Authoritative", "true"}, {"", "x", "y"}}));
  EXPECT_TRUE(ParseRestoreOptionList("")->empty());
}

TEST(RestoreOptionsTest, TextsOfAnotherFormAreTheWritersOwn) {
  EXPECT_TRUE(IsRestoreOptionList(R"("a"="b")"));
  EXPECT_TRUE(IsRestoreOptionList(R"( "a)"));
  for (const char* text : {"", "new_name=x;configuration=\"y\"", "a\"b\""})
    EXPECT_FALSE(IsRestoreOptionList(text)) << text;
}

TEST(RestoreOptionsTest, RefusesWhatIsMalformed) {
  for (const char* text :
       {R"("a)", R"("a")", R"("a"=)", R"("a"="b)", R"("a"=b)", R"("a":="b")", R"("a":"b":"c"="d")", R"(""="x")",
        R"("a"="b""c"="d")", R"("a"="b",)", R"("a"="b";"c"="d")", R"("a"="b","a"="c")", R"(a="b")"}) {
    const absl::Status status = ParseRestoreOptionList(text).status();
    EXPECT_EQ(base::ReasonOf(status), "INVALID_REQUEST") << text;
    EXPECT_THAT(base::MessageOf(status), HasSubstr("at character")) << text;
  }
}

TEST(RestoreOptionsTest, SwitchesAreTrueOrFalse) {
  for (const char* yes : {"true", "True", "YES", "1"}) EXPECT_TRUE(*ParseRestoreSwitch({"", "x", yes}));
  for (const char* no : {"false", "No", "0"}) EXPECT_FALSE(*ParseRestoreSwitch({"", "x", no}));
  for (const char* bad : {"", "maybe", "truely"})
    EXPECT_EQ(base::ReasonOf(ParseRestoreSwitch({"", "x", bad}).status()), "INVALID_REQUEST");
}

}  // namespace
}  // namespace umbra::vss
