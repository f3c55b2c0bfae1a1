-- compatible_version: 1
-- The writers of a backup's freeze window with their times; and what finds the recovery points that are removed, held or locked
-- without reading the others.

-- Of the present attempt, or of the last one; host_id and vm_uuid are empty for a writer of the host. What a writer didn't get to
-- is NULL.
CREATE TABLE job_writer (
  job_id         TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  position       INTEGER NOT NULL,
  display_name   TEXT    NOT NULL,
  host_id        TEXT    NOT NULL,
  vm_uuid        TEXT    NOT NULL,
  freeze_time_us INTEGER NOT NULL,
  frozen_time_us INTEGER,
  thaw_time_us   INTEGER,
  thawed_time_us INTEGER,
  error_reason   TEXT    NOT NULL,
  error_message  TEXT    NOT NULL,
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;

-- In the order of the lists; with the repository, so that those of another one are passed over without their rows.
CREATE INDEX recovery_point_removed ON recovery_point (point_time_us, id, repository) WHERE remove_time_us IS NOT NULL;
CREATE INDEX recovery_point_held ON recovery_point (point_time_us, id, repository) WHERE held = 1;
CREATE INDEX recovery_point_locked ON recovery_point (point_time_us, id, repository) WHERE lock_until_us IS NOT NULL;
