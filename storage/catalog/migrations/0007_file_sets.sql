-- compatible_version: 1
-- File sets: services of a host whose folders can join a backup. In `job_vm`, `job_disk` and `recovery_point`, the vm_uuid of a
-- file set is "fileset:" and its name.

CREATE TABLE file_set (
  host_id         TEXT    NOT NULL REFERENCES host (id) ON DELETE CASCADE,
  name            TEXT    NOT NULL,
  display_name    TEXT    NOT NULL,
  has_freeze_hook INTEGER NOT NULL CHECK (has_freeze_hook IN (0, 1)),
  update_time_us  INTEGER NOT NULL,
  PRIMARY KEY (host_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE file_set_folder (
  host_id       TEXT    NOT NULL,
  file_set_name TEXT    NOT NULL,
  position      INTEGER NOT NULL,
  path          TEXT    NOT NULL,
  filespec      TEXT    NOT NULL,
  recursive     INTEGER NOT NULL CHECK (recursive IN (0, 1)),
  PRIMARY KEY (host_id, file_set_name, position),
  FOREIGN KEY (host_id, file_set_name) REFERENCES file_set (host_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE file_set_exclude (
  host_id       TEXT    NOT NULL,
  file_set_name TEXT    NOT NULL,
  folder        INTEGER NOT NULL,
  position      INTEGER NOT NULL,
  pattern       TEXT    NOT NULL,
  PRIMARY KEY (host_id, file_set_name, folder, position),
  FOREIGN KEY (host_id, file_set_name, folder) REFERENCES file_set_folder (host_id, file_set_name, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

ALTER TABLE job ADD COLUMN restore_path TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN overwrite INTEGER NOT NULL DEFAULT 0 CHECK (overwrite IN (0, 1));
