#include "storage/catalog/host_store.h"

#include "storage/base/status.h"
#include "storage/catalog/label_store.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define HOST_COLUMNS                                                                           \
  "SELECT id, display_name, agent_version, hypervisor, hypervisor_error, certificate_serial, " \
  "certificate_fingerprint, revoked, create_time_us, last_seen_time_us, revision, "            \
  "drained, drain_note, "                                                                      \
  "(SELECT COUNT(*) FROM vm WHERE vm.host_id = host.id), "                                     \
  "(SELECT fingerprint FROM next_certificate WHERE next_certificate.host_id = host.id) FROM host "

constexpr char kInsert[] =
    "INSERT INTO host (id, display_name, agent_version, hypervisor, hypervisor_error, certificate_serial, "
    "certificate_fingerprint, revoked, create_time_us, last_seen_time_us, revision) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)";
constexpr char kUpdate[] =
    "UPDATE host SET display_name = ?, agent_version = ?, hypervisor = ?, hypervisor_error = ?, certificate_serial = "
    "?, "
    "certificate_fingerprint = ?, revoked = ?, last_seen_time_us = ?, drained = ?, drain_note = ?, revision = revision "
    "+ 1 WHERE id = ?";
constexpr char kSetLastSeen[] = "UPDATE host SET last_seen_time_us = ? WHERE id = ?";
constexpr char kRevoke[] = "UPDATE host SET revoked = 1, revision = revision + 1 WHERE id = ? AND revoked = 0";
constexpr char kDropNext[] = "DELETE FROM next_certificate WHERE host_id = ?";
constexpr char kSetNext[] = "INSERT INTO next_certificate (host_id, serial, fingerprint) VALUES (?, ?, ?)";
constexpr char kUseNext[] =
    "UPDATE host SET (certificate_serial, certificate_fingerprint) = "
    "(SELECT serial, fingerprint FROM next_certificate WHERE host_id = host.id), revision = revision + 1 "
    "WHERE id = ? AND EXISTS (SELECT 1 FROM next_certificate WHERE host_id = host.id AND fingerprint = ?)";
constexpr char kDeleteVms[] = "DELETE FROM vm WHERE host_id = ?";
constexpr char kDeleteWriters[] = "DELETE FROM writer WHERE host_id = ?";
constexpr char kDeleteFileSets[] = "DELETE FROM file_set WHERE host_id = ?";
constexpr char kGet[] = HOST_COLUMNS "WHERE id = ? AND revoked = 0";
constexpr char kFind[] = HOST_COLUMNS "WHERE certificate_fingerprint = ?";
constexpr char kFindNext[] = HOST_COLUMNS "WHERE id = (SELECT host_id FROM next_certificate WHERE fingerprint = ?)";
constexpr char kDrained[] = "SELECT id FROM host WHERE drained = 1 AND revoked = 0 ORDER BY id";
constexpr char kList[] = HOST_COLUMNS "WHERE revoked = 0 AND id > ? ORDER BY id LIMIT ?";

Host ReadHost(const sqlite::Row& row) {
  return {.id = HostId(row.Text(0)),
          .display_name = row.Text(1),
          .agent_version = row.Text(2),
          .hypervisor = row.Text(3),
          .hypervisor_error = row.Text(4),
          .certificate_serial = row.Text(5),
          .certificate_fingerprint = row.Text(6),
          .next_certificate_fingerprint = row.IsNull(14) ? "" : row.Text(14),
          .revoked = row.Bool(7),
          .drained = row.Bool(11),
          .drain_note = row.Text(12),
          .create_time = row.Time(8),
          .last_seen_time = row.Time(9),
          .revision = row.Int(10),
          .vm_count = row.Int32(13)};
}

absl::Status NoSuchHost(const std::string& what) {
  return base::Error(absl::StatusCode::kNotFound, "HOST_NOT_FOUND", "no host {}", what);
}

}  // namespace

absl::Status HostStore::Insert(const Host& host) {
  return db_.Run(kInsert, host.id.value, host.display_name, host.agent_version, host.hypervisor, host.hypervisor_error,
                 host.certificate_serial, host.certificate_fingerprint, host.revoked, host.create_time,
                 host.last_seen_time);
}

absl::Status HostStore::Update(const Host& host) {
  RETURN_IF_ERROR(db_.Run(kUpdate, host.display_name, host.agent_version, host.hypervisor, host.hypervisor_error,
                          host.certificate_serial, host.certificate_fingerprint, host.revoked, host.last_seen_time,
                          host.drained, host.drain_note, host.id.value));
  return db_.ChangedRows() == 0 ? NoSuchHost(host.id.value) : absl::OkStatus();
}

absl::Status HostStore::SetNextCertificate(const HostId& id, const std::string& serial,
                                           const std::string& fingerprint) {
  RETURN_IF_ERROR(Get(id).status());
  RETURN_IF_ERROR(DropNextCertificate(id));
  return db_.Run(kSetNext, id.value, serial, fingerprint);
}

absl::StatusOr<bool> HostStore::UseNextCertificate(const HostId& id, const std::string& fingerprint) {
  RETURN_IF_ERROR(db_.Run(kUseNext, id.value, fingerprint));
  if (db_.ChangedRows() == 0) return false;
  RETURN_IF_ERROR(DropNextCertificate(id));
  return true;
}

absl::Status HostStore::DropNextCertificate(const HostId& id) {
  return db_.Run(kDropNext, id.value);
}

absl::Status HostStore::SetLastSeen(const HostId& id, absl::Time time) {
  RETURN_IF_ERROR(db_.Run(kSetLastSeen, time, id.value));
  return db_.ChangedRows() == 0 ? NoSuchHost(id.value) : absl::OkStatus();
}

absl::Status HostStore::Revoke(const HostId& id) {
  RETURN_IF_ERROR(db_.Run(kRevoke, id.value));
  if (db_.ChangedRows() == 0) return NoSuchHost(id.value);
  RETURN_IF_ERROR(DropNextCertificate(id));
  RETURN_IF_ERROR(db_.Run(kDeleteVms, id.value));
  RETURN_IF_ERROR(db_.Run(kDeleteWriters, id.value));
  RETURN_IF_ERROR(db_.Run(kDeleteFileSets, id.value));
  return LabelStore(db_).ForgetHost(id);
}

absl::StatusOr<Host> HostStore::Get(const HostId& id) const {
  std::optional<Host> host;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { host = ReadHost(row); }, id.value));
  if (!host.has_value()) return NoSuchHost(id.value);
  ASSIGN_OR_RETURN(host->labels, LabelStore(db_).Get({id, ""}));
  return *std::move(host);
}

absl::StatusOr<Host> HostStore::FindByFingerprint(const std::string& fingerprint) const {
  std::optional<Host> host;
  for (const char* query : {kFind, kFindNext}) {
    RETURN_IF_ERROR(db_.Query(
        query, [&](const sqlite::Row& row) { host = ReadHost(row); }, fingerprint));
    if (host.has_value()) break;
  }
  if (!host.has_value()) return NoSuchHost("with certificate " + fingerprint);
  return *std::move(host);
}

absl::StatusOr<std::vector<HostId>> HostStore::Drained() const {
  std::vector<HostId> ids;
  RETURN_IF_ERROR(db_.Query(kDrained, [&](const sqlite::Row& row) { ids.emplace_back(row.Text(0)); }));
  return ids;
}

absl::StatusOr<Page<Host, HostId>> HostStore::List(const ListOptions<HostId>& options) const {
  std::vector<Host> hosts;
  RETURN_IF_ERROR(db_.Query(
      kList, [&](const sqlite::Row& row) { hosts.push_back(ReadHost(row)); },
      options.after_key.value_or(HostId()).value, RowLimit(options)));
  Page<Host, HostId> page = MakePage(std::move(hosts), options, [](const Host& host) { return host.id; });
  for (Host& host : page.items) {
    ASSIGN_OR_RETURN(host.labels, LabelStore(db_).Get({host.id, ""}));
  }
  return page;
}

}  // namespace umbra::catalog
