-- compatible_version: 1
-- Saved state: what a backup may do, how long a virtual machine stood still, the memory that a recovery point holds, and
-- everything (not only the first) that stands against child snapshot.

ALTER TABLE job ADD COLUMN child_snapshot_only INTEGER NOT NULL DEFAULT 0 CHECK (child_snapshot_only IN (0, 1));
ALTER TABLE job ADD COLUMN forbid_saved_state INTEGER NOT NULL DEFAULT 0 CHECK (forbid_saved_state IN (0, 1));
ALTER TABLE job ADD COLUMN resume_state INTEGER NOT NULL DEFAULT 0 CHECK (resume_state IN (0, 1));
ALTER TABLE job ADD COLUMN downtime_us INTEGER NOT NULL DEFAULT 0;

ALTER TABLE recovery_point ADD COLUMN downtime_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recovery_point ADD COLUMN state_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recovery_point ADD COLUMN state_data_bytes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE recovery_point_obstacle (
  recovery_point_id TEXT    NOT NULL REFERENCES recovery_point (id) ON DELETE CASCADE,
  position          INTEGER NOT NULL,
  reason            TEXT    NOT NULL,
  message           TEXT    NOT NULL,
  PRIMARY KEY (recovery_point_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE vm_obstacle (
  host_id  TEXT    NOT NULL,
  vm_uuid  TEXT    NOT NULL,
  position INTEGER NOT NULL,
  reason   TEXT    NOT NULL,
  message  TEXT    NOT NULL,
  PRIMARY KEY (host_id, vm_uuid, position),
  FOREIGN KEY (host_id, vm_uuid) REFERENCES vm (host_id, uuid) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
