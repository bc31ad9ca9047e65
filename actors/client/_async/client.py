"""The client of a state service, for any Ray driver, task, actor or notebook."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from lightning_state.actors.category import (
    AGENTS,
    BUILT_IN,
    RESEARCH,
    VERIFICATIONS,
    Category,
    category_of,
    load_category,
)
from lightning_state.actors.client._async.built_in import (
    AsyncAgentCollection,
    AsyncResearchCollection,
    AsyncVerificationCollection,
)
from lightning_state.actors.client._async.cache import AsyncClientCacheControl
from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client._async.collection import AsyncCollection
from lightning_state.actors.client._async.raw import AsyncRawCollection
from lightning_state.actors.client._async.verl import AsyncVerl
from lightning_state.actors.client.connecting import join
from lightning_state.actors.client.decoding import unexpected
from lightning_state.actors.core.checks import check_key
from lightning_state.actors.core.freshness import Moment
from lightning_state.actors.core.messages import Resolution
from lightning_state.actors.errors import LightningStateError, UnknownCategoryError
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import State
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.handle_async import AsyncHandleTransport
from lightning_state.actors.wire.transport import AsyncTransport

S = TypeVar("S", bound=State)


class AsyncStateClient:
    """A client of one state service: `agents`, `research`, `verifications`, and `category(MyModel)` for your own.

    Made by `connect`. Close it, or use it as a context manager. Pickled, it connects anew where it arrives.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        *,
        service: str = "default",
        address: str | None = None,
        token: str | None = None,
    ) -> None:
        self.service = service
        self._where = (service, address, token)
        self._calls = AsyncCalls(transport, threading.Lock())
        self.agents = AsyncAgentCollection(self._calls, AGENTS)
        self.research = AsyncResearchCollection(self._calls, RESEARCH)
        self.verifications = AsyncVerificationCollection(self._calls, VERIFICATIONS)
        self._categories: dict[str, Category[Any]] = {category.name: category for category in BUILT_IN}
        self.verl = AsyncVerl(self._calls, self._categories)
        self.cache = AsyncClientCacheControl(self._calls, self._collection)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._calls!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).connect, self._where

    @classmethod
    def connect(cls, service: str = "default", address: str | None = None, token: str | None = None) -> Self:
        """A client of a running service; joins Ray first where this process has not (at `address`, or the local one).

        Joining Ray takes some seconds and blocks. Raises ServiceNotFoundError when Ray cannot be reached or no such
        service runs on it.
        """
        handles = AsyncHandleTransport(service, join(service, address, token))
        transport = AsyncChannelTransport(service, handles)
        return cls(transport, service=service, address=address, token=token)

    async def __aenter__(self) -> Self:
        await self._calls.open(self._calls.deadline(None))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def category(self, of: type[S] | Category[S]) -> AsyncCollection[S]:
        """The collection of a category of your own: by its model, or by the Category itself.

        It is registered at the service by its import path on first use. Raises UnknownCategoryError when there is no
        Category for the model in its module.
        """
        category = of if isinstance(of, Category) else category_of(of)
        self._categories[category.name] = category
        return AsyncCollection(self._calls, category)

    async def raw(self, name: str, *, timeout_s: float | None = None) -> AsyncRawCollection:
        """The collection of a category by its name, on bytes as well; one this client never saw is imported.

        Raises UnknownCategoryError when the service has no category of this name, or it cannot be imported here.
        """
        category = self._categories.get(name)
        if category is None:
            info = await self._calls.category_info(name, self._calls.deadline(timeout_s))
            category = load_category(info.import_path, info.hash)
            self._categories[name] = category
        return AsyncRawCollection(self._calls, category)

    async def resolve(self, request_id: str, category: str, key: str, *, timeout_s: float | None = None) -> Resolution:
        """Was the write of this request id, on this key, applied? If not, it never will be.

        Answers an OutcomeUnknownError for good: `applied` with the `version` it made, or not applied (version 0).
        """
        self._calls.counters.called("resolve")
        deadline_s = self._calls.deadline(timeout_s)
        session = await self._calls.open(deadline_s)
        check_key(key, self._calls.limits)
        operation = session.resolve(category, key, request_id, deadline_s)
        ticket = self._calls.cache.begin_write(session, operation)
        try:
            outcomes = await self._calls.run(session, [operation], "resolve")
        finally:
            self._calls.cache.end_writes([ticket])
        outcome = outcomes[0]
        if isinstance(outcome, LightningStateError):
            raise outcome
        if not isinstance(outcome, Resolution):
            raise unexpected(outcome)
        return outcome

    async def categories(self, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """The names of the categories the service has, in the order of their registration."""
        return await self._calls.category_names(self._calls.deadline(timeout_s))

    async def limits(self, *, timeout_s: float | None = None) -> Limits:
        """The service's limits."""
        await self._calls.open(self._calls.deadline(timeout_s))
        return self._calls.limits

    def metrics(self) -> dict[str, Any]:
        """This client's own figures: `calls` by operation, `errors` by code, `retries`, `latencies` and `cache`.

        Each of `latencies` is a `Timing` as a dict: an operation with one outcome ("ok", "absent" or the code of the
        first error of a batch), how often, and its p50, p95 and p99 of the last minute, retries included. What was
        answered without asking the service is not among them. Of the cache: `hits`, `misses`, `joined` (a read of the
        same key was under way), `hit_rate`, `entries`, `bytes` (estimated) and `evicted`.
        """
        return {**self._calls.counters.read(), "cache": self._calls.cache.read()}

    async def token(self, *, timeout_s: float | None = None) -> str:
        """What this client has read and written, as an opaque string: hand it to another process.

        There, `get(..., at_least=token)` answers with nothing older. Tokens of other services are refused.
        """
        self._calls.counters.called("token")
        session = await self._calls.open(self._calls.deadline(timeout_s))
        return self._calls.cache.token(session.map.service_id)

    def token_of(self, moments: Iterable[Moment]) -> str:
        """A token for what single answers reflected (see `AsyncRawCollection`), whatever else this client has seen."""
        return self._calls.token_of(moments)

    def _collection(self, name: str) -> AsyncCollection[Any]:
        category = self._categories.get(name)
        if category is None:
            raise UnknownCategoryError(
                f"this client knows no category {name!r}: it knows {', '.join(sorted(self._categories))}; "
                "name your own with category(MyModel) first"
            )
        return AsyncCollection(self._calls, category)

    async def close(self) -> None:
        """Give up what is under way. Further calls raise ClientClosedError; closing again does nothing."""
        await self._calls.close()
