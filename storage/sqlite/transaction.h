// A transaction that rolls back unless it was committed.
#ifndef UMBRA_STORAGE_SQLITE_TRANSACTION_H_
#define UMBRA_STORAGE_SQLITE_TRANSACTION_H_

#include "absl/status/status.h"
#include "storage/sqlite/database.h"

namespace umbra::sqlite {

// Transactions of one connection don't nest. One thread at a time.
class Transaction {
 public:
  enum class Kind {
    kRead,   // a consistent view of the last commit; takes no lock that a writer waits for
    kWrite,  // BEGIN IMMEDIATE: the write lock is taken at once, so that a commit can't fail for being late
  };

  explicit Transaction(Database& db) : db_(db) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  absl::Status Begin(Kind kind);

  // When this returns OK, what was written survives a crash of the process and of the machine.
  // On an error nothing of the transaction is kept.
  absl::Status Commit();

 private:
  Database& db_;
  bool open_ = false;
};

}  // namespace umbra::sqlite

#endif  // UMBRA_STORAGE_SQLITE_TRANSACTION_H_
