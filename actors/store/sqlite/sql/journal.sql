-- name: file_create
-- The one row of a new file.
INSERT INTO file (only, service_id, shard, acquisitions, projected, keys) VALUES (1, ?, ?, 0, 0, 0)

-- name: file_read
-- Whose file this is and how far it is projected.
SELECT service_id, shard, acquisitions, projected, keys FROM file

-- name: acquisitions_read
-- Asked inside every commit: unchanged means that the epochs known to this store still hold.
SELECT acquisitions FROM file

-- name: acquisitions_raise
-- Tells every other store of this file to read the epochs again.
UPDATE file SET acquisitions = acquisitions + 1 RETURNING acquisitions

-- name: slots_read
-- All slot heads, as last projected.
SELECT slot, epoch, revision, floor FROM slots

-- name: slot_epoch_write
-- Records who owns a slot; a new slot starts at revision 0 and floor 0.
INSERT INTO slots (slot, epoch, revision, floor) VALUES (?, ?, 0, 0)
ON CONFLICT (slot) DO UPDATE SET epoch = excluded.epoch

-- name: journal_append
-- The only thing a commit writes.
INSERT INTO journal
    (id, slot, revision, epoch, key, version, op, body, schema_version, indexes, principal, request_id, digest,
     time_us, expires_us, tx, tx_size, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: journal_last_id
-- Where the journal ends; 0 when it is empty.
SELECT coalesce(max(id), 0) FROM journal

-- name: journal_tail
-- What the projections do not contain yet.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum
FROM journal j WHERE j.id > ? ORDER BY j.id

-- name: held_read
-- The rows that hold something beyond their commit, of all slots.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum
FROM held h LEFT JOIN journal j ON j.id = h.journal_id
