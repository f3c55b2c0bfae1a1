#include "storage/repo/blob_store.h"

#include "storage/base/status.h"

namespace umbra::repo {

absl::Status BlobStore::PutIfAbsent(const std::string& name, base::Bytes content) {
  ASSIGN_OR_RETURN(auto writer, Create(name));
  RETURN_IF_ERROR(writer->Append(content));
  return writer->Commit();
}

absl::StatusOr<std::string> BlobStore::Get(const std::string& name, uint64_t limit_bytes) {
  ASSIGN_OR_RETURN(auto reader, Open(name));
  if (reader->size() > limit_bytes) {
    return base::Error(absl::StatusCode::kResourceExhausted, "FILE_TOO_LARGE", "{} has {} bytes, the limit is {}", name,
                       reader->size(), limit_bytes);
  }
  std::string content(reader->size(), '\0');
  RETURN_IF_ERROR(reader->ReadAt(0, std::as_writable_bytes(std::span(content.data(), content.size()))));
  return content;
}

}  // namespace umbra::repo
