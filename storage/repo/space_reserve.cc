#include "storage/repo/space_reserve.h"

#include <algorithm>
#include <vector>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/sealed_record.h"

namespace umbra::repo {
namespace {

// Free space that must be there, as a multiple of the reserve: making it must not be what fills the store.
constexpr uint64_t kRoomFactor = 4;

}  // namespace

absl::Status SpaceReserve::Make() {
  if (size_bytes_ == 0) return absl::OkStatus();
  absl::MutexLock lock(&mu_);
  const auto there = store_.Open(kReserveName);
  if (there.ok()) return absl::OkStatus();
  if (!absl::IsNotFound(there.status())) return there.status();
  ASSIGN_OR_RETURN(const uint64_t free, store_.FreeSpace());
  if (free / kRoomFactor < size_bytes_) {
    return base::Error(absl::StatusCode::kResourceExhausted, "STORAGE_FULL", "no room for a reserve of {} bytes",
                       size_bytes_);
  }
  // Random, so that a file system which compresses, or looks for holes, keeps it whole.
  std::vector<std::byte> block(std::min<uint64_t>(size_bytes_, base::kMiB));
  random_.Fill(block);
  ASSIGN_OR_RETURN(const auto writer, store_.Create(kReserveName));
  for (uint64_t written = 0; written < size_bytes_; written += block.size()) RETURN_IF_ERROR(writer->Append(block));
  return writer->Commit();
}

bool SpaceReserve::Release() {
  absl::MutexLock lock(&mu_);
  const absl::Status deleted = store_.Delete(kReserveName);
  if (absl::IsNotFound(deleted)) return false;
  // Whatever else went wrong: its space may be free now.
  base::Log("repo")->warn("store is full, reserve given up for a deletion result={}", base::Describe(deleted));
  return true;
}

absl::Status SpaceReserve::Run(const std::function<absl::Status()>& work) {
  const absl::Status done = work();
  if (base::ReasonOf(done) != "STORAGE_FULL" || !Release()) return done;
  return work();
}

}  // namespace umbra::repo
