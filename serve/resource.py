"""One path and what each method does there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lightning_state.actors.errors import LightningStateError
from lightning_state.serve.errors import MethodNotAllowedError
from lightning_state.serve.problems import problem_response, unexpected_response

Handler = Callable[[Request], Awaitable[Response]]

OPERATION = "lightning_state.operation"
"""Where a request's scope says which operation it turned out to be, for the metrics."""


class Resource:
    """Answers every method: by its handler, HEAD by that of GET, any other with 405 and the complete Allow.

    Plain ASGI rather than a FastAPI route: stored bytes are the answer's body, and FastAPI's way in and out would parse
    and encode them again.
    """

    def __init__(self, name: str, methods: dict[str, Handler]) -> None:
        self._name = name
        self._methods = {**methods, **({"HEAD": methods["GET"]} if "GET" in methods else {})}
        self.allow = ", ".join(sorted(self._methods))

    def __repr__(self) -> str:
        return f"<Resource {self._name} {self.allow}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; typed errors become problem documents."""
        handler = self._methods.get(scope["method"])
        scope[OPERATION] = f"{self._name}.{scope['method'].lower()}" if handler else f"{self._name}.other"
        try:
            if handler is None:
                raise MethodNotAllowedError(f"{ascii(scope['method'])[:40]} is not one of {self.allow}")
            response = await handler(Request(scope, receive))
        except LightningStateError as error:
            response = problem_response(error, {"allow": self.allow} if handler is None else None)
        except ClientDisconnect:
            return  # nobody waits for an answer any more
        except Exception as error:  # noqa: BLE001  # no caller sees a bug's text; the log has it
            response = unexpected_response(error)
        await response(scope, receive, send)


def route(path: str, name: str, **methods: Handler) -> Route:
    """A path with its handlers by method (`get=`, `put=`, …)."""
    return Route(path, Resource(name, {method.upper(): handler for method, handler in methods.items()}))
