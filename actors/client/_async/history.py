"""A key's past, as a user's process sees it: the part of a collection that only reads the journal."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Any, TypeVar

from lightning_state.actors.client.calling import Call
from lightning_state.actors.client.checking import CollectionChecks
from lightning_state.actors.client.past import (
    StateVersion,
    changes_of,
    check_version,
    difference,
    found_at,
    microseconds_of,
    version_of,
)
from lightning_state.actors.core.checks import LIST_LIMIT, check_key, check_limit
from lightning_state.actors.core.messages import Changes, PastVersion, Reply
from lightning_state.actors.core.session import Operation
from lightning_state.actors.errors import CompactedError, StateNotFoundError
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)


class AsyncHistory(CollectionChecks[S]):
    """Reads of what was: every call may raise what any call of a collection may."""

    _name: str

    @abstractmethod
    async def _begin(self, operation: str, timeout_s: float | None) -> Call:
        """Every public operation begins here."""

    @abstractmethod
    async def _one(self, call: Call, operation: Operation) -> Reply:
        """The answer to one request."""

    async def history(
        self, key: str, *, after_version: int = 0, limit: int = 100, timeout_s: float | None = None
    ) -> tuple[StateVersion[S], ...]:
        """The versions of a key that are kept, oldest first: at most `limit` (1 to 1,000) after `after_version`.

        Deletions are among them. Nothing is given of what was not committed when it was asked for; the last one's
        version continues it. Empty when there are none.
        """
        call = await self._begin("history", timeout_s)
        check_limit(limit)
        found: list[PastVersion] = []
        after, more = after_version, True
        while more and len(found) < limit:
            changes = await self._changes(call, key, after, limit - len(found))
            found += changes.versions
            more = changes.more
            after = found[-1].version if found else after
        return tuple(version_of(self.category, past) for past in found)

    async def at_version(self, key: str, version: int, *, timeout_s: float | None = None) -> S:
        """The state as it was at a version. Raises StateNotFoundError, CompactedError when it is not kept any more."""
        past = await self._past(await self._begin("at_version", timeout_s), key, version)
        return self.category.decode(past.body or b"", past.version, past.updated_us)

    async def at_time(self, key: str, moment: datetime, *, timeout_s: float | None = None) -> S:
        """The state as it was at a moment (with a time zone), by the clocks of its owners.

        Reads the key's history up to it. Raises StateNotFoundError when nothing was stored then, CompactedError when
        what was is not kept any more.
        """
        call = await self._begin("at_time", timeout_s)
        until_us = microseconds_of(moment)
        last: PastVersion | None = None
        more = True
        while more:
            changes = await self._changes(call, key, last.version if last is not None else 0, LIST_LIMIT)
            past = [each for each in changes.versions if each.updated_us <= until_us]
            if last is None and changes.versions and changes.versions[0].version > 1 and not past:
                raise CompactedError(f"{self._name} {key!r}: what was stored at {moment} is not kept any more")
            last = past[-1] if past else last
            more = changes.more and len(past) == len(changes.versions) and bool(past)
        if last is None or last.body is None:
            raise StateNotFoundError(f"{self._name} {key!r} did not exist at {moment}", category=self._name, key=key)
        return self.category.decode(last.body, last.version, last.updated_us)

    async def diff(
        self, key: str, from_version: int, to_version: int, *, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """What changed between two versions, as a JSON Patch (RFC 6902, field names as in JSON).

        Raises StateNotFoundError and CompactedError as `at_version`.
        """
        call = await self._begin("diff", timeout_s)
        before = await self._past(call, key, from_version)
        after = await self._past(call, key, to_version)
        return difference(before.body, after.body)

    async def _past(self, call: Call, key: str, version: int) -> PastVersion:
        changes = await self._changes(call, key, check_version(version) - 1, 1)
        return found_at(self._name, key, version, changes)

    async def _changes(self, call: Call, key: str, after_version: int, limit: int) -> Changes:
        check_key(key, self._limits)
        operation = call.session.history(self._name, key, after_version, limit, call.deadline_s)
        return changes_of(await self._one(call, operation))
