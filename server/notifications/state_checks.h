// What is no event but a state: promises that are missed, agents that are gone, space that runs out, damage that is
// known. Looked at now and then.
#ifndef UMBRA_SERVER_NOTIFICATIONS_STATE_CHECKS_H_
#define UMBRA_SERVER_NOTIFICATIONS_STATE_CHECKS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/dispatch/agent_registry.h"
#include "server/maintenance/repository_set.h"
#include "server/notifications/change.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::notifications {

// A cause that holds at present.
struct Finding {
  std::string subject;
  std::string title;
  std::string message;
  absl::Duration grace;
};

struct StateCheck {
  // Whether the cause was held for true so far: what is near a limit doesn't go to and fro.
  using IsOpen = std::function<bool(const std::string& subject)>;

  NoticeTopic topic;
  absl::Duration every;
  // Every cause that holds. An error changes nothing.
  std::function<absl::StatusOr<std::vector<Finding>>(const IsOpen&)> look;
};

// All of them outlive the checks.
struct StateSources {
  catalog::Catalog& catalog;
  const dispatch::AgentRegistry& agents;
  const maintenance::RepositorySet& repositories;
  base::Clock& clock;
};

// A repository is nearly full below `repository_free_percent` of what is stored and free together, until there are two
// more; 0: never.
std::vector<StateCheck> MakeStateChecks(const StateSources& sources, int repository_free_percent);

std::string KeyOf(NoticeTopic topic, const std::string& subject);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_STATE_CHECKS_H_
