// Ids as types of their own, so that two texts can't be swapped.
#ifndef UMBRA_STORAGE_CATALOG_IDS_H_
#define UMBRA_STORAGE_CATALOG_IDS_H_

#include <fmt/format.h>

#include <compare>
#include <string>
#include <utility>

namespace umbra::catalog {

template <typename Tag>
struct Id {
  std::string value;

  Id() = default;
  explicit Id(std::string text) : value(std::move(text)) {}
  bool empty() const { return value.empty(); }
  auto operator<=>(const Id&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const Id& id) {
    return H::combine(std::move(state), id.value);
  }
};

using HostId = Id<struct HostTag>;                    // the {host} of "hosts/{host}"
using JobId = Id<struct JobTag>;                      // the {job} of "jobs/{job}"
using RecoveryPointId = Id<struct RecoveryPointTag>;  // the {uuid} of "recoveryPoints/{uuid}"
using PolicyId = Id<struct PolicyTag>;                // the {policy} of "policies/{policy}"
using RepositoryId = Id<struct RepositoryTag>;        // the {repository} of "repositories/{repository}"

// A virtual machine: "hosts/{host}/virtualMachines/{uuid}", or a file set, "hosts/{host}/fileSets/{name}". Ordered by host,
// then uuid.
struct VmKey {
  HostId host;
  std::string uuid;  // lower case; of a file set as storage/filetree/subject.h says

  bool empty() const { return uuid.empty(); }
  auto operator<=>(const VmKey&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const VmKey& key) {
    return H::combine(std::move(state), key.host, key.uuid);
  }
};

}  // namespace umbra::catalog

template <typename Tag>
struct fmt::formatter<umbra::catalog::Id<Tag>> : fmt::formatter<std::string> {
  auto format(const umbra::catalog::Id<Tag>& id, format_context& context) const {
    return formatter<std::string>::format(id.value, context);
  }
};

#endif  // UMBRA_STORAGE_CATALOG_IDS_H_
