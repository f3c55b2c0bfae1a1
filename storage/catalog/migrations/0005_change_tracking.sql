-- compatible_version: 1
-- Increments: a backup may be told to read everything, and each of its disks tells how it was read and why.

ALTER TABLE job ADD COLUMN full_read INTEGER NOT NULL DEFAULT 0 CHECK (full_read IN (0, 1));

ALTER TABLE job_disk ADD COLUMN read_mode INTEGER NOT NULL DEFAULT 0 CHECK (read_mode IN (0, 1, 2));
ALTER TABLE job_disk ADD COLUMN full_read_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE job_disk ADD COLUMN full_read_message TEXT NOT NULL DEFAULT '';
ALTER TABLE job_disk ADD COLUMN changed_bytes INTEGER NOT NULL DEFAULT 0;
