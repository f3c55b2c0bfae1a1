-- compatible_version: 1
-- Restores, verifications and prunes are a few among very many backups.

CREATE INDEX job_rare ON job (kind, prune <> 0, number) WHERE kind <> 1;
