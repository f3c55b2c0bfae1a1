#include "server/maintenance/catalog_copy.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

constexpr char kDatabase[] = "catalog.db";
constexpr char kAuthority[] = "authority.pem";
constexpr size_t kPieceBytes = 1024 * 1024;
// A few lines for each repository.
constexpr uint32_t kHeaderSizeMax = 16 * 1024 * 1024;

absl::Status Damaged(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CATALOG_COPY_DAMAGED", "the copy of the catalog is damaged: {}",
                     what);
}

void ListFile(CatalogCopyHeader& header, const char* name, uint64_t size_bytes) {
  auto* file = header.add_files();
  file->set_name(name);
  file->set_size_bytes(static_cast<int64_t>(size_bytes));
}

absl::Status AppendFile(base::File& file, uint64_t size_bytes, repo::CatalogCopyWriter& writer, GoOn go_on) {
  std::vector<std::byte> piece(std::min<uint64_t>(size_bytes, kPieceBytes));
  for (uint64_t done = 0; done < size_bytes;) {
    RETURN_IF_ERROR(go_on());
    const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), size_bytes - done));
    RETURN_IF_ERROR(file.ReadAt(done, part));
    RETURN_IF_ERROR(writer.Append(part));
    done += part.size();
  }
  return absl::OkStatus();
}

// Takes a copy's stream apart.
class Stream {
 public:
  explicit Stream(repo::CatalogCopyReader& reader) : reader_(reader) {}

  absl::StatusOr<CatalogCopyHeader> Header() {
    ASSIGN_OR_RETURN(const std::string prefix, Exactly(sizeof(uint32_t)));
    uint32_t length = 0;
    for (size_t i = 0; i < prefix.size(); ++i) length |= uint32_t{static_cast<unsigned char>(prefix[i])} << (8 * i);
    if (length > kHeaderSizeMax) return Damaged("its head is longer than any");
    ASSIGN_OR_RETURN(const std::string bytes, Exactly(length));
    CatalogCopyHeader header;
    if (!header.ParseFromString(bytes)) return Damaged("its head can't be read");
    return header;
  }

  // The next `size_bytes`, piece by piece.
  absl::Status Each(uint64_t size_bytes, absl::FunctionRef<absl::Status(std::string_view)> take) {
    while (size_bytes > 0) {
      RETURN_IF_ERROR(Fill());
      const std::string_view part = std::string_view(buffer_).substr(at_, size_bytes);
      RETURN_IF_ERROR(take(part));
      at_ += part.size();
      size_bytes -= part.size();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Exactly(uint64_t size_bytes) {
    std::string bytes;
    RETURN_IF_ERROR(Each(size_bytes, [&](std::string_view part) {
      bytes += part;
      return absl::OkStatus();
    }));
    return bytes;
  }

  absl::Status End() {
    if (at_ < buffer_.size()) return Damaged("it is longer than it says");
    ASSIGN_OR_RETURN(const std::string more, reader_.Next());
    return more.empty() ? absl::OkStatus() : Damaged("it is longer than it says");
  }

 private:
  absl::Status Fill() {
    if (at_ < buffer_.size()) return absl::OkStatus();
    at_ = 0;
    ASSIGN_OR_RETURN(buffer_, reader_.Next());
    return buffer_.empty() ? Damaged("it is shorter than it says") : absl::OkStatus();
  }

  repo::CatalogCopyReader& reader_;
  std::string buffer_;
  size_t at_ = 0;
};

absl::Status WriteFile(Stream& stream, uint64_t size_bytes, base::Filesystem& filesystem, const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, filesystem.Open(path, base::OpenMode::kCreate));
  uint64_t written = 0;
  RETURN_IF_ERROR(stream.Each(size_bytes, [&](std::string_view part) {
    const absl::Status status = file->WriteAt(written, base::AsBytes(part));
    written += part.size();
    return status;
  }));
  return file->Sync();
}

absl::StatusOr<CatalogCopyContent> ReadAll(Stream& stream, base::Filesystem& filesystem, const std::string& database) {
  CatalogCopyContent content;
  ASSIGN_OR_RETURN(content.header, stream.Header());
  bool has_database = false;
  for (const auto& file : content.header.files()) {
    const auto size = static_cast<uint64_t>(file.size_bytes());
    if (file.name() == kDatabase && !has_database) {
      has_database = true;
      RETURN_IF_ERROR(WriteFile(stream, size, filesystem, database));
    } else if (file.name() == kAuthority && size <= kAuthoritySizeMax) {
      ASSIGN_OR_RETURN(content.authority_pem, stream.Exactly(size));
    } else {  // of a later version
      RETURN_IF_ERROR(stream.Each(size, [](std::string_view) { return absl::OkStatus(); }));
    }
  }
  RETURN_IF_ERROR(stream.End());
  if (!has_database) return Damaged("there is no catalog in it");
  return content;
}

}  // namespace

absl::StatusOr<repo::CatalogCopyInfo> WriteCatalogCopy(repo::CatalogCopies& copies, base::Filesystem& filesystem,
                                                       CatalogCopySource source, GoOn go_on) {
  ASSIGN_OR_RETURN(const auto database, filesystem.Open(source.database, base::OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t size_bytes, database->Size());
  std::string authority;
  if (!source.authority.empty()) {
    ASSIGN_OR_RETURN(authority, filesystem.ReadFile(source.authority, kAuthoritySizeMax));
    ListFile(source.header, kAuthority, authority.size());
  }
  ListFile(source.header, kDatabase, size_bytes);
  const std::string header = source.header.SerializeAsString();
  std::string prefix;
  for (size_t i = 0; i < sizeof(uint32_t); ++i) prefix.push_back(static_cast<char>(header.size() >> (8 * i)));

  ASSIGN_OR_RETURN(const auto writer, copies.Begin());
  RETURN_IF_ERROR(writer->Append(base::AsBytes(prefix + header + authority)));
  RETURN_IF_ERROR(AppendFile(*database, size_bytes, *writer, go_on));
  ASSIGN_OR_RETURN(const repo::CatalogCopyInfo info, writer->Commit());
  if (const absl::Status thinned = copies.Thin(); !thinned.ok()) {
    base::Log("maintenance")
        ->warn("old copies of the catalog not deleted, tried again later error={}", base::Describe(thinned));
  }
  return info;
}

absl::StatusOr<CatalogCopyContent> ReadCatalogCopy(repo::CatalogCopies& copies, const std::string& id,
                                                   base::Filesystem& filesystem, const std::string& database) {
  ASSIGN_OR_RETURN(const auto reader, copies.Open(id));
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(database));
  if (exists) return base::Error(absl::StatusCode::kAlreadyExists, "FILE_EXISTS", "{} exists already", database);
  Stream stream(*reader);
  auto content = ReadAll(stream, filesystem, database);
  if (!content.ok()) (void)filesystem.Remove(database);
  return content;
}

absl::StatusOr<CatalogCopyHeader> ReadCatalogCopyHeader(repo::CatalogCopies& copies, const std::string& id) {
  ASSIGN_OR_RETURN(const auto reader, copies.Open(id));
  return Stream(*reader).Header();
}

}  // namespace umbra::maintenance
