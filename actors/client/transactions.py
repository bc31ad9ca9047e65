"""What callers say and hear of transactions, the same for threads and asyncio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.transactions.plan import Change
from lightning_state.actors.errors import InvalidStateError, TransactionAbortedError
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import State

TRANSACT_ATTEMPTS = 16
"""How often `transact` runs its function before it gives up with the last TransactionAbortedError."""

_WORTH_REPEATING = frozenset({"conflict", "unavailable", "interrupted"})
_BACKOFF_S = 0.002
_BACKOFF_MOST_S = 0.25


class TransactionOutcome(StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed transaction."""

    id: str
    versions: Mapping[tuple[str, str], int]
    """(category, key) → version, of what was written."""
    updated_us: int
    """Microseconds since 1970, UTC."""
    is_otherwise: bool = False
    """Of a guarded one: the conditions did not hold, and the other branch was written."""


@dataclass(frozen=True, slots=True)
class SetOp:
    """Of a guarded transaction: store a state."""

    category: str
    state: State
    expected_version: int = ANY


@dataclass(frozen=True, slots=True)
class PatchOp:
    """Of a guarded transaction: apply a JSON merge patch (RFC 7386, field names as in JSON)."""

    category: str
    key: str
    patch: Mapping[str, Any]
    expected_version: int = ANY


@dataclass(frozen=True, slots=True)
class DeleteOp:
    """Of a guarded transaction: delete a state."""

    category: str
    key: str
    expected_version: int = ANY


GuardedOp = SetOp | PatchOp | DeleteOp


def change_of(op: GuardedOp, category: Category[Any], limits: Limits) -> Change:
    """What is sent of an operation. Raises InvalidStateError and its kinds."""
    if isinstance(op, DeleteOp):
        return Change(category.name, check_key(op.key, limits), Op.DELETE, b"", op.expected_version)
    if isinstance(op, PatchOp):
        try:
            body = json.dumps(op.patch, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidStateError(f"the patch cannot be written as JSON: {error}") from error
        return Change(category.name, check_key(op.key, limits), Op.PATCH, check_body(body, limits), op.expected_version)
    if not isinstance(op.state, category.model):
        raise InvalidStateError(f"{category.name} holds {category.model.__name__}, not {type(op.state).__name__}")
    body = check_body(category.encode(op.state), limits)
    key = check_key(category.key(category.decode(body)), limits)
    return Change(category.name, key, Op.SET, body, op.expected_version)


def backoff_s(error: TransactionAbortedError, attempt: int) -> float | None:
    """The longest pause before a transaction is run again; None: to run it again would be of no use."""
    if attempt >= TRANSACT_ATTEMPTS or error.details.get("reason") not in _WORTH_REPEATING:
        return None
    return min(_BACKOFF_S * 2**attempt, _BACKOFF_MOST_S)
