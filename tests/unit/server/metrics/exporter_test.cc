// Proves that pages are served over HTTP as they are at the moment, and what health says from the start to the stop.
#include "server/metrics/exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/metrics/health.h"
#include "storage/base/status.h"
#include "tests/support/http_get.h"

namespace umbra::metrics {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::HttpAsk;
using ::testing::Not;
using ::testing::StartsWith;

TEST(ExporterTest, PagesAreMadeAsTheyAreAskedFor) {
  int count = 0;
  Exporter::Pages pages;
  pages["/metrics"] = [&] { return Page{.text = "count " + std::to_string(++count) + "\n"}; };
  pages["/readyz"] = [] { return Page{.status = 503, .text = "starting"}; };
  const auto exporter = Exporter::Start("127.0.0.1:0", std::move(pages));
  ASSERT_TRUE(exporter.ok()) << exporter.status();
  const std::string& address = (*exporter)->address();
  EXPECT_THAT(HttpAsk(address, "GET /metrics"), EndsWith("count 1\n"));
  const std::string second = HttpAsk(address, "GET /metrics");
  EXPECT_THAT(second, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(second, HasSubstr("Content-Length: 8\r\n"));
  EXPECT_THAT(second, EndsWith("\r\n\r\ncount 2\n"));
  EXPECT_THAT(HttpAsk(address, "HEAD /metrics"), Not(HasSubstr("count")));
  EXPECT_THAT(HttpAsk(address, "GET /readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(HttpAsk(address, "GET /etc/passwd"), HasSubstr(" 404 "));
  EXPECT_THAT(HttpAsk(address, "POST /metrics"), HasSubstr(" 405 "));
}

TEST(ExporterTest, ATakenPortIsNamed) {
  const auto first = Exporter::Start("127.0.0.1:0", {});
  ASSERT_TRUE(first.ok());
  const auto second = Exporter::Start((*first)->address(), {});
  EXPECT_EQ(base::ReasonOf(second.status()), "LISTEN_FAILED");
  EXPECT_THAT(base::MessageOf(second.status()), HasSubstr((*first)->address()));
}

TEST(HealthTest, ReadyOnlyBetweenStartAndStopAndWhileTheCatalogAnswers) {
  Health health;
  EXPECT_TRUE(health.Live().good);
  EXPECT_FALSE(health.ReadyNow().good);
  health.Starting("repositories");
  EXPECT_TRUE(health.Live().good);
  EXPECT_EQ(health.ReadyNow().text, "starting: repositories");
  bool answers = true;
  health.Ready([&] { return answers; });
  EXPECT_TRUE(health.ReadyNow().good);
  EXPECT_EQ(health.ReadyNow().text, "ready");
  answers = false;
  EXPECT_FALSE(health.Live().good);
  EXPECT_FALSE(health.ReadyNow().good);
  answers = true;
  health.Stopping();
  EXPECT_TRUE(health.Live().good);
  EXPECT_FALSE(health.ReadyNow().good);
  EXPECT_EQ(health.ReadyNow().text, "stopping");
}

}  // namespace
}  // namespace umbra::metrics
