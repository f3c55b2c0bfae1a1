// What every assignment of this agent works with.
#ifndef UMBRA_AGENT_RUNNER_RUNNER_H_
#define UMBRA_AGENT_RUNNER_RUNNER_H_

#include <functional>
#include <memory>
#include <string>

#include "agent/hypervisor/hypervisor.h"
#include "agent/link/outbox.h"
#include "agent/runner/backup_hooks.h"
#include "agent/runner/restore_ledger.h"
#include "agent/transfer/backup_pipeline.h"
#include "agent/transfer/cancellation.h"
#include "agent/transfer/chunk_store_client.h"
#include "agent/transfer/disk_restorer.h"
#include "agent/transfer/rate_limit.h"
#include "agent/transfer/retrying_store.h"
#include "agent/writers/vss_host.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"

namespace umbra::runner {

// Connects one assignment to the daemon's data service. The client ends its calls when the cancellation says so.
using StoreFactory = std::function<std::unique_ptr<transfer::ChunkStoreClient>(transfer::Cancellation& cancellation)>;

struct RunnerSettings {
  transfer::BackupSettings backup;
  transfer::RestoreSettings restore;
  transfer::RetrySettings retry;
};

// The rooms that a runner drives; all of them are thread-safe and outlive it.
struct RunnerContext {
  hypervisor::Hypervisor& hypervisor;
  writers::VssHost& host;
  base::Filesystem& files;
  base::Clock& clock;
  base::Random& random;
  link::Outbox& outbox;
  RestoreLedgers& ledgers;  // open
  StoreFactory make_store;
  RunnerSettings settings;
  base::Threads& threads = base::SystemThreads();
  BackupHooks* hooks = nullptr;  // open; null: this host runs none
  transfer::RateLimit* host_upload = nullptr;  // of all backups together; null: no limit
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_RUNNER_H_
