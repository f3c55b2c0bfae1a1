// Named points at which tests kill the agent (base::CrashPoint) while it deals with a cluster. After each of them a
// restarted agent must bring everything back.
#ifndef UMBRA_AGENT_CLUSTER_CRASH_POINTS_H_
#define UMBRA_AGENT_CLUSTER_CRASH_POINTS_H_

#include <string_view>

namespace umbra::cluster {

inline constexpr std::string_view kCrashClusterRecorded = "agent.cluster.recorded";  // the cluster knows nothing yet
inline constexpr std::string_view kCrashClusterBegun = "agent.cluster.begun";        // it has been told
inline constexpr std::string_view kCrashClusterEnded =
    "agent.cluster.ended";  // it is told of the end; the entry is still there

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_CRASH_POINTS_H_
