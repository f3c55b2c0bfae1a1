// What the VSS engine itself costs: writers and providers that do nothing, so all the time is the engine's.
//
//   vss_engine_bench [--sets N] [--seconds S]
//
// Prints one JSON object a line: name, value, unit.
//   set-overhead         median, ms: from StartSnapshotSet to the end of DoSnapshotSet, 64 volumes, 16 writers
//   set-overhead-worst   95th of 100, ms
//   set-overhead-cpu     ms of processor time for one such set, all threads
//   sessions             complete backup sessions (2 writers, 4 volumes, both documents) for a second of processor time
//   sessions-wall        the same for a second of the clock, from one thread
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"

namespace umbra {
namespace {

constexpr int kVolumesOfSet = 64;
constexpr int kWritersOfSet = 16;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

vss::Guid NumberedId(int number) {
  return vss::Guid::Literal(fmt::format("00000000-0000-4000-8000-{:012}", number));
}

class IdleWriter final : public vss::Writer {
 public:
  IdleWriter(int number, const std::vector<std::string>& volumes) {
    identity_.writer_id = identity_.instance_id = NumberedId(number);
    identity_.name = fmt::format("writer {}", number);
    identity_.level = static_cast<vss::ApplicationLevel>(1 + number % 3);
    metadata_.writer_id = metadata_.instance_id = identity_.writer_id;
    metadata_.writer_name = identity_.name;
    for (size_t i = 0; i < volumes.size(); ++i) {
      vss::Component c;
      c.name = fmt::format("component {}", i);
      c.volumes = {volumes[i]};
      metadata_.components.push_back(std::move(c));
    }
  }

  const vss::WriterIdentity& identity() const override { return identity_; }
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext&) override { return metadata_; }
  absl::Status OnFreeze(vss::EventContext&) override { return absl::OkStatus(); }
  absl::Status OnThaw(vss::EventContext&) override { return absl::OkStatus(); }
  absl::Status OnAbort(vss::EventContext&) override { return absl::OkStatus(); }

  void Choose(std::vector<vss::ComponentChoice>* choices) const {
    for (const vss::Component& c : metadata_.components) choices->push_back({{identity_.writer_id, "", c.name}, ""});
  }

 private:
  vss::WriterIdentity identity_;
  vss::WriterMetadata metadata_;
};

class IdleProvider final : public vss::Provider {
 public:
  IdleProvider() {
    identity_.provider_id = NumberedId(999);
    identity_.name = "provider";
  }
  const vss::ProviderIdentity& identity() const override { return identity_; }
  absl::StatusOr<bool> IsVolumeSupported(const std::string&, uint32_t) override { return true; }
  absl::Status BeginPrepareSnapshot(const vss::SnapshotRequest&) override { return absl::OkStatus(); }
  absl::Status EndPrepareSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status PreCommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status CommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status PostCommitSnapshots(const vss::Guid&, int) override { return absl::OkStatus(); }
  absl::Status PreFinalCommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status PostFinalCommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status AbortSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status DeleteSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::StatusOr<vss::SnapshotProperties> GetSnapshotProperties(const vss::Guid& id) override {
    vss::SnapshotProperties properties;
    properties.snapshot_id = id;
    return properties;
  }

 private:
  vss::ProviderIdentity identity_;
};

// A host whose volumes are dealt out to its writers.
class Host {
 public:
  Host(int writer_count, int volume_count) : coordinator_(clock_, random_) {
    for (int w = 0; w < writer_count; ++w) {
      std::vector<std::string> mine;
      for (int v = w; v < volume_count; v += writer_count) {
        volumes_.push_back(fmt::format("/dev/disk/by-id/volume-{:03}/", v));
        mine.push_back(volumes_.back());
      }
      writers_.push_back(std::make_unique<IdleWriter>(w, mine));
      writers_.back()->Choose(&choices_);
      coordinator_.AddWriter(*writers_.back());
    }
    coordinator_.AddProvider(provider_);
  }

  // The session's own calls, as a requester makes them. Milliseconds of the clock and of the processor.
  struct Cost {
    double wall_ms;
    double cpu_ms;
  };
  Cost MakeSet() {
    const auto session = coordinator_.NewSession();
    Require(session->InitializeForBackup());
    Require(session->SetBackupState({}));
    Require(session->GatherWriterMetadata());
    for (const vss::ComponentChoice& choice : choices_) Require(session->AddComponent(choice.id));
    const absl::Duration start = clock_.Monotonic();
    const std::clock_t cpu = std::clock();
    Require(session->StartSnapshotSet(absl::ZeroDuration()).status());
    Require(session->AddVolumesToSnapshotSet(volumes_).status());
    Require(session->PrepareForBackup());
    Require(session->DoSnapshotSet());
    return {absl::ToDoubleMilliseconds(clock_.Monotonic() - start), 1000.0 * (std::clock() - cpu) / CLOCKS_PER_SEC};
  }

  void BackUp() {
    vss::BackupRequester backup(coordinator_.NewSession(), {});
    Require(backup.Gather().status());
    Require(backup.Select(choices_));
    Require(backup.Prepare());
    Require(backup.Snapshot().status());
    for (const vss::ComponentChoice& choice : choices_) Require(backup.SetBackupSucceeded(choice.id, true));
    Require(backup.Documents().status());
    Require(backup.Complete());
  }

  base::Clock& clock() { return clock_; }

 private:
  base::SystemClock clock_;
  base::SystemRandom random_;
  IdleProvider provider_;
  std::vector<std::unique_ptr<IdleWriter>> writers_;
  std::vector<std::string> volumes_;
  std::vector<vss::ComponentChoice> choices_;
  vss::Coordinator coordinator_;  // last: its threads end first
};

void Print(const char* name, double value, const char* unit) {
  std::printf("{\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}\n", name, value, unit);
}

void MeasureSets(int count) {
  Host host(kWritersOfSet, kVolumesOfSet);
  std::vector<double> wall, cpu;
  for (int i = 0; i < count; ++i) {
    const Host::Cost cost = host.MakeSet();
    wall.push_back(cost.wall_ms);
    cpu.push_back(cost.cpu_ms);
  }
  std::sort(wall.begin(), wall.end());
  std::sort(cpu.begin(), cpu.end());
  Print("set-overhead", wall[wall.size() / 2], "ms");
  Print("set-overhead-worst", wall[wall.size() * 95 / 100], "ms");
  Print("set-overhead-cpu", cpu[cpu.size() / 2], "ms");
}

void MeasureSessions(absl::Duration time) {
  Host host(2, 4);
  host.BackUp();
  const absl::Duration start = host.clock().Monotonic();
  const std::clock_t cpu = std::clock();
  int count = 0;
  do {
    host.BackUp();
    ++count;
  } while (host.clock().Monotonic() - start < time);
  const double wall_s = absl::ToDoubleSeconds(host.clock().Monotonic() - start);
  const double cpu_s = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
  Print("sessions", count / cpu_s, "1/s of a core");
  Print("sessions-wall", count / wall_s, "1/s");
}

int Number(int argc, char** argv, const char* flag, int otherwise) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], flag) == 0) return std::max(1, std::atoi(argv[i + 1]));
  }
  return otherwise;
}

}  // namespace
}  // namespace umbra

int main(int argc, char** argv) {
  umbra::MeasureSets(umbra::Number(argc, argv, "--sets", 300));
  umbra::MeasureSessions(absl::Seconds(umbra::Number(argc, argv, "--seconds", 3)));
  return 0;
}
