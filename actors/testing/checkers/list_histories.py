"""A history of list appends, read key by key: who wrote what in which order, who happened, who saw what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lightning_state.actors.testing.history import Outcome
from lightning_state.actors.testing.transaction_history import Append, ListRead, Transaction


class Reading(NamedTuple):
    """One read of a transaction that happened."""

    reader: int
    read: ListRead
    others: tuple[str, ...]
    """What it saw of others: without the reader's own appends at the end."""
    own: tuple[str, ...]
    """What the reader had appended before."""


@dataclass(slots=True)
class ListKey:
    """One list, put together from all reads of it."""

    readings: list[Reading] = field(default_factory=list[Reading])
    appended: list[str] = field(default_factory=list[str])
    """By transactions that happened."""
    longest: tuple[str, ...] = ()
    """The most that a read has seen of others."""
    versions: dict[str, int] = field(default_factory=dict[str, int])
    """Element → the version it was acknowledged with."""
    order: list[str] = field(default_factory=list[str])
    """The longest list, then what was committed but never seen, as far as its versions tell its order."""
    unplaced: list[str] = field(default_factory=list[str])
    """Committed, never seen, without a version: somewhere after the longest list."""


@dataclass(slots=True)
class Lists:
    """A history of list appends, sorted by keys."""

    transactions: Sequence[Transaction]
    """By number."""
    writers: dict[tuple[str, str], int]
    """(key, element) → its transaction."""
    happened: set[int]
    """Committed, or in doubt and seen."""
    keys: dict[str, ListKey]
    twice: list[tuple[str, str]]
    """(key, element) that was appended more than once."""

    def name(self, transaction: int) -> str:
        """What violations call it."""
        return self.transactions[transaction].id


def read_lists(transactions: Sequence[Transaction]) -> Lists:
    """Sort a history by keys. Linear in its size."""
    lists = Lists(transactions, {}, set(), {}, [])
    for number, transaction in enumerate(transactions):
        for append in appends_of(transaction):
            place = append.key, append.element
            if place in lists.writers:
                lists.twice.append(place)
            lists.writers.setdefault(place, number)
    lists.happened = _happened(lists)
    for number in sorted(lists.happened):
        _take_in(lists, number)
    for key in lists.keys.values():
        _put_in_order(key)
    return lists


def appends_of(transaction: Transaction) -> Iterator[Append]:
    """Its appends, in its order."""
    return (operation for operation in transaction.operations if isinstance(operation, Append))


def reads_of(transaction: Transaction) -> Iterator[ListRead]:
    """Its reads, in its order."""
    return (operation for operation in transaction.operations if isinstance(operation, ListRead))


def _happened(lists: Lists) -> set[int]:
    """Committed transactions, and those in doubt whose appends were seen by one of this set."""
    happened = {number for number, each in enumerate(lists.transactions) if each.outcome is Outcome.OK}
    waiting = list(happened)
    while waiting:
        for read in reads_of(lists.transactions[waiting.pop()]):
            for element in read.elements:
                writer = lists.writers.get((read.key, element))
                if writer is None or writer in happened or lists.transactions[writer].outcome is Outcome.REFUSED:
                    continue
                happened.add(writer)
                waiting.append(writer)
    return happened


def _take_in(lists: Lists, number: int) -> None:
    own: dict[str, tuple[str, ...]] = {}
    for operation in lists.transactions[number].operations:
        key = lists.keys.setdefault(operation.key, ListKey())
        mine = own.get(operation.key, ())
        if isinstance(operation, Append):
            own[operation.key] = (*mine, operation.element)
            key.appended.append(operation.element)
            if operation.version:
                key.versions[operation.element] = operation.version
            continue
        seen = operation.elements
        others = seen[: len(seen) - len(mine)] if mine and seen[-len(mine) :] == mine else seen
        key.readings.append(Reading(number, operation, others, mine))
        if len(others) > len(key.longest):
            key.longest = others


def _put_in_order(key: ListKey) -> None:
    seen = set(key.longest)
    unseen = [element for element in key.appended if element not in seen]
    placed = sorted((element for element in unseen if element in key.versions), key=key.versions.__getitem__)
    key.order = [*key.longest, *placed]
    key.unplaced = [element for element in unseen if element not in key.versions]
