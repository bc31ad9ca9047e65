"""Who may ask: the bearer of the service's token. Missing and wrong tokens get the same answer."""

from __future__ import annotations

from hmac import compare_digest
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Receive, Scope, Send

from lightning_state.actors.errors import UnauthenticatedError
from lightning_state.serve.tokens import digest_of

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers and supervisors, which have no token; they tell nothing but whether it works."""

_MESSAGE = "send the service's token: `Authorization: Bearer …`; `lightning-state up` prints it"


class Authentication:
    """Lets a request through when it has the token: in Authorization, or, for a browser's GET, in ?token=."""

    def __init__(self, app: ASGIApp, token_digest: bytes) -> None:
        self._app = app
        self._digest = token_digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises UnauthenticatedError."""
        if scope["path"] not in OPEN_PATHS and not self._is_known(scope):
            raise UnauthenticatedError(_MESSAGE)
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) == 1:
            kind, _, token = given[0].partition(b" ")
            return kind.lower() == b"bearer" and self._matches(token.strip())
        if not given and scope["method"] in {"GET", "HEAD"} and b"token=" in scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            tokens = [value for name, value in query if name == "token"]
            # The rest of the server neither sees nor logs it.
            scope["query_string"] = urlencode([pair for pair in query if pair[0] != "token"]).encode()
            return len(tokens) == 1 and self._matches(tokens[0].encode())
        return False

    def _matches(self, token: bytes) -> bool:
        try:
            return compare_digest(digest_of(token.decode("ascii")), self._digest)
        except UnicodeDecodeError:
            return False
