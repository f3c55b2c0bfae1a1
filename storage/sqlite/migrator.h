// Brings a database from the schema that it has to the one that the program knows, one numbered step at a time.
//
// The table `meta` holds two numbers: `version`, the newest step that was applied, and `compatible_version`, the oldest
// program (by the newest step that it knows) that may still use the file.
#ifndef UMBRA_STORAGE_SQLITE_MIGRATOR_H_
#define UMBRA_STORAGE_SQLITE_MIGRATOR_H_

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/sqlite/database.h"

namespace umbra::sqlite {

// A step. Once released, its text never changes.
struct Migration {
  int version;             // 1, 2, 3 ... without gaps
  int compatible_version;  // a program that knows fewer steps than this must not open the result
  std::string_view name;   // for messages, such as "0001_initial"
  std::string_view sql;
};

struct SchemaVersion {
  int version = 0;  // 0: empty database
  int compatible_version = 0;
};

// What `db` says of itself.
absl::StatusOr<SchemaVersion> ReadSchemaVersion(Database& db);

// FAILED_PRECONDITION / CATALOG_NEWER  a program that knows `migrations` can't follow a database of this version.
absl::Status CheckCompatible(const SchemaVersion& found, std::span<const Migration> migrations);

// Applies the steps of `migrations` that `db` lacks, each in a transaction of its own together with the new version:
// a crash leaves the database at a step, never between two. Opens a newer but compatible database as it is.
// Errors: FAILED_PRECONDITION / CATALOG_NEWER  written by a program that this one can't follow; use that version.
absl::Status Migrate(Database& db, std::span<const Migration> migrations);

}  // namespace umbra::sqlite

#endif  // UMBRA_STORAGE_SQLITE_MIGRATOR_H_
