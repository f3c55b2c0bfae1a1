#include "agent/transfer/progress_meter.h"

#include <algorithm>
#include <utility>

namespace umbra::transfer {
namespace {

constexpr absl::Duration kRateWindow = absl::Seconds(5);
// Below this a rate says more about the sampling than about the transfer.
constexpr absl::Duration kRateWindowMin = absl::Milliseconds(500);

}  // namespace

size_t ProgressMeter::AddDisk(std::string vm_uuid, std::string disk, uint64_t total_bytes) {
  absl::MutexLock lock(&mu_);
  disks_.push_back({.figures = {.vm_uuid = std::move(vm_uuid),
                                .disk = std::move(disk),
                                .done_bytes = 0,
                                .total_bytes = total_bytes,
                                .read = {}}});
  return disks_.size() - 1;
}

void ProgressMeter::SetRead(size_t disk, DiskRead read) {
  absl::MutexLock lock(&mu_);
  disks_[disk].figures.read = std::move(read);
}

void ProgressMeter::SetDataBytes(size_t disk, uint64_t data_bytes) {
  absl::MutexLock lock(&mu_);
  disks_[disk].data_bytes = data_bytes;
}

void ProgressMeter::AddDone(size_t disk, uint64_t data_bytes) {
  absl::MutexLock lock(&mu_);
  Disk& d = disks_[disk];
  d.data_done_bytes += data_bytes;
  if (d.data_bytes == 0) return;
  const double share = std::min(1.0, static_cast<double>(d.data_done_bytes) / static_cast<double>(d.data_bytes));
  const auto done = static_cast<uint64_t>(share * static_cast<double>(d.figures.total_bytes));
  d.figures.done_bytes = std::max(d.figures.done_bytes, std::min(done, d.figures.total_bytes));
}

void ProgressMeter::SetDone(size_t disk, uint64_t done_bytes) {
  absl::MutexLock lock(&mu_);
  DiskFigures& f = disks_[disk].figures;
  f.done_bytes = std::max(f.done_bytes, std::min(done_bytes, f.total_bytes));
}

void ProgressMeter::FinishDisk(size_t disk) {
  absl::MutexLock lock(&mu_);
  disks_[disk].figures.done_bytes = disks_[disk].figures.total_bytes;
}

void ProgressMeter::AddRead(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  read_bytes_ += bytes;
}

void ProgressMeter::AddNew(uint64_t plain_bytes, uint64_t stored_bytes) {
  absl::MutexLock lock(&mu_);
  new_bytes_ += plain_bytes;
  stored_bytes_ += stored_bytes;
}

TransferFigures ProgressMeter::Figures() {
  absl::MutexLock lock(&mu_);
  TransferFigures figures;
  for (const Disk& disk : disks_) {
    figures.done_bytes += disk.figures.done_bytes;
    figures.total_bytes += disk.figures.total_bytes;
    figures.disks.push_back(disk.figures);
  }
  figures.read_bytes = read_bytes_;
  figures.new_bytes = new_bytes_;
  figures.stored_bytes = stored_bytes_;
  SampleLocked(figures);
  return figures;
}

void ProgressMeter::SampleLocked(TransferFigures& figures) {
  const absl::Duration now = clock_.Monotonic();
  samples_.push_back({now, figures.read_bytes, figures.done_bytes});
  while (samples_.size() > 2 && now - samples_[1].at >= kRateWindow) samples_.pop_front();
  const Sample& oldest = samples_.front();
  const absl::Duration window = now - oldest.at;
  if (window < kRateWindowMin) return;
  const double seconds = absl::ToDoubleSeconds(window);
  figures.rate_bytes_per_second = static_cast<uint64_t>(static_cast<double>(figures.read_bytes - oldest.read_bytes) / seconds);
  const double done_rate = static_cast<double>(figures.done_bytes - oldest.done_bytes) / seconds;
  if (done_rate < 1) return;
  figures.eta = absl::Seconds(static_cast<double>(figures.total_bytes - figures.done_bytes) / done_rate);
}

}  // namespace umbra::transfer
