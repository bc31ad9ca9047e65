-- name: state_read
-- What is projected for a key, and what of it must be undone when it changes.
SELECT live, indexes FROM states WHERE category = ? AND key = ? AND slot = ?

-- name: state_write
-- The newest change of a key.
REPLACE INTO states (category, key, slot, version, live, indexes, journal_id) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: index_remove
-- A key left this index value.
DELETE FROM state_index WHERE category = ? AND name = ? AND value = ? AND key = ? AND slot = ?

-- name: index_add
-- A key has this index value now.
INSERT OR IGNORE INTO state_index (category, name, value, key, slot) VALUES (?, ?, ?, ?, ?)

-- name: version_add
-- A change, to be found by its key.
INSERT OR IGNORE INTO versions (segment, slot, key, version, journal_id) VALUES (?, ?, ?, ?, ?)

-- name: request_add
-- Where a request id was used first.
INSERT OR IGNORE INTO requests (request_id, principal, slot, journal_id) VALUES (?, ?, ?, ?)

-- name: slot_revision_write
-- How far a slot got.
UPDATE slots SET revision = max(revision, ?) WHERE slot = ?

-- name: file_projected_write
-- How far the projections got, and how many live keys that added or removed.
UPDATE file SET projected = ?, keys = keys + ?

-- name: hold_remove
-- What was held is let go.
DELETE FROM held WHERE slot = ? AND kind = ? AND key = ?

-- name: hold_add
-- Held beyond its commit, in place of what was held under the same name.
REPLACE INTO held (slot, kind, key, journal_id) VALUES (?, ?, ?, ?)
