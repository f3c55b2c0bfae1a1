// Labels on the command line: env=prod sets one, env- removes it.
#ifndef UMBRA_SERVER_CLI_LABELS_H_
#define UMBRA_SERVER_CLI_LABELS_H_

#include <google/protobuf/map.h>

#include <string>
#include <vector>

namespace umbra::cli {

struct LabelChanges {
  google::protobuf::Map<std::string, std::string> set;
  std::vector<std::string> remove;
};
// Throws ExitError for what is neither.
LabelChanges ParseLabelChanges(const std::vector<std::string>& texts);

// "env=prod team=db", "-" for none.
std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels);

// Fills SetHostLabelsRequest or SetVirtualMachineLabelsRequest.
template <typename Request>
Request LabelRequest(const std::string& name, const std::vector<std::string>& texts) {
  const LabelChanges changes = ParseLabelChanges(texts);
  Request request;
  request.set_name(name);
  *request.mutable_set() = changes.set;
  for (const std::string& key : changes.remove) request.add_remove(key);
  return request;
}

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_LABELS_H_
