"""From errors to problem documents (RFC 9457): the one place where an error becomes an HTTP answer."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from lightning_state.actors.errors import LightningStateError
from lightning_state.serve.json_values import camel_case, dump

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:lightning-state:error:"
"""With the error's code behind it: the problem's `type`. It identifies the kind, and is not to be fetched."""

_logger = logging.getLogger(__name__)

_STATUS = {"client_closed": 503, "fenced": 503, "protocol": 503}
"""Codes whose own status speaks of this client of the shards; here it is the server that is ending or out of step."""

_CLOSING = frozenset({401, 408, 413, 415})
"""Statuses that may be answered before the body was read: the connection cannot be used again."""

_NOT_SHOWN = frozenset({"moment"})
"""Details that answers have in another form: see `freshness`."""

_INTERNAL = "the service failed; its log names the cause"


def status_of(error: LightningStateError) -> int:
    """The HTTP status of an error."""
    return _STATUS.get(error.code, error.http_status)


def problem(error: LightningStateError) -> dict[str, Any]:
    """The members of the problem document: the standard ones, `code`, `retryable`, and the error's details."""
    status = status_of(error)
    internal = status == HTTPStatus.INTERNAL_SERVER_ERROR
    details = {} if internal else camel_case({k: v for k, v in error.details.items() if k not in _NOT_SHOWN})
    return {
        **details,
        "type": TYPE_PREFIX + error.code,
        "title": _title(error),
        "status": status,
        "detail": _INTERNAL if internal else str(error),
        "code": error.code,
        "retryable": error.retryable,
    }


def problem_response(error: LightningStateError, headers: dict[str, str] | None = None) -> Response:
    """The answer that tells of an error. `headers` are added to those its status calls for."""
    members = problem(error)
    status = members["status"]
    sent = dict(headers or {})
    if status in _CLOSING:
        sent["connection"] = "close"
    if "retry_after_s" in error.details or status in {429, 503}:
        sent["retry-after"] = str(max(1, math.ceil(error.details.get("retry_after_s", 1.0))))
    if status == HTTPStatus.UNAUTHORIZED:
        sent["www-authenticate"] = 'Bearer realm="lightning-state"'
    return Response(dump(members), status, sent, MEDIA_TYPE)


def unexpected_response(error: Exception) -> Response:
    """The answer to a failure nobody foresaw: the log has it, the caller gets no internals."""
    _logger.error("a request failed", exc_info=error)
    return problem_response(LightningStateError(_INTERNAL))


def _title(error: LightningStateError) -> str:
    return (type(error).__doc__ or "").split("\n", 1)[0].split(". ", 1)[0].split(": ", 1)[0].rstrip(".")
