#include "server/cli/labels.h"

#include <fmt/format.h>

#include <map>

#include "server/cli/client.h"
#include "server/cli/output.h"

namespace umbra::cli {

LabelChanges ParseLabelChanges(const std::vector<std::string>& texts) {
  LabelChanges changes;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals != std::string::npos && equals > 0) {
      changes.set[text.substr(0, equals)] = text.substr(equals + 1);
    } else if (equals == std::string::npos && text.size() > 1 && text.back() == '-') {
      changes.remove.push_back(text.substr(0, text.size() - 1));
    } else {
      throw ExitError{kExitUsage, fmt::format("\"{}\": env=prod sets a label, env- removes it", text),
                      "INVALID_REQUEST"};
    }
  }
  return changes;
}

std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : std::map<std::string, std::string>(labels.begin(), labels.end())) {
    parts.push_back(value.find(' ') == std::string::npos ? key + "=" + value : fmt::format("{}=\"{}\"", key, value));
  }
  return parts.empty() ? "-" : JoinText(parts, " ");
}

}  // namespace umbra::cli
