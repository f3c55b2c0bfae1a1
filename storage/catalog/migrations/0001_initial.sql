-- compatible_version: 1
-- The first schema. Times are unix microseconds, durations microseconds, sizes bytes; enum values are those of
-- storage/catalog/records.h. Lists inside a record are tables of their own, ordered by `position`.

CREATE TABLE host (
  id                      TEXT    NOT NULL PRIMARY KEY,
  display_name            TEXT    NOT NULL,
  agent_version           TEXT    NOT NULL,
  hypervisor              TEXT    NOT NULL,
  hypervisor_error        TEXT    NOT NULL,
  certificate_serial      TEXT    NOT NULL,
  certificate_fingerprint TEXT    NOT NULL UNIQUE,
  revoked                 INTEGER NOT NULL CHECK (revoked IN (0, 1)),
  create_time_us          INTEGER NOT NULL,
  last_seen_time_us       INTEGER NOT NULL,
  revision                INTEGER NOT NULL
) STRICT;

CREATE TABLE vm (
  host_id             TEXT    NOT NULL REFERENCES host (id) ON DELETE CASCADE,
  uuid                TEXT    NOT NULL,
  display_name        TEXT    NOT NULL,
  state               INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
  memory_bytes        INTEGER NOT NULL,
  guest_agent_state   INTEGER NOT NULL CHECK (guest_agent_state BETWEEN 0 AND 4),
  guest_agent_version TEXT    NOT NULL,
  mechanism           INTEGER NOT NULL CHECK (mechanism BETWEEN 0 AND 4),
  mechanism_reason    TEXT    NOT NULL,
  mechanism_message   TEXT    NOT NULL,
  update_time_us      INTEGER NOT NULL,
  PRIMARY KEY (host_id, uuid)
) STRICT, WITHOUT ROWID;

CREATE TABLE vm_disk (
  host_id         TEXT    NOT NULL,
  vm_uuid         TEXT    NOT NULL,
  position        INTEGER NOT NULL,
  name            TEXT    NOT NULL,
  path            TEXT    NOT NULL,
  format          TEXT    NOT NULL,
  capacity_bytes  INTEGER NOT NULL,
  allocated_bytes INTEGER NOT NULL,
  PRIMARY KEY (host_id, vm_uuid, position),
  FOREIGN KEY (host_id, vm_uuid) REFERENCES vm (host_id, uuid) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE vm_excluded_disk (
  host_id  TEXT    NOT NULL,
  vm_uuid  TEXT    NOT NULL,
  position INTEGER NOT NULL,
  name     TEXT    NOT NULL,
  reason   TEXT    NOT NULL,
  message  TEXT    NOT NULL,
  PRIMARY KEY (host_id, vm_uuid, position),
  FOREIGN KEY (host_id, vm_uuid) REFERENCES vm (host_id, uuid) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE writer (
  host_id           TEXT    NOT NULL REFERENCES host (id) ON DELETE CASCADE,
  writer_id         TEXT    NOT NULL,
  instance_id       TEXT    NOT NULL,
  display_name      TEXT    NOT NULL,
  state             TEXT    NOT NULL,
  last_failure_code INTEGER NOT NULL,
  last_failure      TEXT    NOT NULL,
  component_count   INTEGER NOT NULL,
  PRIMARY KEY (host_id, writer_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolment_token (
  hash           TEXT    NOT NULL PRIMARY KEY,
  host_pattern   TEXT    NOT NULL,
  create_time_us INTEGER NOT NULL,
  expire_time_us INTEGER NOT NULL,
  used_time_us   INTEGER,
  used_by        TEXT    NOT NULL
) STRICT;

-- `number` is the order of submission. Hosts and recovery points that a job names may be gone: no foreign keys.
-- The columns from `repository` to `power_on` are the specification; those that a kind doesn't have are empty.
CREATE TABLE job (
  number                 INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  id                     TEXT    NOT NULL UNIQUE,
  kind                   INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
  repository             TEXT    NOT NULL,
  allow_crash_consistent INTEGER NOT NULL CHECK (allow_crash_consistent IN (0, 1)),
  freeze_timeout_us      INTEGER NOT NULL,
  recovery_point         TEXT    NOT NULL,
  restore_mode           INTEGER NOT NULL CHECK (restore_mode BETWEEN 0 AND 2),
  target_host            TEXT    NOT NULL,
  display_name           TEXT    NOT NULL,
  target_folder          TEXT    NOT NULL,
  power_on               INTEGER NOT NULL CHECK (power_on IN (0, 1)),
  state                  INTEGER NOT NULL CHECK (state BETWEEN 1 AND 8),
  phase                  INTEGER NOT NULL CHECK (phase BETWEEN 0 AND 6),
  wait_reason            TEXT    NOT NULL,
  error_reason           TEXT    NOT NULL,
  error_message          TEXT    NOT NULL,
  done_bytes             INTEGER NOT NULL,
  total_bytes            INTEGER NOT NULL,
  read_bytes             INTEGER NOT NULL,
  new_bytes              INTEGER NOT NULL,
  stored_bytes           INTEGER NOT NULL,
  rate_bytes_per_second  INTEGER NOT NULL,
  eta_us                 INTEGER,
  attempt                INTEGER NOT NULL CHECK (attempt >= 0),
  create_time_us         INTEGER NOT NULL,
  start_time_us          INTEGER,
  end_time_us            INTEGER,
  freeze_duration_us     INTEGER NOT NULL,
  restored_vm_uuid       TEXT    NOT NULL,
  revision               INTEGER NOT NULL,
  CHECK ((end_time_us IS NOT NULL) = (state IN (5, 6, 7)))
) STRICT;

CREATE INDEX job_active ON job (number) WHERE state NOT IN (5, 6, 7);

-- Virtual machines of a backup; the one that an in-place restore replaces.
CREATE TABLE job_vm (
  job_id   TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  host_id  TEXT    NOT NULL,
  vm_uuid  TEXT    NOT NULL,
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_disk (
  job_id      TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  host_id     TEXT    NOT NULL,
  vm_uuid     TEXT    NOT NULL,
  disk        TEXT    NOT NULL,
  done_bytes  INTEGER NOT NULL,
  total_bytes INTEGER NOT NULL,
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_warning (
  job_id   TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  reason   TEXT    NOT NULL,
  message  TEXT    NOT NULL,
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_damage (
  job_id         TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  position       INTEGER NOT NULL,
  chunk_id       TEXT    NOT NULL,
  recovery_point TEXT    NOT NULL,
  disk           TEXT    NOT NULL,
  offset_bytes   INTEGER NOT NULL,
  message        TEXT    NOT NULL,
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  request_id     TEXT    NOT NULL PRIMARY KEY,
  request_hash   TEXT    NOT NULL,
  job_id         TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  create_time_us INTEGER NOT NULL
) STRICT;

CREATE INDEX request_job ON request (job_id);

CREATE TABLE event (
  sequence INTEGER NOT NULL PRIMARY KEY,
  time_us  INTEGER NOT NULL,
  type     TEXT    NOT NULL,
  resource TEXT    NOT NULL,
  severity INTEGER NOT NULL CHECK (severity BETWEEN 1 AND 3),
  message  TEXT    NOT NULL
) STRICT;

CREATE INDEX event_resource ON event (resource, sequence);
CREATE INDEX event_time ON event (time_us);

-- A copy of what the repository's manifests say; it can be rebuilt from them. The host, the virtual machine and the job
-- may be gone: no foreign keys.
CREATE TABLE recovery_point (
  id                 TEXT    NOT NULL PRIMARY KEY,
  host_id            TEXT    NOT NULL,
  vm_uuid            TEXT    NOT NULL,
  vm_display_name    TEXT    NOT NULL,
  repository         TEXT    NOT NULL,
  job_id             TEXT    NOT NULL,
  point_time_us      INTEGER NOT NULL,
  create_time_us     INTEGER NOT NULL,
  mechanism          INTEGER NOT NULL CHECK (mechanism BETWEEN 0 AND 4),
  mechanism_reason   TEXT    NOT NULL,
  freeze_duration_us INTEGER NOT NULL,
  read_bytes         INTEGER NOT NULL,
  stored_bytes       INTEGER NOT NULL,
  configuration      TEXT    NOT NULL
) STRICT;

CREATE INDEX recovery_point_newest ON recovery_point (point_time_us, id);
CREATE INDEX recovery_point_vm ON recovery_point (host_id, vm_uuid, point_time_us, id);
CREATE INDEX recovery_point_job ON recovery_point (job_id);

CREATE TABLE recovery_point_disk (
  recovery_point_id TEXT    NOT NULL REFERENCES recovery_point (id) ON DELETE CASCADE,
  position          INTEGER NOT NULL,
  name              TEXT    NOT NULL,
  capacity_bytes    INTEGER NOT NULL,
  data_bytes        INTEGER NOT NULL,
  format            TEXT    NOT NULL,
  path              TEXT    NOT NULL,
  PRIMARY KEY (recovery_point_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_point_excluded_disk (
  recovery_point_id TEXT    NOT NULL REFERENCES recovery_point (id) ON DELETE CASCADE,
  position          INTEGER NOT NULL,
  name              TEXT    NOT NULL,
  reason            TEXT    NOT NULL,
  message           TEXT    NOT NULL,
  PRIMARY KEY (recovery_point_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_point_document (
  recovery_point_id TEXT    NOT NULL REFERENCES recovery_point (id) ON DELETE CASCADE,
  position          INTEGER NOT NULL,
  kind              TEXT    NOT NULL,
  content           TEXT    NOT NULL,
  PRIMARY KEY (recovery_point_id, position)
) STRICT;
