#include "server/dispatch/agent_registry.h"

#include <algorithm>
#include <utility>

namespace umbra::dispatch {

std::optional<AgentFacts> AgentRegistry::Find(const catalog::HostId& host) const {
  absl::MutexLock lock(&mu_);
  const auto it = agents_.find(host);
  if (it == agents_.end()) return std::nullopt;
  return it->second.facts;
}

std::vector<catalog::HostId> AgentRegistry::Online() const {
  std::vector<catalog::HostId> hosts;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [host, entry] : agents_) hosts.push_back(host);
  }
  std::sort(hosts.begin(), hosts.end());
  return hosts;
}

std::shared_ptr<AgentSession> AgentRegistry::SessionOf(const catalog::HostId& host) const {
  absl::MutexLock lock(&mu_);
  const auto it = agents_.find(host);
  return it == agents_.end() ? nullptr : it->second.session;
}

bool AgentRegistry::RefreshInventory(const catalog::HostId& host) {
  const std::shared_ptr<AgentSession> session = SessionOf(host);
  if (!session) return false;
  agent::v1::DaemonMessage message;
  message.mutable_refresh_inventory();
  session->Send(std::move(message));
  return true;
}

void AgentRegistry::Disconnect(const catalog::HostId& host, const absl::Status& status) {
  if (const std::shared_ptr<AgentSession> session = SessionOf(host)) session->Close(status);
}

void AgentRegistry::SetOnline(const catalog::HostId& host, std::shared_ptr<AgentSession> session, AgentFacts facts) {
  absl::MutexLock lock(&mu_);
  agents_.insert_or_assign(host, Entry{std::move(session), std::move(facts)});
}

void AgentRegistry::SetSeen(const catalog::HostId& host, absl::Time now) {
  absl::MutexLock lock(&mu_);
  if (const auto it = agents_.find(host); it != agents_.end()) it->second.facts.last_seen_time = now;
}

void AgentRegistry::SetOffline(const catalog::HostId& host) {
  absl::MutexLock lock(&mu_);
  agents_.erase(host);
}

}  // namespace umbra::dispatch
