// Paths of google.api.http: "/v1/{name=hosts/*/virtualMachines/*}:setLabels".
#ifndef UMBRA_SERVER_REST_PATH_TEMPLATE_H_
#define UMBRA_SERVER_REST_PATH_TEMPLATE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace umbra::rest {

// A field of the request and what the path says that it is.
struct PathValue {
  std::string field;  // dotted, as in the proto: "policy.name"
  std::string value;  // decoded

  friend bool operator==(const PathValue&, const PathValue&) = default;
};

// A template, parsed. "*" stands for one segment, "**" isn't taken: no path of ours needs it.
class PathTemplate {
 public:
  // INVALID_ARGUMENT / INVALID_REQUEST.
  static absl::StatusOr<PathTemplate> Parse(std::string_view text);

  // The values of the variables, when `path` (without query, as it came) fits. An encoded '/' or control character fits
  // nothing, and neither does a segment that is empty, "." or "..": the name of a resource has the shape that its
  // template says.
  std::optional<std::vector<PathValue>> Match(std::string_view path) const;

  struct Variable {
    std::string field;
    size_t begin = 0;  // segments [begin, end)
    size_t end = 0;
  };
  // Literals, and "*".
  const std::vector<std::string>& segments() const { return segments_; }
  const std::vector<Variable>& variables() const { return variables_; }
  const std::string& verb() const { return verb_; }

 private:
  std::vector<std::string> segments_;
  std::vector<Variable> variables_;
  std::string verb_;  // without ':'; empty: none
};

// "%2e" becomes '.'; nullopt for what is no encoding.
std::optional<std::string> DecodePercent(std::string_view text, bool plus_is_space);

struct QueryParameter {
  std::string name;
  std::string value;
};
// What follows the '?'. At most 100 parameters. INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<std::vector<QueryParameter>> ParseQuery(std::string_view query);

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_PATH_TEMPLATE_H_
