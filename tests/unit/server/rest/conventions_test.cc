// Proves the small agreements of HTTP: what may be in a header, etags and conditions, cookies, ranges, time limits,
// events.
#include "server/rest/conventions.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/rest/problem.h"
#include "storage/base/retry_after.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

TEST(Headers, NothingBeginsAnotherOne) {
  Response response;
  response.Set("X-Good", "value with spaces; and=\"quotes\"");
  response.Set("X-Bad", "a\r\nSet-Cookie: b");
  response.Set("X-Bad", "a\nb");
  response.Set("X-Bad", "a\tb");
  response.Set("X-Bad", std::string("a\0b", 3));
  response.Set("X-Bad", "\xe9");
  response.Set("X-Bad", "\x7f");
  response.Set("X-Bad", std::string(5000, 'a'));
  response.Set("X Bad", "a");
  response.Set("X-Bad:", "a");
  response.Set("", "a");
  ASSERT_EQ(response.headers.size(), 1);
  EXPECT_EQ(*FindHeader(response.headers, "x-gOOD"), "value with spaces; and=\"quotes\"");
}

TEST(Tags, HoldEtagAndBody) {
  const std::string tag = TagOf("12", "body");
  EXPECT_EQ(EtagOfIfMatch(tag), "12");
  EXPECT_EQ(EtagOfIfMatch("W/" + tag), "12");
  EXPECT_EQ(EtagOfIfMatch("\"12\""), "12");
  EXPECT_EQ(EtagOfIfMatch("12"), "12");
  EXPECT_EQ(EtagOfIfMatch("\"a.b\""), "a.b");  // a dot of its own
  EXPECT_EQ(EtagOfIfMatch("*"), std::nullopt);
  EXPECT_EQ(EtagOfIfMatch("\"\""), std::nullopt);
  EXPECT_NE(tag, TagOf("12", "other"));
  EXPECT_NE(tag, TagOf("13", "body"));
}

TEST(Tags, MatchWeaklyAndInLists) {
  EXPECT_TRUE(Matches("\"a\"", "\"a\""));
  EXPECT_TRUE(Matches("W/\"a\"", "\"a\""));
  EXPECT_TRUE(Matches("\"b\" , \"a\"", "W/\"a\""));
  EXPECT_TRUE(Matches("*", "\"a\""));
  EXPECT_FALSE(Matches("\"b\"", "\"a\""));
  EXPECT_FALSE(Matches("a", "\"a\""));
  EXPECT_FALSE(Matches("", "\"a\""));
}

TEST(Cookies, AreFoundByTheirWholeName) {
  EXPECT_EQ(CookieValue("a=1; session=abc; b=2", "session"), "abc");
  EXPECT_EQ(CookieValue("xsession=no", "session"), std::nullopt);
  EXPECT_EQ(CookieValue("session=one; session=two", "session"), "one");
  EXPECT_EQ(CookieValue("session=", "session"), std::nullopt);
  EXPECT_EQ(CookieValue("session=a b", "session"), std::nullopt);
  EXPECT_EQ(CookieValue("session", "session"), std::nullopt);
}

TEST(Gzip, IsAskedForByWeight) {
  for (const char* text : {"gzip", "br, GZIP", "gzip;q=0.5", "deflate,gzip;q=1", "gzip; q=0.001"}) {
    EXPECT_TRUE(AcceptsGzip(text)) << text;
  }
  for (const char* text : {"", "br", "gzip;q=0", "gzip;q=0.000", "xgzip"}) EXPECT_FALSE(AcceptsGzip(text)) << text;
  EXPECT_LT(Gzip(std::string(10'000, 'a')).size(), 200);
  EXPECT_FALSE(Gzip("").empty());
}

TEST(Timeouts, HaveBounds) {
  EXPECT_EQ(*ParseTimeout("30"), absl::Seconds(30));
  EXPECT_EQ(*ParseTimeout("0.5"), absl::Milliseconds(500));
  for (const char* text : {"", "0", "-1", "601", "1e3", "nan", "inf", "5s", " 5"})
    EXPECT_FALSE(ParseTimeout(text).ok()) << text;
}

TEST(RequestIds, ArePlain) {
  EXPECT_TRUE(IsRequestId("a-B_9.x"));
  EXPECT_FALSE(IsRequestId(""));
  EXPECT_FALSE(IsRequestId("a b"));
  EXPECT_FALSE(IsRequestId(std::string(65, 'a')));
}

TEST(Ranges, AreOneOrNone) {
  EXPECT_EQ(ParseRange("bytes=0-9"), (ByteRange{0, 10}));
  EXPECT_EQ(ParseRange("bytes=90-"), (ByteRange{90, 0}));
  EXPECT_EQ(ParseRange("bytes=-10"), (ByteRange{-10, 0}));
  EXPECT_EQ(ParseRange("bytes=5-5"), (ByteRange{5, 1}));
  EXPECT_EQ(ParseRange("bytes=1-9223372036854775807"), (ByteRange{1, 0}));
  for (const char* text : {"", "bytes=", "bytes=-", "bytes=-0", "bytes=a-b", "bytes=5-1", "bytes=0-1,5-6", "lines=0-1",
                           "bytes=--5", "bytes=1", "bytes=99999999999999999999-"}) {
    EXPECT_EQ(ParseRange(text), std::nullopt) << text;
  }
}

TEST(Events, AreLinesWithAnEmptyOneAfter) {
  EXPECT_EQ(FormatEvent("7", "", "{}"), "id: 7\ndata: {}\n\n");
  EXPECT_EQ(FormatEvent("", "end", "{}"), "event: end\ndata: {}\n\n");
}

// ---- Problems ----

TEST(Problems, EveryCodeHasItsStatus) {
  const std::pair<absl::StatusCode, int> kTable[] = {
      {absl::StatusCode::kOk, 200},
      {absl::StatusCode::kCancelled, 499},
      {absl::StatusCode::kUnknown, 500},
      {absl::StatusCode::kInvalidArgument, 400},
      {absl::StatusCode::kDeadlineExceeded, 504},
      {absl::StatusCode::kNotFound, 404},
      {absl::StatusCode::kAlreadyExists, 409},
      {absl::StatusCode::kPermissionDenied, 403},
      {absl::StatusCode::kResourceExhausted, 429},
      {absl::StatusCode::kFailedPrecondition, 409},
      {absl::StatusCode::kAborted, 409},
      {absl::StatusCode::kOutOfRange, 400},
      {absl::StatusCode::kUnimplemented, 501},
      {absl::StatusCode::kInternal, 500},
      {absl::StatusCode::kUnavailable, 503},
      {absl::StatusCode::kDataLoss, 500},
      {absl::StatusCode::kUnauthenticated, 401},
  };
  for (const auto& [code, status] : kTable) EXPECT_EQ(HttpStatusOf(code), status) << absl::StatusCodeToString(code);
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kAborted, true), 412);
}

TEST(Problems, SayWhatToDo) {
  const absl::Status status = base::Error(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "no job 'a\"b'");
  const Response response = ProblemResponse(ProblemOf(status), "id-1");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(*FindHeader(response.headers, "Content-Type"), "application/problem+json");
  EXPECT_EQ(response.body,
            R"({"type":"urn:umbra:error:JOB_NOT_FOUND","title":"Not Found","status":404,"detail":"no job 'a\"b'",)"
            R"("reason":"JOB_NOT_FOUND","action":"No such job. List the jobs.","requestId":"id-1"})");
}

TEST(Problems, WhatIsNotKnownIsLeftOut) {
  EXPECT_EQ(
      ProblemJson({501, "", ""}, "x"),
      R"({"type":"about:blank","title":"Not Implemented","status":501,"detail":"Not Implemented","requestId":"x"})");
  EXPECT_EQ(ProblemJson({500, "", "\xff"}, "x").find('\xff'), std::string::npos);
}

TEST(Problems, SayWhenToComeBack) {
  for (const int status : {429, 503})
    EXPECT_NE(FindHeader(ProblemResponse({status, "", ""}, "x").headers, "Retry-After"), nullptr);
  EXPECT_EQ(FindHeader(ProblemResponse({500, "", ""}, "x").headers, "Retry-After"), nullptr);
  const absl::Status throttled = base::WithRetryAfter(
      base::MakeError(absl::StatusCode::kResourceExhausted, "SIGN_IN_THROTTLED", "later"), absl::Milliseconds(16500));
  const Response response = ProblemResponse(ProblemOf(throttled), "x");
  ASSERT_NE(FindHeader(response.headers, "Retry-After"), nullptr);
  EXPECT_EQ(*FindHeader(response.headers, "Retry-After"), "17");
  EXPECT_EQ(nlohmann::json::parse(response.body)["retryAfterSeconds"], 17);
  EXPECT_FALSE(nlohmann::json::parse(ProblemResponse({429, "", ""}, "x").body).contains("retryAfterSeconds"));
  EXPECT_NE(FindHeader(ProblemResponse({401, "", ""}, "x").headers, "WWW-Authenticate"), nullptr);
}

}  // namespace
}  // namespace umbra::rest
