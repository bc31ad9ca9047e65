-- What the directory keeps: small values by name.

-- One row that says whose file this is.
CREATE TABLE file (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    service_id TEXT NOT NULL,
    puts INTEGER NOT NULL          -- rises with every put; the mark beside the file notes it
) STRICT;

CREATE TABLE entries (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    checksum BLOB NOT NULL         -- over name and value
) STRICT, WITHOUT ROWID;
