-- compatible_version: 1
-- Failover clusters: a restore may take the virtual machine's resource offline, and the inventory shows which resource it is.

ALTER TABLE job ADD COLUMN take_cluster_offline INTEGER NOT NULL DEFAULT 0 CHECK (take_cluster_offline IN (0, 1));

ALTER TABLE vm ADD COLUMN cluster_resource TEXT NOT NULL DEFAULT '';
ALTER TABLE vm ADD COLUMN cluster_state TEXT NOT NULL DEFAULT '';
ALTER TABLE vm ADD COLUMN cluster_node TEXT NOT NULL DEFAULT '';
