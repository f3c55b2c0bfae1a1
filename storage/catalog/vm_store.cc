#include "storage/catalog/vm_store.h"

#include <algorithm>
#include <map>

#include "storage/base/status.h"
#include "storage/catalog/label_store.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define VM_COLUMNS                                                                                               \
  "SELECT host_id, uuid, display_name, state, memory_bytes, guest_agent_state, guest_agent_version, mechanism, " \
  "mechanism_reason, mechanism_message, update_time_us, "                                                        \
  "COALESCE((SELECT id FROM recovery_point AS p WHERE p.host_id = vm.host_id AND p.vm_uuid = vm.uuid AND p.remove_time_us IS NULL "           \
  "ORDER BY point_time_us DESC, id DESC LIMIT 1), ''), cluster_resource, cluster_state, cluster_node FROM vm "

constexpr char kTouchHost[] = "UPDATE host SET revision = revision + 1 WHERE id = ? AND revoked = 0";
constexpr char kHostExists[] = "SELECT 1 FROM host WHERE id = ? AND revoked = 0";
constexpr char kDeleteVm[] = "DELETE FROM vm WHERE host_id = ? AND uuid = ?";
constexpr char kSetUpdateTimes[] = "UPDATE vm SET update_time_us = ?2 WHERE host_id = ?1 AND update_time_us <> ?2";
constexpr char kDeleteWriters[] = "DELETE FROM writer WHERE host_id = ?";
constexpr char kInsertVm[] =
    "INSERT INTO vm (host_id, uuid, display_name, state, memory_bytes, guest_agent_state, guest_agent_version, "
    "mechanism, mechanism_reason, mechanism_message, update_time_us, cluster_resource, cluster_state, "
    "cluster_node) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kInsertDisk[] =
    "INSERT INTO vm_disk (host_id, vm_uuid, position, name, path, format, capacity_bytes, allocated_bytes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kInsertExcluded[] =
    "INSERT INTO vm_excluded_disk (host_id, vm_uuid, position, name, reason, message) VALUES (?, ?, ?, ?, ?, ?)";
constexpr char kInsertObstacle[] =
    "INSERT INTO vm_obstacle (host_id, vm_uuid, position, reason, message) VALUES (?, ?, ?, ?, ?)";
constexpr char kInsertCheckpoint[] =
    "INSERT INTO vm_checkpoint (host_id, vm_uuid, position, name, parent, kind, has_memory, is_current, "
    "create_time_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kInsertWriter[] =
    "INSERT INTO writer (host_id, writer_id, instance_id, display_name, state, last_failure_code, last_failure, "
    "component_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kGet[] = VM_COLUMNS "WHERE host_id = ? AND uuid = ?";
// Without the newest recovery point, which an inventory doesn't bring.
constexpr char kOfHost[] =
    "SELECT host_id, uuid, display_name, state, memory_bytes, guest_agent_state, guest_agent_version, mechanism, "
    "mechanism_reason, mechanism_message, update_time_us, '', cluster_resource, cluster_state, cluster_node FROM vm "
    "WHERE host_id = ?";
constexpr char kListAll[] = VM_COLUMNS "WHERE (host_id, uuid) > (?, ?) ORDER BY host_id, uuid LIMIT ?";
constexpr char kListOfHost[] =
    VM_COLUMNS "WHERE (host_id, uuid) > (?, ?) AND host_id = ? ORDER BY host_id, uuid LIMIT ?";
constexpr char kDisks[] =
    "SELECT name, path, format, capacity_bytes, allocated_bytes FROM vm_disk WHERE host_id = ? AND vm_uuid = ? "
    "ORDER BY position";
constexpr char kExcluded[] =
    "SELECT name, reason, message FROM vm_excluded_disk WHERE host_id = ? AND vm_uuid = ? ORDER BY position";
constexpr char kObstacles[] =
    "SELECT reason, message FROM vm_obstacle WHERE host_id = ? AND vm_uuid = ? ORDER BY position";
constexpr char kCheckpoints[] =
    "SELECT name, parent, kind, has_memory, is_current, create_time_us FROM vm_checkpoint "
    "WHERE host_id = ? AND vm_uuid = ? ORDER BY position";
constexpr char kWriters[] =
    "SELECT writer_id, instance_id, display_name, state, last_failure_code, last_failure, component_count "
    "FROM writer WHERE host_id = ? AND writer_id > ? ORDER BY writer_id LIMIT ?";

Vm ReadVm(const sqlite::Row& row) {
  return {.key = {HostId(row.Text(0)), row.Text(1)},
          .display_name = row.Text(2),
          .state = row.Enum<VmState>(3),
          .memory_bytes = row.Int(4),
          .guest_agent_state = row.Enum<GuestAgentState>(5),
          .guest_agent_version = row.Text(6),
          .mechanism = row.Enum<BackupMechanism>(7),
          .mechanism_reason = row.Text(8),
          .mechanism_message = row.Text(9),
          .cluster = {row.Text(12), row.Text(13), row.Text(14)},
          .update_time = row.Time(10),
          .last_recovery_point = RecoveryPointId(row.Text(11))};
}

// Apart from what isn't of the report: its time, labels, recovery points.
bool SameReport(const Vm& row, const Vm& report) {
  Vm same = row;
  same.update_time = report.update_time;
  same.last_recovery_point = report.last_recovery_point;
  same.labels = report.labels;
  return same == report;
}

Writer ReadWriter(const sqlite::Row& row) {
  return {.writer_id = row.Text(0),
          .instance_id = row.Text(1),
          .display_name = row.Text(2),
          .state = row.Text(3),
          .last_failure_code = static_cast<uint32_t>(row.Int(4)),
          .last_failure = row.Text(5),
          .component_count = row.Int32(6)};
}

}  // namespace

// Most of what agents report is what they have reported before, and a whole fleet may report at once: only what has changed
// is written, beside the time.
absl::Status VmStore::ReplaceInventory(const HostId& host, const std::vector<Vm>& vms,
                                       const std::vector<Writer>& writers) {
  bool known = false;
  RETURN_IF_ERROR(db_.Query(kHostExists, [&](const sqlite::Row&) { known = true; }, host.value));
  if (!known) return base::Error(absl::StatusCode::kNotFound, "HOST_NOT_FOUND", "no host {}", host);
  ASSIGN_OR_RETURN(const bool vms_changed, ReplaceVms(host, vms));
  ASSIGN_OR_RETURN(const bool writers_changed, ReplaceWriters(host, writers));
  return vms_changed || writers_changed ? db_.Run(kTouchHost, host.value) : absl::OkStatus();
}

absl::StatusOr<bool> VmStore::ReplaceVms(const HostId& host, const std::vector<Vm>& vms) {
  std::vector<Vm> rows;
  RETURN_IF_ERROR(db_.Query(kOfHost, [&](const sqlite::Row& row) { rows.push_back(ReadVm(row)); }, host.value));
  std::map<std::string, Vm> old;
  for (Vm& row : rows) {
    RETURN_IF_ERROR(ReadReported(row));
    old.emplace(row.key.uuid, std::move(row));
  }
  bool changed = false;
  std::optional<absl::Time> time;
  for (const Vm& vm : vms) {
    UMBRA_CHECK(vm.key.host == host);
    time = vm.update_time;
    const auto was = old.extract(vm.key.uuid);
    if (was && SameReport(was.mapped(), vm)) continue;
    if (was) RETURN_IF_ERROR(db_.Run(kDeleteVm, host.value, vm.key.uuid));
    RETURN_IF_ERROR(Insert(vm));
    changed = true;
  }
  for (const auto& [uuid, gone] : old) RETURN_IF_ERROR(db_.Run(kDeleteVm, host.value, uuid));
  if (time.has_value()) RETURN_IF_ERROR(db_.Run(kSetUpdateTimes, host.value, *time));
  return changed || !old.empty();
}

absl::StatusOr<bool> VmStore::ReplaceWriters(const HostId& host, const std::vector<Writer>& writers) {
  std::vector<Writer> old;
  RETURN_IF_ERROR(db_.Query(
      kWriters, [&](const sqlite::Row& row) { old.push_back(ReadWriter(row)); }, host.value, "", int64_t{-1}));
  std::vector<Writer> sorted = writers;
  std::ranges::sort(sorted, {}, &Writer::writer_id);
  if (old == sorted) return false;
  RETURN_IF_ERROR(db_.Run(kDeleteWriters, host.value));
  for (const Writer& w : writers) {
    RETURN_IF_ERROR(db_.Run(kInsertWriter, host.value, w.writer_id, w.instance_id, w.display_name, w.state,
                            int64_t{w.last_failure_code}, w.last_failure, w.component_count));
  }
  return true;
}

absl::Status VmStore::Insert(const Vm& vm) {
  const std::string& host = vm.key.host.value;
  RETURN_IF_ERROR(db_.Run(kInsertVm, host, vm.key.uuid, vm.display_name, vm.state, vm.memory_bytes,
                          vm.guest_agent_state, vm.guest_agent_version, vm.mechanism, vm.mechanism_reason,
                          vm.mechanism_message, vm.update_time, vm.cluster.resource, vm.cluster.state,
                          vm.cluster.node));
  int position = 0;
  for (const VmDisk& d : vm.disks) {
    RETURN_IF_ERROR(db_.Run(kInsertDisk, host, vm.key.uuid, position++, d.name, d.path, d.format, d.capacity_bytes,
                            d.allocated_bytes));
  }
  position = 0;
  for (const ExcludedDisk& d : vm.excluded_disks) {
    RETURN_IF_ERROR(db_.Run(kInsertExcluded, host, vm.key.uuid, position++, d.name, d.reason, d.message));
  }
  position = 0;
  for (const Obstacle& o : vm.obstacles) {
    RETURN_IF_ERROR(db_.Run(kInsertObstacle, host, vm.key.uuid, position++, o.reason, o.message));
  }
  position = 0;
  for (const VmCheckpoint& c : vm.checkpoints) {
    RETURN_IF_ERROR(db_.Run(kInsertCheckpoint, host, vm.key.uuid, position++, c.name, c.parent, c.kind, c.has_memory,
                            c.current, c.create_time));
  }
  return absl::OkStatus();
}

absl::Status VmStore::ReadParts(Vm& vm) const {
  ASSIGN_OR_RETURN(vm.labels, LabelStore(db_).Get(vm.key));
  return ReadReported(vm);
}

absl::Status VmStore::ReadReported(Vm& vm) const {
  RETURN_IF_ERROR(db_.Query(
      kDisks,
      [&](const sqlite::Row& row) {
        vm.disks.push_back({row.Text(0), row.Text(1), row.Text(2), row.Int(3), row.Int(4)});
      },
      vm.key.host.value, vm.key.uuid));
  RETURN_IF_ERROR(db_.Query(
      kObstacles,
      [&](const sqlite::Row& row) {
        vm.obstacles.push_back({row.Text(0), row.Text(1)});
      },
      vm.key.host.value, vm.key.uuid));
  RETURN_IF_ERROR(db_.Query(
      kCheckpoints,
      [&](const sqlite::Row& row) {
        vm.checkpoints.push_back({row.Text(0), row.Text(1), row.Enum<CheckpointKind>(2), row.Bool(3), row.Bool(4),
                                  row.Time(5)});
      },
      vm.key.host.value, vm.key.uuid));
  return db_.Query(
      kExcluded,
      [&](const sqlite::Row& row) {
        vm.excluded_disks.push_back({row.Text(0), row.Text(1), row.Text(2)});
      },
      vm.key.host.value, vm.key.uuid);
}

absl::StatusOr<Vm> VmStore::Get(const VmKey& key) const {
  std::optional<Vm> vm;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { vm = ReadVm(row); }, key.host.value, key.uuid));
  if (!vm.has_value()) {
    return base::Error(absl::StatusCode::kNotFound, "VM_NOT_FOUND", "no virtual machine {} on host {}", key.uuid,
                       key.host);
  }
  RETURN_IF_ERROR(ReadParts(*vm));
  return *std::move(vm);
}

absl::StatusOr<Page<Vm, VmKey>> VmStore::List(const std::optional<HostId>& host,
                                              const ListOptions<VmKey>& options) const {
  std::vector<Vm> vms;
  const auto on_row = [&](const sqlite::Row& row) { vms.push_back(ReadVm(row)); };
  const VmKey after = options.after_key.value_or(VmKey());
  if (host.has_value()) {
    RETURN_IF_ERROR(db_.Query(kListOfHost, on_row, after.host.value, after.uuid, host->value, RowLimit(options)));
  } else {
    RETURN_IF_ERROR(db_.Query(kListAll, on_row, after.host.value, after.uuid, RowLimit(options)));
  }
  Page<Vm, VmKey> page = MakePage(std::move(vms), options, [](const Vm& vm) { return vm.key; });
  for (Vm& vm : page.items) RETURN_IF_ERROR(ReadParts(vm));
  return page;
}

absl::StatusOr<Page<Writer, std::string>> VmStore::ListWriters(const HostId& host,
                                                               const ListOptions<std::string>& options) const {
  std::vector<Writer> writers;
  RETURN_IF_ERROR(db_.Query(
      kWriters, [&](const sqlite::Row& row) { writers.push_back(ReadWriter(row)); }, host.value,
      options.after_key.value_or(""), RowLimit(options)));
  return MakePage(std::move(writers), options, [](const Writer& writer) { return writer.writer_id; });
}

}  // namespace umbra::catalog
