#include "storage/sqlite/statement.h"

#include <sqlite3.h>

#include <utility>

#include "storage/sqlite/database.h"

namespace umbra::sqlite {

int64_t Row::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Row::Text(int column) const {
  // The text first: the call may convert, and only then is the length final.
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  const int length = sqlite3_column_bytes(statement_, column);
  return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(length));
}

bool Row::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::optional<absl::Time> Row::OptionalTime(int column) const {
  if (IsNull(column)) return std::nullopt;
  return Time(column);
}

std::optional<absl::Duration> Row::OptionalDuration(int column) const {
  if (IsNull(column)) return std::nullopt;
  return Duration(column);
}

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_),
      sql_(other.sql_),
      statement_(std::exchange(other.statement_, nullptr)),
      row_(other.row_),
      bind_error_(other.bind_error_) {}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  if (!db_->idle_.try_emplace(std::string(sql_), statement_).second) sqlite3_finalize(statement_);
}

void Statement::Bind(int index, int64_t value) {
  if (int code = sqlite3_bind_int64(statement_, index, value); code != SQLITE_OK) bind_error_ = code;
}

void Statement::Bind(int index, std::string_view value) {
  // A null pointer would bind NULL, and an empty view may have one.
  const char* data = value.data() == nullptr ? "" : value.data();
  const int code = sqlite3_bind_text64(statement_, index, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) bind_error_ = code;
}

void Statement::BindNull(int index) {
  if (int code = sqlite3_bind_null(statement_, index); code != SQLITE_OK) bind_error_ = code;
}

absl::StatusOr<bool> Statement::Step() {
  if (bind_error_ != SQLITE_OK) return db_->Error(bind_error_, "bind");
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return db_->Error(code, "step");
}

}  // namespace umbra::sqlite
