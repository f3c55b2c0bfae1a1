// Requests of HTTP/1.1 out of the bytes of a connection, within limits. Pure: no socket, no clock.
#ifndef UMBRA_SERVER_REST_REQUEST_PARSER_H_
#define UMBRA_SERVER_REST_REQUEST_PARSER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <variant>

#include "server/rest/http.h"

namespace umbra::rest {

struct RequestLimits {
  size_t header_bytes_max = 8 * 1024;
  size_t header_lines_max = 100;
  size_t body_bytes_max = 1024 * 1024;
};

// The bytes are the beginning of a request, which isn't whole.
struct PartOfRequest {
  bool wants_continue = false;  // the client waits for "100 Continue" before it sends the body; said once
};
struct WholeRequest {
  Request request;  // without its peer
  bool keep_alive = true;
  bool may_chunk = true;  // the client takes an answer in chunks: not with HTTP/1.0
};
// After this the connection can't be understood any more.
struct NoRequest {
  int status = 400;  // of the answer: 400, 413 or 431
  std::string detail;
};
using ParsedRequest = std::variant<PartOfRequest, WholeRequest, NoRequest>;

// Of one request: after WholeRequest or NoRequest it is over. One thread at a time.
class RequestParser {
 public:
  explicit RequestParser(const RequestLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Takes what it understands off the front of `bytes`, which is what came since and what was left the last time; after
  // a whole request the next one's bytes are left. What isn't finished (a header, a line between the chunks of a body)
  // stays in `bytes`, and is refused when it is longer than header_bytes_max.
  ParsedRequest Take(std::string& bytes);

 private:
  struct Impl;
  ParsedRequest Finish();

  const RequestLimits limits_;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_REQUEST_PARSER_H_
