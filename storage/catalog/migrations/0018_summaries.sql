-- compatible_version: 1
-- The phases of jobs with their times, and what makes sums of backups and of coverage quick: a summary reads no job and no
-- recovery point but through an index that has all of it.

-- The phases of the present attempt, or of the last one; end_time_us is NULL while it goes on.
CREATE TABLE job_phase (
  job_id        TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  position      INTEGER NOT NULL,
  phase         INTEGER NOT NULL CHECK (phase BETWEEN 1 AND 6),
  start_time_us INTEGER NOT NULL,
  end_time_us   INTEGER,
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;

-- Whether it has warnings, and how many recovery points it made, those that were removed since included.
ALTER TABLE job ADD COLUMN warned INTEGER NOT NULL DEFAULT 0 CHECK (warned IN (0, 1));
ALTER TABLE job ADD COLUMN point_count INTEGER NOT NULL DEFAULT 0 CHECK (point_count >= 0);
UPDATE job SET warned = 1 WHERE id IN (SELECT job_id FROM job_warning);
UPDATE job SET point_count = (SELECT COUNT(*) FROM recovery_point WHERE recovery_point.job_id = job.id) WHERE kind = 1 AND state = 5;

-- What the condition names is among the columns, or each row would be looked at for it.
CREATE INDEX job_backup_ended ON job (end_time_us, kind, state, warned, point_count, read_bytes, stored_bytes)
  WHERE kind = 1 AND end_time_us IS NOT NULL;

-- The newest backup of a machine or file set that went well or failed; one that was cancelled tells nothing. Goes with
-- the job.
CREATE TABLE backup_outcome (
  host_id     TEXT    NOT NULL,
  vm_uuid     TEXT    NOT NULL,
  job_id      TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  failed      INTEGER NOT NULL CHECK (failed IN (0, 1)),
  end_time_us INTEGER NOT NULL,
  PRIMARY KEY (host_id, vm_uuid)
) STRICT, WITHOUT ROWID;

CREATE INDEX backup_outcome_job ON backup_outcome (job_id);

-- Later rows take the place of earlier ones.
INSERT OR REPLACE INTO backup_outcome (host_id, vm_uuid, job_id, failed, end_time_us)
  SELECT job_vm.host_id, job_vm.vm_uuid, job.id, job.state = 6, job.end_time_us
  FROM job JOIN job_vm ON job_vm.job_id = job.id WHERE job.kind = 1 AND job.state IN (5, 6)
  ORDER BY job.end_time_us, job.number;

-- The newest point that isn't removed, without its row, which is large.
CREATE INDEX recovery_point_kept ON recovery_point (host_id, vm_uuid, point_time_us, id, remove_time_us)
  WHERE remove_time_us IS NULL;
