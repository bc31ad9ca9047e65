"""The store protocol: a journal that commits are appended to, and the projections that are read.

A store is synchronous and is driven by two threads of one shard: `commit`, `project` and `acquire` by its writer, the
reading calls by its reader. Reads see every commit that returned before they began, projected or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from lightning_state.actors.core.listing import SCAN_BYTES
from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, SlotHead
from lightning_state.actors.errors import StoreError


class CommitUnknownError(StoreError):
    """COMMIT itself failed: the rows may or may not be there. Close the store, open it again, take a new epoch."""

    code = "commit_unknown"


class StoreStatus(msgspec.Struct, frozen=True):
    """Figures for status and metrics."""

    journal_rows: int
    last_journal_id: int
    unprojected_rows: int
    keys: int
    """Live keys, as of the last projection."""
    size_bytes: int


class Store(Protocol):
    """One shard's store.

    Every method raises StoreUnavailableError when nothing could be done, StoreCorruptError when what was read is
    damaged, and FencedError when a newer epoch owns a slot.
    """

    def open(self) -> None:
        """Take ownership and make the projections complete. Raises StoreCorruptError for damage or a missing file."""
        ...

    def acquire(self, slots: Iterable[int], epoch: int) -> list[SlotHead]:
        """Record durably that `epoch` owns these slots, and return their heads; unknown slots start at revision 0.

        Raises FencedError when one of them has a newer epoch already.
        """
        ...

    def commit(self, rows: Sequence[JournalRow]) -> None:
        """Append the rows in one durable transaction, after checking that each row's epoch still owns its slot.

        All or nothing. Raises CommitUnknownError when only COMMIT itself failed; every other error means not written.
        """
        ...

    def project(self, most: int) -> int:
        """Bring projections up to date by at most so many rows; returns how many are left."""
        ...

    def load(self, keys: Sequence[tuple[int, str]]) -> list[Entry | None]:
        """The last committed entry, tombstones included, of each (slot, key)."""
        ...

    def applied(self, slot: int, principal: str, request_id: str) -> Applied | None:
        """What a request id did in this slot, while its journal row is retained."""
        ...

    def scan(self, request: List, size_bytes: int = SCAN_BYTES) -> list[Entry]:
        """What is asked for, up to the entry whose body makes the bodies `size_bytes` together.

        Pages leave no gaps: their union holds every key that was present throughout.
        """
        ...

    def history(self, slot: int, key: str, *, after_version: int, limit: int) -> list[JournalRow]:
        """The key's retained changes in version order, after a version."""
        ...

    def held(self, slots: Iterable[int]) -> list[JournalRow]:
        """The rows that hold something in these slots still, leases and prepared keys, as of `open`, in no order.

        For a new owner, called by its writer after `open` and before its first commit.
        """
        ...

    def checkpoint(self) -> None:
        """Move what is journaled into the main file, where that exists; safe to call at any time by the writer."""
        ...

    def status(self) -> StoreStatus:
        """Current figures, cheap enough to ask every second."""
        ...

    def close(self) -> None:
        """Release everything, ownership last."""
        ...


class RegistryStore(Protocol):
    """Where the directory keeps what must outlive it: small values by name, each change durable when `put` returns."""

    def open(self) -> None:
        """Take ownership. Raises as `Store.open`."""
        ...

    def get_all(self) -> Mapping[str, bytes]:
        """Every name with its value."""
        ...

    def put(self, values: Mapping[str, bytes]) -> None:
        """Store all of these in one durable transaction."""
        ...

    def close(self) -> None:
        """Release everything, ownership last."""
        ...
