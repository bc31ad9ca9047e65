"""Running operations to their end: open the session, send, retry, refetch the map, give up at the deadline."""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.client.caching import ClientCache, Fresh
from lightning_state.actors.client.counters import Counters
from lightning_state.actors.client.decoding import Outcome, outcome_of_call
from lightning_state.actors.client.keeping import AsyncKeeper
from lightning_state.actors.core.checks import check_timeout
from lightning_state.actors.core.freshness import slots_of_token
from lightning_state.actors.core.messages import PROTOCOL, Refused, Request
from lightning_state.actors.core.service_map import (
    CategoryInfo,
    Describe,
    Described,
    DirectoryRequest,
    Register,
    ServiceMap,
)
from lightning_state.actors.core.session import Again, Answer, Done, Failed, Lost, Operation, Session
from lightning_state.actors.errors import (
    CategoryMismatchError,
    ClientClosedError,
    DeadlineExceededError,
    LightningStateError,
    ProtocolError,
    ServiceNotFoundError,
    UnknownCategoryError,
    error_from_code,
)
from lightning_state.actors.limits import CacheSettings, Limits
from lightning_state.actors.metrics.shard import now
from lightning_state.actors.wire import forks
from lightning_state.actors.wire.transport import AsyncTransport

_DIRECTORY_RETRY_S = 0.05
_DEFAULT_TIMEOUT_S = 30.0


class AsyncCalls:
    """One client's session and its transport. The session begins with the first call."""

    def __init__(self, transport: AsyncTransport, guard: AbstractContextManager[Any]) -> None:
        self.transport = transport
        self.counters = Counters()
        self.cache = ClientCache()
        self.keeper = AsyncKeeper()
        self.limits = Limits()
        self.default_timeout_s = _DEFAULT_TIMEOUT_S
        self._guard = guard
        self._session: Session | None = None
        self._forks = forks.count()
        self._refreshing = False
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else self._session or "not opened"
        return f"<{type(self).__name__} {self.transport.service} {state}>"

    def deadline(self, timeout_s: float | None) -> float:
        """The moment a call that begins now must end, by the monotonic clock. Raises InvalidStateError."""
        return time.monotonic() + (self.default_timeout_s if timeout_s is None else check_timeout(timeout_s))

    async def open(self, deadline_s: float) -> Session:
        """The session, begun with the service's map when there is none yet.

        Raises ServiceNotFoundError when the service does not run, ProtocolError when it speaks another version.
        """
        if self._closed:
            raise ClientClosedError
        if self._forks != forks.count():
            self._begin_anew()
        if self._session is None:
            described = await self._ask(Describe(), deadline_s)
            if described.protocol != PROTOCOL:
                raise ProtocolError(
                    f"service {described.service!r} speaks protocol {described.protocol}, this client {PROTOCOL}: "
                    "use the same version of lightning-state"
                )
            self._adopt(described)
            self._session = self._session or self._new_session(described)
        return self._session

    async def ensure(self, category: Category[Any], deadline_s: float) -> Session:
        """The session, after the category was registered if it was not.

        Raises CategoryMismatchError when another definition is registered under its name.
        """
        session = await self.open(deadline_s)
        info = session.map.categories.get(category.name)
        if info is None or info.hash != category.hash:  # the directory decides: a newer schema version is no mismatch
            request = Register(category.name, category.import_path, category.hash, category.schema_version)
            session.learn(await self._ask(request, deadline_s))
            info = session.map.categories.get(category.name)
        if info is None:
            raise UnknownCategoryError(f"the service did not register category {category.name!r}")
        if info.hash != category.hash:
            raise CategoryMismatchError(
                f"category {category.name!r} is registered with another definition: use the same code everywhere, "
                "or raise schema_version and restart the service"
            )
        return session

    async def category_names(self, deadline_s: float) -> tuple[str, ...]:
        """The categories the service has now."""
        session = await self.open(deadline_s)
        session.learn(await self._ask(Describe(), deadline_s))
        return tuple(session.map.categories)

    async def category_info(self, name: str, deadline_s: float) -> CategoryInfo:
        """What the service knows of a category. Raises UnknownCategoryError when it has none of this name."""
        session = await self.open(deadline_s)
        if name not in session.map.categories:  # registered since, perhaps
            session.learn(await self._ask(Describe(), deadline_s))
        info = session.map.categories.get(name)
        if info is None:
            have = ", ".join(session.map.categories)
            raise UnknownCategoryError(f"the service has no category {ascii(name)[:80]}; it has {have}")
        return info

    async def fresh(self, at_least: str | None, deadline_s: float) -> Fresh | None:
        """What a read with this token must reflect; None without one. Raises InvalidStateError for a foreign one."""
        if at_least is None:
            return None
        session = await self.open(deadline_s)
        fresh = slots_of_token(at_least, session.map.service_id)
        self.cache.saw(fresh)
        return fresh

    async def run(self, session: Session, operations: Sequence[Operation], name: str) -> list[Outcome]:
        """The outcome of every operation, in order. All of them share the first one's deadline.

        `name`: the public operation they are for; how long it took is counted under it.
        """
        began_s = now()
        outcomes: dict[int, Outcome] = {}
        pending = operations
        try:
            while pending:
                answers = await self._exchange(session, pending)
                pending, delay_s, refresh = self._decide(session, answers, outcomes)
                if pending:
                    self.counters.retried(len(pending))
                    missing = await self._refresh(session, pending[0].deadline_s) if refresh else None
                    if missing is not None:
                        answers = [(operation, missing) for operation in pending]
                        pending, delay_s, _ = self._decide(session, answers, outcomes)
                    await asyncio.sleep(delay_s)
        finally:
            for operation in pending:  # what `_decide` did not end: nobody waits for it any more
                session.end(operation)
        ended = [outcomes[id(operation)] for operation in operations]
        if ended:
            self.counters.asked(name, outcome_of_call(ended), began_s)
        return ended

    async def close(self) -> None:
        """Give up what is under way and refuse further calls."""
        self._closed = True
        await self.transport.close()
        self.keeper.close()
        self.cache.close()

    async def _exchange(self, session: Session, pending: Sequence[Operation]) -> Iterable[tuple[Operation, Answer]]:
        plan: dict[int, list[Request]] = {}
        asked: dict[int, list[Operation]] = {}
        now_s, deadline_s = time.monotonic(), pending[0].deadline_s
        if self._closed:
            closed = Lost(sent=False, code=ClientClosedError.code, message="the client was closed")
            return [(operation, closed) for operation in pending]
        if now_s >= deadline_s:
            late = Lost(sent=False, code=DeadlineExceededError.code, message="nothing was sent any more")
            return [(operation, late) for operation in pending]
        for operation in pending:
            shard, request = session.send(operation, now_s)
            plan.setdefault(shard, []).append(request)
            asked.setdefault(shard, []).append(operation)
        answers = await self.transport.exchange(session, plan, deadline_s)
        if len(answers) == 1:  # the usual case: no list of pairs is made
            [several] = answers.values()
            return zip(pending, several, strict=True)
        return [pair for shard, several in asked.items() for pair in zip(several, answers[shard], strict=True)]

    def _decide(
        self, session: Session, answers: Iterable[tuple[Operation, Answer]], outcomes: dict[int, Outcome]
    ) -> tuple[Sequence[Operation], float, bool]:
        """Settles what is settled; returns what is to be sent again, after how long, and whether with a new map."""
        again: list[Operation] = []
        delay_s, refresh = 0.0, False
        now_s = time.monotonic()
        for operation, answer in answers:
            decision = session.answered(operation, answer, now_s, random.random())  # noqa: S311  # jitter, no secret
            match decision:
                case Again():
                    again.append(operation)
                    delay_s = max(delay_s, decision.delay_s)
                    refresh = refresh or decision.refresh
                    continue
                case Done():
                    outcomes[id(operation)] = decision.reply
                case Failed():
                    outcomes[id(operation)] = decision.error
                    self.counters.failed(decision.error.code)
            session.end(operation)
        return again, delay_s, refresh

    async def _refresh(self, session: Session, deadline_s: float) -> Lost | None:
        """Learn the newest map if the directory answers; what it is told when the service is gone."""
        if self._refreshing:  # another call is at it; this one tries again after its delay, with whatever map is there
            return None
        self._refreshing = True
        try:
            session.learn(await self._ask_once(Describe(), deadline_s))
        except ServiceNotFoundError as error:
            return Lost(sent=False, code=error.code, message=str(error))
        except LightningStateError:
            return None  # the directory is restarting: the operation's own retries ask again
        finally:
            self._refreshing = False
        return None

    async def _ask(self, request: DirectoryRequest, deadline_s: float) -> ServiceMap:
        """The directory's map; asked again until the deadline while the directory restarts."""
        while True:
            try:
                return await self._ask_once(request, deadline_s)
            except ServiceNotFoundError:
                raise
            except LightningStateError as error:
                if not error.retryable:
                    raise
                if time.monotonic() + _DIRECTORY_RETRY_S >= deadline_s:
                    raise DeadlineExceededError(f"the service's directory did not answer in time: {error}") from error
            await asyncio.sleep(_DIRECTORY_RETRY_S)

    async def _ask_once(self, request: DirectoryRequest, deadline_s: float) -> ServiceMap:
        reply = await self.transport.ask_directory(request, deadline_s)
        if isinstance(reply, Described):
            return reply.map
        if isinstance(reply, Refused):
            raise error_from_code(reply.code, reply.message, reply.details)
        raise ProtocolError(f"the directory answered with {type(reply).__name__}")

    def _begin_anew(self) -> None:
        """In the child of a fork: a session of its own. Two processes must not number their writes in one session."""
        self._forks = forks.count()
        self._guard = threading.Lock()
        self.keeper = AsyncKeeper()  # leases are the parent's to keep
        self._refreshing = False
        if self._session is not None:
            self._session = self._new_session(self._session.map)

    def _new_session(self, current: ServiceMap) -> Session:
        return Session(secrets.token_hex(8), current, guard=self._guard, on_learn=self.cache.learned)

    def _adopt(self, described: ServiceMap) -> None:
        self.limits = Limits.model_validate(described.settings.get("limits", {}))
        self.default_timeout_s = float(described.settings.get("timeout_s", _DEFAULT_TIMEOUT_S))
        self.transport.frame_bytes = self.limits.frame_bytes
        settings = CacheSettings.model_validate(described.settings.get("cache", {}))
        if settings.enabled and self._session is None:
            self.cache.configure(settings)
            self.transport.listen(self.cache)
