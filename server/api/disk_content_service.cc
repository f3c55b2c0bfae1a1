#include "server/api/disk_content_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/api/names.h"
#include "server/api/watch_stream.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

// One message; well below what gRPC takes, and what a slow client holds of the daemon's memory.
constexpr int64_t kPieceBytes = 512 * base::kKiB;
// Clients read in order: what is decoded ahead is soon wanted.
constexpr uint64_t kCacheBytes = 8 * base::kMiB;

class DiskSource final : public WatchSource<v1::DiskContent> {
 public:
  DiskSource(catalog::Catalog& catalog, const maintenance::RepositorySet& repositories,
             const v1::DownloadDiskRequest& request)
      : catalog_(catalog), repositories_(repositories), request_(request) {}

  void Subscribe(std::function<void()>) override {}  // there is always something new
  bool Ended() const override { return view_ != nullptr && left_ == 0; }

  NextStep<v1::DiskContent> Next() override {
    v1::DiskContent content;
    if (view_ == nullptr) {
      if (const absl::Status opened = Open(content); !opened.ok()) return End{opened};
      return content;
    }
    if (left_ == 0) return End{};
    std::string& data = *content.mutable_data();
    data.resize(static_cast<size_t>(std::min(left_, kPieceBytes)));
    const absl::Status read = Read(data);
    if (!read.ok()) return End{read};
    at_ += static_cast<int64_t>(data.size());
    left_ -= static_cast<int64_t>(data.size());
    return content;
  }

 private:
  absl::Status Open(v1::DiskContent& first) {
    ASSIGN_OR_RETURN(const DiskName name, ParseDiskName(request_.name(), "name"));
    ASSIGN_OR_RETURN(const auto point,
                     catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(name.point); }));
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, repositories_.Find(point.repository));
    repo::DiskViewOptions options;
    options.cache_bytes = kCacheBytes;
    options.read_ahead_threads = 1;
    ASSIGN_OR_RETURN(auto view, repository->repository->OpenDiskView(name.point.value, name.disk, options));
    const int64_t size = static_cast<int64_t>(view->capacity_bytes());
    const int64_t offset =
        request_.offset_bytes() < 0 ? std::max<int64_t>(0, size + request_.offset_bytes()) : request_.offset_bytes();
    if (request_.length_bytes() < 0) return base::Invalid("length_bytes: must not be negative");
    if (offset > size || (offset == size && size > 0)) {
      return base::Error(absl::StatusCode::kOutOfRange, "INVALID_REQUEST", "offset_bytes: the disk has {} bytes", size);
    }
    at_ = offset;
    left_ = request_.length_bytes() == 0 ? size - offset : std::min(request_.length_bytes(), size - offset);
    first.set_disk_size_bytes(size);
    first.set_offset_bytes(at_);
    first.set_length_bytes(left_);
    view_ = std::move(view);
    return absl::OkStatus();
  }

  absl::Status Read(std::string& data) {
    return view_->ReadAt(static_cast<uint64_t>(at_), {reinterpret_cast<std::byte*>(data.data()), data.size()});
  }

  catalog::Catalog& catalog_;
  const maintenance::RepositorySet& repositories_;
  const v1::DownloadDiskRequest request_;
  std::unique_ptr<repo::DiskView> view_;
  int64_t at_ = 0;
  int64_t left_ = 0;
};

}  // namespace

grpc::ServerWriteReactor<v1::DiskContent>* DiskContentService::DownloadDisk(grpc::CallbackServerContext* context, const v1::DownloadDiskRequest* request) {
  return door_.WatchOn<v1::DownloadDiskRequest, v1::DiskContent>(
      executor_, context, request, std::make_unique<DiskSource>(catalog_, repositories_, *request), streams_,
      absl::ZeroDuration());
}

}  // namespace umbra::api
