// The level of the log can be asked for and set before and after the log is set up.
#include "storage/base/log.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace umbra::base {
namespace {

TEST(Log, ItsLevelIsKnownBeforeAndAfterItIsSetUp) {
  EXPECT_EQ(LogLevel(), "info");
  testing::TempDir dir;
  ASSERT_TRUE(SetUpLogging({.level = "warn", .file = dir.File("log")}));
  EXPECT_EQ(LogLevel(), "warn");
  ASSERT_TRUE(SetLogLevel("debug"));
  EXPECT_EQ(LogLevel(), "debug");
  EXPECT_TRUE(Log("test")->should_log(spdlog::level::debug));
  EXPECT_FALSE(SetLogLevel("loud"));
  EXPECT_EQ(LogLevel(), "debug");
  ASSERT_TRUE(SetUpLogging({}));
  EXPECT_EQ(LogLevel(), "info");
}

}  // namespace
}  // namespace umbra::base
