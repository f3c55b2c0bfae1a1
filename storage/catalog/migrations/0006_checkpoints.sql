-- compatible_version: 1
-- Checkpoints that a virtual machine has of its own, as the agent reported them.

CREATE TABLE vm_checkpoint (
  host_id        TEXT    NOT NULL,
  vm_uuid        TEXT    NOT NULL,
  position       INTEGER NOT NULL,
  name           TEXT    NOT NULL,
  parent         TEXT    NOT NULL,
  kind           INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
  has_memory     INTEGER NOT NULL CHECK (has_memory IN (0, 1)),
  is_current     INTEGER NOT NULL CHECK (is_current IN (0, 1)),
  create_time_us INTEGER NOT NULL,
  PRIMARY KEY (host_id, vm_uuid, position),
  FOREIGN KEY (host_id, vm_uuid) REFERENCES vm (host_id, uuid) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
