#include "storage/catalog/label_store.h"

#include <map>
#include <string>

#include "storage/base/status.h"

namespace umbra::catalog {
namespace {

constexpr char kDelete[] = "DELETE FROM label WHERE host_id = ? AND vm_uuid = ?";
constexpr char kDeleteOfHost[] = "DELETE FROM label WHERE host_id = ?";
constexpr char kInsert[] = "INSERT INTO label (host_id, vm_uuid, key, value) VALUES (?, ?, ?, ?)";
constexpr char kGet[] = "SELECT key, value FROM label WHERE host_id = ? AND vm_uuid = ?";
constexpr char kRange[] =
    "SELECT vm_uuid, key, value FROM label WHERE host_id = ?1 AND (vm_uuid = '' OR vm_uuid BETWEEN ?2 AND ?3)";

}  // namespace

absl::Status LabelStore::Set(const VmKey& key, const Labels& labels) {
  RETURN_IF_ERROR(db_.Run(kDelete, key.host.value, key.uuid));
  for (const auto& [label, value] : labels) {
    RETURN_IF_ERROR(db_.Run(kInsert, key.host.value, key.uuid, label, value));
  }
  return absl::OkStatus();
}

absl::Status LabelStore::ForgetHost(const HostId& host) {
  return db_.Run(kDeleteOfHost, host.value);
}

absl::StatusOr<Labels> LabelStore::Get(const VmKey& key) const {
  Labels labels;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { labels[row.Text(0)] = row.Text(1); }, key.host.value, key.uuid));
  return labels;
}

absl::Status LabelStore::Fill(std::vector<Subject>& subjects) const {
  // One query for each host: what stands between its first and its last one here.
  for (auto first = subjects.begin(); first != subjects.end();) {
    const HostId& host = first->key.host;
    auto end = first;
    while (end != subjects.end() && end->key.host == host) ++end;
    std::map<std::string, Labels> found;  // by uuid; the host's under ""
    RETURN_IF_ERROR(db_.Query(
        kRange, [&](const sqlite::Row& row) { found[row.Text(0)][row.Text(1)] = row.Text(2); }, host.value,
        first->key.uuid, (end - 1)->key.uuid));
    for (; first != end; ++first) {
      if (const auto own = found.find(first->key.uuid); own != found.end()) first->labels = own->second;
      if (const auto of_host = found.find(""); of_host != found.end()) {
        first->labels.insert(of_host->second.begin(), of_host->second.end());
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace umbra::catalog
