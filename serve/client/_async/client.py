"""A client of a state service over HTTP, for whoever cannot or need not join Ray."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from lightning_state.actors.category import AGENTS, BUILT_IN, RESEARCH, VERIFICATIONS, Category, category_of
from lightning_state.actors.core.messages import Resolution
from lightning_state.actors.models import State
from lightning_state.serve.client._async.built_in import (
    AsyncHttpAgentCollection,
    AsyncHttpResearchCollection,
    AsyncHttpVerificationCollection,
)
from lightning_state.serve.client._async.cache import AsyncHttpCacheControl
from lightning_state.serve.client._async.calls import AsyncHttpCalls
from lightning_state.serve.client._async.collection import AsyncHttpCollection
from lightning_state.serve.client._async.verl import AsyncHttpVerl
from lightning_state.serve.client.sending import DEFAULT_TIMEOUT_S, Sending, state_path

S = TypeVar("S", bound=State)


class AsyncHttpStateClient:
    """The actors' client's interface over HTTP: `agents`, `research`, `verifications`, `category(MyModel)`, `verl`.

    One client always sees its own writes, whichever replica answers, and versions never go back for it: each answer
    says what it reflects, and each read asks for no less. Requests that got no answer are sent again, writes under the
    same id, until their deadline; while the server is away calls fail at once (`ShardUnavailableError`), and a write of
    unknown outcome says so. Close it, or use it as a context manager.
    """

    def __init__(self, http: httpx.AsyncClient, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._calls = AsyncHttpCalls(http, timeout_s)
        self.agents = AsyncHttpAgentCollection(self._calls, AGENTS)
        self.research = AsyncHttpResearchCollection(self._calls, RESEARCH)
        self.verifications = AsyncHttpVerificationCollection(self._calls, VERIFICATIONS)
        self._categories: dict[str, Category[Any]] = {category.name: category for category in BUILT_IN}
        self.verl = AsyncHttpVerl(self._calls, self._categories)
        self.cache = AsyncHttpCacheControl(self._calls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._calls!r}>"

    @classmethod
    def connect(cls, url: str, token: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, connections: int = 32) -> Self:
        """A client of the service at `url` (as `lightning-state up` prints it, without the token).

        Nothing is sent yet. `timeout_s` is the deadline of calls that name none; at most `connections` are open.
        """
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers = {"Authorization": f"Bearer {token}"}
        return cls(httpx.AsyncClient(base_url=url, headers=headers, limits=limits), timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def category(self, of: type[S] | Category[S]) -> AsyncHttpCollection[S]:
        """The collection of a category of your own, which the service must know already."""
        category = of if isinstance(of, Category) else category_of(of)
        self._categories[category.name] = category
        return AsyncHttpCollection(self._calls, category)

    async def resolve(self, request_id: str, category: str, key: str, *, timeout_s: float | None = None) -> Resolution:
        """Was the write of this request id, on this key, applied? If not, it never will be."""
        sending = Sending("POST", state_path(category, key, "/~resolve"), self._calls.deadline(timeout_s))
        sending.content = msgspec.json.encode({"requestId": request_id})
        sending.headers = {"Content-Type": "application/json"}
        answer = await self._calls.run("resolve", sending, about=category)
        return Resolution(**msgspec.json.decode(answer.content))

    async def token(self, *, timeout_s: float | None = None) -> str:
        """What this client has read and written, as an opaque string: hand it to another process.

        There, `get(..., at_least=token)` answers with nothing older, over HTTP or over actors.
        """
        if self._calls.seen.is_empty:
            await self.agents.list(limit=1, timeout_s=timeout_s)  # whose service this is, if nothing else
        return self._calls.seen.token()

    def metrics(self) -> dict[str, Any]:
        """This client's own counts: `calls` by operation, `errors` by code, `retries`."""
        return self._calls.counters.read()

    async def close(self) -> None:
        """Close its connections. Further calls raise ClientClosedError."""
        await self._calls.http.__aexit__(None, None, None)
