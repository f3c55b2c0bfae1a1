#include "tests/support/fault_filesystem.h"

#include <cerrno>

#include "storage/base/status.h"

namespace umbra::testing {

class FaultFile final : public base::File {
 public:
  FaultFile(FaultFilesystem& fs, std::unique_ptr<base::File> real, std::string path)
      : fs_(fs), real_(std::move(real)), path_(std::move(path)) {}

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
    RETURN_IF_ERROR(fs_.Meet(FaultFilesystem::Needs::kNothing, "read " + path_));
    return real_->ReadAt(offset, out);
  }
  absl::Status WriteAt(uint64_t offset, base::Bytes data) override {
    const absl::Status met = fs_.Meet(FaultFilesystem::Needs::kSpace, "write " + path_);
    if (met.ok()) return real_->WriteAt(offset, data);
    (void)real_->WriteAt(offset, data.first(data.size() / 2));
    return met;
  }
  absl::Status Truncate(uint64_t size_bytes) override {
    RETURN_IF_ERROR(fs_.Meet(FaultFilesystem::Needs::kSpace, "truncate " + path_));
    return real_->Truncate(size_bytes);
  }
  absl::StatusOr<uint64_t> Size() override {
    RETURN_IF_ERROR(fs_.Meet(FaultFilesystem::Needs::kNothing, "stat " + path_));
    return real_->Size();
  }
  absl::Status Sync() override {
    RETURN_IF_ERROR(fs_.Meet(FaultFilesystem::Needs::kSpace, "sync " + path_));
    return real_->Sync();
  }

 private:
  FaultFilesystem& fs_;
  const std::unique_ptr<base::File> real_;
  const std::string path_;
};

void FaultFilesystem::FailAt(uint64_t call, Fault fault, bool for_good) {
  absl::MutexLock lock(&mu_);
  countdown_ = call;
  fault_ = fault;
  for_good_ = for_good;
  luck_ = nullptr;
  struck_ = false;
}

void FaultFilesystem::FailOften(base::Random& luck, double odds, Fault fault) {
  absl::MutexLock lock(&mu_);
  countdown_ = 0;
  fault_ = fault;
  luck_ = &luck;
  odds_ = odds;
  struck_ = false;
}

bool FaultFilesystem::struck() const {
  absl::MutexLock lock(&mu_);
  return struck_;
}

absl::Status FaultFilesystem::Meet(Needs needs, const std::string& what) {
  absl::MutexLock lock(&mu_);
  if (fault_ == Fault::kNoSpace && needs == Needs::kNothing) return absl::OkStatus();
  if (luck_ != nullptr) {
    if (luck_->Fraction() >= odds_) return absl::OkStatus();
  } else if (countdown_ != 1) {
    if (countdown_ > 1) --countdown_;
    return absl::OkStatus();
  } else if (!for_good_) {
    countdown_ = 0;
  }
  struck_ = true;
  return base::ErrnoError(fault_ == Fault::kNoSpace ? ENOSPC : EIO, what);
}

absl::StatusOr<std::unique_ptr<base::File>> FaultFilesystem::Open(const std::string& path, base::OpenMode mode) {
  const bool makes = mode == base::OpenMode::kCreate || mode == base::OpenMode::kTruncate;
  RETURN_IF_ERROR(Meet(makes ? Needs::kSpace : Needs::kNothing, "open " + path));
  ASSIGN_OR_RETURN(auto file, real_.Open(path, mode));
  return std::make_unique<FaultFile>(*this, std::move(file), path);
}

absl::StatusOr<bool> FaultFilesystem::Clone(const std::string& from, const std::string& to) {
  base::Cloning* const cloning = base::CloningOf(real_);
  if (cloning == nullptr) return false;
  RETURN_IF_ERROR(Meet(Needs::kSpace, "clone " + from));
  return cloning->Clone(from, to);
}

absl::Status FaultFilesystem::MakeHole(const std::string& path, uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(Meet(Needs::kSpace, "make a hole in " + path));
  return base::CloningOf(real_)->MakeHole(path, offset, length);
}

absl::Status FaultFilesystem::Rename(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(Meet(Needs::kSpace, "rename " + from));
  return real_.Rename(from, to);
}

absl::Status FaultFilesystem::Remove(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kNothing, "remove " + path));
  return real_.Remove(path);
}

absl::Status FaultFilesystem::MakeDirectories(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kSpace, "make folder " + path));
  return real_.MakeDirectories(path);
}

absl::StatusOr<std::vector<std::string>> FaultFilesystem::List(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kNothing, "list " + path));
  return real_.List(path);
}

absl::StatusOr<std::vector<base::FolderEntry>> FaultFilesystem::ListEntries(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kNothing, "list " + path));
  return real_.ListEntries(path);
}

absl::StatusOr<bool> FaultFilesystem::Exists(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kNothing, "stat " + path));
  return real_.Exists(path);
}

absl::Status FaultFilesystem::SyncDirectory(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kSpace, "sync folder " + path));
  return real_.SyncDirectory(path);
}

absl::StatusOr<std::unique_ptr<base::File>> FaultFilesystem::Lock(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kSpace, "lock " + path));
  return real_.Lock(path);
}

absl::StatusOr<uint64_t> FaultFilesystem::FreeSpace(const std::string& path) {
  RETURN_IF_ERROR(Meet(Needs::kNothing, "statvfs " + path));
  return real_.FreeSpace(path);
}

}  // namespace umbra::testing
