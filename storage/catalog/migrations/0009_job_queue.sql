-- compatible_version: 1
-- The queue: who wanted a job, when it may be begun, further attempts after one that failed; hosts in maintenance.

ALTER TABLE job ADD COLUMN policy TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100);
-- NULL: at once, without end.
ALTER TABLE job ADD COLUMN due_time_us INTEGER;
ALTER TABLE job ADD COLUMN not_after_us INTEGER;
ALTER TABLE job ADD COLUMN retries_max INTEGER NOT NULL DEFAULT 0 CHECK (retries_max >= 0);
ALTER TABLE job ADD COLUMN retry_backoff_us INTEGER NOT NULL DEFAULT 0;
-- 0: without limit.
ALTER TABLE job ADD COLUMN upload_bytes_per_second INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN policy_jobs_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN policy_host_jobs_max INTEGER NOT NULL DEFAULT 0;

ALTER TABLE job ADD COLUMN failed_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN last_attempt_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN last_attempt_message TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN next_attempt_time_us INTEGER;

CREATE INDEX job_policy ON job (policy, number) WHERE policy <> '';
CREATE INDEX job_ended ON job (end_time_us) WHERE end_time_us IS NOT NULL;

ALTER TABLE host ADD COLUMN drained INTEGER NOT NULL DEFAULT 0 CHECK (drained IN (0, 1));
ALTER TABLE host ADD COLUMN drain_note TEXT NOT NULL DEFAULT '';
