"""A state's past: one of its versions, and what changed between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import jsonpatch
import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.client.decoding import unexpected
from lightning_state.actors.core.messages import Changes, PastVersion, Reply
from lightning_state.actors.core.rows import Op
from lightning_state.actors.errors import CompactedError, InvalidStateError, StateNotFoundError
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class StateVersion(Generic[S]):
    """One change of one key."""

    version: int
    state: S | None
    """The state after it, as the category's newest schema has it; None: it was deleted."""
    at: datetime
    """When the change was made, UTC, by the clock of the key's owner. Order comes from versions."""
    operation: str
    """set, patch, status, progress, delete or expire."""


def changes_of(reply: Reply) -> Changes:
    """A part of a history. Raises ProtocolError for another reply."""
    if not isinstance(reply, Changes):
        raise unexpected(reply)
    return reply


def version_of(category: Category[S], past: PastVersion) -> StateVersion[S]:
    """One version, decoded."""
    state = None if past.body is None else category.decode(past.body, past.version, past.updated_us)
    return StateVersion(past.version, state, datetime.fromtimestamp(past.updated_us / 1e6, UTC), past.op.value)


def found_at(category: str, key: str, version: int, changes: Changes) -> PastVersion:
    """The one version that was asked for, out of the first changes after the version before it.

    Raises StateNotFoundError when the key never had it or it is a delete, CompactedError when it is not kept any more.
    """
    if not changes.versions:
        raise StateNotFoundError(f"{category} {key!r} has no version {version}", category=category, key=key)
    found = changes.versions[0]
    if found.version != version:
        raise CompactedError(f"version {version} of {category} {key!r} is not kept any more: {found.version} is")
    if found.op in (Op.DELETE, Op.EXPIRE):
        raise StateNotFoundError(f"version {version} of {category} {key!r} is its deletion", category=category, key=key)
    return found


def check_version(version: int) -> int:
    """A version itself. Raises InvalidStateError for what no state has."""
    if type(version) is not int or not 0 < version < 2**63:
        raise InvalidStateError(f"a version is a whole number from 1, not {version!r}", reason="at_version")
    return version


def microseconds_of(moment: datetime) -> int:
    """A moment as states carry it. Raises InvalidStateError for one without a time zone."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidStateError(f"at_time is {moment!r}: give a datetime with a time zone", reason="at_time")
    return int(moment.timestamp() * 1e6)


def difference(before: bytes | None, after: bytes | None) -> list[dict[str, Any]]:
    """The JSON Patch (RFC 6902) that makes one body of another; None: nothing is stored, as JSON null."""
    documents = [None if body is None else msgspec.json.decode(body) for body in (before, after)]
    return jsonpatch.make_patch(documents[0], documents[1]).patch
