// HTTP to protobuf messages and back, by descriptors: path, query and JSON body make the request, the answer becomes
// JSON.
#ifndef UMBRA_SERVER_REST_TRANSCODER_H_
#define UMBRA_SERVER_REST_TRANSCODER_H_

#include <google/protobuf/message.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/rest/routes.h"

namespace umbra::rest {

// What of an HTTP request makes the message.
struct CallInput {
  std::vector<PathValue> path_values;
  std::string_view query;
  std::string_view body;
  // The etag of an If-Match, without quotes. It goes where the request has a field `etag`, else into that of the body's
  // message; a request with neither is refused.
  std::optional<std::string> if_match;
  // Last-Event-ID: goes into the field `after_sequence`, where a stream has one; ignored elsewhere.
  std::optional<std::string> last_event_id;
};

// A message of the program's own pool (generated code). INVALID_ARGUMENT / INVALID_REQUEST, naming the field.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> MakeRequest(const Route& route, const CallInput& input);

// Sets one field from a text, as a query parameter or a part of the path does: `path` is dotted, its parts
// lowerCamelCase or as in the proto; a repeated field gets one more value. INVALID_ARGUMENT / INVALID_REQUEST.
absl::Status SetField(google::protobuf::Message& message, std::string_view path, const std::string& text);

// An empty message of the answer's type.
std::unique_ptr<google::protobuf::Message> NewMessage(const google::protobuf::Descriptor& type);

// Protobuf's JSON on one line: names in lowerCamelCase, enums by name, 64-bit numbers as texts; zeroes and empty lists
// are printed, absent messages are not. INTERNAL / INTERNAL.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message);

// The message's own field `name` when it has a text there, else empty.
std::string TextField(const google::protobuf::Message& message, const std::string& name);
// The message's own field `sequence` when it has such a number that isn't 0.
std::optional<int64_t> SequenceOf(const google::protobuf::Message& message);

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_TRANSCODER_H_
