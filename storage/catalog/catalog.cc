#include "storage/catalog/catalog.h"

#include "storage/base/status.h"
#include "storage/catalog/migrations.h"

namespace umbra::catalog {
namespace {

// Makes the file ourselves: the library would make it readable for everybody, and its name must be durable too.
absl::Status EnsureFile(base::Filesystem& filesystem, const std::string& path) {
  const std::string folder = base::DirectoryOf(path);
  RETURN_IF_ERROR(filesystem.MakeDirectories(folder));
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(path));
  if (exists) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<base::File> file, filesystem.Open(path, base::OpenMode::kCreate));
  RETURN_IF_ERROR(file->Sync());
  return filesystem.SyncDirectory(folder);
}

absl::StatusOr<std::unique_ptr<sqlite::Database>> OpenWriter(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<sqlite::Database> db, sqlite::Database::Open(path, {}));
  RETURN_IF_ERROR(db->CheckIntegrity());
  RETURN_IF_ERROR(sqlite::Migrate(*db, Migrations()));
  return db;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(base::Filesystem& filesystem, const std::string& path) {
  RETURN_IF_ERROR(base::Annotate(EnsureFile(filesystem, path), "catalog {}", path));
  absl::StatusOr<std::unique_ptr<sqlite::Database>> writer = OpenWriter(path);
  if (!writer.ok()) return base::Annotate(writer.status(), "catalog {}", path);
  absl::StatusOr<std::unique_ptr<sqlite::Database>> reader = sqlite::Database::Open(path, {});
  if (!reader.ok()) return base::Annotate(reader.status(), "catalog {}", path);
  return std::unique_ptr<Catalog>(new Catalog(*std::move(writer), *std::move(reader)));
}

}  // namespace umbra::catalog
