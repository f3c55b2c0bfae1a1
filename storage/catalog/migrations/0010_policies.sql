-- compatible_version: 1
-- Policies: what they say, and how far they have run. Durations in microseconds.

CREATE TABLE policy (
  id                      TEXT    NOT NULL PRIMARY KEY,
  description             TEXT    NOT NULL,
  expression              TEXT    NOT NULL,
  everything_else         INTEGER NOT NULL CHECK (everything_else IN (0, 1)),
  exclude                 TEXT    NOT NULL,
  time_zone               TEXT    NOT NULL,
  spread_us               INTEGER NOT NULL,
  skip_missed             INTEGER NOT NULL CHECK (skip_missed IN (0, 1)),
  repository              TEXT    NOT NULL,
  child_snapshot_only     INTEGER NOT NULL CHECK (child_snapshot_only IN (0, 1)),
  forbid_saved_state      INTEGER NOT NULL CHECK (forbid_saved_state IN (0, 1)),
  allow_crash_consistent  INTEGER NOT NULL CHECK (allow_crash_consistent IN (0, 1)),
  freeze_timeout_us       INTEGER NOT NULL,
  grouping_mode           INTEGER NOT NULL CHECK (grouping_mode BETWEEN 1 AND 2),
  retries_max             INTEGER NOT NULL,
  retry_backoff_us        INTEGER NOT NULL,
  priority                INTEGER NOT NULL,
  upload_bytes_per_second INTEGER NOT NULL,
  jobs_max                INTEGER NOT NULL,
  host_jobs_max           INTEGER NOT NULL,
  keep_last               INTEGER NOT NULL,
  keep_hourly             INTEGER NOT NULL,
  keep_daily              INTEGER NOT NULL,
  keep_weekly             INTEGER NOT NULL,
  keep_monthly            INTEGER NOT NULL,
  keep_yearly             INTEGER NOT NULL,
  keep_within_us          INTEGER NOT NULL,
  rpo_us                  INTEGER NOT NULL,
  paused                  INTEGER NOT NULL CHECK (paused IN (0, 1)),
  create_time_us          INTEGER NOT NULL,
  update_time_us          INTEGER NOT NULL,
  -- Every due time up to this one is done with.
  done_time_us            INTEGER NOT NULL,
  last_due_time_us        INTEGER,
  last_run_time_us        INTEGER,
  revision                INTEGER NOT NULL
) STRICT;

-- Lists: members, hosts, schedules, windows, closed times, told apart by `list`.
CREATE TABLE policy_text (
  policy_id TEXT    NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
  list      INTEGER NOT NULL CHECK (list BETWEEN 1 AND 5),
  position  INTEGER NOT NULL,
  text      TEXT    NOT NULL,
  PRIMARY KEY (policy_id, list, position)
) STRICT, WITHOUT ROWID;
