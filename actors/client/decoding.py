"""From replies to states and typed errors: bodies become models here and nowhere else in the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.messages import Absent, Page, Reply, Value
from lightning_state.actors.core.verl.messages import Verdict
from lightning_state.actors.errors import (
    LightningStateError,
    ProtocolError,
    StateNotFoundError,
    ValidationFailedError,
    VersionConflictError,
)
from lightning_state.actors.metrics.outcome import OK, outcome_of
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)

Outcome = Reply | LightningStateError
"""How an operation ended."""


def outcome_of_call(outcomes: Sequence[Outcome]) -> str:
    """How a call of these operations ended, in one word: the code of its first error, else that of its first reply."""
    for outcome in outcomes:
        if isinstance(outcome, LightningStateError):
            return outcome.code
    return outcome_of(cast("Reply", outcomes[0])) if len(outcomes) == 1 else OK


def state_of(category: Category[S], key: str, reply: Reply) -> S:
    """The state in a reply. Raises StateNotFoundError when nothing is stored under the key."""
    if isinstance(reply, Value) and reply.body is not None:
        return category.decode(reply.body, reply.version, reply.updated_us)
    if isinstance(reply, (Absent, Value)):
        raise StateNotFoundError(f"{category.name} {key!r} does not exist", category=category.name, key=key)
    raise unexpected(reply)


def stored(category: Category[S], sent: S, body: bytes, reply: Reply) -> S:
    """The state a set stored: `sent` with version and time, or what an earlier request of the same id stored."""
    if not isinstance(reply, Value):
        raise unexpected(reply)
    if reply.body is None or reply.body == body:
        return category.stamp(sent, reply.version, reply.updated_us)
    return category.decode(reply.body, reply.version, reply.updated_us)


def completed(category: Category[Any], error: LightningStateError) -> LightningStateError:
    """The error as callers get it.

    A conflict carries the stored state as `current`, decoded, or None; a refusal of VERL its `Verdict` as `verdict`.
    """
    if isinstance(error, ValidationFailedError) and "verdict" in error.details:
        return ValidationFailedError(str(error), verdict=msgspec.convert(error.details["verdict"], Verdict))
    if not isinstance(error, VersionConflictError):
        return error
    details = dict(error.details)
    body: bytes | None = details.pop("current_body", None)
    updated_us: int = details.pop("current_updated_us", 0)
    version: int = details.get("current_version", 0)
    details["current"] = None if body is None else category.decode(body, version, updated_us)
    return VersionConflictError(str(error), **details)


def page_of(reply: Reply) -> Page:
    """A part of a list. Raises ProtocolError for another reply."""
    if not isinstance(reply, Page):
        raise unexpected(reply)
    return reply


def body_of(reply: Reply) -> bytes | None:
    """The body in a reply, if it has one."""
    return reply.body if isinstance(reply, Value) else None


def unexpected(reply: Reply) -> ProtocolError:
    """The error for a reply of a kind that does not answer the request."""
    return ProtocolError(f"the service answered with {type(reply).__name__}: use the same version on both sides")
