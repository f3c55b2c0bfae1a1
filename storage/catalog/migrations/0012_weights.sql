-- compatible_version: 1
-- How large the share of a policy is beside others, and of a job's policy as the job was made.

ALTER TABLE policy ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight >= 1);
ALTER TABLE job ADD COLUMN policy_weight INTEGER NOT NULL DEFAULT 1 CHECK (policy_weight >= 1);
