#include "server/cli/watch.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"

namespace umbra::cli {
namespace {

constexpr int kReconnectSecondsMax = 60;  // a daemon restart or upgrade takes less

bool Ended(const v1::Job& job) {
  return job.state() == v1::Job::STATE_SUCCEEDED || job.state() == v1::Job::STATE_FAILED ||
         job.state() == v1::Job::STATE_CANCELLED;
}

int TerminalWidth() {
  if (isatty(STDOUT_FILENO) == 0) return 0;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

int Percent(const v1::JobProgress& progress) {
  if (progress.total_bytes() <= 0) return 0;
  return static_cast<int>(std::min<int64_t>(100, progress.done_bytes() * 100 / progress.total_bytes()));
}

// How a backup read a disk; empty when that isn't known.
std::string ReadText(const v1::DiskProgress& disk) {
  switch (disk.read_mode()) {
    case v1::DiskProgress::READ_MODE_FULL:
      if (disk.full_read_reason().empty()) return "read whole";
      return fmt::format("read whole: {} [{}]", disk.full_read_message(), disk.full_read_reason());
    case v1::DiskProgress::READ_MODE_INCREMENTAL:
      return fmt::format("increment, {} changed", base::FormatSize(static_cast<uint64_t>(disk.changed_bytes())));
    default:
      return "";
  }
}

// Prints what changed since the last line, so that a log file stays short.
class Printer {
 public:
  explicit Printer(const Output& output) : output_(output), width_(output.json() ? 0 : TerminalWidth()) {}

  void Show(const v1::Job& job) {
    if (output_.json()) return output_.Json(job);
    ShowWarnings(job);
    ShowReads(job);
    if (width_ > 0) {
      fmt::print("\r\033[K{}", ProgressLine(job, width_));
      if (Ended(job)) fmt::print("\n");
    } else if (const std::string step = Step(job); step != last_step_) {
      last_step_ = step;
      fmt::print("{}\n", ProgressLine(job, 0));
    }
    std::fflush(stdout);
  }

 private:
  // Piped output gets a line at every new state, phase and tenth of the way.
  static std::string Step(const v1::Job& job) {
    return fmt::format("{}/{}", StateText(job), Percent(job.progress()) / 10);
  }

  void ShowWarnings(const v1::Job& job) {
    for (; shown_warnings_ < job.warnings_size(); ++shown_warnings_) {
      const auto& warning = job.warnings(shown_warnings_);
      if (width_ > 0) fmt::print("\r\033[K");
      fmt::print(stderr, "warning: {} [{}]\n", warning.message(), warning.reason());
    }
  }

  // Once for each disk, as soon as it is known.
  void ShowReads(const v1::Job& job) {
    for (const auto& disk : job.progress().disks()) {
      const std::string text = ReadText(disk);
      if (text.empty() || !shown_reads_.insert(disk.virtual_machine() + " " + disk.disk()).second) continue;
      if (width_ > 0) fmt::print("\r\033[K");
      fmt::print("disk {}: {}\n", disk.disk(), text);
    }
  }

  const Output output_;
  const int width_;
  int shown_warnings_ = 0;
  std::set<std::string> shown_reads_;
  std::string last_step_;
};

}  // namespace

std::string KindText(const v1::Job& job) {
  if (job.has_backup()) return "backup";
  if (job.has_restore()) return "restore";
  if (job.has_prune()) return job.prune().dry_run() ? "prune (dry run)" : "prune";
  return job.has_verify() ? "verify" : "-";
}

std::string StateText(const v1::Job& job) {
  std::string text = EnumText(v1::Job::State_Name(job.state()), "STATE_");
  if (job.state() == v1::Job::STATE_RUNNING && job.phase() != v1::Job::PHASE_UNSPECIFIED) {
    text += "/" + EnumText(v1::Job::Phase_Name(job.phase()), "PHASE_");
  }
  if (job.state() == v1::Job::STATE_QUEUED && !job.wait_reason().empty()) text += " (" + job.wait_reason() + ")";
  if (job.state() == v1::Job::STATE_QUEUED && job.has_next_attempt_time()) {
    text += fmt::format(", attempt {} failed: {}, next at {}", job.attempt(), job.last_attempt_error().reason(),
                        TimeText(true, job.next_attempt_time()));
  }
  return text;
}

std::string ProgressLine(const v1::Job& job, int width) {
  const auto& progress = job.progress();
  std::string tail;
  if (progress.total_bytes() > 0) {
    tail = fmt::format(" {:3}%  {} of {}, new {}", Percent(progress), base::FormatSize(progress.done_bytes()),
                       base::FormatSize(progress.total_bytes()), base::FormatSize(progress.new_bytes()));
    if (!Ended(job) && progress.rate_bytes_per_second() > 0) {
      tail += fmt::format("  {}/s", base::FormatSize(progress.rate_bytes_per_second()));
    }
    if (!Ended(job) && progress.has_eta()) tail += "  ETA " + DurationText(progress.eta());
  }
  const std::string head = fmt::format("{} {} {}", KindText(job), ShortId(job.name()), StateText(job));
  const int room = width - static_cast<int>(head.size() + tail.size()) - 4;
  if (width == 0 || room < 10 || progress.total_bytes() == 0) {
    const std::string line = head + tail;
    return width > 0 ? line.substr(0, static_cast<size_t>(width - 1)) : line;
  }
  const int length = std::min(room, 40);
  const int filled = length * Percent(progress) / 100;
  return fmt::format("{} [{}{}]{}", head, std::string(static_cast<size_t>(filled), '#'),
                     std::string(static_cast<size_t>(length - filled), '-'), tail);
}

int ExitCodeOf(const v1::Job& job) {
  if (job.damage_size() > 0) return kExitDamaged;
  if (job.state() == v1::Job::STATE_SUCCEEDED) return kExitOk;
  return job.state() == v1::Job::STATE_CANCELLED ? kExitCancelled : kExitFailed;
}

void AddPruneResult(const v1::Job& job, std::vector<std::pair<std::string, std::string>>& fields) {
  const v1::PruneResult& r = job.prune_result();
  const auto size = [](int64_t bytes) { return base::FormatSize(static_cast<uint64_t>(bytes)); };
  fields.emplace_back(job.prune().dry_run() ? "Would free" : "Freed",
                      fmt::format("{} in {} packs, of {} deleted recovery points", size(r.freed_bytes()),
                                  r.deleted_pack_count(), r.deleted_point_count()));
  fields.emplace_back(job.prune().dry_run() ? "Would copy" : "Copied", size(r.copied_bytes()));
  fields.emplace_back("Goes later", size(r.waiting_bytes()));
  fields.emplace_back("Needed", size(r.needed_bytes()));
}

google::protobuf::Duration Between(const google::protobuf::Timestamp& start, const google::protobuf::Timestamp& end) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  const int64_t nanos =
      std::max<int64_t>(0, (end.seconds() - start.seconds()) * kNanosPerSecond + end.nanos() - start.nanos());
  google::protobuf::Duration duration;
  duration.set_seconds(nanos / kNanosPerSecond);
  duration.set_nanos(static_cast<int32_t>(nanos % kNanosPerSecond));
  return duration;
}

std::string PhaseText(const v1::JobPhase& phase) {
  const std::string since = TimeText(phase.has_start_time(), phase.start_time());
  const std::string took =
      phase.has_end_time() ? DurationText(Between(phase.start_time(), phase.end_time())) : "goes on";
  return fmt::format("{}, {} from {}", EnumText(v1::Job::Phase_Name(phase.phase()), "PHASE_"), took, since);
}

// From being told to freeze until it worked again.
std::string WriterText(const v1::JobWriter& writer) {
  const std::string where =
      writer.virtual_machine().empty() ? "" : ", in the guest of " + LastSegment(writer.virtual_machine());
  const std::string took = writer.has_thawed_time() ? DurationText(Between(writer.freeze_time(), writer.thawed_time()))
                                                    : "not known to work again";
  return fmt::format("{}{}, {} from {}", writer.display_name(), where, took,
                     TimeText(writer.has_freeze_time(), writer.freeze_time()));
}

void PrintJob(const Output& output, const v1::Job& job) {
  if (output.json()) return output.Json(job);
  std::vector<std::pair<std::string, std::string>> fields = {{"Job", LastSegment(job.name())},
                                                             {"Kind", KindText(job)},
                                                             {"State", StateText(job)}};
  if (job.has_backup()) {
    for (const auto& vm : job.backup().virtual_machines()) fields.emplace_back("Virtual machine", vm);
    for (const auto& set : job.backup().file_sets()) fields.emplace_back("File set", set);
  }
  if (job.has_restore()) fields.emplace_back("Recovery point", job.restore().recovery_point());
  fields.emplace_back("Created", TimeText(job.has_create_time(), job.create_time()));
  fields.emplace_back("Started", TimeText(job.has_start_time(), job.start_time()));
  fields.emplace_back("Ended", TimeText(job.has_end_time(), job.end_time()));
  for (const v1::JobPhase& phase : job.phases()) fields.emplace_back("Phase", PhaseText(phase));
  for (const v1::JobWriter& writer : job.writers()) fields.emplace_back("Frozen", WriterText(writer));
  if (job.progress().total_bytes() > 0) {
    const auto& p = job.progress();
    fields.emplace_back("Progress", fmt::format("{}% of {}, read {}, new {}, stored {}", Percent(p),
                                                base::FormatSize(p.total_bytes()), base::FormatSize(p.read_bytes()),
                                                base::FormatSize(p.new_bytes()), base::FormatSize(p.stored_bytes())));
  }
  for (const auto& disk : job.progress().disks()) {
    if (const std::string text = ReadText(disk); !text.empty()) fields.emplace_back("Disk " + disk.disk(), text);
  }
  if (job.has_prune_result()) AddPruneResult(job, fields);
  if (job.has_freeze_duration()) fields.emplace_back("Guest frozen", DurationText(job.freeze_duration()));
  if (job.has_downtime()) fields.emplace_back("Stood still", DurationText(job.downtime()));
  for (const auto& point : job.recovery_points()) fields.emplace_back("Recovery point", LastSegment(point));
  fields.emplace_back("Restored to", job.restored_virtual_machine());
  for (const auto& w : job.warnings()) fields.emplace_back("Warning", fmt::format("{} [{}]", w.message(), w.reason()));
  if (job.has_error()) fields.emplace_back("Error", fmt::format("{} [{}]", job.error().message(), job.error().reason()));
  for (const auto& d : job.damage()) {
    fields.emplace_back("Damage", fmt::format("chunk {} of {} disk {} at byte {}, {} bytes: {}", d.chunk_id().substr(0, 16),
                                              d.recovery_point(), d.disk(), d.offset_bytes(), d.length_bytes(), d.message()));
  }
  output.Fields(fields);
}

int WatchJob(Context& context, const std::string& job_name) {
  Printer printer(context.output());
  v1::Job job;
  base::SystemClock clock;
  for (int failures = 0; failures < kReconnectSecondsMax;) {
    grpc::ClientContext call;
    v1::WatchJobRequest request;
    request.set_name(job_name);
    auto stream = context.client().jobs->WatchJob(&call, request);
    while (stream->Read(&job)) {
      failures = 0;
      printer.Show(job);
    }
    const grpc::Status status = stream->Finish();
    if (Ended(job)) break;
    if (!status.ok() && status.error_code() != grpc::StatusCode::UNAVAILABLE) throw ToExitError(status);
    ++failures;
    clock.Sleep(absl::Seconds(1));
  }
  if (!Ended(job)) {
    throw ExitError{kExitUnreachable, "lost umbrad while watching; the job may go on: umbra job show " + ShortId(job_name),
                    "DAEMON_UNREACHABLE"};
  }
  if (!context.json) {
    fmt::print("\n");
    PrintJob(context.output(), job);
  }
  return ExitCodeOf(job);
}

}  // namespace umbra::cli
