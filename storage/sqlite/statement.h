// A prepared statement in use, and the row that it stands on. Typed: times are absl::Time, stored as unix microseconds.
#ifndef UMBRA_STORAGE_SQLITE_STATEMENT_H_
#define UMBRA_STORAGE_SQLITE_STATEMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

struct sqlite3_stmt;

namespace umbra::sqlite {

class Database;

// The current row. Columns count from 0; a wrong column or type reads as zero or empty (STRICT tables make the types
// sure). Valid until the next Step.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}

  int64_t Int(int column) const;
  int32_t Int32(int column) const { return static_cast<int32_t>(Int(column)); }
  bool Bool(int column) const { return Int(column) != 0; }
  std::string Text(int column) const;
  absl::Time Time(int column) const { return absl::FromUnixMicros(Int(column)); }
  absl::Duration Duration(int column) const { return absl::Microseconds(Int(column)); }
  bool IsNull(int column) const;
  std::optional<absl::Time> OptionalTime(int column) const;
  std::optional<absl::Duration> OptionalDuration(int column) const;
  template <typename E>
  E Enum(int column) const {
    return static_cast<E>(Int(column));
  }

 private:
  sqlite3_stmt* statement_;
};

// One thread at a time. Goes back to its Database's cache when destroyed.
class Statement {
 public:
  Statement(Database& db, std::string_view sql, sqlite3_stmt* statement)
      : db_(&db), sql_(sql), statement_(statement), row_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;

  // Parameters count from 1. Text and bytes are copied. An error is kept and returned by the next Step.
  void Bind(int index, int64_t value);
  void Bind(int index, int32_t value) { Bind(index, static_cast<int64_t>(value)); }
  void Bind(int index, bool value) { Bind(index, static_cast<int64_t>(value)); }
  void Bind(int index, std::string_view value);
  void Bind(int index, const std::string& value) { Bind(index, std::string_view(value)); }
  void Bind(int index, const char* value) { Bind(index, std::string_view(value)); }
  void Bind(int index, absl::Time value) { Bind(index, absl::ToUnixMicros(value)); }
  void Bind(int index, absl::Duration value) { Bind(index, absl::ToInt64Microseconds(value)); }
  void BindNull(int index);
  template <typename E>
  requires std::is_enum_v<E>
  void Bind(int index, E value) { Bind(index, static_cast<int64_t>(value)); }
  template <typename T>
  void Bind(int index, const std::optional<T>& value) {
    if (value.has_value()) {
      Bind(index, *value);
    } else {
      BindNull(index);
    }
  }

  template <typename... Args>
  void BindAll(const Args&... args) {
    int index = 0;
    (Bind(++index, args), ...);
  }

  // True: a row is there. False: done.
  absl::StatusOr<bool> Step();
  const Row& row() const { return row_; }

 private:
  Database* db_;
  std::string_view sql_;
  sqlite3_stmt* statement_;
  Row row_;
  int bind_error_ = 0;
};

}  // namespace umbra::sqlite

#endif  // UMBRA_STORAGE_SQLITE_STATEMENT_H_
