// Proves what the parser makes of bytes that come in any pieces: requests one after another, what is refused and with
// which status, and when a client is told to go on. tests/fuzz has the rest of what can come.
#include "server/rest/request_parser.h"

#include <gtest/gtest.h>

namespace umbra::rest {
namespace {

std::string Describe(const ParsedRequest& parsed) {
  if (const auto* none = std::get_if<NoRequest>(&parsed)) return std::to_string(none->status);
  if (const auto* part = std::get_if<PartOfRequest>(&parsed)) return part->wants_continue ? "continue" : "part";
  const auto& whole = std::get<WholeRequest>(parsed);
  return whole.request.method + " " + whole.request.target + " " + whole.request.body +
         (whole.keep_alive ? "" : " close") + (whole.may_chunk ? "" : " 1.0");
}

std::string Parse(std::string bytes, const RequestLimits& limits = {}) {
  RequestParser parser(limits);
  return Describe(parser.Take(bytes));
}

TEST(RequestParser, TakesOneRequestAndLeavesTheNext) {
  std::string bytes = "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}GET /c HTTP/1.0\r\n\r\n";
  RequestParser first({});
  EXPECT_EQ(Describe(first.Take(bytes)), "POST /a?b {}");
  RequestParser second({});
  EXPECT_EQ(Describe(second.Take(bytes)), "GET /c  close 1.0");
  EXPECT_TRUE(bytes.empty());
}

TEST(RequestParser, PiecesMakeNoDifference) {
  const std::string whole =
      "POST /a HTTP/1.1\r\nHost: h\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
  for (const size_t piece : {1, 2, 3, 7, 50}) {
    RequestParser parser({});
    std::string bytes;
    ParsedRequest last = PartOfRequest{};
    for (size_t at = 0; at < whole.size(); at += piece) {
      EXPECT_EQ(Describe(last), "part");
      bytes += whole.substr(at, piece);
      last = parser.Take(bytes);
    }
    EXPECT_EQ(Describe(last), "POST /a abc") << piece;
  }
}

TEST(RequestParser, ALastChunkThatComesByteByByte) {
  RequestParser parser({});
  std::string bytes = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  EXPECT_EQ(Describe(parser.Take(bytes)), "part");
  for (const char c : std::string("T: x\r\n\r")) {
    bytes += c;
    EXPECT_EQ(Describe(parser.Take(bytes)), "part");
  }
  bytes += '\n';
  EXPECT_EQ(Describe(parser.Take(bytes)), "POST /a ");
}

TEST(RequestParser, TheSignToGoOnIsGivenOnce) {
  RequestParser parser({});
  std::string bytes = "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
  EXPECT_EQ(Describe(parser.Take(bytes)), "continue");
  bytes = "{";
  EXPECT_EQ(Describe(parser.Take(bytes)), "part");
  bytes = "}";
  EXPECT_EQ(Describe(parser.Take(bytes)), "POST /a {}");
}

TEST(RequestParser, WhatIsNoRequest) {
  EXPECT_EQ(Parse("GET /a HTTP/1.1\r\n\r\n"), "400");                        // no host
  EXPECT_EQ(Parse("GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), "400");  // two
  EXPECT_EQ(Parse("GET https://x/ HTTP/1.1\r\nHost: a\r\n\r\n"), "400");     // a proxy's
  EXPECT_EQ(Parse("GET /a HTTP/3.1\r\nHost: a\r\n\r\n"), "400");
  EXPECT_EQ(Parse("GET /a HTTP/1.1\r\nHost: a\r\nB ad: 1\r\n\r\n"), "400");
  EXPECT_EQ(Parse("\x16\x03\x01\r\n\r\n"), "400");
}

TEST(RequestParser, WhatIsTooMuch) {
  const RequestLimits limits = {.header_bytes_max = 200, .header_lines_max = 3, .body_bytes_max = 5};
  const std::string head = "POST /a HTTP/1.1\r\nHost: h\r\n";
  EXPECT_EQ(Parse(head + "A: 1\r\nContent-Length: 5\r\n\r\n12345", limits), "POST /a 12345");
  EXPECT_EQ(Parse(head + "Content-Length: 6\r\n\r\n", limits), "413");  // before it is sent
  EXPECT_EQ(Parse(head + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n", limits), "431");
  EXPECT_EQ(Parse(head + "A: " + std::string(300, 'x'), limits), "431");
  // Also where the first line came before the rest.
  RequestParser parser(limits);
  std::string line = "GET /" + std::string(150, 'a') + " HTTP/1.1\r\n";
  EXPECT_EQ(Describe(parser.Take(line)), "part");
  line += "Host: h\r\nA: " + std::string(50, 'x') + "\r\n\r\n";
  EXPECT_EQ(Describe(parser.Take(line)), "431");
  // Lines of a body that never end.
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(Parse(chunked + "1;a=b\r\nx\r\n0\r\n\r\n", limits), "POST /a x");
  EXPECT_EQ(Parse(chunked + "1;" + std::string(100, 'a'), limits), "part");
  EXPECT_EQ(Parse(chunked + "1;" + std::string(200, 'a'), limits), "431");
  EXPECT_EQ(Parse(chunked + "0\r\nT: " + std::string(200, 'a'), limits), "431");
}

}  // namespace
}  // namespace umbra::rest
