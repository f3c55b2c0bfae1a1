#include "server/rest/routes.h"

#include <algorithm>
#include <utility>

#include "google/api/annotations.pb.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

namespace pb = google::protobuf;

absl::Status Broken(const pb::MethodDescriptor& method, std::string_view what) {
  return base::Error(absl::StatusCode::kInternal, "INTERNAL", "google.api.http of {}: {}", method.full_name(), what);
}

// Verb and path; an empty path for what isn't taken.
std::pair<std::string, std::string> PatternOf(const google::api::HttpRule& rule) {
  switch (rule.pattern_case()) {
    case google::api::HttpRule::kGet:
      return {"GET", rule.get()};
    case google::api::HttpRule::kPut:
      return {"PUT", rule.put()};
    case google::api::HttpRule::kPost:
      return {"POST", rule.post()};
    case google::api::HttpRule::kDelete:
      return {"DELETE", rule.delete_()};
    case google::api::HttpRule::kPatch:
      return {"PATCH", rule.patch()};
    default:
      return {};
  }
}

absl::StatusOr<Route> MakeRoute(const pb::MethodDescriptor& method, const google::api::HttpRule& rule) {
  Route route;
  std::tie(route.verb, route.path_text) = PatternOf(rule);
  if (route.path_text.empty()) return Broken(method, "no path");
  ASSIGN_OR_RETURN(route.path, PathTemplate::Parse(route.path_text));
  route.method = &method;
  route.rpc = "/" + method.service()->full_name() + "/" + method.name();
  route.whole_body = rule.body() == "*";
  if (!rule.body().empty() && !route.whole_body) {
    route.body_field = method.input_type()->FindFieldByName(rule.body());
    if (route.body_field == nullptr || route.body_field->message_type() == nullptr || route.body_field->is_repeated()) {
      return Broken(method, "the body is no message of the request");
    }
  }
  return route;
}

size_t CountSegments(std::string_view path) {
  return static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
}

}  // namespace

absl::Status RouteTable::Add(const pb::MethodDescriptor& method) {
  if (!method.options().HasExtension(google::api::http) || method.client_streaming()) return absl::OkStatus();
  const google::api::HttpRule& first = method.options().GetExtension(google::api::http);
  std::vector<const google::api::HttpRule*> rules = {&first};
  for (const google::api::HttpRule& more : first.additional_bindings()) rules.push_back(&more);
  for (const google::api::HttpRule* rule : rules) {
    ASSIGN_OR_RETURN(Route route, MakeRoute(method, *rule));
    by_length_[route.path.segments().size()].push_back(routes_.size());
    routes_.push_back(std::move(route));
  }
  return absl::OkStatus();
}

absl::StatusOr<RouteTable> RouteTable::Make(const pb::DescriptorPool& pool,
                                            std::span<const std::string_view> services) {
  RouteTable table;
  for (const std::string_view name : services) {
    const pb::ServiceDescriptor* service = pool.FindServiceByName(std::string(name));
    if (service == nullptr) {
      return base::Error(absl::StatusCode::kInternal, "INTERNAL", "service {} isn't part of this program", name);
    }
    for (int i = 0; i < service->method_count(); ++i) RETURN_IF_ERROR(table.Add(*service->method(i)));
  }
  return table;
}

FoundRoute RouteTable::Find(std::string_view verb, std::string_view path) const {
  if (verb == "HEAD") verb = "GET";
  FoundRoute found;
  const auto candidates = by_length_.find(CountSegments(path));
  if (candidates == by_length_.end()) return found;
  for (const size_t place : candidates->second) {
    const Route& route = routes_[place];
    auto values = route.path.Match(path);
    if (!values) continue;
    if (route.verb == verb) return {&route, *std::move(values), {}};
    found.allowed.insert(route.verb);
  }
  return found;
}

}  // namespace umbra::rest
