#include "storage/repo/blob_file.h"

#include <algorithm>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

constexpr char kTemporaryFolder[] = "/tmp";

class FileBlobReader final : public BlobReader {
 public:
  FileBlobReader(std::unique_ptr<base::File> file, uint64_t size) : file_(std::move(file)), size_(size) {}
  uint64_t size() const override { return size_; }
  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override { return file_->ReadAt(offset, out); }
  void SkipCache() override { file_->SkipCache(); }

 private:
  const std::unique_ptr<base::File> file_;
  const uint64_t size_;
};

}  // namespace

class FileBlobWriter final : public BlobWriter {
 public:
  FileBlobWriter(FileBlobStore& store, std::string name, std::string temporary, std::unique_ptr<base::File> file)
      : store_(store), name_(std::move(name)), temporary_(std::move(temporary)), file_(std::move(file)) {}

  ~FileBlobWriter() override {
    if (done_) return;
    file_.reset();
    if (const absl::Status removed = store_.fs_.Remove(temporary_); !removed.ok() && !absl::IsNotFound(removed)) {
      base::Log("repo")->warn("temporary file stays until the next start path={} error={}", temporary_,
                              base::Describe(removed));
    }
  }

  absl::Status Append(base::Bytes data) override {
    RETURN_IF_ERROR(file_->WriteAt(size_, data));
    size_ += data.size();
    return absl::OkStatus();
  }

  absl::Status Commit() override {
    RETURN_IF_ERROR(file_->Sync());
    RETURN_IF_ERROR(store_.EnsureFolder(store_.PathOf(name_)));
    RETURN_IF_ERROR(store_.Publish(temporary_, name_));
    done_ = true;
    return store_.fs_.SyncDirectory(base::DirectoryOf(store_.PathOf(name_)));
  }

 private:
  FileBlobStore& store_;
  const std::string name_;
  const std::string temporary_;
  std::unique_ptr<base::File> file_;
  uint64_t size_ = 0;
  bool done_ = false;
};

absl::StatusOr<std::unique_ptr<FileBlobStore>> FileBlobStore::Open(base::Filesystem& fs, const std::string& root) {
  const std::string folder = root + kTemporaryFolder;
  RETURN_IF_ERROR(fs.MakeDirectories(folder));
  ASSIGN_OR_RETURN(const auto names, fs.List(folder));
  for (const std::string& name : names) RETURN_IF_ERROR(fs.Remove(folder + "/" + name));
  return std::unique_ptr<FileBlobStore>(new FileBlobStore(fs, root));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> FileBlobStore::Create(const std::string& name) {
  const std::string temporary = fmt::format("{}{}/{}", root_, kTemporaryFolder, next_temporary_++);
  ASSIGN_OR_RETURN(auto file, fs_.Open(temporary, base::OpenMode::kCreate));
  file->SkipCache();
  return std::make_unique<FileBlobWriter>(*this, name, temporary, std::move(file));
}

absl::StatusOr<std::unique_ptr<BlobReader>> FileBlobStore::Open(const std::string& name) {
  ASSIGN_OR_RETURN(auto file, fs_.Open(PathOf(name), base::OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  return std::make_unique<FileBlobReader>(std::move(file), size);
}

absl::StatusOr<std::vector<std::string>> FileBlobStore::List(const std::string& prefix) {
  // A name without a dot is a folder, with one an object: true for every name that format.h makes.
  std::vector<std::string> found;
  const std::string folder = prefix.substr(0, prefix.size() - 1);
  auto names = fs_.List(PathOf(folder));
  if (absl::IsNotFound(names.status())) return found;
  RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    if (name.find('.') != std::string::npos) {
      found.push_back(prefix + name);
      continue;
    }
    ASSIGN_OR_RETURN(const auto inner, List(prefix + name + "/"));
    found.insert(found.end(), inner.begin(), inner.end());
  }
  std::sort(found.begin(), found.end());
  return found;
}

absl::Status FileBlobStore::Delete(const std::string& name) {
  const absl::Status removed = fs_.Remove(PathOf(name));
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  const absl::Status synced = fs_.SyncDirectory(base::DirectoryOf(PathOf(name)));
  // Without the folder there is no such object for sure.
  if (removed.ok() || !absl::IsNotFound(synced)) RETURN_IF_ERROR(synced);
  return removed;
}

absl::StatusOr<uint64_t> FileBlobStore::FreeSpace() { return fs_.FreeSpace(root_); }

absl::Status FileBlobStore::EnsureFolder(const std::string& path) {
  const std::string folder = base::DirectoryOf(path);
  {
    absl::MutexLock lock(&folders_mu_);
    if (folders_.contains(folder)) return absl::OkStatus();
  }
  RETURN_IF_ERROR(fs_.MakeDirectories(folder));
  for (std::string made = folder; made.size() > root_.size();) {
    made = base::DirectoryOf(made);
    RETURN_IF_ERROR(fs_.SyncDirectory(made));
  }
  absl::MutexLock lock(&folders_mu_);
  folders_.insert(folder);
  return absl::OkStatus();
}

absl::Status FileBlobStore::Publish(const std::string& temporary, const std::string& name) {
  absl::MutexLock lock(&publish_mu_);
  ASSIGN_OR_RETURN(const bool exists, fs_.Exists(PathOf(name)));
  if (exists) return base::Error(absl::StatusCode::kAlreadyExists, "FILE_EXISTS", "{} exists already", name);
  return fs_.Rename(temporary, PathOf(name));
}

}  // namespace umbra::repo
