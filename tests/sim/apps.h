// Applications on the host, each with a writer of its own, and a provider for their data: the smallest program that can
// be caught in the middle of something. It moves a coin from one hand to the other; a copy that holds both hands' sum
// is consistent.
#ifndef UMBRA_TESTS_SIM_APPS_H_
#define UMBRA_TESTS_SIM_APPS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/vss/provider.h"
#include "agent/vss/writer.h"
#include "tests/sim/life.h"
#include "tests/sim/plan.h"
#include "tests/sim/run_context.h"

namespace umbra::sim {

struct Hands {
  int64_t left = 0;
  int64_t right = 0;
  bool consistent() const { return left + right == 0; }
};

class App {
 public:
  App(RunContext& run, const Plan& plan, int index);
  // One that the plan doesn't list, and whose limit is that of a service that hooks freeze.
  App(RunContext& run, const Plan& plan, std::string name);
  ~App();

  void Start();
  void Stop();

  const AppPlan& plan() const { return plan_; }
  const std::string& name() const { return name_; }
  int index() const { return index_; }
  std::string volume() const { return fmt::format("/app/{}/", index_); }
  const Hands& hands() const { return hands_; }
  bool frozen() const { return frozen_since_.has_value(); }

  // Waits for the move under way; false when that takes longer than `patience`.
  bool Freeze(absl::Duration called_at, absl::Duration patience);
  // `excuse`: how long the writer itself hung meanwhile.
  void Thaw(absl::Duration excuse);

 private:
  void Program();

  RunContext& run_;
  const AppPlan plan_;
  const int index_;
  const std::string name_;
  absl::Duration limit_;  // how long it may be frozen
  Dice dice_;
  Hands hands_;
  bool moving_ = false;
  bool stop_ = false;
  std::optional<absl::Duration> frozen_since_;
  std::unique_ptr<base::Thread> program_;
};

// What the application's writer is in one life of the agent.
class AppWriter final : public vss::Writer {
 public:
  AppWriter(RunContext& run, Life& life, App& app);

  static vss::Guid IdOf(int index);
  static vss::ComponentId ComponentOf(int index);
  // What the writer's hanging adds to the time for which it may be frozen.
  void Excuse(absl::Duration duration) { excuse_ += duration; }

  const vss::WriterIdentity& identity() const override { return identity_; }
  vss::WriterLimits limits() const override;
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext& context) override;
  absl::Status OnFreeze(vss::EventContext& context) override;
  absl::Status OnThaw(vss::EventContext& context) override;
  absl::Status OnAbort(vss::EventContext& context) override;

 private:
  RunContext& run_;
  Life& life_;
  App& app_;
  const vss::WriterIdentity identity_;
  absl::Duration excuse_;
};

// Copies the hands of every application in the set at its commit.
class AppProvider final : public vss::Provider {
 public:
  struct Copy {
    Hands hands;
    bool frozen = false;
  };

  AppProvider(RunContext& run, std::vector<std::unique_ptr<App>>& apps);

  // NOT_FOUND when the set has no such copy.
  absl::StatusOr<Copy> Find(const vss::Guid& set_id, const std::string& volume) const;
  size_t set_count() const { return sets_.size(); }

  const vss::ProviderIdentity& identity() const override { return identity_; }
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
  absl::StatusOr<vss::SnapshotProperties> GetSnapshotProperties(const vss::Guid& snapshot_id) override;

 private:
  struct Snapshot {
    vss::SnapshotRequest request;
    std::optional<Copy> copy;
  };

  RunContext& run_;
  std::vector<std::unique_ptr<App>>& apps_;
  const vss::ProviderIdentity identity_;
  std::map<vss::Guid, std::vector<Snapshot>> sets_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_APPS_H_
