"""What transactions did and saw: appends to lists, reads of lists, transfers between accounts.

A list is a state with a field that only grows: every state then shows the history of its key, which is what lets a
checker order the writers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_state.actors.testing.history import NEVER, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One element put at the end of a key's list."""

    key: str
    element: str
    """Unique among all appends to the key, tried ones included."""
    version: int = 0
    """The key's version after the commit, as acknowledged; 0 where it was not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRead:
    """One look at a key's list, the transaction's own earlier appends included."""

    key: str
    elements: tuple[str, ...]
    """Oldest first; empty for a key that does not exist."""
    version: int = 0
    """The version read; 0 where it was not told, or where the list shows appends of the transaction itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One attempt at a transaction. A single get, or a set outside transactions, is one too."""

    id: str
    """Names it in violations."""
    client: str
    invoked: int
    """When it began. Times are numbers of one total order."""
    returned: int = NEVER
    """When its outcome was told."""
    outcome: Outcome = Outcome.UNKNOWN
    """OK: committed; REFUSED: aborted; UNKNOWN: in doubt, it may have happened, at any time after `invoked`."""
    operations: tuple[Append | ListRead, ...] = ()
    """In the order the transaction made them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One transaction that takes an amount from one account and gives it to another."""

    id: str
    """Names it in violations."""
    source: str
    """The account that pays."""
    target: str
    """The account that receives."""
    amount: int
    """Above 0."""
    invoked: int
    """When it began. Times are numbers of one total order."""
    returned: int = NEVER
    """When its outcome was told."""
    outcome: Outcome = Outcome.UNKNOWN
    """OK: committed; REFUSED: aborted; UNKNOWN: in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSnapshot:
    """What one read-only transaction over all accounts saw. One that failed is left out of the history."""

    client: str
    invoked: int
    """When it began. Times are numbers of one total order."""
    returned: int
    """When its answer was there."""
    balances: Mapping[str, int]
    """Account → balance."""
