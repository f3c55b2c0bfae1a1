#include "server/notifications/rules.h"

#include <algorithm>
#include <array>

#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::notifications {
namespace {

// An agent that restarts, or a whole fleet after the daemon did, is back within a minute.
constexpr absl::Duration kOfflineGrace = absl::Minutes(5);

constexpr std::array kRules = {
    TopicRule{NoticeTopic::kDamage, "damage", "damage was found", "damaged recovery points were found",
              "no damaged place is known any more", absl::ZeroDuration()},
    TopicRule{NoticeTopic::kRepositoryNearlyFull, "repository_nearly_full", "repository is nearly full",
              "repositories are nearly full", "enough space is free again", absl::ZeroDuration()},
    TopicRule{NoticeTopic::kFailure, "failure", "failure", "failures", "it works again", absl::ZeroDuration()},
    TopicRule{NoticeTopic::kRpoMissed, "rpo_missed", "promised age is missed", "promised ages are missed",
              "its newest good recovery point is as new as promised", absl::ZeroDuration()},
    TopicRule{NoticeTopic::kAgentOffline, "agent_offline", "agent is offline", "agents are offline",
              "its agent is connected again", kOfflineGrace},
};

constexpr std::string_view kPhaseWords[] = {"", "started", "ended", "passed", "once"};
constexpr std::string_view kTopicWords[] = {
    "", "failure", "recovery", "rpo_missed", "agent_offline", "repository_nearly_full", "damage", "digest"};

// Rows: nothing, started, ended, passed, once waits. Columns: kStart, kEnd, kOnce.
constexpr NoticePhase kNext[5][3] = {
    {NoticePhase::kStarted, NoticePhase::kEnded, NoticePhase::kOnce},
    {NoticePhase::kStarted, NoticePhase::kPassed, NoticePhase::kOnce},
    {NoticePhase::kStarted, NoticePhase::kEnded, NoticePhase::kOnce},
    {NoticePhase::kStarted, NoticePhase::kPassed, NoticePhase::kOnce},
    {NoticePhase::kStarted, NoticePhase::kEnded, NoticePhase::kOnce},
};

}  // namespace

const TopicRule& RuleOf(NoticeTopic topic) {
  const auto found = std::ranges::find_if(kRules, [&](const TopicRule& rule) { return rule.topic == topic; });
  UMBRA_CHECK(found != kRules.end());
  return *found;
}

std::string_view WordOf(NoticeTopic topic) {
  return kTopicWords[static_cast<size_t>(topic)];
}

std::string_view WordOf(NoticePhase phase) {
  return kPhaseWords[static_cast<size_t>(phase)];
}

int WeightOf(NoticeTopic topic) {
  return static_cast<int>(&RuleOf(topic) - kRules.data());
}

NoticePhase NextPhase(std::optional<NoticePhase> waiting, NoticeChange change) {
  return kNext[waiting ? static_cast<size_t>(*waiting) : 0][static_cast<size_t>(change)];
}

bool Wants(const catalog::Channel& channel, NoticeTopic topic) {
  return channel.topics.empty() || std::ranges::find(channel.topics, topic) != channel.topics.end();
}

std::string SubjectOf(const catalog::VmKey& key) {
  const auto file_set = filetree::FileSetOf(key.uuid);
  return file_set ? fmt::format("hosts/{}/fileSets/{}", key.host, *file_set)
                  : fmt::format("hosts/{}/virtualMachines/{}", key.host, key.uuid);
}

}  // namespace umbra::notifications
