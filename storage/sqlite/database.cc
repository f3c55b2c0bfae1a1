#include "storage/sqlite/database.h"

#include <sqlite3.h>

#include "storage/base/status.h"
#include "storage/sqlite/transaction.h"

namespace umbra::sqlite {
namespace {

// Of 4 KiB: some milliseconds between two looks at whether to go on.
constexpr int kPagesPerStep = 256;

struct Mapping {
  absl::StatusCode code;
  const char* reason;
};

Mapping MapError(int extended_code) {
  switch (extended_code) {
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_ROWID:
      return {absl::StatusCode::kAlreadyExists, "CATALOG_EXISTS"};
    default:
      break;
  }
  switch (extended_code & 0xff) {
    case SQLITE_FULL:
      return {absl::StatusCode::kResourceExhausted, "STORAGE_FULL"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {absl::StatusCode::kDataLoss, "CATALOG_CORRUPT"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {absl::StatusCode::kUnavailable, "CATALOG_BUSY"};
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return {absl::StatusCode::kUnavailable, "IO_ERROR"};
    case SQLITE_INTERRUPT:
      return {absl::StatusCode::kCancelled, "CANCELLED"};
    case SQLITE_CONSTRAINT:
      return {absl::StatusCode::kFailedPrecondition, "CATALOG_CONSTRAINT"};
    default:
      return {absl::StatusCode::kInternal, "INTERNAL"};
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, const Options& options) {
  sqlite3* handle = nullptr;
  // NOMUTEX: the owner locks; a second lock inside the library would only cost.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  if (handle == nullptr) {
    return base::Error(absl::StatusCode::kResourceExhausted, "INTERNAL", "open {}: out of memory", path);
  }
  std::unique_ptr<Database> db(new Database(handle));
  if (code != SQLITE_OK) return base::Annotate(db->Error(code, "open"), "{}", path);
  RETURN_IF_ERROR(base::Annotate(db->Configure(options), "{}", path));
  return db;
}

Database::~Database() {
  for (auto& [sql, statement] : idle_) sqlite3_finalize(statement);
  sqlite3_close_v2(db_);
}

absl::Status Database::Configure(const Options& options) {
  sqlite3_busy_timeout(db_, static_cast<int>(absl::ToInt64Milliseconds(options.busy_timeout)));
  // Each with its reason:
  return Execute(
      // Readers see the last commit while a writer works, and a commit is one append and one sync.
      "PRAGMA journal_mode = WAL;"
      // A commit that returned OK survives a power cut (NORMAL would only survive a crash of the process).
      "PRAGMA synchronous = FULL;"
      // Off by default for the sake of old programs.
      "PRAGMA foreign_keys = ON;"
      // A view or trigger in a tampered file must not call functions with side effects.
      "PRAGMA trusted_schema = OFF;"
      // Sorting never writes to a temporary folder that we don't know.
      "PRAGMA temp_store = MEMORY;"
      // A burst of commits must not leave a huge log file behind (bytes).
      "PRAGMA journal_size_limit = 16777216;");
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code, "execute");
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  if (auto it = idle_.find(std::string(sql)); it != idle_.end()) {
    sqlite3_stmt* statement = it->second;
    idle_.erase(it);
    return Statement(*this, sql, statement);
  }
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code, "prepare");
  return Statement(*this, sql, statement);
}

int64_t Database::ChangedRows() const {
  return sqlite3_changes64(db_);
}

absl::Status Database::CheckIntegrity() {
  interrupted_ = false;
  std::string finding;
  RETURN_IF_ERROR(Query("PRAGMA quick_check(1)", [&](const Row& row) { finding = row.Text(0); }));
  // An interrupted check may take pages that it didn't get to for lost ones.
  if (interrupted_) return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the check was cut short");
  if (finding == "ok") return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss, "CATALOG_CORRUPT", "the database is damaged: {}", finding);
}

void Database::Interrupt() {
  interrupted_ = true;
  sqlite3_interrupt(db_);
}

absl::Status Database::CopyTo(const std::string& path, absl::FunctionRef<absl::Status()> between) {
  // One view for all steps: the library begins a copy again when somebody else has written in between.
  Transaction view(*this);
  RETURN_IF_ERROR(view.Begin(Transaction::Kind::kRead));
  RETURN_IF_ERROR(Query("SELECT COUNT(*) FROM sqlite_schema", [](const Row&) {}));
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int opened = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  if (raw == nullptr) {
    return base::Error(absl::StatusCode::kResourceExhausted, "INTERNAL", "open {}: out of memory", path);
  }
  Database target(raw);
  if (opened != SQLITE_OK) return base::Annotate(target.Error(opened, "open"), "{}", path);
  // A cut copy is thrown away, so nothing has to be undone or survive.
  RETURN_IF_ERROR(base::Annotate(target.Execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"), "{}", path));
  sqlite3_backup* const backup = sqlite3_backup_init(raw, "main", db_, "main");
  if (backup == nullptr) return base::Annotate(target.Error(sqlite3_errcode(raw), "copy"), "{}", path);
  int code = SQLITE_OK;
  absl::Status go_on;
  while (code == SQLITE_OK && go_on.ok()) {
    code = sqlite3_backup_step(backup, kPagesPerStep);
    if (code == SQLITE_OK) go_on = between();
  }
  const int finished = sqlite3_backup_finish(backup);
  RETURN_IF_ERROR(go_on);
  if (code != SQLITE_DONE) return base::Annotate(target.Error(code, "copy"), "{}", path);
  return finished == SQLITE_OK ? absl::OkStatus() : base::Annotate(target.Error(finished, "copy"), "{}", path);
}

absl::Status Database::Error(int code, std::string_view what) const {
  const Mapping mapping = MapError(code);
  return base::Error(mapping.code, mapping.reason, "{}: {} (sqlite code {})", what, sqlite3_errmsg(db_), code);
}

bool Database::InTransaction() const {
  return sqlite3_get_autocommit(db_) == 0;
}

}  // namespace umbra::sqlite
