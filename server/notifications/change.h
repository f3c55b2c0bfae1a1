// What event watch and state checks say, and the ledger enters.
#ifndef UMBRA_SERVER_NOTIFICATIONS_CHANGE_H_
#define UMBRA_SERVER_NOTIFICATIONS_CHANGE_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/notifications/rules.h"
#include "storage/catalog/notification_records.h"

namespace umbra::notifications {

struct Change {
  enum class Kind {
    kBegin,   // the cause holds; nothing new when it did already
    kEnd,     // it doesn't any more; nothing when it didn't
    kOnce,    // it happened, and that is all
    kForget,  // nobody cares any more: its subject is gone
  };
  Kind kind = Kind::kBegin;
  NoticeTopic topic = NoticeTopic::kFailure;
  std::string key;
  std::string subject = {};
  std::string title = {};
  std::string message = {};
  absl::Duration grace = {};
};

// What is wrong at present, by key.
using OpenConditions = std::map<std::string, catalog::NoticeCondition>;

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_CHANGE_H_
