-- Leases, prepared transactions and states that end by themselves. Rows of before have NULL in the new columns, and a
-- checksum that does not cover them.
ALTER TABLE journal ADD COLUMN expires_us INTEGER;  -- when the state written here ends; 0: never
ALTER TABLE journal ADD COLUMN tx TEXT;             -- the transaction a row is part of; empty: none
ALTER TABLE journal ADD COLUMN tx_size INTEGER;     -- how many keys that one writes

-- What is held beyond a commit: a new owner takes it over before it answers anything.
CREATE TABLE held (
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (slot, kind, key)
) STRICT, WITHOUT ROWID;
