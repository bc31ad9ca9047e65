"""Bounds on what a request may send, enforced while it arrives: nothing beyond them is ever held in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_state.actors.errors import StateTooLargeError
from lightning_state.serve.errors import HeadersTooLargeError, HttpError, RequestTimeoutError, UnsupportedMediaTypeError

BODY_WITHIN_S = 20.0
"""How long a whole body may take to arrive: a connection that drips holds a request no longer."""

HEADER_BYTES = 16 * 1024
_HEADERS = 100


class BodyLimits:
    """Refuses bodies that are too long, compressed or too slow, by their headers alone where those tell."""

    def __init__(self, app: ASGIApp, most_bytes: Callable[[str], int], *, within_s: float = BODY_WITHIN_S) -> None:
        self._app = app
        self._most_bytes = most_bytes
        """Path → how long a body may be."""
        self._within_s = within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the headers call for; reading the body raises the rest."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        _check_headers(headers)
        if scope["method"] in {"GET", "HEAD"}:  # their bodies are never read
            await self._app(scope, receive, send)
            return
        limit = self._most_bytes(scope["path"])
        _check_announced(headers, limit)
        await self._app(scope, self._bounded(receive, limit), send)

    def _bounded(self, receive: Receive, limit: int) -> Receive:
        received = 0
        deadline: float | None = None

        async def read() -> Message:
            nonlocal received, deadline
            loop = asyncio.get_running_loop()
            deadline = deadline or loop.time() + self._within_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeoutError(f"the body did not arrive within {self._within_s:.0f} s") from error
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        return read


def _check_headers(headers: list[tuple[bytes, bytes]]) -> None:
    size = sum(len(name) + len(value) for name, value in headers)
    if size > HEADER_BYTES or len(headers) > _HEADERS:
        raise HeadersTooLargeError(f"the headers have {size} bytes in {len(headers)} lines; send fewer")


def _check_announced(headers: list[tuple[bytes, bytes]], limit: int) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnsupportedMediaTypeError("send the body as it is, not compressed")
        if name == b"content-length":
            if not value.isdigit():
                raise HttpError("Content-Length is not a number")
            if len(value) > 19 or int(value) > limit:  # noqa: PLR2004  # more digits than any length has
                raise _too_large(limit)


def _too_large(limit: int) -> StateTooLargeError:
    return StateTooLargeError(f"the body is longer than the {limit} bytes this path takes", limit_bytes=limit)
