// One SQLite connection: opened with our pragmas, errors as Status, prepared statements kept.
//
// This room is the only one that knows the SQLite library; it knows no table of ours.
#ifndef UMBRA_STORAGE_SQLITE_DATABASE_H_
#define UMBRA_STORAGE_SQLITE_DATABASE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/sqlite/statement.h"

struct sqlite3;
struct sqlite3_stmt;

namespace umbra::sqlite {

// One thread at a time (the owner locks); several connections to one file may be used by several threads.
//
// Errors of every call here and in Statement and Transaction:
//   RESOURCE_EXHAUSTED / STORAGE_FULL    the file system is full; what was begun is rolled back. Free space, try again.
//   DATA_LOSS / CATALOG_CORRUPT          the file is damaged or no SQLite database. Restore it, or rebuild it.
//   UNAVAILABLE / CATALOG_BUSY           another process held the file for longer than busy_timeout.
//   CANCELLED / CANCELLED                Interrupt was called.
//   UNAVAILABLE / IO_ERROR               reading, writing or opening failed.
//   ALREADY_EXISTS / CATALOG_EXISTS      a primary key or unique column has this value already.
//   FAILED_PRECONDITION / CATALOG_CONSTRAINT   a foreign key, CHECK or NOT NULL refused the row.
//   INTERNAL / INTERNAL                  anything else: a defect of ours.
class Database {
 public:
  struct Options {
    // Our own connections never wait long for each other; only a person with a database shell could hold the file.
    absl::Duration busy_timeout = absl::Seconds(5);
  };

  // Opens or creates `path`. Durability of commits: see Transaction.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, const Options& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs a script of statements without parameters; rows that come back are dropped.
  absl::Status Execute(const std::string& sql);

  // A statement of one SQL text, compiled on first use and kept for the next. `sql` must outlive the Database
  // (a constant). The Statement must end before the Database.
  absl::StatusOr<Statement> Prepare(std::string_view sql);

  // Runs one statement with `args` bound in order to its `?`; rows that come back are dropped.
  template <typename... Args>
  absl::Status Run(std::string_view sql, const Args&... args) {
    return Query(
        sql, [](const Row&) {}, args...);
  }

  // Runs one statement and calls `on_row(const Row&)` for each row.
  template <typename OnRow, typename... Args>
  absl::Status Query(std::string_view sql, OnRow&& on_row, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql);
    if (!statement.ok()) return statement.status();
    statement->BindAll(args...);
    for (;;) {
      absl::StatusOr<bool> more = statement->Step();
      if (!more.ok()) return more.status();
      if (!*more) return absl::OkStatus();
      on_row(statement->row());
    }
  }

  // Rows that the last INSERT, UPDATE or DELETE touched (cascades not counted).
  int64_t ChangedRows() const;

  // Reads every page and checks the structure: DATA_LOSS / CATALOG_CORRUPT with the first finding. About 1 s a GiB.
  // CANCELLED / CANCELLED when Interrupt came in between: what was read until then was sound, or not looked at.
  absl::Status CheckIntegrity();
  // Ends what another thread just does with the connection, soon, with CANCELLED / CANCELLED. The one exception from "one
  // thread at a time"; the Database must live.
  void Interrupt();

  // Writes what is committed now to the file `path`, which must be absent or empty. In steps of about a MiB, after each
  // of which `between` is asked: an error of it ends the copy. Other connections read and write meanwhile, and the copy
  // shows nothing of that; until it is done the write-ahead log isn't cut. The copy isn't synced. On an error the file is
  // worth nothing.
  absl::Status CopyTo(const std::string& path, absl::FunctionRef<absl::Status()> between);

 private:
  friend class Statement;
  friend class Transaction;
  explicit Database(sqlite3* db) : db_(db) {}

  absl::Status Configure(const Options& options);
  // The last error of the connection as a Status.
  absl::Status Error(int code, std::string_view what) const;
  bool InTransaction() const;

  sqlite3* const db_;
  std::atomic<bool> interrupted_{false};
  // Compiled statements that nobody uses now, by SQL text.
  absl::flat_hash_map<std::string, sqlite3_stmt*> idle_;
};

}  // namespace umbra::sqlite

#endif  // UMBRA_STORAGE_SQLITE_DATABASE_H_
