"""Parameters, headers and answers that operations share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_state.actors.limits import Limits
from lightning_state.serve.openapi.examples import PROBLEM
from lightning_state.serve.openapi.schemas import Schema, prefix_schema, ref
from lightning_state.serve.requests import LONGEST_TIMEOUT_S

ALWAYS = (400, 401, 404, 429, 431, 500, 503, 504)
"""Errors any operation on the service may answer with."""

WITH_BODY = (408, 413, 415, 422)
CONDITIONAL = (409, 412)

_DESCRIPTIONS = {
    400: "The request is malformed: a parameter, a header, the query.",
    401: "The token is missing or wrong.",
    404: "No such state, category or route.",
    408: "The body did not arrive in time.",
    409: "The change is not possible now: a transition, another use of the Idempotency-Key.",
    412: "The stored version is not the one the condition names.",
    413: "Too large.",
    415: "The body is not JSON in UTF-8, or it is compressed.",
    422: "The body or the key does not fit, or VERL refused the state.",
    428: "If-Match, If-None-Match or expectedVersion is missing.",
    429: "Overloaded: Retry-After says when to come back.",
    431: "The headers are too long.",
    500: "A failure inside the service.",
    503: "A part of the service is away, or the outcome of the write is unknown (code `outcome_unknown`).",
    504: "The deadline passed; nothing was changed.",
}

CONDITIONS = ("IfMatch", "IfNoneMatch", "ExpectedVersion")


def parameters(limits: Limits) -> dict[str, Schema]:
    """The shared parameters by name."""
    return {
        "Consistency": _query("consistency", {"enum": ["cached", "linearizable"], "default": "cached"}, "linearizable"),
        "ExpectedVersion": _query("expectedVersion", {"const": "any"}, "any"),
        "IfMatch": _header("If-Match", {"type": "string", "pattern": r'^("[1-9][0-9]{0,8}"|\*)$'}, '"1"'),
        "IfNoneMatch": _header("If-None-Match", {"const": "*"}, "*"),
        "IfNoneMatchRead": _header("If-None-Match", {"type": "string", "pattern": r'^(W/)?"[0-9]{1,9}"$'}, '"7"'),
        "IdempotencyKey": _header(
            "Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,128}$"}, "0190a1b2-write-1"
        ),
        "IdempotencyIntent": _header(
            "Idempotency-Intent",
            {"type": "string", "pattern": "^[!-~]{1,128}$"},
            "update",
            "What repetitions share, in place of body and condition, that are worked out from what was read (~recall).",
        ),
        "RequestTimeout": _header(
            "Request-Timeout",
            {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT_S},
            30,
            "Seconds the caller is ready to wait.",
        ),
        "Prefix": _query("prefix", prefix_schema(limits), "agent-"),
        "Limit": _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, 100),
        "Cursor": _query("cursor", {"type": "string"}, "azE6YWdlbnQtMQ=="),
    }


def parameter_refs(names: Iterable[str]) -> list[Schema]:
    """References to shared parameters."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def responses() -> dict[str, Schema]:
    """One shared answer for each error status."""
    content = {"application/problem+json": {"schema": ref("Problem"), "example": PROBLEM}}
    return {f"Problem{status}": {"description": text, "content": content} for status, text in _DESCRIPTIONS.items()}


def problem_refs(*statuses: int) -> dict[str, Schema]:
    """References to the answers of these statuses."""
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted({*ALWAYS, *statuses})}


def answer(description: str, schema: Schema, example: Any = None, *, etag: bool = False) -> Schema:
    """A successful JSON answer."""
    content: Schema = {"schema": schema}
    if example is not None:
        content["example"] = example
    found: Schema = {"description": description, "content": {"application/json": content}}
    if etag:
        found["headers"] = {"ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}
    return found


def request_body(schema: Schema, example: Any = None, media_type: str = "application/json") -> Schema:
    """A required JSON body."""
    content: Schema = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"required": True, "content": {media_type: content}}


def _query(name: str, schema: Schema, example: Any) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "example": example}


def _header(name: str, schema: Schema, example: Any, description: str = "") -> Schema:
    found: Schema = {"name": name, "in": "header", "schema": schema, "example": example}
    return {**found, "description": description} if description else found
