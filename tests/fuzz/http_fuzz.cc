// Target: the bytes of a stranger's connection, up to the requests that they are. The first byte says in which pieces
// they come: what is understood must not depend on that.
#include <algorithm>
#include <vector>

#include "server/rest/request_parser.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

// Small, so that inputs reach them.
constexpr rest::RequestLimits kLimits = {.header_bytes_max = 600, .header_lines_max = 12, .body_bytes_max = 300};

using Understood = std::vector<rest::WholeRequest>;

void CheckRequest(const rest::Request& request) {
  Require(request.target.starts_with('/'), "a target is a path");
  Require(rest::IsHeaderName(request.method), "a method is a token");
  Require(request.headers.size() <= kLimits.header_lines_max, "the lines of a header are bounded");
  Require(request.body.size() <= kLimits.body_bytes_max, "a body is bounded");
  size_t header_bytes = request.method.size() + request.target.size();
  for (const rest::Header& header : request.headers) {
    Require(rest::IsHeaderName(header.name), "a header's name is a token");
    Require(header.value.find_first_of("\r\n\0", 0, 3) == std::string::npos, "a header's value is one line");
    header_bytes += header.name.size() + header.value.size();
  }
  Require(header_bytes <= kLimits.header_bytes_max, "a header is bounded");
}

// As the server does it: a parser for each request, what it leaves is the next one's.
Understood Understand(std::string_view input, size_t piece) {
  Understood all;
  std::string bytes;
  auto parser = std::make_unique<rest::RequestParser>(kLimits);
  while (!input.empty()) {
    bytes += input.substr(0, piece);
    input.remove_prefix(std::min(piece, input.size()));
    while (!bytes.empty()) {
      const size_t before = bytes.size();
      rest::ParsedRequest parsed = parser->Take(bytes);
      Require(bytes.size() <= before, "nothing is put back");
      if (const auto* none = std::get_if<rest::NoRequest>(&parsed)) {
        Require(none->status == 400 || none->status == 413 || none->status == 431, "a refusal has its status");
        return all;
      }
      auto* whole = std::get_if<rest::WholeRequest>(&parsed);
      if (whole == nullptr) {
        Require(bytes.size() <= kLimits.header_bytes_max + piece, "what isn't understood yet is bounded");
        break;
      }
      CheckRequest(whole->request);
      all.push_back(std::move(*whole));
      parser = std::make_unique<rest::RequestParser>(kLimits);
    }
  }
  return all;
}

}  // namespace

std::vector<std::string> Seeds() {
  return {"\x01GET /v1/jobs?a=b HTTP/1.1\r\nHost: h\r\n\r\n",
          "\x07POST /v1/jobs HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
          "\x20POST /v1/jobs HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nT: "
          "u\r\n\r\n",
          "\x05GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET / HTTP/1.0\r\n\r\n",
          "\x03POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcHEAD / "
          "HTTP/1.1\r\nHost: h\r\n\r\n",
          "\xffGET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\nH: 8\r\nI: 9\r\nJ: "
          "10\r\n\r\n",
          "\x10GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nx",
          "\x02PATCH /v1/p?updateMask=a HTTP/1.1\r\nHost:h\r\nContent-Length: 301\r\n\r\n"};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  const size_t piece = 1 + static_cast<unsigned char>(input[0]);
  input.remove_prefix(1);
  const Understood at_once = Understand(input, std::max<size_t>(1, input.size()));
  const Understood in_pieces = Understand(input, piece);
  // Of what isn't whole yet, more may be known to be wrong when it came at once: what was understood is compared.
  Require(at_once.size() == in_pieces.size(), "pieces don't change how many requests there are");
  for (size_t i = 0; i < at_once.size(); ++i) {
    const rest::Request& a = at_once[i].request;
    const rest::Request& b = in_pieces[i].request;
    Require(a.method == b.method && a.target == b.target && a.body == b.body && a.headers.size() == b.headers.size(),
            "pieces don't change a request");
  }
}

}  // namespace umbra::fuzz
