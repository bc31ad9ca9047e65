"""The categories this server knows: the service's own, found by name, one registered later included."""

from __future__ import annotations

import time

from cachetools import TTLCache

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.client._async.raw import AsyncRawCollection
from lightning_state.actors.errors import UnknownCategoryError

_UNKNOWN_FOR_S = 1.0
_UNKNOWN_NAMES = 1_000


class Categories:
    """Collections by category name. Unknown names are asked for at most once a second each."""

    def __init__(self, client: AsyncStateClient) -> None:
        self._client = client
        self._known: dict[str, AsyncRawCollection] = {}
        self._unknown: TTLCache[str, str] = TTLCache(_UNKNOWN_NAMES, _UNKNOWN_FOR_S, timer=time.monotonic)

    def __repr__(self) -> str:
        return f"<Categories {', '.join(self._known)}>"

    async def find(self, name: str) -> AsyncRawCollection:
        """The collection of a category. Raises UnknownCategoryError."""
        found = self._known.get(name)
        if found is not None:
            return found
        message = self._unknown.get(name)
        if message is not None:
            raise UnknownCategoryError(message)
        try:
            found = await self._client.raw(name)
        except UnknownCategoryError as error:
            self._unknown[name] = str(error)
            raise
        self._known[name] = found
        return found

    async def all(self) -> list[AsyncRawCollection]:
        """Those of every category the service has now; one that cannot be imported here is left out."""
        found: list[AsyncRawCollection] = []
        for name in await self._client.categories():
            try:
                found.append(await self.find(name))
            except UnknownCategoryError:
                continue
        return found
