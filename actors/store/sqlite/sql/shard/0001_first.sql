-- What a shard's file holds. The journal is the truth; states, state_index, versions and requests are projections of it:
-- pointers into the journal, written in the background and completed from the journal's tail when the file is opened.

-- One row that says whose file this is and how far its projections are.
CREATE TABLE file (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    service_id TEXT NOT NULL,
    shard INTEGER NOT NULL,
    acquisitions INTEGER NOT NULL, -- rises with every acquire: cached epochs are right while it stands still
    projected INTEGER NOT NULL,    -- the last journal id the projections contain
    keys INTEGER NOT NULL          -- live keys among the projected
) STRICT;

-- Who owns a slot, and where it stood when it was last projected.
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    floor INTEGER NOT NULL
) STRICT;

-- Every change, in commit order; ids have no gaps.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    op TEXT NOT NULL,
    body BLOB,
    schema_version INTEGER NOT NULL,
    indexes TEXT NOT NULL,         -- JSON object, index name to value
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    time_us INTEGER NOT NULL,
    checksum BLOB NOT NULL,        -- over every column above
    chain BLOB                     -- hash of the audit chain; empty while audit is off
) STRICT;

-- The newest change of every key, tombstones included.
CREATE TABLE states (
    category INTEGER NOT NULL,
    key TEXT NOT NULL,
    slot INTEGER NOT NULL,
    version INTEGER NOT NULL,
    live INTEGER NOT NULL,
    indexes TEXT NOT NULL,         -- what state_index holds for this key, so that a change knows what to remove
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (category, key, slot)
) STRICT, WITHOUT ROWID;

-- Live keys by index value.
CREATE TABLE state_index (
    category INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    key TEXT NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (category, name, value, key, slot)
) STRICT, WITHOUT ROWID;

-- Every change by key. A segment is a stretch of the journal, so that random keys meet in the few pages of the newest
-- segment instead of scattering over the whole table; a history looks into one segment after the other.
CREATE TABLE versions (
    segment INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (segment, slot, key, version)
) STRICT, WITHOUT ROWID;

-- Request ids. Generated ones sort by time, so that with the id first new ones are appended, not scattered.
CREATE TABLE requests (
    request_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    slot INTEGER NOT NULL,
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (request_id, principal, slot)
) STRICT, WITHOUT ROWID;
