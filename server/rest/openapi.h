// Describes the API from its protos, comments included: OpenAPI for programs, a page for people. Runs at build time.
#ifndef UMBRA_SERVER_REST_OPENAPI_H_
#define UMBRA_SERVER_REST_OPENAPI_H_

#include <google/protobuf/descriptor.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace umbra::rest {

struct Reason {
  std::string name;     // "JOB_NOT_FOUND"
  std::string comment;  // what it means and what to do
};

struct ApiDescription {
  std::string openapi_json;
  std::string reference_html;
  std::vector<std::string> services;  // full names
  // A message of each file that has any, as C++ names it, and the header that declares it.
  std::vector<std::pair<std::string, std::string>> messages;
  std::vector<Reason> reasons;
};

// `files` are those whose services are described, with source information, in the order of the description.
// INTERNAL / INTERNAL: an annotation that can't be used.
absl::StatusOr<ApiDescription> DescribeApi(const google::protobuf::DescriptorPool& pool,
                                           const std::vector<const google::protobuf::FileDescriptor*>& files,
                                           const std::string& version);

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_OPENAPI_H_
