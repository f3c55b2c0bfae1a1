// What a CreateJobRequest asks for, checked against what there is, as a spec that can be submitted.
#ifndef UMBRA_SERVER_API_JOB_REQUEST_H_
#define UMBRA_SERVER_API_JOB_REQUEST_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/job.pb.h"

namespace umbra::api {

inline constexpr absl::Duration kFreezeTimeoutDefault = absl::Seconds(10);
// No application waits longer for its frozen disks.
inline constexpr absl::Duration kFreezeTimeoutMax = absl::Seconds(60);
// One backup freezes all its machines at once.
inline constexpr int kVmsPerBackupMax = 64;
inline constexpr size_t kDisplayNameSizeMax = 255;
inline constexpr size_t kFolderSizeMax = 4096;
inline constexpr size_t kHookNameSizeMax = 63;

// The spec in `job` with every default filled in. Reads the catalog; blocks for that. That a host is offline, or a
// machine can't be made consistent, is no error here: the job waits, and the agent decides with fresh facts.
// INVALID_ARGUMENT / INVALID_REQUEST           naming the field.
// NOT_FOUND / VM_NOT_FOUND, RECOVERY_POINT_NOT_FOUND, REPOSITORY_NOT_FOUND, HOST_NOT_FOUND
// FAILED_PRECONDITION / NO_DISKS               a machine without a disk that a backup could hold.
absl::StatusOr<catalog::JobSpec> ToSpec(const v1::Job& job, catalog::Catalog& catalog,
                                        const maintenance::RepositorySet& repositories);

// How `job` shall stand in the queue: the fields that CreateJob reads besides the spec. That their values make sense is
// checked by JobEngine::Submit.
// INVALID_ARGUMENT / INVALID_REQUEST           an upload limit for what uploads nothing.
absl::StatusOr<catalog::JobTerms> ToTerms(const v1::Job& job);

// The hooks of a backup or a policy: names and nothing else, as each host has its own programs of these names.
// INVALID_ARGUMENT / INVALID_REQUEST           naming the field, which begins with `field`.
absl::StatusOr<catalog::BackupHooks> ToHooks(const v1::BackupHooks& from, std::string_view field);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_JOB_REQUEST_H_
