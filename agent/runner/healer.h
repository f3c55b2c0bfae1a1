// Puts back what a predecessor of this agent left when it died, and what a backup of this one had to leave because a hypervisor
// or a guest didn't answer (a thaw that is still owed). Keeps at it as long as the agent lives.
#ifndef UMBRA_AGENT_RUNNER_HEALER_H_
#define UMBRA_AGENT_RUNNER_HEALER_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/runner/runner.h"
#include "storage/base/threads.h"

namespace umbra::runner {

// How long a guest may have to wait for a thaw that nobody answered: long enough to cost nothing, short enough for a database.
inline constexpr absl::Duration kHealPeriod = absl::Seconds(30);

// One thread at a time. Everything outlives it.
class Healer {
 public:
  // `ledgers` and `hooks` (null: there are none) are open.
  Healer(writers::VssHost& host, hypervisor::Hypervisor& hypervisor, RestoreLedgers& ledgers, base::Clock& clock,
         absl::Duration period = kHealPeriod, base::Threads& threads = base::SystemThreads(),
         BackupHooks* hooks = nullptr);
  ~Healer();

  // Heals once, before the first assignment, then looks every `period` for intents that nobody works on: a glance at a
  // folder when there are none. Blocks up to about a minute while somebody doesn't answer.
  void Start();

 private:
  void HealOnce();
  void HealHooks();
  void Run();

  writers::VssHost& host_;
  hypervisor::Hypervisor& hypervisor_;
  RestoreLedgers& ledgers_;
  base::Clock& clock_;
  const absl::Duration period_;
  base::Threads& threads_;
  BackupHooks* const hooks_;

  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<base::Thread> thread_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_HEALER_H_
