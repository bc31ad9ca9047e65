-- name: registry_create
-- The one row of a new file.
INSERT INTO file (only, service_id, puts) VALUES (1, ?, 0)

-- name: registry_read
-- Whose file this is, and how often it was written.
SELECT service_id, puts FROM file

-- name: registry_count
-- One more put.
UPDATE file SET puts = puts + 1 RETURNING puts

-- name: entries_read
-- Everything.
SELECT name, value, checksum FROM entries ORDER BY name

-- name: entry_write
-- One value by its name.
REPLACE INTO entries (name, value, checksum) VALUES (?, ?, ?)
