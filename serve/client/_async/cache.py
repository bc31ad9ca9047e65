"""The caches of a service, by hand, over HTTP."""

from __future__ import annotations

import json

from lightning_state.serve.client._async.calls import AsyncHttpCalls
from lightning_state.serve.client.sending import Sending


class AsyncHttpCacheControl:
    """`client.cache`. Nobody needs it for correctness: changes reach the caches by themselves.

    The owners have told every cache of the service, those of HTTP's replicas and of clients in Python, before a call
    returns; on their machine none answers from what it was to forget, elsewhere it takes what the network takes. This
    client reads nothing older than the owners had at the call, through whichever replica.
    """

    def __init__(self, calls: AsyncHttpCalls) -> None:
        self._calls = calls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._calls!r}>"

    async def invalidate(self, category: str, key: str, *, timeout_s: float | None = None) -> None:
        """Have every cache forget one key: its next read asks the owner. Raises UnknownCategoryError."""
        await self._order("invalidate", category, {"category": category, "id": key}, timeout_s)

    async def invalidate_category(self, category: str, *, timeout_s: float | None = None) -> None:
        """Have every cache forget every key and list of a category. Raises UnknownCategoryError.

        Caches may drop states of other categories along with it.
        """
        await self._order("invalidateCategory", category, {"category": category}, timeout_s)

    async def _order(self, verb: str, category: str, body: dict[str, str], timeout_s: float | None) -> None:
        sending = Sending("POST", f"/v1/cache:{verb}", self._calls.deadline(timeout_s))
        sending.content = json.dumps(body).encode()
        sending.headers = {"Content-Type": "application/json"}
        await self._calls.run(f"cache.{verb}", sending, about=category)
