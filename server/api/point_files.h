// The list of files in a file set's recovery point, read from its repository a page at a time.
#ifndef UMBRA_SERVER_API_POINT_FILES_H_
#define UMBRA_SERVER_API_POINT_FILES_H_

#include "absl/status/status.h"
#include "storage/catalog/catalog.h"
#include "storage/repo/repository.h"
#include "umbra/v1/recovery_point.pb.h"

namespace umbra::api {

// Reads only the chunks that hold the page. FAILED_PRECONDITION / NO_FILES for a virtual machine's point; DATA_LOSS /
// FILE_TREE_DAMAGED, CHUNK_DAMAGED; INVALID_ARGUMENT / INVALID_PAGE_TOKEN.
absl::Status ListPointFiles(const catalog::RecoveryPoint& point, repo::Repository& repository,
                            const v1::ListRecoveryPointFilesRequest& request, v1::ListRecoveryPointFilesResponse& response);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_POINT_FILES_H_
