-- compatible_version: 1
-- Removal of recovery points, what keeps them from it, and prunes. A prune is stored as a job of kind 3 (work of the daemon
-- itself, like a verification) whose column `prune` isn't 0: a program that doesn't know the column ends it as one.

ALTER TABLE job ADD COLUMN prune INTEGER NOT NULL DEFAULT 0 CHECK (prune BETWEEN 0 AND 2);

CREATE TABLE job_prune_result (
  job_id         TEXT    NOT NULL PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
  deleted_points INTEGER NOT NULL,
  deleted_packs  INTEGER NOT NULL,
  freed_bytes    INTEGER NOT NULL,
  copied_bytes   INTEGER NOT NULL,
  waiting_bytes  INTEGER NOT NULL,
  needed_bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A copy of what the repository says; remove_time_us is NULL for a point that isn't removed.
ALTER TABLE recovery_point ADD COLUMN remove_time_us INTEGER;
ALTER TABLE recovery_point ADD COLUMN delete_time_us INTEGER;
ALTER TABLE recovery_point ADD COLUMN removed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE recovery_point ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
ALTER TABLE recovery_point ADD COLUMN held_by TEXT NOT NULL DEFAULT '';
ALTER TABLE recovery_point ADD COLUMN hold_note TEXT NOT NULL DEFAULT '';
ALTER TABLE recovery_point ADD COLUMN lock_until_us INTEGER;
