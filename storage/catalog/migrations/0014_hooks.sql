-- compatible_version: 1
-- Programs of a host, by name, around the backups of a policy and around each job.

ALTER TABLE policy ADD COLUMN pre_hook TEXT NOT NULL DEFAULT '';
ALTER TABLE policy ADD COLUMN post_hook TEXT NOT NULL DEFAULT '';
ALTER TABLE policy ADD COLUMN ignore_pre_hook_failure INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN pre_hook TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN post_hook TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN ignore_pre_hook_failure INTEGER NOT NULL DEFAULT 0;
