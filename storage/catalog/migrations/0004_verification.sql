-- compatible_version: 1
-- Verification by age and within a budget, damage that is known until it is healed, and figures of each day.

ALTER TABLE job ADD COLUMN verify_level INTEGER NOT NULL DEFAULT 0 CHECK (verify_level BETWEEN 0 AND 3);
-- 0: without limit.
ALTER TABLE job ADD COLUMN verify_time_budget_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN verify_byte_budget INTEGER NOT NULL DEFAULT 0;

ALTER TABLE job_damage ADD COLUMN length_bytes INTEGER NOT NULL DEFAULT 0;

-- Bytes of chunks that the repository didn't have, before compression. 0 for points of older versions.
ALTER TABLE recovery_point ADD COLUMN new_bytes INTEGER NOT NULL DEFAULT 0;

-- When a pack was last read from its first to its last byte, and what came of it. No row: never.
CREATE TABLE pack_check (
  repository      TEXT    NOT NULL,
  pack            TEXT    NOT NULL,
  size_bytes      INTEGER NOT NULL,
  stored_time_us  INTEGER NOT NULL,
  full_time_us    INTEGER,
  whole_damaged   INTEGER NOT NULL CHECK (whole_damaged IN (0, 1)),
  damaged_chunks  INTEGER NOT NULL,
  PRIMARY KEY (repository, pack)
) STRICT, WITHOUT ROWID;

-- When every disk of a recovery point was last read and compared, and what came of it. No row: never.
CREATE TABLE point_check (
  repository     TEXT    NOT NULL,
  recovery_point TEXT    NOT NULL,
  verify_time_us INTEGER NOT NULL,
  sound          INTEGER NOT NULL CHECK (sound IN (0, 1)),
  PRIMARY KEY (repository, recovery_point)
) STRICT, WITHOUT ROWID;

-- Places of recovery points whose bytes were found to be wrong or gone. An empty chunk_id is a disk as a whole.
CREATE TABLE damage (
  repository     TEXT    NOT NULL,
  recovery_point TEXT    NOT NULL,
  disk           TEXT    NOT NULL,
  offset_bytes   INTEGER NOT NULL,
  chunk_id       TEXT    NOT NULL,
  length_bytes   INTEGER NOT NULL,
  reason         TEXT    NOT NULL,
  message        TEXT    NOT NULL,
  found_time_us  INTEGER NOT NULL,
  healed_time_us INTEGER,
  PRIMARY KEY (repository, recovery_point, disk, offset_bytes, chunk_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX damage_point ON damage (recovery_point);

-- A repository's figures at the end of each day (UTC, days since 1970), as last seen on it.
CREATE TABLE repository_day (
  repository           TEXT    NOT NULL,
  day                  INTEGER NOT NULL,
  recovery_point_count INTEGER NOT NULL,
  logical_bytes        INTEGER NOT NULL,
  unique_bytes         INTEGER NOT NULL,
  stored_bytes         INTEGER NOT NULL,
  PRIMARY KEY (repository, day)
) STRICT, WITHOUT ROWID;
