// A session of our own engine. Made by Coordinator::NewSession; coordinator.h says what it promises.
#ifndef UMBRA_AGENT_VSS_ENGINE_SESSION_H_
#define UMBRA_AGENT_VSS_ENGINE_SESSION_H_

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/vss/coordinator.h"
#include "agent/vss/lane.h"
#include "agent/vss/session.h"
#include "agent/vss/snapshot_state.h"

namespace umbra::vss {

class EngineSession final : public Session {
 public:
  EngineSession(Coordinator& coordinator, Guid id);
  ~EngineSession() override;

  const Guid& id() const override { return id_; }

  absl::Status InitializeForBackup() override;
  absl::Status InitializeForRestore(const std::string& xml) override;

  absl::Status SetContext(uint32_t context) override;
  absl::Status SetBackupState(const BackupState& state) override;
  absl::Status GatherWriterMetadata() override;
  const std::vector<WriterMetadata>& writer_metadata() const override { return metadata_; }
  absl::Status AddComponent(const ComponentId& component) override;
  absl::StatusOr<Guid> StartSnapshotSet() override;
  absl::StatusOr<Guid> AddToSnapshotSet(const std::string& volume, const Guid& provider_id) override;
  absl::Status SetBackupOptions(const ComponentId& component, const std::string& options) override;
  absl::Status SetPreviousBackupStamp(const ComponentId& component, const std::string& stamp) override;
  absl::Status PrepareForBackup() override;
  absl::Status DoSnapshotSet() override;
  absl::StatusOr<SnapshotProperties> GetSnapshotProperties(const Guid& snapshot_id) override;
  absl::Status SetBackupSucceeded(const ComponentId& component, bool succeeded) override;
  absl::Status BackupComplete() override;
  absl::Status AbortBackup() override;

  absl::Status SetSelectedForRestore(const ComponentId& component) override;
  absl::Status AddRestoreSubcomponent(const ComponentId& component, const std::string& subcomponent) override;
  absl::Status SetRestoreOptions(const ComponentId& component, const std::string& options) override;
  absl::Status SetAdditionalRestores(const ComponentId& component, bool additional) override;
  absl::Status AddNewTarget(const ComponentId& component, const NewTarget& target) override;
  absl::Status PreRestore() override;
  absl::Status SetFileRestoreStatus(const ComponentId& component, FileRestoreStatus status) override;
  absl::Status PostRestore() override;

  absl::StatusOr<std::vector<WriterStatus>> GatherWriterStatus() override;
  absl::StatusOr<std::string> SaveAsXml() override;
  absl::Status Release() override;

 private:
  // How far the session is; says which calls are legal. The set's own state is beside it (snapshot_state.h).
  enum class Stage {
    kNew,
    kBackup,      // InitializeForBackup
    kGathered,    // writers are known
    kSetStarted,  // StartSnapshotSet: the creation lock is held
    kPrepared,    // PrepareForBackup
    kSetMade,     // DoSnapshotSet succeeded
    kCompleted,   // BackupComplete
    kAborted,
    kRestore,          // InitializeForRestore
    kRestoreGathered,  // writers are known
    kPreRestored,
    kPostRestored,
    kReleased,
  };

  // A writer in this session.
  struct Participant {
    Writer* writer = nullptr;
    Lane* lane = nullptr;
    WriterIdentity identity;
    WriterLimits limits;
    WriterState state = WriterState::kStable;
    absl::Status failure;
    int component_count = 0;
    absl::Duration frozen_since;  // monotonic; call of Freeze
    bool aborted = false;         // has had its Abort
    Lane::CallPtr hung;           // the call whose time ran out, while it may still run
  };

  struct ProviderUse {
    Provider* provider = nullptr;
    Lane* lane = nullptr;
    Lane::CallPtr hung;
  };

  struct Snapshot {
    Guid id;
    std::string volume;
    Provider* provider = nullptr;
  };

  class FreezeWindow;

  absl::Status Require(std::string_view call, std::initializer_list<Stage> stages) const;
  absl::Status Advance(SnapshotEvent event);
  absl::StatusOr<BackupComponent*> ComponentAt(std::string_view call, std::initializer_list<Stage> stages,
                                               const ComponentId& id);

  // --- writers ---
  absl::Status Identify();
  std::shared_ptr<EventContext> MakeContext(const Participant& participant);
  // Hands `event` to every writer in `to` whose state takes it, at the same time, and waits for all of them.
  void Deliver(WriterEvent event, const std::vector<Participant*>& to);
  Lane::CallPtr Post(WriterEvent event, Participant& participant, std::shared_ptr<EventContext> context);
  void Finish(WriterEvent event, Participant& participant, const Lane::CallPtr& call, const EventContext& context,
              absl::Duration deadline);
  void Fail(WriterEvent event, Participant& participant, const absl::Status& cause);
  void MergeComponents(const Participant& participant, const EventContext& context);
  void AbortWriter(Participant& participant);
  void AbortWriters();
  bool TakesPart(const Participant& participant);
  std::vector<Participant*> Participants();
  std::vector<Participant*> RestoreParticipants();

  // --- providers ---
  using ProviderCall = std::function<absl::Status(Provider&)>;
  // Calls every provider of the set at the same time and waits for all; the first error.
  absl::Status CallProviders(std::string_view what, absl::Duration limit, const ProviderCall& call,
                             bool must_run = false);
  absl::Status FinishCall(std::string_view what, ProviderUse& use, const Lane::CallPtr& call, absl::Duration deadline);
  absl::StatusOr<ProviderUse*> ChooseProvider(const std::string& volume, const Guid& provider_id);
  // One of the phases: table, call, table.
  absl::Status Phase(SnapshotEvent event, std::string_view what, absl::Duration limit, const ProviderCall& call);

  absl::Status MakeSet();
  absl::Status CommitFrozen();
  void FailSet();

  Coordinator& coordinator_;
  const Guid id_;
  Stage stage_ = Stage::kNew;
  SnapshotState set_state_ = SnapshotState::kUnknown;
  bool end_prepare_called_ = false;  // AbortSnapshots may be called from here on
  BackupComponents document_;
  std::vector<WriterMetadata> metadata_;
  std::vector<Participant> writers_;  // those that answered Identify
  std::vector<ProviderUse> providers_;
  std::vector<Snapshot> snapshots_;
  // Monotonic: when the first frozen writer's limit ends; no provider is waited for beyond it.
  absl::Duration window_end_ = absl::InfiniteDuration();
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_ENGINE_SESSION_H_
