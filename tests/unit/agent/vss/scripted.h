// Writers and providers whose every call is recorded in one list, and can be made to fail, throw or hang.
#ifndef UMBRA_TESTS_UNIT_AGENT_VSS_SCRIPTED_H_
#define UMBRA_TESTS_UNIT_AGENT_VSS_SCRIPTED_H_

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/vss/provider.h"
#include "agent/vss/writer.h"
#include "storage/base/clock.h"

namespace umbra::vss::testing {

// What happened, in order: "writer1.Freeze", "provider.Commit", and when, if there is a clock. Thread-safe.
class Record {
 public:
  explicit Record(base::Clock* clock = nullptr) : clock_(clock) {}

  void Add(const std::string& event) {
    const absl::Duration now = clock_ == nullptr ? absl::ZeroDuration() : clock_->Monotonic();
    absl::MutexLock lock(&mu_);
    events_.emplace_back(event, now);
  }
  std::vector<std::pair<std::string, absl::Duration>> TakeTimed() {
    absl::MutexLock lock(&mu_);
    return std::exchange(events_, {});
  }
  std::vector<std::string> Take() {
    std::vector<std::string> names;
    for (auto& [name, when] : TakeTimed()) names.push_back(std::move(name));
    return names;
  }

 private:
  base::Clock* const clock_;
  absl::Mutex mu_;
  std::vector<std::pair<std::string, absl::Duration>> events_ ABSL_GUARDED_BY(mu_);
};

// A clock that stands still until a handler moves it. Moving waits until the coordinator has begun to wait, so that the
// step is always part of that wait.
class StillClock final : public base::Clock {
 public:
  absl::Time Now() override { return absl::FromUnixSeconds(1'800'000'000) + Monotonic(); }
  absl::Duration Monotonic() override { return absl::Nanoseconds(nanoseconds_.load()); }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override {
    const absl::Duration deadline = Monotonic() + timeout;
    ++waiting_;
    bool met = false;
    while (!(met = mu.AwaitWithTimeout(condition, absl::Milliseconds(1))) && Monotonic() < deadline) {
    }
    --waiting_;
    return met || condition.Eval();
  }
  void AdvanceWhileAwaited(absl::Duration d) {
    while (waiting_ == 0) std::this_thread::yield();
    nanoseconds_ += absl::ToInt64Nanoseconds(d);
  }

 private:
  std::atomic<int> waiting_{0};
  std::atomic<int64_t> nanoseconds_{0};
};

// Does nothing but what its script says: `on["Freeze"]` runs inside OnFreeze.
class ScriptedWriter : public Writer {
 public:
  ScriptedWriter(std::string name, const Guid& id, Record& record) : record_(record) {
    identity_.writer_id = id;
    identity_.instance_id = id;
    identity_.name = std::move(name);
    metadata.writer_id = id;
    metadata.instance_id = id;
    metadata.writer_name = identity_.name;
  }

  void AddComponent(const std::string& component, const std::string& volume) {
    Component c;
    c.name = component;
    c.volumes = {volume};
    metadata.components.push_back(c);
  }

  const WriterIdentity& identity() const override { return identity_; }
  WriterLimits limits() const override { return limits_; }

  absl::StatusOr<WriterMetadata> OnIdentify(const EventContext&) override {
    EventContext context;
    const absl::Status status = Play("Identify", context);
    if (!status.ok()) return status;
    return metadata;
  }
  absl::Status OnPrepareBackup(EventContext& c) override { return Play("PrepareBackup", c); }
  absl::Status OnPrepareSnapshot(EventContext& c) override { return Play("PrepareSnapshot", c); }
  absl::Status OnFreeze(EventContext& c) override { return Play("Freeze", c); }
  absl::Status OnThaw(EventContext& c) override { return Play("Thaw", c); }
  absl::Status OnPostSnapshot(EventContext& c) override { return Play("PostSnapshot", c); }
  absl::Status OnBackupComplete(EventContext& c) override { return Play("BackupComplete", c); }
  absl::Status OnBackupShutdown(EventContext& c) override { return Play("BackupShutdown", c); }
  absl::Status OnAbort(EventContext& c) override { return Play("Abort", c); }
  absl::Status OnPreRestore(EventContext& c) override { return Play("PreRestore", c); }
  absl::Status OnPostRestore(EventContext& c) override { return Play("PostRestore", c); }

  std::map<std::string, std::function<absl::Status(EventContext&)>> on;
  WriterMetadata metadata;
  WriterIdentity identity_;
  WriterLimits limits_;

 private:
  absl::Status Play(const std::string& event, EventContext& context) {
    record_.Add(identity_.name + "." + event);
    const auto found = on.find(event);
    return found == on.end() ? absl::OkStatus() : found->second(context);
  }

  Record& record_;
};

class ScriptedProvider : public Provider {
 public:
  ScriptedProvider(std::string name, const Guid& id, Record& record) : record_(record) {
    identity_.provider_id = id;
    identity_.name = std::move(name);
  }

  const ProviderIdentity& identity() const override { return identity_; }
  absl::StatusOr<bool> IsVolumeSupported(const std::string& volume, uint32_t) override {
    return volume.rfind(prefix, 0) == 0;
  }
  absl::Status BeginPrepareSnapshot(const SnapshotRequest& request) override {
    return Play("BeginPrepare(" + request.volume + ")");
  }
  absl::Status EndPrepareSnapshots(const Guid&) override { return Play("EndPrepare"); }
  absl::Status PreCommitSnapshots(const Guid&) override { return Play("PreCommit"); }
  absl::Status CommitSnapshots(const Guid&) override { return Play("Commit"); }
  absl::Status PostCommitSnapshots(const Guid&, int) override { return Play("PostCommit"); }
  absl::Status PreFinalCommitSnapshots(const Guid&) override { return Play("PreFinalCommit"); }
  absl::Status PostFinalCommitSnapshots(const Guid&) override { return Play("PostFinalCommit"); }
  absl::Status AbortSnapshots(const Guid&) override { return Play("AbortSnapshots"); }
  absl::Status DeleteSnapshots(const Guid&) override { return Play("DeleteSnapshots"); }
  absl::StatusOr<SnapshotProperties> GetSnapshotProperties(const Guid& id) override {
    SnapshotProperties properties;
    properties.snapshot_id = id;
    properties.device = "copy";
    return properties;
  }

  std::map<std::string, std::function<absl::Status()>> on;
  std::string prefix = "/";
  ProviderIdentity identity_;

 private:
  absl::Status Play(const std::string& call) {
    record_.Add(identity_.name + "." + call);
    const auto found = on.find(call);
    return found == on.end() ? absl::OkStatus() : found->second();
  }

  Record& record_;
};

}  // namespace umbra::vss::testing

#endif  // UMBRA_TESTS_UNIT_AGENT_VSS_SCRIPTED_H_
