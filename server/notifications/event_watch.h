// From numbered events to causes: jobs that failed for good, and the recovery points and jobs that put it right.
#ifndef UMBRA_SERVER_NOTIFICATIONS_EVENT_WATCH_H_
#define UMBRA_SERVER_NOTIFICATIONS_EVENT_WATCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/notifications/change.h"
#include "storage/catalog/catalog.h"

namespace umbra::notifications {

// Reads events in their order. One thread at a time.
class EventWatch {
 public:
  // `open` is looked at in the constructor only: most events need no look at what they are about as long as nothing is
  // wrong.
  explicit EventWatch(const OpenConditions& open);

  // Adds what the event changes to `changes`. Asked again for the same events with the same conditions it says the
  // same.
  absl::Status Read(const catalog::Stores& stores, const catalog::Event& event, std::vector<Change>& changes);

 private:
  absl::Status OnJob(const catalog::Stores& stores, const catalog::Event& event, std::vector<Change>& changes);
  absl::Status OnFailedJob(const catalog::Stores& stores, const catalog::Job& job, std::vector<Change>& changes);
  absl::Status OnPoint(const catalog::Stores& stores, const catalog::Event& event, std::vector<Change>& changes);
  void OnHostRemoved(const std::string& host, std::vector<Change>& changes);

  std::vector<std::string> open_keys_;
  bool backups_failed_ = false;
  bool upkeep_failed_ = false;  // verifications, prunes
};

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_EVENT_WATCH_H_
