// Target: the texts that come with a component: restore options in the common form, and what the Hyper-V writer is told
// and remembers (of a stored document, so they are as foreign as that is). What is accepted prints, and what was
// printed is accepted again with the same content.
#include "agent/vss/restore_options.h"
#include "agent/writers/component_options.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

template <typename T>
void RoundTrip(const absl::StatusOr<T>& parsed, absl::StatusOr<T> (*parse)(std::string_view)) {
  if (!parsed.ok()) return;
  const std::string printed = writers::Print(*parsed);
  const absl::StatusOr<T> again = parse(printed);
  Require(again.ok() && writers::Print(*again) == printed, "component options survive a round trip");
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      R"(0"Authoritative"="true","sub\part":"Roll Forward"="All")",
      "1crash_consistent=allow;saved_state=forbid;freeze_timeout_us=5000000;owner_tag=job-1-1;base=umbra-1;base_disk."
      "vda=1024 7",
      "2new_name=mail02;vm_name=mail01;cluster=take_offline;disk.vda=/vms/a%3Bb.qcow2;configuration=<domain/>",
      "3mechanism=saved_state;mechanism_reason=x;obstacle.GUEST_AGENT=none;downtime_us=181000;state_bytes=7;point_time_"
      "us=9;"
      "disk.vda=/a;checkpoint.one=external,memory,current,1800000000,PARENT",
  };
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  const std::string_view rest = input.substr(1);
  switch (input[0] % 4) {
    case 0: {
      const auto options = vss::ParseRestoreOptionList(rest);
      if (!options.ok()) return;
      const auto again = vss::ParseRestoreOptionList(vss::PrintRestoreOptionList(*options));
      Require(again.ok() && *again == *options, "restore options survive a round trip");
      return;
    }
    case 1:
      return RoundTrip(writers::ParseBackupOptions(rest), &writers::ParseBackupOptions);
    case 2:
      return RoundTrip(writers::ParseRestoreOptions(rest), &writers::ParseRestoreOptions);
    default:
      return RoundTrip(writers::ParseBackupFacts(rest), &writers::ParseBackupFacts);
  }
}

}  // namespace umbra::fuzz
