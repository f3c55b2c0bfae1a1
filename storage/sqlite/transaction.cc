#include "storage/sqlite/transaction.h"

#include "storage/base/status.h"

namespace umbra::sqlite {

absl::Status Transaction::Begin(Kind kind) {
  UMBRA_CHECK(!open_);
  RETURN_IF_ERROR(db_.Run(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN DEFERRED"));
  open_ = true;
  return absl::OkStatus();
}

absl::Status Transaction::Commit() {
  UMBRA_CHECK(open_);
  RETURN_IF_ERROR(db_.Run("COMMIT"));
  open_ = false;
  return absl::OkStatus();
}

Transaction::~Transaction() {
  // After some errors (a full disk) the library has rolled back by itself.
  if (open_ && db_.InTransaction()) db_.Run("ROLLBACK").IgnoreError();
}

}  // namespace umbra::sqlite
