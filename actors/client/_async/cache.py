"""The cache of a client, by hand: forget what it holds, or fill it before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client._async.collection import AsyncCollection


class AsyncClientCacheControl:
    """`client.cache`. Nobody needs it for correctness: changes reach the cache by themselves."""

    def __init__(self, calls: AsyncCalls, collection: Callable[[str], AsyncCollection[Any]]) -> None:
        self._calls = calls
        self._collection = collection

    def __repr__(self) -> str:
        return repr(self._calls.cache)

    async def invalidate(self, category: str, key: str) -> None:
        """Forget one key in this process: its next read asks the owner. Raises UnknownCategoryError."""
        self._calls.counters.called("cache.invalidate")
        self._calls.cache.invalidate((self._collection(category).category.name, key))

    async def invalidate_category(self, category: str) -> None:
        """Forget every key and list of a category in this process. Raises UnknownCategoryError."""
        self._calls.counters.called("cache.invalidate_category")
        self._calls.cache.invalidate_category(self._collection(category).category.name)

    async def warm(self, category: str, keys: Iterable[str], *, timeout_s: float | None = None) -> int:
        """Read keys so that later reads are answered from memory; how many of them are held now, absent ones included.

        Fewer than asked when a shard has no live channel, or when they do not fit. Raises UnknownCategoryError.
        """
        self._calls.counters.called("cache.warm")
        return await self._collection(category).warm(keys, timeout_s=timeout_s)
