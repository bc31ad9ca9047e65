"""What one write makes of one key: the decision that needs only the request and the key's last committed entry."""

from __future__ import annotations

import msgspec

from lightning_state.actors.core.checks import check_body
from lightning_state.actors.core.merge import merge_patch
from lightning_state.actors.core.messages import ANY, Write
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.rows import Entry, Op
from lightning_state.actors.core.transition import Transition
from lightning_state.actors.errors import InvalidStateError, StateNotFoundError, VersionConflictError
from lightning_state.actors.limits import Limits


class Change(msgspec.Struct, frozen=True):
    """A change that may be validated and committed."""

    version: int
    body: bytes | None
    indexes: dict[str, str]
    schema_version: int
    """Of the category that made it: another one may be registered before the change is committed."""
    transition: Transition | None = None
    """The change of status it makes, if it makes one."""


def decide(write: Write, base: Entry | None, floor: int, registered: Registered, limits: Limits) -> Change:
    """The change a write makes, given the key's last committed entry (a tombstone counts, None: never stored).

    Raises VersionConflictError, StateNotFoundError, InvalidStateError or InvalidTransitionError; then nothing changes.
    """
    live = base if base is not None and base.body is not None else None
    _check_version(write, live, registered)
    # A retained entry, tombstones included, goes on from its own version: the floor is for keys that left none (C2).
    version = base.version + 1 if base is not None and base.version else floor + 1
    if write.op is Op.DELETE:
        return Change(version, None, {}, registered.category.schema_version)
    body = write.body if write.op is Op.SET else _patched(write, live, registered)
    check_body(body, limits)
    fields = registered.read(body)
    registered.check_key(write.key, fields)
    transition = registered.check_transition(write.key, live.body if live else None, fields)
    return Change(version, body, registered.index_values(fields), registered.category.schema_version, transition)


def _check_version(write: Write, live: Entry | None, registered: Registered) -> None:
    current = live.version if live else 0
    if write.expected not in (ANY, current):
        raise VersionConflictError(
            f"{registered.category.name} {write.key!r}: expected version {write.expected}, stored is "
            + (f"version {current}" if live else "nothing"),
            category=registered.category.name,
            key=write.key,
            expected_version=write.expected,
            current_version=current,
            current_body=live.body if live else None,
            current_updated_us=live.updated_us if live else 0,
        )
    if live is None and write.op is not Op.SET:
        raise StateNotFoundError(
            f"{registered.category.name} {write.key!r} does not exist", category=registered.category.name, key=write.key
        )


def _patched(write: Write, live: Entry | None, registered: Registered) -> bytes:
    assert live is not None and live.body is not None  # noqa: S101, PT018  # _check_version refused everything else
    try:
        patch = (
            registered.status_patch(write.body.decode()) if write.op is Op.STATUS else msgspec.json.decode(write.body)
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidStateError(f"the patch is not JSON: {error}") from error
    if not isinstance(patch, dict):
        raise InvalidStateError("a merge patch is a JSON object")
    merged = msgspec.json.encode(merge_patch(msgspec.json.decode(live.body), patch))
    return registered.category.encode(registered.category.decode(merged))
