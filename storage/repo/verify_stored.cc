#include "storage/repo/verify_stored.h"

#include <algorithm>
#include <numeric>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/status.h"
#include "storage/repo/blob_file.h"
#include "storage/repo/catalog_copies.h"
#include "storage/repo/index_run.h"
#include "storage/repo/key_format.h"
#include "storage/repo/pack.h"
#include "storage/repo/pack_scan.h"
#include "storage/repo/sealed_record.h"

namespace umbra::repo {
namespace {

constexpr uint64_t kHeaderSizeMax = 64 * base::kKiB;

class StoredVerifier final : public PackVisitor {
 public:
  StoredVerifier(BlobStore& store, std::function<void(const VerifyProgress&)> progress, std::stop_token stop)
      : store_(store), progress_(std::move(progress)), stop_(std::move(stop)) {}

  absl::StatusOr<StoredReport> Run();

  // PackVisitor
  bool GoesOn(bool) override { return !stop_.stop_requested(); }
  std::shared_ptr<ScannedPack> Open(uint32_t number) override;
  absl::Status Check(const ScannedPack& pack, const PackSlot& slot, base::Bytes stored,
                     std::vector<std::byte>& scratch) override;
  void Done(ScannedPack& pack) override;

 private:
  absl::Status ListPacks();
  absl::Status CheckRuns();
  // Every object below `prefix` against `check`, which says what is wrong with it.
  absl::Status CheckObjects(const char* prefix, uint64_t size_max,
                            const std::function<absl::Status(const std::string&, base::Bytes)>& check, uint64_t* count);
  void AddProblem(const std::string& name, const absl::Status& status);

  BlobStore& store_;
  const std::function<void(const VerifyProgress&)> progress_;
  const std::stop_token stop_;
  RawUuid uuid_{};
  std::vector<PackId> packs_;
  absl::Mutex mu_;
  StoredReport report_ ABSL_GUARDED_BY(mu_);
  VerifyProgress done_ ABSL_GUARDED_BY(mu_);
};

void StoredVerifier::AddProblem(const std::string& name, const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  report_.problems.push_back(fmt::format("{}: {}", name, base::MessageOf(status)));
}

absl::Status StoredVerifier::ListPacks() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kPackPrefix));
  uint64_t total = 0;
  for (const std::string& name : names) {
    PackId id;
    if (!ParsePackName(name, id)) continue;
    packs_.push_back(id);
    const auto blob = store_.Open(name);
    if (blob.ok()) total += (*blob)->size();
  }
  absl::MutexLock lock(&mu_);
  done_.total_bytes = total;
  return absl::OkStatus();
}

std::shared_ptr<ScannedPack> StoredVerifier::Open(uint32_t number) {
  auto pack = std::make_shared<ScannedPack>();
  pack->number = number;
  pack->id = packs_[number];
  auto blob = store_.Open(PackName(pack->id));
  absl::Status status = blob.status();
  if (status.ok()) {
    pack->blob = *std::move(blob);
    pack->blob->SkipCache();
    pack->size_bytes = pack->blob->size();
    auto contents = ReadPackContents(*pack->blob, pack->id, uuid_);
    if (contents.ok()) pack->slots = std::move(contents->slots);
    status = contents.status();
  }
  pack->from_footer = status.ok();
  pack->footer_status = status;
  return pack;
}

absl::Status StoredVerifier::Check(const ScannedPack&, const PackSlot& slot, base::Bytes stored, std::vector<std::byte>&) {
  if (HashOf(stored) == slot.stored_hash) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "the bytes at {} are wrong", slot.offset);
}

void StoredVerifier::Done(ScannedPack& pack) {
  if (pack.cut) return;
  absl::MutexLock pack_lock(&pack.mu);
  absl::MutexLock lock(&mu_);
  const std::string name = PackName(pack.id);
  ++report_.pack_count;
  report_.chunk_count += pack.slots.size();
  report_.damaged_chunks += pack.bad.size();
  for (const PackSlot& slot : pack.slots) report_.stored_bytes += slot.stored_length;
  if (!pack.from_footer) {
    report_.problems.push_back(fmt::format("{}: {}", name, base::MessageOf(pack.footer_status)));
  } else if (!pack.bad.empty()) {
    report_.problems.push_back(fmt::format("{}: {} of {} chunks are damaged; first: {}", name, pack.bad.size(),
                                           pack.slots.size(), base::MessageOf(pack.bad.front().second)));
  }
  done_.done_bytes = std::min(done_.total_bytes, done_.done_bytes + pack.size_bytes);
  if (progress_) progress_(done_);
}

absl::Status StoredVerifier::CheckRuns() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kIndexPrefix));
  for (const std::string& name : names) {
    const auto run = IndexRun::Load(store_, name, uuid_);
    if (!run.ok()) AddProblem(name, run.status());
  }
  absl::MutexLock lock(&mu_);
  report_.run_count = names.size();
  return absl::OkStatus();
}

absl::Status StoredVerifier::CheckObjects(const char* prefix, uint64_t size_max,
                                          const std::function<absl::Status(const std::string&, base::Bytes)>& check,
                                          uint64_t* count) {
  ASSIGN_OR_RETURN(const auto names, store_.List(prefix));
  for (const std::string& name : names) {
    const auto bytes = store_.Get(name, size_max);
    const absl::Status status = bytes.ok() ? check(name, base::AsBytes(*bytes)) : bytes.status();
    if (!status.ok()) AddProblem(name, status);
  }
  if (count != nullptr) *count = names.size();
  return absl::OkStatus();
}

absl::StatusOr<StoredReport> StoredVerifier::Run() {
  ASSIGN_OR_RETURN(const std::string header, store_.Get(kHeaderName, kHeaderSizeMax));
  ASSIGN_OR_RETURN(const std::string id, RepositoryIdOf(header));
  uuid_ = ToRawUuid(id);
  RETURN_IF_ERROR(ListPacks());
  std::vector<uint32_t> numbers(packs_.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  PackScan(*this).Run(numbers);
  if (stop_.stop_requested()) {
    return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the verification was cancelled");
  }
  RETURN_IF_ERROR(CheckRuns());
  const auto own_hash = [](const std::string&, base::Bytes bytes) { return CheckOwnHash(bytes); };
  uint64_t points = 0;
  RETURN_IF_ERROR(CheckObjects(kPointPrefix, kPointSizeMax, own_hash, &points));
  RETURN_IF_ERROR(CheckObjects(kKeyPrefix, kRingSizeMax, own_hash, nullptr));
  RETURN_IF_ERROR(CheckObjects(kCommitPrefix, kPointSizeMax, own_hash, nullptr));
  RETURN_IF_ERROR(CheckObjects(kQuarantinePrefix, kMarkSizeMax, own_hash, nullptr));
  const auto record = [](const std::string&, base::Bytes bytes) { return SealedRecord::CheckStored(base::AsText(bytes)); };
  for (const RecordKind& kind : kRecordKinds) RETURN_IF_ERROR(CheckObjects(kind.prefix, kRecordSizeMax, record, nullptr));
  ASSIGN_OR_RETURN(const auto catalogs, store_.List(kCatalogPrefix));
  for (const std::string& name : catalogs) {
    if (const absl::Status status = CheckStoredCatalogCopy(store_, name); !status.ok()) AddProblem(name, status);
  }
  absl::MutexLock lock(&mu_);
  report_.repository_id = id;
  report_.point_count = points;
  std::ranges::sort(report_.problems);
  return std::move(report_);
}

}  // namespace

absl::StatusOr<StoredReport> VerifyStored(BlobStore& store, std::function<void(const VerifyProgress&)> progress,
                                          std::stop_token stop) {
  return StoredVerifier(store, std::move(progress), std::move(stop)).Run();
}

absl::StatusOr<StoredReport> VerifyStoredFolder(base::Filesystem& fs, const std::string& path,
                                                std::function<void(const VerifyProgress&)> progress, std::stop_token stop) {
  ASSIGN_OR_RETURN(const bool exists, fs.Exists(path + "/" + kHeaderName));
  if (!exists) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "REPOSITORY_INCOMPATIBLE", "there is no repository in {}", path);
  }
  const auto lock = fs.Lock(path + "/" + kLockName);
  if (base::ReasonOf(lock.status()) == "FILE_LOCKED") {
    return base::Error(absl::StatusCode::kFailedPrecondition, "REPOSITORY_LOCKED",
                       "a process uses {}; ask it instead: umbra repository verify --level stored", path);
  }
  RETURN_IF_ERROR(lock.status());
  ASSIGN_OR_RETURN(const auto store, FileBlobStore::Open(fs, path));
  return VerifyStored(*store, std::move(progress), std::move(stop));
}

}  // namespace umbra::repo
