"""The embedded store: SQLite through apsw, one file per shard."""

from lightning_state.actors.store.sqlite.files import create_shard_file, shard_path
from lightning_state.actors.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "create_shard_file", "shard_path"]
