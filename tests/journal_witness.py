"""The second witness: the journal of every shard, read straight from the SQLite files of a service."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

_COLUMNS = "id, slot, revision, epoch, key, version, op, body, principal, request_id"


@dataclass(frozen=True)
class Row:
    """One journal row; `shard` is the file it is in."""

    shard: int
    id: int
    slot: int
    revision: int
    epoch: int
    key: str
    version: int
    op: str
    body: bytes | None
    principal: str
    request_id: str


def journal_rows(data_dir: Path) -> list[Row]:
    """Every row of every shard, in commit order per shard. The files are copied first: the originals stay untouched."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        for file in sorted(data_dir.glob("shard-*.db*")):
            shutil.copy(file, directory)
        for copy in sorted(Path(directory).glob("shard-*.db")):
            shard = int(copy.stem.removeprefix("shard-"))
            connection = apsw.Connection(str(copy), vfs="unix")
            try:
                rows = connection.execute(f"SELECT {_COLUMNS} FROM journal ORDER BY id")
                found.extend(Row(shard, *columns) for columns in rows)
            finally:
                connection.close()
    return found


def check_order(rows: Sequence[Row]) -> None:
    """Versions of a key and revisions of a slot go up by one and are never reused; epochs never fall; an id is once."""
    versions: dict[tuple[int, str], int] = {}
    revisions: dict[int, int] = {}
    epochs: dict[int, int] = defaultdict(int)
    for row in rows:
        assert row.epoch >= epochs[row.slot], f"an older epoch wrote after a newer one: {row}"
        epochs[row.slot] = row.epoch
        if row.op == "bar":
            continue
        assert row.version == versions.get((row.slot, row.key), 0) + 1, f"not the next version of its key: {row}"
        assert row.revision == revisions.get(row.slot, 0) + 1, f"not the next revision of its slot: {row}"
        versions[row.slot, row.key] = row.version
        revisions[row.slot] = row.revision
    applied = Counter((row.slot, row.principal, row.request_id) for row in rows)
    twice = [identity for identity, count in applied.items() if count > 1]
    assert not twice, f"applied more than once: {twice[:5]}"
