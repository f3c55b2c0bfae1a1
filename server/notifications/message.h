// What a message says: a title, a text for people, JSON for programs. Pure. Texts come from guests, agents and people:
// whatever they hold, a message is valid UTF-8 of bounded size, without control characters in its title.
#ifndef UMBRA_SERVER_NOTIFICATIONS_MESSAGE_H_
#define UMBRA_SERVER_NOTIFICATIONS_MESSAGE_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/catalog/notification_records.h"

namespace umbra::notifications {

// Causes that a message names; of more it has the numbers.
inline constexpr size_t kNamedMax = 50;
// Of each text of a cause, in bytes.
inline constexpr size_t kTextMax = 500;

// What every message has.
struct Envelope {
  std::string id;      // the delivery's
  std::string daemon;  // name of the machine
  absl::Time time;
  absl::TimeZone zone;  // of the times in the text
};

struct Rendered {
  std::string title;
  std::string text;
  std::string json;
};

struct Notices {
  std::vector<catalog::WaitingNotice> notices;  // any order
  int64_t overflow_count = 0;                   // others that found no place
  bool held_back = false;                       // they waited for longer than the grouping window
};
Rendered RenderNotices(const Envelope& envelope, const Notices& notices);

struct DigestFacts {
  absl::Time from;
  absl::Time to;
  std::vector<catalog::EndedJobs> jobs;
  std::vector<catalog::NoticeCondition> open;  // what is wrong at present
};
Rendered RenderDigest(const Envelope& envelope, const DigestFacts& facts);

Rendered RenderTest(const Envelope& envelope, const std::string& channel);

// One line: control characters become blanks, bytes that are no UTF-8 a '?', at most `max` bytes, cut between
// characters.
std::string OneLine(const std::string& text, size_t max);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_MESSAGE_H_
