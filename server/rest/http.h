// HTTP in plain types: what the server hands to whoever answers. No socket, no library.
#ifndef UMBRA_SERVER_REST_HTTP_H_
#define UMBRA_SERVER_REST_HTTP_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace umbra::rest {

struct Header {
  std::string name;
  std::string value;
};

// Names compare without regard to case. Null: there is none. The first of several.
const std::string* FindHeader(const std::vector<Header>& headers, std::string_view name);

// One whole request within the limits of the server.
struct Request {
  std::string method;  // "GET"
  std::string target;  // begins with '/', as it came
  std::vector<Header> headers;
  std::string body;
  std::string peer;  // address of the client, without port

  const std::string* Find(std::string_view name) const { return FindHeader(headers, name); }
};

struct Response {
  int status = 200;
  std::vector<Header> headers;  // without Content-Length, Connection and Transfer-Encoding: the server's own
  std::string body;
  // In the place of `body`, when many answers have the same one: nobody gets a copy.
  std::shared_ptr<const std::string> shared_body = nullptr;

  // Adds a header. One that can't be sent (see IsHeaderName, IsHeaderValue) is left out: nothing that a caller says can
  // begin another header or another answer.
  void Set(std::string_view name, std::string_view value);
};

// A token of RFC 9110.
bool IsHeaderName(std::string_view name);
// Visible ASCII and space; no line break, tab or other control character, at most 4 KiB. What metadata of gRPC takes,
// too: it ends the process for anything else.
bool IsHeaderValue(std::string_view value);

bool EqualsNoCase(std::string_view a, std::string_view b);

// The phrase of a status, such as "Not Found".
std::string_view Phrase(int status);

// One request and its answer. Whoever holds it answers once: Answer, or Begin, any number of Write, End. One that is
// let go without an answer gets 500, one without an end is aborted. Thread-safe.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const Request& request() const = 0;

  virtual void Answer(Response response) = 0;

  // Sends the head of an answer whose body comes in pieces; `head.body` is the first. With `head` holding
  // Content-Length the pieces must add up to it, else they are sent as chunks. `heartbeat` is sent whenever nothing
  // else was for `every`.
  virtual void Begin(Response head, std::string heartbeat, absl::Duration every) = 0;
  // The next piece. `written` is called when it has left; the next Write comes after that, so a slow client slows its
  // source down. Never called once the client has gone.
  virtual void Write(std::string bytes, std::function<void()> written) = 0;
  virtual void End() = 0;
  // Closes the connection: what was sent isn't the whole.
  virtual void Abort() = 0;

  // `gone` is called once when the client goes before the answer ended, at once if it has. May be called on a thread of
  // the server: it must not block. Let go of when the answer has ended.
  virtual void WhenGone(std::function<void()> gone) = 0;
  // Calls `then` on a thread of the server after `delay`, unless the client has gone or the answer has ended. Another
  // one takes its place.
  virtual void After(absl::Duration delay, std::function<void()> then) = 0;
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_HTTP_H_
