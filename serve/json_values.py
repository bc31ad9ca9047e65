"""JSON from what the service hands out: stored bodies spliced, error details and verdicts with camelCase names."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec
from pydantic.alias_generators import to_camel

from lightning_state.actors.client.stored import StoredState
from lightning_state.actors.models import State


def document(state: StoredState) -> bytes:
    """A stored state as JSON: its bytes, with version and time in front. Nothing is parsed."""
    return b'{"version":%d,"lastUpdated":"%s",' % (state.version, _moment(state.updated_us).encode()) + state.body[1:]


def dump(value: Any) -> bytes:
    """JSON of plain values, `msgspec.Raw` pieces, msgspec structs (camelCase) and states."""
    return msgspec.json.encode(value, enc_hook=_encode)


def camel_case(details: dict[str, Any]) -> dict[str, Any]:
    """The same with camelCase names, msgspec structs as objects at every depth."""
    return {to_camel(name): plain(value) for name, value in details.items()}


def plain(value: Any) -> Any:
    """A value of JSON: structs become objects with camelCase names, bytes hex, states their JSON."""
    if isinstance(value, msgspec.Struct):
        return {to_camel(name): plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, State):
        return msgspec.Raw(value.model_dump_json(by_alias=True).encode())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _encode(value: Any) -> Any:
    shown = plain(value)
    if shown is value:
        raise NotImplementedError(f"{type(value).__name__} has no JSON form")
    return shown


def _moment(updated_us: int) -> str:
    seconds, microseconds = divmod(updated_us, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{microseconds:06d}Z"
