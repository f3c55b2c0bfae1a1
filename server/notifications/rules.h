// The rules of notifications, as tables: what each topic is called, when it is told, and what becomes of a notice that
// waits when its cause goes on. Pure.
#ifndef UMBRA_SERVER_NOTIFICATIONS_RULES_H_
#define UMBRA_SERVER_NOTIFICATIONS_RULES_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "storage/catalog/notification_records.h"

namespace umbra::notifications {

using catalog::NoticePhase;
using catalog::NoticeTopic;

struct TopicRule {
  NoticeTopic topic;
  std::string_view word;   // stable, for programs: "rpo_missed"
  std::string_view one;    // for titles: "1 agent is offline"
  std::string_view many;   // "3 agents are offline"
  std::string_view ended;  // message when a state check finds no cause any more
  // A cause must hold this long before it is told; what passes by itself before is never told.
  absl::Duration grace;
};

// In the order of their weight: what a message tells first. Without kRecovery and kDigest, which have no causes.
const TopicRule& RuleOf(NoticeTopic topic);
std::string_view WordOf(NoticeTopic topic);
std::string_view WordOf(NoticePhase phase);
// 0: the weightiest.
int WeightOf(NoticeTopic topic);

// What happens to a cause.
enum class NoticeChange { kStart, kEnd, kOnce };
// The phase of the notice that waits afterwards. `waiting` is that of the one before; absent: none waits.
NoticePhase NextPhase(std::optional<NoticePhase> waiting, NoticeChange change);

// Whether a channel is told of the topic at all.
bool Wants(const catalog::Channel& channel, NoticeTopic topic);

// Resource names, as in the public API.
std::string SubjectOf(const catalog::VmKey& key);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_RULES_H_
