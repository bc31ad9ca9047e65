"""What watches delivered, and what there was to deliver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lightning_state.actors.core.rows import JournalRow, Op


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One change of one key, as a watch told of it or as the journal holds it."""

    slot: int
    revision: int
    """Of the slot, after the change. The writes of one transaction in a slot share it."""
    key: str
    version: int
    """Of the key, after the change."""
    deleted: bool = False
    """Whether the change left nothing: a delete or an expiry."""
    mark: str = ""
    """What tells its content from every other; empty where neither the watch nor the journal is asked for it."""
    transaction_id: str = ""
    """Empty for a change outside transactions."""
    transaction_size: int = 0
    """How many changes the whole transaction made, in all slots; 0 outside transactions."""

    @property
    def place(self) -> tuple[int, int, str]:
        """(slot, revision, key): what makes it the same event."""
        return self.slot, self.revision, self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Events that reached the watcher as one, in their order."""

    events: tuple[WatchEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """The promise that everything up to a slot's revision has been delivered."""

    slot: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One subscription, from its start to its end. A resumed one is a watch of its own that names the one before."""

    name: str
    """Unique in the history."""
    items: tuple[Delivery | Bookmark, ...]
    """What it received, in order."""
    prefix: str = ""
    """Only keys that begin so are watched."""
    keys: frozenset[str] | None = None
    """Only these keys are watched, besides; None: all with the prefix."""
    starts: Mapping[int, int] | None = field(default_factory=dict[int, int])
    """Slot → the revision after which it began; a slot left out began at 0. Ignored for a resumed watch.

    None: it began "now", at revisions nobody noted; then each slot begins with the first thing heard of it.
    """
    resumed_from: str = ""
    """The watch whose token it was resumed with; empty for a new one."""
    resumed_after: int = 0
    """How many items of that watch its token covers."""
    opened: int | None = None
    """When it was known to be under way, by the clock of the calls; writes begun later must be delivered."""
    caught_up: bool = False
    """The recorder waited until nothing more was to come: everything committed must have been delivered."""
    whole_transactions: bool = False
    """It asked for whole transactions: the changes of one come in one delivery."""

    def watches(self, key: str) -> bool:
        """Whether the key's changes are to be delivered."""
        return key.startswith(self.prefix) and (self.keys is None or key in self.keys)


def events_of(
    rows: Iterable[JournalRow],
    transactions: Mapping[tuple[int, int], tuple[str, int]] | None = None,
    mark_of: Callable[[JournalRow], str] = lambda _: "",
) -> list[WatchEvent]:
    """What the rows of a journal, in commit order, give a watch to deliver.

    `transactions`: (slot, revision) → (id, size), for the revisions that a transaction made. `mark_of` tells the mark
    that a watch is to see of a row.
    """
    found: list[WatchEvent] = []
    for row in rows:
        if row.op is Op.BAR:
            continue
        transaction_id, size = (transactions or {}).get((row.slot, row.revision), ("", 0))
        found.append(
            WatchEvent(
                slot=row.slot,
                revision=row.revision,
                key=row.key,
                version=row.version,
                deleted=row.body is None,
                mark=mark_of(row),
                transaction_id=transaction_id,
                transaction_size=size,
            )
        )
    return found
