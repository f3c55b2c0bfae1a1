#include "storage/catalog/file_set_store.h"

#include <algorithm>
#include <limits>

#include "storage/base/status.h"
#include "storage/catalog/page.h"
#include "storage/filetree/subject.h"

namespace umbra::catalog {
namespace {

#define FILE_SET_COLUMNS                                                                                    \
  "SELECT host_id, name, display_name, has_freeze_hook, update_time_us, "                                   \
  "COALESCE((SELECT id FROM recovery_point AS p WHERE p.host_id = file_set.host_id "                        \
  "AND p.vm_uuid = 'fileset:' || file_set.name AND p.remove_time_us IS NULL ORDER BY point_time_us DESC, id DESC LIMIT 1), '') FROM file_set "

constexpr char kDelete[] = "DELETE FROM file_set WHERE host_id = ?";
constexpr char kSetUpdateTimes[] =
    "UPDATE file_set SET update_time_us = ?2 WHERE host_id = ?1 AND update_time_us <> ?2";
constexpr char kInsert[] =
    "INSERT INTO file_set (host_id, name, display_name, has_freeze_hook, update_time_us) VALUES (?, ?, ?, ?, ?)";
constexpr char kInsertFolder[] =
    "INSERT INTO file_set_folder (host_id, file_set_name, position, path, filespec, recursive) VALUES (?, ?, ?, ?, ?, ?)";
constexpr char kInsertExclude[] =
    "INSERT INTO file_set_exclude (host_id, file_set_name, folder, position, pattern) VALUES (?, ?, ?, ?, ?)";
constexpr char kGet[] = FILE_SET_COLUMNS "WHERE host_id = ? AND name = ?";
constexpr char kListAll[] = FILE_SET_COLUMNS "WHERE (host_id, name) > (?, ?) ORDER BY host_id, name LIMIT ?";
constexpr char kListOfHost[] =
    FILE_SET_COLUMNS "WHERE (host_id, name) > (?, ?) AND host_id = ? ORDER BY host_id, name LIMIT ?";
constexpr char kFolders[] =
    "SELECT path, filespec, recursive FROM file_set_folder WHERE host_id = ? AND file_set_name = ? ORDER BY position";
constexpr char kExcludes[] =
    "SELECT folder, pattern FROM file_set_exclude WHERE host_id = ? AND file_set_name = ? ORDER BY folder, position";

FileSet ReadSet(const sqlite::Row& row) {
  return {.key = {HostId(row.Text(0)), filetree::SubjectOfFileSet(row.Text(1))},
          .display_name = row.Text(2),
          .has_freeze_hook = row.Bool(3),
          .update_time = row.Time(4),
          .last_recovery_point = RecoveryPointId(row.Text(5))};
}

std::string NameOf(const VmKey& key) { return filetree::FileSetOf(key.uuid).value_or(""); }

// Apart from what isn't of the report: its time, recovery points.
bool SameReport(const FileSet& row, const FileSet& report) {
  FileSet same = row;
  same.update_time = report.update_time;
  same.last_recovery_point = report.last_recovery_point;
  return same == report;
}

}  // namespace

// As an inventory of virtual machines: only what has changed is written, beside the time.
absl::Status FileSetStore::Replace(const HostId& host, const std::vector<FileSet>& sets) {
  ASSIGN_OR_RETURN(const auto old, List(host, {.page_size = std::numeric_limits<int>::max() - 1}));
  std::vector<FileSet> sorted = sets;
  std::ranges::sort(sorted, {}, [](const FileSet& set) { return NameOf(set.key); });
  if (std::ranges::equal(old.items, sorted, SameReport)) {
    return sets.empty() ? absl::OkStatus() : db_.Run(kSetUpdateTimes, host.value, sets.front().update_time);
  }
  RETURN_IF_ERROR(db_.Run(kDelete, host.value));
  for (const FileSet& set : sets) {
    UMBRA_CHECK(set.key.host == host);
    RETURN_IF_ERROR(Insert(set));
  }
  return absl::OkStatus();
}

absl::Status FileSetStore::Insert(const FileSet& set) {
  const std::string& host = set.key.host.value;
  const std::string name = NameOf(set.key);
  RETURN_IF_ERROR(db_.Run(kInsert, host, name, set.display_name, set.has_freeze_hook, set.update_time));
  int folder = 0;
  for (const FileSetFolder& f : set.folders) {
    RETURN_IF_ERROR(db_.Run(kInsertFolder, host, name, folder, f.path, f.filespec, f.recursive));
    int position = 0;
    for (const std::string& pattern : f.excludes) {
      RETURN_IF_ERROR(db_.Run(kInsertExclude, host, name, folder, position++, pattern));
    }
    ++folder;
  }
  return absl::OkStatus();
}

absl::Status FileSetStore::ReadFolders(FileSet& set) const {
  const std::string name = NameOf(set.key);
  RETURN_IF_ERROR(db_.Query(
      kFolders,
      [&](const sqlite::Row& row) {
        set.folders.push_back({row.Text(0), row.Text(1), row.Bool(2), {}});
      },
      set.key.host.value, name));
  return db_.Query(
      kExcludes,
      [&](const sqlite::Row& row) {
        set.folders[static_cast<size_t>(row.Int(0))].excludes.push_back(row.Text(1));
      },
      set.key.host.value, name);
}

absl::StatusOr<FileSet> FileSetStore::Get(const VmKey& key) const {
  std::optional<FileSet> set;
  RETURN_IF_ERROR(db_.Query(
      kGet, [&](const sqlite::Row& row) { set = ReadSet(row); }, key.host.value, NameOf(key)));
  if (!set.has_value()) {
    return base::Error(absl::StatusCode::kNotFound, "FILE_SET_NOT_FOUND", "no file set {} on host {}", NameOf(key), key.host);
  }
  RETURN_IF_ERROR(ReadFolders(*set));
  return *std::move(set);
}

absl::StatusOr<Page<FileSet, VmKey>> FileSetStore::List(const std::optional<HostId>& host,
                                                        const ListOptions<VmKey>& options) const {
  std::vector<FileSet> sets;
  const auto on_row = [&](const sqlite::Row& row) { sets.push_back(ReadSet(row)); };
  const VmKey after = options.after_key.value_or(VmKey());
  if (host.has_value()) {
    RETURN_IF_ERROR(db_.Query(kListOfHost, on_row, after.host.value, NameOf(after), host->value, RowLimit(options)));
  } else {
    RETURN_IF_ERROR(db_.Query(kListAll, on_row, after.host.value, NameOf(after), RowLimit(options)));
  }
  Page<FileSet, VmKey> page = MakePage(std::move(sets), options, [](const FileSet& set) { return set.key; });
  for (FileSet& set : page.items) RETURN_IF_ERROR(ReadFolders(set));
  return page;
}

}  // namespace umbra::catalog
