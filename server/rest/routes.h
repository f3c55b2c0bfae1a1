// Which call an HTTP request is, from the google.api.http annotations of the services: what isn't annotated isn't
// there, and what is can't drift.
#ifndef UMBRA_SERVER_REST_ROUTES_H_
#define UMBRA_SERVER_REST_ROUTES_H_

#include <google/protobuf/descriptor.h>

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/rest/path_template.h"

namespace umbra::rest {

struct Route {
  std::string verb;  // "GET", "POST", "PATCH", "PUT" or "DELETE"
  std::string path_text;
  PathTemplate path;
  const google::protobuf::MethodDescriptor* method = nullptr;
  std::string rpc;  // "/umbra.v1.JobService/GetJob"
  // The field that the body is; null with `whole_body`: the body is the whole request. Null without: there is no body.
  const google::protobuf::FieldDescriptor* body_field = nullptr;
  bool whole_body = false;
};

struct FoundRoute {
  const Route* route = nullptr;  // null: none
  std::vector<PathValue> values;
  std::set<std::string> allowed;  // without a route: the methods that this path has; empty: there is no such path
};

// Immutable.
class RouteTable {
 public:
  // `services` by their full names; all are in `pool`, which outlives the table. INTERNAL / INTERNAL: an annotation
  // that can't be used.
  static absl::StatusOr<RouteTable> Make(const google::protobuf::DescriptorPool& pool,
                                         std::span<const std::string_view> services);

  // `path` without query. HEAD is GET.
  FoundRoute Find(std::string_view verb, std::string_view path) const;

  const std::vector<Route>& all() const { return routes_; }

 private:
  absl::Status Add(const google::protobuf::MethodDescriptor& method);

  std::vector<Route> routes_;
  std::map<size_t, std::vector<size_t>> by_length_;  // number of segments -> places in routes_
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_ROUTES_H_
