// Restore options in the text form that requesters and writers share (SetRestoreOptions):
//   "Sub":"Option"="Value","Sub":"Option"="Value"
// What is between the quotes is taken as it is; a quote can't be in it. Without "Sub": the option is about the
// component itself. Writers may have options of their own; a text that doesn't begin with a quote is one of theirs as a
// whole. Source: Microsoft, "Setting VSS Restore Options".
#ifndef UMBRA_AGENT_VSS_RESTORE_OPTIONS_H_
#define UMBRA_AGENT_VSS_RESTORE_OPTIONS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace umbra::vss {

// Names that mean the same for every writer.
inline constexpr std::string_view kOptionAuthoritative = "Authoritative";
inline constexpr std::string_view kOptionRollForward = "Roll Forward";
inline constexpr std::string_view kOptionNewComponentName = "New Component Name";

struct RestoreOption {
  std::string subcomponent;  // as it is written; empty: the component itself
  std::string name;
  std::string value;

  friend bool operator==(const RestoreOption&, const RestoreOption&) = default;
};

bool IsRestoreOptionList(std::string_view text);

// INVALID_ARGUMENT / INVALID_REQUEST, naming the place: the text has another form, or an option is there twice.
absl::StatusOr<std::vector<RestoreOption>> ParseRestoreOptionList(std::string_view text);
std::string PrintRestoreOptionList(const std::vector<RestoreOption>& options);  // no part has a quote

// "true", "yes", "1" and their opposites, in any case. INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<bool> ParseRestoreSwitch(const RestoreOption& option);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_RESTORE_OPTIONS_H_
