-- name: load
-- The newest change of one key.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum, s.slot, s.key, s.version
FROM states s LEFT JOIN journal j ON j.id = s.journal_id
WHERE s.category = ? AND s.key = ? AND s.slot = ?

-- name: applied
-- The change a request id made.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum, r.slot, j.key, j.version
FROM requests r LEFT JOIN journal j ON j.id = r.journal_id
WHERE r.request_id = ? AND r.principal = ? AND r.slot = ?

-- name: scan
-- Live keys of a category between two bounds, in key order.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum, s.slot, s.key, s.version
FROM states s LEFT JOIN journal j ON j.id = s.journal_id
WHERE s.category = ? AND s.key >= ? AND s.key < ? AND s.live = 1
ORDER BY s.key

-- name: scan_index
-- The same, of those with an index value.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum, i.slot, i.key, s.version
FROM state_index i
LEFT JOIN states s ON s.category = i.category AND s.key = i.key AND s.slot = i.slot
LEFT JOIN journal j ON j.id = s.journal_id
WHERE i.category = ? AND i.name = ? AND i.value = ? AND i.key >= ? AND i.key < ?
ORDER BY i.key

-- name: projected
-- The last journal id the projections contain.
SELECT projected FROM file

-- name: history
-- A key's changes after a version in one segment, oldest first.
SELECT j.id, j.slot, j.revision, j.epoch, j.key, j.version, j.op, j.body, j.schema_version, j.indexes, j.principal,
       j.request_id, j.digest, j.time_us, j.expires_us, j.tx, j.tx_size, j.checksum, v.slot, v.key, v.version
FROM versions v LEFT JOIN journal j ON j.id = v.journal_id
WHERE v.segment = ? AND v.slot = ? AND v.key = ? AND v.version > ?
ORDER BY v.version LIMIT ?
