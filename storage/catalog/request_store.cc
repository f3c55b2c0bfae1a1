#include "storage/catalog/request_store.h"

#include "storage/base/status.h"

namespace umbra::catalog {
namespace {

constexpr char kInsert[] = "INSERT INTO request (request_id, request_hash, job_id, create_time_us) VALUES (?, ?, ?, ?)";
constexpr char kFind[] = "SELECT request_id, request_hash, job_id, create_time_us FROM request WHERE request_id = ?";
constexpr char kPrune[] = "DELETE FROM request WHERE create_time_us < ?";

}  // namespace

absl::Status RequestStore::Insert(const Request& request) {
  return db_.Run(kInsert, request.request_id, request.request_hash, request.job.value, request.create_time);
}

absl::StatusOr<std::optional<Request>> RequestStore::Find(const std::string& request_id) const {
  std::optional<Request> request;
  RETURN_IF_ERROR(db_.Query(
      kFind,
      [&](const sqlite::Row& row) {
        request = Request{row.Text(0), row.Text(1), JobId(row.Text(2)), row.Time(3)};
      },
      request_id));
  return request;
}

absl::Status RequestStore::Prune(absl::Time time) {
  return db_.Run(kPrune, time);
}

}  // namespace umbra::catalog
