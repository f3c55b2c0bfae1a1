// Beside http_server.cc the only source with Boost: Beast parses requests.
#include "server/rest/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

namespace umbra::rest {
namespace {

namespace http = boost::beast::http;

// "0", and two ends of lines: no body in chunks ends with less.
constexpr size_t kLastChunkBytes = 5;

NoRequest RefusalOf(const boost::system::error_code& error) {
  if (error == http::error::header_limit) return {431, "the header is too large"};
  if (error == http::error::body_limit) return {413, "the body is too large"};
  return {400, "this is no HTTP request"};
}

}  // namespace

struct RequestParser::Impl {
  http::request_parser<http::string_body> parser;
  size_t header_bytes = 0;  // that were taken
  bool continued = false;
};

RequestParser::RequestParser(const RequestLimits& limits) : limits_(limits), impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<uint32_t>(limits.header_bytes_max));
  impl_->parser.body_limit(limits.body_bytes_max);
  impl_->parser.eager(false);  // not past the header, so that its bytes can be counted
}

RequestParser::~RequestParser() = default;

ParsedRequest RequestParser::Take(std::string& bytes) {
  auto& parser = impl_->parser;
  while (!bytes.empty() && !parser.is_done()) {
    // Beast, once it has seen the last chunk's size, asserts that more than that has come.
    if (parser.is_header_done() && parser.chunked() && bytes.size() < kLastChunkBytes) break;
    boost::system::error_code error;
    const size_t looked_at = std::min(bytes.size(), limits_.header_bytes_max);
    const bool in_header = !parser.is_header_done();
    const size_t taken = parser.put(boost::asio::const_buffer(bytes.data(), looked_at), error);
    bytes.erase(0, taken);
    if (error == http::error::need_more) error = {};
    if (error) return RefusalOf(error);
    if (in_header) {
      // Where they come apart, Beast lets the first line and the rest be that long each.
      impl_->header_bytes += taken;
      if (impl_->header_bytes > limits_.header_bytes_max) return RefusalOf(http::error::header_limit);
      parser.eager(parser.is_header_done());
    }
    if (taken > 0) continue;
    // Beast bounds the header, but neither the lines between the chunks of a body nor what follows the last one.
    if (looked_at == limits_.header_bytes_max) return NoRequest{431, "a line of the body's chunks is too long"};
    break;
  }
  if (parser.is_done()) return Finish();
  PartOfRequest part;
  if (parser.is_header_done() && !std::exchange(impl_->continued, true)) {
    const auto expect = parser.get().find(http::field::expect);
    part.wants_continue =
        expect != parser.get().end() && EqualsNoCase({expect->value().data(), expect->value().size()}, "100-continue");
  }
  return part;
}

ParsedRequest RequestParser::Finish() {
  auto& message = impl_->parser.get();
  WholeRequest whole;
  Request& request = whole.request;
  size_t hosts = 0;
  for (const auto& field : message) {
    const auto name = field.name_string();
    const auto value = field.value();
    request.headers.push_back({std::string(name.data(), name.size()), std::string(value.data(), value.size())});
    hosts += field.name() == http::field::host ? 1 : 0;
  }
  if (message.version() >= 11 && hosts != 1) return NoRequest{400, "a request has one Host"};
  const auto method = message.method_string();
  const auto target = message.target();
  request.method.assign(method.data(), method.size());
  request.target.assign(target.data(), target.size());
  if (!request.target.starts_with('/')) return NoRequest{400, "the target isn't a path"};
  if (request.headers.size() > limits_.header_lines_max) return NoRequest{431, "the header has too many lines"};
  request.body = std::move(message.body());
  whole.keep_alive = impl_->parser.keep_alive();
  whole.may_chunk = message.version() >= 11;
  return whole;
}

}  // namespace umbra::rest
