// Messages to and from gRPC's buffers. Streams take raw buffers, so that a malformed message gets an answer that says so
// (gRPC's own parsing would only look like the end of the stream).
#ifndef UMBRA_SERVER_API_AGENT_WIRE_H_
#define UMBRA_SERVER_API_AGENT_WIRE_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "storage/base/status.h"

namespace umbra::api {

// Largest message that the agent port takes: umbra.store.v1 promises 4 MiB, the rest is for field headers.
inline constexpr int kReceiveMessageSizeMax = 4 * 1024 * 1024 + 64 * 1024;

// INVALID_ARGUMENT / INVALID_REQUEST when the bytes are no such message. Empties `buffer`.
template <typename Message>
absl::Status Parse(grpc::ByteBuffer& buffer, Message& message) {
  const grpc::Status s = grpc::SerializationTraits<Message>::Deserialize(&buffer, &message);
  if (s.ok()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "malformed {}",
                     Message::descriptor()->full_name());
}

template <typename Message>
void Print(const Message& message, grpc::ByteBuffer& buffer) {
  bool own_buffer = false;
  buffer.Clear();  // gRPC only prints into an empty one
  UMBRA_CHECK(grpc::SerializationTraits<Message>::Serialize(message, &buffer, &own_buffer).ok());
}

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_WIRE_H_
