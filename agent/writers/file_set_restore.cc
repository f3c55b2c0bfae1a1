#include "agent/writers/file_set_restore.h"

#include <utility>

#include "agent/writers/file_set_writer.h"
#include "storage/base/status.h"

namespace umbra::writers {

FileSetRestore::FileSetRestore(std::unique_ptr<vss::Session> session, FileSetRestoreOptions options)
    : options_(std::move(options)), requester_(std::move(session), options_.documents) {}

absl::Status FileSetRestore::PreRestore() {
  RETURN_IF_ERROR(requester_.Gather());
  vss::RestoreChoice choice;
  choice.id = FileSetWriter::ComponentOf(options_.name);
  choice.options = options_.target_folder;
  const absl::Status selected = requester_.Select({choice});
  if (base::ReasonOf(selected) == "VSS_OBJECT_NOT_FOUND") return absl::OkStatus();
  RETURN_IF_ERROR(selected);
  writer_takes_part_ = true;
  return requester_.PreRestore();
}

absl::Status FileSetRestore::PostRestore(vss::FileRestoreStatus files) {
  if (!writer_takes_part_) return absl::OkStatus();
  RETURN_IF_ERROR(requester_.SetFileRestoreStatus(FileSetWriter::ComponentOf(options_.name), files));
  return requester_.PostRestore();
}

}  // namespace umbra::writers
