"""Request ids that clients generate: they sort by time and name the session and number they were made for.

A transaction's id says at its end in which slot it is decided.
"""

from __future__ import annotations

import re

_GENERATED = re.compile(r"[0-9a-f]{12}-(.+?)-([0-9a-f]{8,})(?:\.[0-9a-f]+)?")
_TRANSACTION = re.compile(r".+\.([0-9a-f]{1,12})", re.DOTALL)


def generated_id(now_ms: int, session: str, seq: int) -> str:
    """An id no other session and number gets. `now_ms`: wall clock, milliseconds since 1970."""
    return f"{now_ms:012x}-{session}-{seq:08x}"


def origin_of(request_id: str) -> tuple[str, int] | None:
    """(session, number) a generated id was made for; None for an id of the caller's own choice."""
    found = _GENERATED.fullmatch(request_id)
    return (found[1], int(found[2], 16)) if found else None


def transaction_id(request_id: str, slot: int) -> str:
    """The id of the transaction that is decided in this slot."""
    return f"{request_id}.{slot:x}"


def slot_of_transaction(transaction: str) -> int | None:
    """Where a transaction is decided; None for what is no transaction's id."""
    found = _TRANSACTION.fullmatch(transaction)
    return int(found[1], 16) if found else None
