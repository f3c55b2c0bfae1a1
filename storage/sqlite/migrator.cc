#include "storage/sqlite/migrator.h"

#include <string>

#include "storage/base/status.h"
#include "storage/sqlite/transaction.h"

namespace umbra::sqlite {
namespace {

constexpr char kCreateMeta[] =
    "CREATE TABLE IF NOT EXISTS meta (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT";
constexpr char kReadMeta[] = "SELECT key, value FROM meta ORDER BY key";
constexpr char kWriteMeta[] =
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

absl::Status Apply(Database& db, const Migration& step) {
  Transaction transaction(db);
  RETURN_IF_ERROR(transaction.Begin(Transaction::Kind::kWrite));
  RETURN_IF_ERROR(db.Execute(std::string(step.sql)));
  RETURN_IF_ERROR(db.Run(kWriteMeta, "version", step.version));
  RETURN_IF_ERROR(db.Run(kWriteMeta, "compatible_version", step.compatible_version));
  return transaction.Commit();
}

}  // namespace

absl::StatusOr<SchemaVersion> ReadSchemaVersion(Database& db) {
  RETURN_IF_ERROR(db.Execute(kCreateMeta));
  SchemaVersion result;
  RETURN_IF_ERROR(db.Query(kReadMeta, [&](const Row& row) {
    if (row.Text(0) == "version") result.version = row.Int32(1);
    if (row.Text(0) == "compatible_version") result.compatible_version = row.Int32(1);
  }));
  return result;
}

absl::Status CheckCompatible(const SchemaVersion& found, std::span<const Migration> migrations) {
  const int newest = static_cast<int>(migrations.size());
  if (found.compatible_version <= newest) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition, "CATALOG_NEWER",
                     "the database has schema {} and needs a program that knows schema {}; this one knows {}",
                     found.version, found.compatible_version, newest);
}

absl::Status Migrate(Database& db, std::span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const SchemaVersion found, ReadSchemaVersion(db));
  RETURN_IF_ERROR(CheckCompatible(found, migrations));
  for (const Migration& step : migrations) {
    UMBRA_CHECK(&step - migrations.data() + 1 == step.version);
    if (step.version <= found.version) continue;
    RETURN_IF_ERROR(base::Annotate(Apply(db, step), "migration {}", step.name));
  }
  return absl::OkStatus();
}

}  // namespace umbra::sqlite
