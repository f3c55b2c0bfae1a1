-- compatible_version: 1
-- Labels that people gave to hosts (vm_uuid is empty) and virtual machines. They refer to no row: an inventory replaces
-- the rows of machines, and the labels stay.

CREATE TABLE label (
  host_id TEXT NOT NULL,
  vm_uuid TEXT NOT NULL,
  key     TEXT NOT NULL,
  value   TEXT NOT NULL,
  PRIMARY KEY (host_id, vm_uuid, key)
) STRICT, WITHOUT ROWID;
