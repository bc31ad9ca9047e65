"""From HTTP answers back to states and typed errors."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.verl.messages import Issue, Severity, Verdict
from lightning_state.actors.errors import (
    LightningStateError,
    ProtocolError,
    ShardUnavailableError,
    error_from_code,
)
from lightning_state.serve.errors import HttpError

_STANDARD = frozenset({"type", "title", "status", "detail", "code", "retryable"})
_SERVER_ERROR = 500


def error_of(answer: httpx.Response, category: Category[Any] | None = None) -> LightningStateError:
    """The error an answer tells of; a gateway's own words become ShardUnavailableError or HttpError."""
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        return error_from_problem(answer.content, category)
    reason = f"{answer.request.url.host} answered {answer.status_code} {answer.reason_phrase}"
    return ShardUnavailableError(reason) if answer.status_code >= _SERVER_ERROR else HttpError(reason)


def is_from_service(answer: httpx.Response) -> bool:
    """Whether the service itself answered, not a gateway on the way."""
    kind = answer.headers.get("content-type", "")
    return answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED.value or "problem+json" in kind


def error_from_problem(document: bytes, category: Category[Any] | None = None) -> LightningStateError:
    """The typed error of a problem document, its details under their Python names."""
    try:
        members = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
        plain = {name: value for name, value in members.items() if name not in {*_STANDARD, "current", "verdict"}}
        details = {_snake(name): msgspec.json.decode(value) for name, value in plain.items()}
        code = msgspec.json.decode(members["code"], type=str)
        detail = msgspec.json.decode(members["detail"], type=str)
    except (msgspec.DecodeError, KeyError) as error:
        raise ProtocolError(f"the server's problem document cannot be read: {error}") from error
    if "current" in members:
        details["current"] = _current(members["current"], category)
    if "verdict" in members:
        details["verdict"] = verdict_of(msgspec.json.decode(members["verdict"]))
    return error_from_code(code, detail, details)


def pieces(document: bytes, kind: Any) -> Any:
    """A JSON answer in the form it should have. Raises ProtocolError."""
    try:
        return msgspec.json.decode(document, type=kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the server's answer cannot be read: {error}") from error


def verdict_of(value: dict[str, Any]) -> Verdict:
    """A verdict from its JSON."""
    return Verdict(
        is_valid=value["isValid"],
        confidence=value["confidence"],
        issues=issues_of(value["issues"]),
        rule_set=value["ruleSet"],
        base_version=value["baseVersion"],
        content_hash=bytes.fromhex(value["contentHash"]),
        threshold=value["threshold"],
    )


def issues_of(values: list[dict[str, Any]]) -> list[Issue]:
    """Findings from their JSON."""
    return [Issue(**dict(value, severity=Severity(value["severity"]))) for value in values]


def _current(document: msgspec.Raw, category: Category[Any] | None) -> Any:
    data = bytes(document)
    if data == b"null":
        return None
    return msgspec.json.decode(data) if category is None else category.decode(data)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda letter: "_" + letter[1].lower(), name)
