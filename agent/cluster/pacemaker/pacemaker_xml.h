// What Pacemaker's tools print, read as XML: foreign text, so everything is bounded and nothing is trusted.
//
// Source: the schemas in /usr/share/pacemaker (resources-3.9.rng, api/crm_mon-2.*.rng, api/resources-2.*.rng) and
// answers of Pacemaker 2.1.5.
#ifndef UMBRA_AGENT_CLUSTER_PACEMAKER_PACEMAKER_XML_H_
#define UMBRA_AGENT_CLUSTER_PACEMAKER_PACEMAKER_XML_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace umbra::cluster {

// A larger answer isn't read. A resource takes about 1 KiB of it.
inline constexpr size_t kPacemakerXmlBytesMax = 16 << 20;

// One primitive resource of the configuration.
struct PacemakerPrimitive {
  std::string id;
  // Where its settings are kept: itself, or the clone or bundle around it, for which Pacemaker stores them.
  std::string settings_id;
  std::string agent;  // "ocf:heartbeat:VirtualDomain"; with the template's parts when it has one
  std::map<std::string, std::string> parameters;  // of its own and its template's
  // Of `settings_id` itself, not inherited ones.
  std::optional<std::string> maintenance;
  std::optional<std::string> target_role;
};

// Of `cibadmin --query --scope resources`: an element <resources>.
// INTERNAL / CLUSTER_ANSWER_INVALID for anything else.
absl::StatusOr<std::vector<PacemakerPrimitive>> ParseResources(std::string_view xml);

// One primitive as it is now. Of a clone's instances, the one that does most.
struct PacemakerResourceStatus {
  std::string role;         // "Started", "Stopped", "Starting", "Stopping", "Migrating", ...
  std::string target_role;  // the effective one; empty: Started
  bool active = false;
  bool managed = true;
  bool failed = false;
  bool blocked = false;
  bool pending = false;  // something is under way
  std::string node;
};

struct PacemakerStatus {
  std::string version;
  std::string leader;  // the designated controller's node; empty: there is none, and nothing below is true now
  std::map<std::string, PacemakerResourceStatus> resources;  // by the primitive's id, without ":INSTANCE"
};

// Of `crm_mon --one-shot --inactive --output-as=xml`: an element <pacemaker-result> (or <crm_mon>, before
// Pacemaker 2.0.5 and with --as-xml). INTERNAL / CLUSTER_ANSWER_INVALID for anything else.
absl::StatusOr<PacemakerStatus> ParseStatus(std::string_view xml);

// Name and uuid of a libvirt domain's description, which VirtualDomain is configured with.
struct DomainIdentity {
  std::string name;
  std::string uuid;  // lower case; empty when the description has none
};
// INTERNAL / CLUSTER_ANSWER_INVALID when it has no name.
absl::StatusOr<DomainIdentity> ParseDomainIdentity(std::string_view xml);

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_PACEMAKER_PACEMAKER_XML_H_
