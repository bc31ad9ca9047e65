"""Sending the HTTP client's requests until they are answered, their deadline has passed, or sending is pointless."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import Any

import httpx

from lightning_state.actors.category import Category
from lightning_state.actors.client.counters import Counters
from lightning_state.actors.errors import ClientClosedError, LightningStateError
from lightning_state.serve.client.breaker import Breaker
from lightning_state.serve.client.seen import HttpSeen
from lightning_state.serve.client.sending import DEFAULT_TIMEOUT_S, Sending
from lightning_state.serve.freshness import AT_LEAST, FRESHNESS


class AsyncHttpCalls:
    """One client's connections, its breaker and its counts."""

    def __init__(self, http: httpx.AsyncClient, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.http = http
        self.counters = Counters()
        self.breaker = Breaker(str(http.base_url))
        self.seen = HttpSeen()
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.breaker!r}>"

    def deadline(self, timeout_s: float | None) -> float:
        """The moment a call that begins now must end, by the monotonic clock."""
        return time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)

    def request_id(self, given: str | None) -> str:
        """A write's id: the caller's own, else a new one that sorts by time."""
        return given or f"{time.time_ns() // 1_000_000:012x}-http-{secrets.token_hex(10)}"

    async def run(
        self, operation: str, sending: Sending, category: Category[Any] | None = None, *, about: str | None = None
    ) -> httpx.Response:
        """The successful answer. Raises the typed error of any other.

        `category`: whose states the answer may hold. `about`: the category by its name, where it holds none.
        """
        self.counters.called(operation)
        while True:
            try:
                answer = await self._send(sending)
            except httpx.HTTPError as failure:
                self.breaker.failed(time.monotonic())
                error = sending.lost(failure)
            else:
                self.breaker.answered()
                self._note(answer, about if category is None else category.name)
                if answer.is_success:
                    return answer
                error = sending.refused(answer, category)
                if sending.is_outdated(error):
                    self.seen.forget()
                    continue
            delay_s = sending.delay_s(error, time.monotonic(), random.random())  # noqa: S311  # jitter, no secret
            if delay_s is None:
                self.counters.failed(error.code)
                raise sending.given_up(error)
            self.counters.retried(1)
            await asyncio.sleep(delay_s)

    def _note(self, answer: httpx.Response, category: str | None) -> None:
        token = answer.headers.get(FRESHNESS)
        if token is not None:
            self.seen.answered(token, category)

    async def _send(self, sending: Sending) -> httpx.Response:
        now_s = time.monotonic()
        left_s = sending.deadline_s - now_s
        if left_s <= 0:
            raise sending.late()
        if self.http.is_closed:
            raise sending.given_up(ClientClosedError())
        try:
            self.breaker.admit(now_s)
        except LightningStateError as error:
            raise sending.given_up(error) from None
        sending.tries += 1
        headers = {**sending.headers, "Request-Timeout": f"{min(left_s, 300.0):.3f}"}
        if sending.request_id is not None:
            headers["Idempotency-Key"] = sending.request_id
        return await self.http.request(
            sending.method,
            sending.path,
            params=sending.params if sending.at_least is None else {**sending.params, AT_LEAST: sending.at_least},
            headers=headers,
            content=sending.content,
            timeout=left_s + 1.0,  # the server, which knows what became of it, is given the chance to say so
        )
