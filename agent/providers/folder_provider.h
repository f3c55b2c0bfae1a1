// The snapshot side of the VSS engine for folders of the host: a "volume" is a named set of folders, its snapshot a
// copy of them, made inside the hold while whoever writes there stands still.
//
// Copies share blocks with the original where the file system can do that (base/folder_copy.h); elsewhere they are
// bounded by size and time, and a set that is too large fails with FILE_SET_TOO_LARGE. They lie in `copies_folder`/{set
// id}/ and go with the set; RemoveOrphans removes what a predecessor that died left.
//
// Threads: thread-safe.
#ifndef UMBRA_AGENT_PROVIDERS_FOLDER_PROVIDER_H_
#define UMBRA_AGENT_PROVIDERS_FOLDER_PROVIDER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/vss/provider.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/folder_copy.h"

namespace umbra::providers {

struct FolderCopyRequest {
  std::vector<base::FolderSelection> folders;
  base::FolderCopyLimits limits;  // the size counts for each folder, the time for all of them
};

class FolderProvider final : public vss::Provider {
 public:
  // All outlive the provider. `copies_folder`: absolute, nobody else's; made (mode 0700) when needed. Copies share
  // blocks only with folders on its own file system.
  FolderProvider(base::FolderCopier& copier, base::Filesystem& files, base::Clock& clock, std::string copies_folder);

  // "/folders/{name}/".
  static std::string VolumeOf(std::string_view name);

  // --- for a writer ---

  // In PrepareForSnapshot, before anything stands still: CommitSnapshots shall copy these folders.
  // NOT_FOUND (kObjectNotFound) when `volume` isn't in the set; RESOURCE_EXHAUSTED / FILE_SET_TOO_LARGE when the copy
  // certainly can't be made; errors of base::FolderCopier.
  absl::Status CopyAtCommit(const vss::Guid& set_id, const std::string& volume, const FolderCopyRequest& request);

  // Later: how long that was. Nothing happens when there is no such copy.
  void SetFrozen(const vss::Guid& set_id, const std::string& volume, absl::Duration frozen);

  // --- for a reader of a finished set ---

  struct Copy {
    std::vector<std::string> folders;  // where the copies lie, in the order of the request
    std::vector<std::string> sources;  // of what
    base::FolderCopyReport report;     // of all of them
    absl::Time time;                   // when the copy was begun
    absl::Duration frozen;             // how long whoever writes there stood still, as SetFrozen said
  };
  // NOT_FOUND (kObjectNotFound) without a copy.
  absl::StatusOr<Copy> CopyOf(const vss::Guid& set_id, const std::string& volume) const;

  // Removes copies of sets that this object doesn't know; returns their names.
  absl::StatusOr<std::vector<std::string>> RemoveOrphans();

  // --- vss::Provider ---
  const vss::ProviderIdentity& identity() const override { return identity_; }
  absl::StatusOr<bool> IsVolumeSupported(const std::string& volume, uint32_t context) override;
  absl::Status BeginPrepareSnapshot(const vss::SnapshotRequest& request) override;
  absl::Status EndPrepareSnapshots(const vss::Guid& set_id) override;
  absl::Status PreCommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status CommitSnapshots(const vss::Guid& set_id) override;
  absl::Status PostCommitSnapshots(const vss::Guid&, int) override { return absl::OkStatus(); }
  absl::Status PreFinalCommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status PostFinalCommitSnapshots(const vss::Guid&) override { return absl::OkStatus(); }
  absl::Status AbortSnapshots(const vss::Guid& set_id) override;
  absl::Status DeleteSnapshots(const vss::Guid& set_id) override;
  absl::StatusOr<vss::SnapshotProperties> GetSnapshotProperties(const vss::Guid& snapshot_id) override;

 private:
  struct Snapshot {
    vss::SnapshotRequest request;
    FolderCopyRequest wanted;
    Copy copy;  // without folders until CommitSnapshots
  };
  struct Set {
    std::vector<Snapshot> snapshots;
    bool preparing = true;  // until EndPrepareSnapshots
  };

  std::string FolderOf(const vss::Guid& set_id) const;
  absl::StatusOr<Copy> MakeCopy(const vss::Guid& set_id, size_t index, const FolderCopyRequest& wanted,
                                absl::Duration deadline);

  base::FolderCopier& copier_;
  base::Filesystem& files_;
  base::Clock& clock_;
  const std::string copies_folder_;
  const vss::ProviderIdentity identity_;
  mutable absl::Mutex mu_;  // not held while files are copied
  absl::flat_hash_map<vss::Guid, Set> sets_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::providers

#endif  // UMBRA_AGENT_PROVIDERS_FOLDER_PROVIDER_H_
