// A session of our own engine. Made by Coordinator::NewSession; coordinator.h says what it promises.
#ifndef UMBRA_AGENT_VSS_ENGINE_SESSION_H_
#define UMBRA_AGENT_VSS_ENGINE_SESSION_H_

#include <atomic>
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

  absl::Status EnableWriterClasses(const std::vector<Guid>& writer_ids) override;
  absl::Status DisableWriterClasses(const std::vector<Guid>& writer_ids) override;
  absl::Status DisableWriterInstances(const std::vector<Guid>& instance_ids) override;

  absl::Status SetContext(uint32_t context) override;
  absl::Status SetBackupState(const BackupState& state) override;
  absl::Status GatherWriterMetadata() override;
  const std::vector<WriterMetadata>& writer_metadata() const override { return metadata_; }
  absl::Status AddComponent(const ComponentId& component) override;
  absl::StatusOr<Guid> StartSnapshotSet(absl::Duration wait) override;
  absl::StatusOr<Guid> AddToSnapshotSet(const std::string& volume, const Guid& provider_id) override;
  absl::StatusOr<std::vector<Guid>> AddVolumesToSnapshotSet(const std::vector<std::string>& volumes) override;
  absl::Status SetBackupOptions(const ComponentId& component, const std::string& options) override;
  absl::Status SetPreviousBackupStamp(const ComponentId& component, const std::string& stamp) override;
  absl::Status PrepareForBackup() override;
  absl::Status DoSnapshotSet() override;
  absl::StatusOr<SnapshotProperties> GetSnapshotProperties(const Guid& snapshot_id) override;
  absl::Status SetBackupSucceeded(const ComponentId& component, bool succeeded) override;
  absl::Status BackupComplete() override;
  absl::Status AbortBackup() override;
  absl::Status DeleteSnapshots() override;

  absl::Status SetRestoreState(RestoreType type) override;
  absl::Status SetSelectedForRestore(const ComponentId& component) override;
  absl::Status SetSelectedForRestoreInto(const ComponentId& component, const Guid& instance_id,
                                         const std::string& instance_name) override;
  absl::Status AddRestoreSubcomponent(const ComponentId& component, const std::string& subcomponent) override;
  absl::Status SetRestoreOptions(const ComponentId& component, const std::string& options) override;
  absl::Status SetAdditionalRestores(const ComponentId& component, bool additional) override;
  absl::Status AddNewTarget(const ComponentId& component, const NewTarget& target) override;
  absl::Status SetRestoreName(const ComponentId& component, const std::string& name) override;
  absl::Status SetAuthoritativeRestore(const ComponentId& component, bool authoritative) override;
  absl::Status SetRollForward(const ComponentId& component, const RollForward& roll_forward) override;
  absl::Status PreRestore() override;
  absl::Status SetFileRestoreStatus(const ComponentId& component, FileRestoreStatus status) override;
  absl::Status AddAlternativeLocationMapping(const ComponentId& component, const FileMapping& mapping) override;
  absl::Status SetRangesFilePath(const ComponentId& component, size_t index, const std::string& path) override;
  absl::Status PostRestore() override;

  absl::StatusOr<std::vector<WriterStatus>> GatherWriterStatus() override;
  const BackupComponents& components() const override { return document_; }
  absl::StatusOr<std::string> SaveAsXml() override;
  absl::Status Release() override;
  void Cancel() override;

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
    absl::Duration frozen_since;            // monotonic; call of Freeze
    std::optional<FreezeTimes> freeze;      // counted from there
    bool thawing = false;                   // Thaw is under way: its answer decides
    bool aborted = false;                   // has had its Abort
    Lane::CallPtr hung;                     // the call whose time ran out, while it may still run
    std::shared_ptr<EventContext> context;  // of its last event, to be used again; null while a handler may hold it
  };

  // An event on its way.
  struct Delivery {
    Participant* participant;
    std::shared_ptr<EventContext> context;  // shared with the handler, which may outlive the session
    Lane::CallPtr call;
    absl::Duration deadline;
  };
  using Deliveries = std::vector<Delivery>;

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
  absl::Status CheckNotCancelled() const;
  absl::Status Advance(SnapshotEvent event);
  absl::StatusOr<BackupComponent*> ComponentAt(std::string_view call, std::initializer_list<Stage> stages,
                                               const ComponentId& id);
  // The same for a call that needs `schema` of the writer.
  absl::StatusOr<BackupComponent*> ComponentWith(std::string_view call, uint32_t schema, const ComponentId& id);
  // Whether the steps that follow DoSnapshotSet are legal without it.
  bool MayLeaveOutSnapshot() const;
  absl::Status RequireData(std::string_view call) const;

  // --- writers (engine_events.cc) ---
  bool IsEnabled(const WriterIdentity& identity) const;
  absl::Status Identify();
  // This writer's part of the document; null when there is none.
  WriterComponents* PartOf(const Participant& participant);
  std::shared_ptr<EventContext> MakeContext(Participant& participant);
  // Hands `event` to every writer in `to` whose state takes it, at the same time.
  Deliveries Begin(WriterEvent event, const std::vector<Participant*>& to);
  // Waits for all of them.
  void Collect(WriterEvent event, Deliveries deliveries);
  void Deliver(WriterEvent event, const std::vector<Participant*>& to) { Collect(event, Begin(event, to)); }
  void Finish(WriterEvent event, Delivery& delivery);
  // Notes when an event of the freeze window was handed out, and when it was answered; both monotonic.
  void NoteHandedOut(WriterEvent event, Participant& participant, absl::Duration when);
  void NoteAnswered(WriterEvent event, Participant& participant, absl::Duration when);
  void NoteFailure(WriterEvent event, Participant& participant, const absl::Status& cause);
  // It failed in the handler of `event`; `step` is what the table of states calls that.
  void Fail(WriterEvent event, WriterEvent step, Participant& participant, const absl::Status& cause);
  void MergeComponents(WriterEvent event, const Participant& participant, const EventContext& context);
  // Posts Abort to those that haven't had one; CollectAborts waits for them.
  void AbortWriters(const std::vector<Participant*>& whom);
  void CollectAborts();
  bool TakesPart(const Participant& participant);
  std::vector<Participant*> Participants();
  std::vector<Participant*> RestoreParticipants();

  // Monotonic: when the limit of the first frozen writer ends.
  absl::Duration WindowEnd() const;
  // Whoever has been frozen for as long as it may has failed, and gets Abort.
  void ExpireFrozen();
  // Waits for a writer's call, and for the frozen writers' limits meanwhile. False at `deadline`.
  bool AwaitWriter(Participant& participant, const Lane::CallPtr& call, absl::Duration deadline,
                   Lane::Outcome* outcome);

  // --- providers (engine_set.cc) ---
  using ProviderCall = std::function<absl::Status(Provider&)>;
  // Calls every provider of the set at the same time and waits for all; the first error.
  absl::Status CallProviders(std::string_view what, absl::Duration limit, const ProviderCall& call,
                             bool must_run = false);
  absl::Status FinishCall(std::string_view what, ProviderUse& use, const Lane::CallPtr& call, absl::Duration deadline);
  absl::Status CheckVolumes(const std::vector<std::string>& volumes) const;
  absl::StatusOr<std::vector<Guid>> AddVolumes(const std::vector<std::string>& volumes, const Guid& provider_id);
  // Asks the providers in turn; the first one that supports a volume begins to prepare it. In the order of `requests`.
  absl::StatusOr<std::vector<Provider*>> BeginAtProviders(const std::vector<SnapshotRequest>& requests,
                                                          const Guid& provider_id);
  // One of the phases: table, call, table.
  absl::Status Phase(SnapshotEvent event, std::string_view what, absl::Duration limit, const ProviderCall& call);

  absl::Status MakeSet();
  absl::Status CommitFrozen();
  void FailSet();

  Coordinator& coordinator_;
  const Guid id_;
  Stage stage_ = Stage::kNew;
  bool context_set_ = false;
  bool backup_state_set_ = false;
  std::vector<Guid> enabled_classes_;  // empty: all
  std::vector<Guid> disabled_classes_;
  std::vector<Guid> disabled_instances_;
  SnapshotState set_state_ = SnapshotState::kUnknown;
  bool end_prepare_called_ = false;  // AbortSnapshots may be called from here on
  bool in_window_ = false;           // writers are frozen: no provider is waited for beyond WindowEnd
  BackupComponents document_;
  std::vector<WriterMetadata> metadata_;
  std::vector<Participant> writers_;  // those that answered Identify; metadata_ in the same order
  std::vector<ProviderUse> providers_;
  std::vector<Snapshot> snapshots_;
  Deliveries pending_aborts_;
  // Shared with the contexts of handlers, which may outlive the session.
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_ENGINE_SESSION_H_
