// A writer or a provider in front of the real one that goes wrong once, where the plan says so: late, refusing,
// throwing or hanging past every limit before it answers after all.
#ifndef UMBRA_TESTS_SIM_FAULTY_H_
#define UMBRA_TESTS_SIM_FAULTY_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/vss/provider.h"
#include "agent/vss/writer.h"
#include "storage/base/clock.h"
#include "tests/sim/apps.h"
#include "tests/sim/plan.h"
#include "tests/sim/run_context.h"

namespace umbra::sim {

// What the world of a run has left to go wrong: faults that have happened leave the list.
struct PendingFaults {
  std::vector<WriterFault> writers;
  std::vector<ProviderFault> providers;
};

class FaultyWriter final : public vss::Writer {
 public:
  // `app`: the same writer, when it is an application's.
  FaultyWriter(RunContext& run, base::Clock& clock, vss::Writer& real, int number, PendingFaults& faults,
               AppWriter* app)
      : run_(run), clock_(clock), real_(real), number_(number), faults_(faults), app_(app) {}

  const vss::WriterIdentity& identity() const override { return real_.identity(); }
  vss::WriterLimits limits() const override { return real_.limits(); }
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext& context) override;
  absl::Status OnPrepareBackup(vss::EventContext& c) override;
  absl::Status OnPrepareSnapshot(vss::EventContext& c) override;
  absl::Status OnFreeze(vss::EventContext& c) override;
  absl::Status OnThaw(vss::EventContext& c) override;
  absl::Status OnPostSnapshot(vss::EventContext& c) override;
  absl::Status OnBackupComplete(vss::EventContext& c) override;
  absl::Status OnBackupShutdown(vss::EventContext& c) override;
  absl::Status OnAbort(vss::EventContext& c) override;
  // Nothing goes wrong with these but what goes wrong below them.
  absl::Status OnPreRestore(vss::EventContext& c) override { return real_.OnPreRestore(c); }
  absl::Status OnPostRestore(vss::EventContext& c) override { return real_.OnPostRestore(c); }

 private:
  absl::Status Event(vss::WriterEvent event, const std::function<absl::Status()>& handle);

  RunContext& run_;
  base::Clock& clock_;
  vss::Writer& real_;
  const int number_;
  PendingFaults& faults_;
  AppWriter* const app_;
};

class FaultyProvider final : public vss::Provider {
 public:
  FaultyProvider(RunContext& run, base::Clock& clock, vss::Provider& real, int number, PendingFaults& faults)
      : run_(run), clock_(clock), real_(real), number_(number), faults_(faults) {}

  const vss::ProviderIdentity& identity() const override { return real_.identity(); }
  absl::StatusOr<bool> IsVolumeSupported(const std::string& volume, uint32_t context) override;
  absl::Status BeginPrepareSnapshot(const vss::SnapshotRequest& request) override;
  absl::Status EndPrepareSnapshots(const vss::Guid& set_id) override;
  absl::Status PreCommitSnapshots(const vss::Guid& set_id) override;
  absl::Status CommitSnapshots(const vss::Guid& set_id) override;
  absl::Status PostCommitSnapshots(const vss::Guid& set_id, int count) override;
  absl::Status PreFinalCommitSnapshots(const vss::Guid& set_id) override;
  absl::Status PostFinalCommitSnapshots(const vss::Guid& set_id) override;
  absl::Status AbortSnapshots(const vss::Guid& set_id) override;
  absl::Status DeleteSnapshots(const vss::Guid& set_id) override;
  absl::StatusOr<vss::SnapshotProperties> GetSnapshotProperties(const vss::Guid& snapshot_id) override {
    return real_.GetSnapshotProperties(snapshot_id);
  }

 private:
  absl::Status Phase(std::string_view call, const std::function<absl::Status()>& work);

  RunContext& run_;
  base::Clock& clock_;
  vss::Provider& real_;
  const int number_;
  PendingFaults& faults_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_FAULTY_H_
