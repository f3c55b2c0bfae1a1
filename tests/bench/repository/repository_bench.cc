// The repository alone, without daemon and agent: backups by the agent's own pipeline straight into it, and reads of
// all kinds.
//
//   repository_bench backup REPOSITORY IMAGE [LEVEL]
//       One disk, as a recovery point, with this level of zstd (1). Makes the repository when there is none.
//   repository_bench increment REPOSITORY IMAGE CHANGES
//       The same disk as in the newest recovery point but for the stretches in the file CHANGES: a line with offset and
//       length each.
//   repository_bench restore REPOSITORY TARGET
//       The newest recovery point's disk into a new raw image.
//   repository_bench verify REPOSITORY
//       Everything: stored bytes, decompressed, ids.
//   repository_bench random REPOSITORY
//       Reads of 4 KiB, each in another chunk of the newest recovery point's disk. Needs root: it empties the page
//       cache.
//   repository_bench index FOLDER CHUNKS
//       The chunk index with so many chunks.
//   repository_bench mark FOLDER CHUNKS POINTS
//       The mark of a prune, with so many chunks and points that each refer to all of them.
//   repository_bench limits FOLDER IMAGE...
//       What each step of a backup costs by itself.
//
// Prints one JSON object a line. Time and memory of the first three are the process's: whoever starts it measures them.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "agent/hypervisor/image/image_writer.h"
#include "agent/transfer/backup_pipeline.h"
#include "agent/transfer/disk_restorer.h"
#include "agent/transfer/read_planner.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/base/tuning.h"
#include "tests/bench/repository/bench.h"
#include "tests/bench/repository/local_store.h"

namespace umbra::bench {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "repository_bench: %s\n", base::Describe(status).c_str());
  std::exit(1);
}

namespace {

constexpr char kVm[] = "11111111-2222-4333-8444-555555555555";
constexpr char kDisk[] = "vda";

double Seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The seams to the operating system.
struct System {
  base::PosixFilesystem files;
  base::SystemClock clock;
  base::SystemRandom random;
};

// Needs root.
void DropPageCache() {
  sync();
  std::FILE* file = std::fopen("/proc/sys/vm/drop_caches", "w");
  UMBRA_CHECK(file != nullptr && std::fputs("1\n", file) >= 0 && std::fclose(file) == 0);
}

std::unique_ptr<repo::Repository> Open(System& system, const std::string& path) {
  repo::RepositoryOptions options;
  options.key = {repo::KeyKind::kKeyFile, std::string(repo::kKeyFileSecretSize, 'k')};
  return Require(repo::Repository::OpenOrCreate(system.files, system.clock, system.random, path, options));
}

repo::Manifest NewestPoint(repo::Repository& repository) {
  const repo::RecoveryPointList list = Require(repository.ListRecoveryPoints());
  if (list.points.empty()) Require(absl::NotFoundError("the repository has no recovery point"));
  return list.points.back();
}

// A disk whose hypervisor knows what has changed.
class TrackedReader final : public hypervisor::BlockReader {
 public:
  TrackedReader(std::unique_ptr<hypervisor::BlockReader> reader, std::vector<hypervisor::Extent> changes)
      : reader_(std::move(reader)), changes_(std::move(changes)) {}

  uint64_t capacity_bytes() const override { return reader_->capacity_bytes(); }
  absl::StatusOr<std::vector<hypervisor::Extent>> Extents() override { return reader_->Extents(); }
  absl::Status ReadExtents(const std::vector<hypervisor::Extent>& extents, uint32_t piece_bytes,
                           const hypervisor::BlockSink& sink) override {
    return reader_->ReadExtents(extents, piece_bytes, sink);
  }
  absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) override {
    return reader_->ReadAt(offset_bytes, out);
  }
  absl::StatusOr<std::vector<hypervisor::Extent>> Changes() override { return changes_; }

 private:
  const std::unique_ptr<hypervisor::BlockReader> reader_;
  const std::vector<hypervisor::Extent> changes_;
};

std::vector<hypervisor::Extent> ReadChanges(System& system, const std::string& path) {
  std::istringstream lines(Require(system.files.ReadFile(path)));
  std::vector<hypervisor::Extent> changes;
  for (hypervisor::Extent extent; lines >> extent.offset_bytes >> extent.length_bytes;) changes.push_back(extent);
  return changes;
}

// With `changes` (a path) only those are read.
void BackUp(System& system, const std::string& folder, const std::string& image, const LocalStoreOptions& options,
            const std::string& changes) {
  const auto repository = Open(system, folder);
  LocalStore store(*repository, options);
  auto reader = Require(hypervisor::OpenFile(system.files, image));
  if (!changes.empty()) reader = std::make_unique<TrackedReader>(std::move(reader), ReadChanges(system, changes));
  const store::v1::OpenSessionResponse session = Require(store.OpenSession({}));
  transfer::ProgressMeter meter(system.clock);
  transfer::Cancellation cancellation;
  const size_t disk = meter.AddDisk(kVm, kDisk, reader->capacity_bytes());
  const transfer::DiskMapTarget target{session.session_id(), kVm, kDisk, reader->capacity_bytes()};
  {
    const auto pipeline = Require(transfer::BackupPipeline::Create(store, session, meter, cancellation, {}));
    transfer::DiskReadPlan plan;
    if (changes.empty()) {
      plan = Require(transfer::PlanWholeDisk(*reader, target.capacity_bytes, pipeline->chunk_size()));
    } else {
      transfer::ReadPlanner planner(store, pipeline->hasher(), pipeline->chunk_size(), system.random, meter);
      const std::string base = NewestPoint(*repository).recovery_point_id();
      plan = Require(planner.Plan(*reader, target, base, absl::OkStatus()));
      if (plan.base_recovery_point_id != base)
        Require(absl::InternalError("the disk was read whole: " + plan.read.full_message));
    }
    Require(pipeline->BackUpDisk(*reader, target, plan, disk));
  }
  store::v1::CommitRequest commit;
  commit.set_session_id(session.session_id());
  store::v1::Manifest& manifest = *commit.add_manifests();
  manifest.set_vm_uuid(kVm);
  manifest.set_vm_display_name("bench");
  manifest.add_disks()->set_name(kDisk);
  manifest.mutable_disks(0)->set_capacity_bytes(static_cast<int64_t>(reader->capacity_bytes()));
  const store::v1::CommitResponse committed = Require(store.Commit(commit));
  const transfer::TransferFigures figures = meter.Figures();
  std::printf("{\"point\": \"%s\", \"read_bytes\": %lu, \"new_bytes\": %lu, \"stored_bytes\": %ld}\n",
              committed.recovery_point_ids(0).c_str(), figures.read_bytes, figures.new_bytes, committed.stored_bytes());
}

void Restore(System& system, const std::string& folder, const std::string& target) {
  const auto repository = Open(system, folder);
  LocalStore store(*repository, {});
  const repo::Manifest point = NewestPoint(*repository);
  const auto capacity = static_cast<uint64_t>(point.disks(0).capacity_bytes());
  transfer::ProgressMeter meter(system.clock);
  transfer::Cancellation cancellation;
  const auto writer =
      Require(hypervisor::CreateImage(system.files, {.path = target, .format = "raw", .capacity_bytes = capacity}));
  {
    transfer::DiskRestorer restorer(store, *writer, meter, meter.AddDisk(kVm, kDisk, capacity), cancellation,
                                    system.clock, system.random);
    Require(restorer.Run({.job_id = "bench",
                          .attempt = 1,
                          .recovery_point_id = point.recovery_point_id(),
                          .disk = kDisk,
                          .capacity_bytes = capacity}));
  }
  Require(writer->Finish());
  std::printf("{\"point\": \"%s\", \"written_bytes\": %lu}\n", point.recovery_point_id().c_str(),
              meter.Figures().read_bytes);
}

void Verify(System& system, const std::string& folder) {
  const auto repository = Open(system, folder);
  const repo::VerifyReport report = Require(repository->Verify({}, nullptr, {}));
  if (!report.ok()) Require(absl::DataLossError("the repository is damaged"));
  std::printf("{\"chunks\": %lu, \"stored_bytes\": %lu, \"plain_bytes\": %lu}\n", report.chunk_count,
              report.stored_bytes, report.plain_bytes);
}

// Microseconds: the middle one, and the one that 99 of 100 don't exceed.
void PrintReads(const char* name, std::vector<double>& seconds) {
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double part) {
    return 1e6 * seconds[static_cast<size_t>(part * static_cast<double>(seconds.size() - 1))];
  };
  std::printf("{\"reads\": \"%s\", \"count\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", name, seconds.size(),
              at(0.5), at(0.99));
}

// No chunk is read twice, so the view's cache never helps. First from packs that lie in the page cache, then, by
// another view, from the disk.
void ReadAtRandom(System& system, const std::string& folder) {
  const auto repository = Open(system, folder);
  const repo::Manifest point = NewestPoint(*repository);
  const uint64_t chunk_size = repository->info().chunk_size_bytes;
  for (const bool from_disk : {false, true}) {
    const double opening = WallSeconds();
    const auto view = Require(repository->OpenDiskView(point.recovery_point_id(), kDisk));
    std::vector<std::byte> out(4096);
    if (!from_disk) {
      Require(view->ReadAt(0, out));
      std::printf("{\"reads\": \"first byte\", \"p50_us\": %.1f}\n", 1e6 * (WallSeconds() - opening));
    }
    std::vector<uint64_t> places;
    for (uint64_t at = chunk_size; at + chunk_size <= view->capacity_bytes(); at += chunk_size) {
      if (!Require(view->StretchAt(at)).zero) places.push_back(at);
    }
    std::shuffle(places.begin(), places.end(), std::mt19937_64(1));
    places.resize(std::min<size_t>(places.size(), 2000));
    if (from_disk) DropPageCache();
    std::vector<double> seconds;
    for (const uint64_t at : places) {
      const double start = WallSeconds();
      Require(view->ReadAt(at + 4096, out));
      seconds.push_back(WallSeconds() - start);
    }
    PrintReads(from_disk ? "from disk" : "from page cache", seconds);
  }
}

int Main(const std::vector<std::string>& args) {
  System system;
  base::TuneForBulkData();
  const std::string command = args.empty() ? "" : args[0];
  if (command == "backup" && (args.size() == 3 || args.size() == 4)) {
    LocalStoreOptions options;
    if (args.size() == 4) options.compression_level = std::stoi(args[3]);
    BackUp(system, args[1], args[2], options, "");
  } else if (command == "increment" && args.size() == 4) {
    BackUp(system, args[1], args[2], {}, args[3]);
  } else if (command == "restore" && args.size() == 3) {
    Restore(system, args[1], args[2]);
  } else if (command == "verify" && args.size() == 2) {
    Verify(system, args[1]);
  } else if (command == "random" && args.size() == 2) {
    ReadAtRandom(system, args[1]);
  } else if (command == "index" && args.size() == 3) {
    MeasureIndex(args[1], std::stoull(args[2]));
  } else if (command == "mark" && args.size() == 4) {
    MeasureMark(args[1], std::stoull(args[2]), std::stoull(args[3]));
  } else if (command == "limits" && args.size() >= 3) {
    MeasureLimits({args.begin() + 2, args.end()}, args[1], LocalStoreOptions().compression_level);
  } else {
    std::fprintf(stderr, "usage: see the head of repository_bench.cc\n");
    return 2;
  }
  return 0;
}

}  // namespace

double ThreadSeconds() {
  return Seconds(CLOCK_THREAD_CPUTIME_ID);
}
double WallSeconds() {
  return Seconds(CLOCK_MONOTONIC);
}

uint64_t ResidentBytes() {
  malloc_trim(0);
  unsigned long total = 0, resident = 0;
  std::FILE* statm = std::fopen("/proc/self/statm", "r");
  UMBRA_CHECK(statm != nullptr && std::fscanf(statm, "%lu %lu", &total, &resident) == 2);
  std::fclose(statm);
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace umbra::bench

int main(int argc, char** argv) {
  return umbra::bench::Main({argv + 1, argv + argc});
}
