-- compatible_version: 1
-- A certificate that a host was given in place of its own, and hasn't used yet. With its first use it becomes the one in
-- host, and the row goes.

CREATE TABLE next_certificate (
  host_id     TEXT NOT NULL PRIMARY KEY REFERENCES host (id) ON DELETE CASCADE,
  serial      TEXT NOT NULL,
  fingerprint TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;
