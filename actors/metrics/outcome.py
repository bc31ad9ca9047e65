"""What a request was, and how it ended, in one word each."""

from __future__ import annotations

from lightning_state.actors.core.messages import Absent, Forget, Get, List, Refused, Reply, Request, Write
from lightning_state.actors.errors import BY_CODE

OK = "ok"
ABSENT = "absent"
_TOO_MANY = 429
_SERVER_ERROR = 500


def kind_of(request: Request) -> str:
    """What it is: "get", "list", "forget", "resolve", or for a write "set", "patch", "status", "progress", "delete"."""
    if isinstance(request, Write):
        return str(request.op)
    if isinstance(request, Get):
        return "get"
    if isinstance(request, Forget):
        return "forget"
    return "list" if isinstance(request, List) else "resolve"


def outcome_of(reply: Reply) -> str:
    """How it ended: "ok", "absent", or the code of the refusal."""
    if isinstance(reply, Refused):
        return reply.code
    return ABSENT if isinstance(reply, Absent) else OK


def is_failure(outcome: str) -> bool:
    """Whether the service failed (HTTP 5xx or 429), rather than refused what must be refused.

    A conflict, an invalid state or a state that does not exist is an answer; so is `not_owner`, which only sends the
    client to the newer owner.
    """
    error = BY_CODE.get(outcome)
    if error is None or outcome == "not_owner":
        return False
    return error.http_status >= _SERVER_ERROR or error.http_status == _TOO_MANY
