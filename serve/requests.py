"""Reading requests strictly: unknown parameters, malformed JSON and odd headers are refused, never ignored."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from lightning_state.actors.core.checks import depth_of
from lightning_state.actors.errors import InvalidStateError, StateTooDeepError
from lightning_state.actors.models import invalid_state
from lightning_state.serve.errors import HttpError, UnsupportedMediaTypeError

M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
IDEMPOTENCY_KEY = "idempotency-key"
IDEMPOTENCY_INTENT = "idempotency-intent"
TIMEOUT = "request-timeout"

LONGEST_TIMEOUT_S = 300.0

_MEDIA_TYPE = re.compile(r"([a-z0-9.+-]+/[a-z0-9.+-]+)\s*(?:;\s*charset=\"?utf-?8\"?\s*)?", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?")


def query_of(request: Request, allowed: Collection[str]) -> dict[str, str]:
    """The query's parameters, each given once. Raises HttpError for one that this path does not have."""
    text: str = request.scope["query_string"].decode("latin-1")
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=32)
    except ValueError as error:
        raise HttpError(f"the query cannot be read: {error}") from error
    query = dict(pairs)
    if len(query) < len(pairs):
        raise HttpError("a query parameter is given twice")
    if unknown := [name for name in query if name not in allowed]:
        known = ", ".join(allowed) or "none"
        raise HttpError(f"there is no query parameter {ascii(unknown[0])[:80]} here; there are: {known}")
    return query


def request_id_of(request: Request) -> str | None:
    """The caller's own id of a write (Idempotency-Key). Raises HttpError for one that cannot be kept."""
    return _name_of(request, IDEMPOTENCY_KEY)


def intent_of(request: Request) -> bytes:
    """What a repeated write shares with the first in place of body and condition (Idempotency-Intent); empty: those."""
    return (_name_of(request, IDEMPOTENCY_INTENT) or "").encode()


def _name_of(request: Request, header: str) -> str | None:
    given = request.headers.getlist(header)
    if not given:
        return None
    if len(given) > 1 or not _REQUEST_ID.fullmatch(given[0]):
        raise HttpError(f"{header.title()} is 1 to 128 visible ASCII characters, given once")
    return given[0]


def timeout_of(request: Request) -> float | None:
    """How long the caller is ready to wait, in seconds (Request-Timeout). Raises HttpError for nonsense."""
    text = request.headers.get(TIMEOUT)
    if text is None:
        return None
    timeout_s = float(text) if _SECONDS.fullmatch(text) else math.nan
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise HttpError(f"Request-Timeout is a number of seconds above 0, at most {LONGEST_TIMEOUT_S:.0f}")
    return timeout_s


async def body_of(request: Request, media_types: Collection[str] = (JSON,)) -> bytes:
    """The body. Raises UnsupportedMediaTypeError when it is not said to be JSON in UTF-8."""
    text = request.headers.get("content-type", "")
    matched = _MEDIA_TYPE.fullmatch(text.strip())
    if matched is None or matched[1].lower() not in media_types:
        raise UnsupportedMediaTypeError(f"send {' or '.join(media_types)}, not {ascii(text)[:80]}")
    return await request.body()


def json_of(body: bytes, depth: int, kind: Any = Any) -> Any:
    """A JSON text as `kind`. Raises InvalidStateError when it is none, StateTooDeepError beyond `depth`."""
    if depth_of(body) > depth:
        raise StateTooDeepError(f"the body is nested deeper than {depth} levels", limit=depth)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidStateError(f"the body is not what this path takes: {error}") from error


def model_of(body: bytes, depth: int, model: type[M]) -> M:
    """A JSON text as a pydantic model, strictly. Raises InvalidStateError with every finding."""
    json_of(body, depth, msgspec.Raw)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise invalid_state("the body", error) from error
