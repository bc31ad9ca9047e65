"""JSON Patch, RFC 6902, on decoded JSON.

The library `jsonpatch` applies single operations (its comparison tells 1 from true, as JSON does). Around it are what a
service needs: a malformed patch is told apart from one that does not fit the state, and no patch grows a state beyond
its limits on the way: twenty copies of a document into itself would make a million of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from jsonpatch import JsonPatch, JsonPatchException, JsonPointer, JsonPointerException

from lightning_state.actors.errors import InvalidStateError, PatchConflictError, StateTooDeepError, StateTooLargeError
from lightning_state.actors.limits import Limits

OPERATIONS: Final = 1_000
"""Operations in one patch, at most."""

_MEMBERS: Final = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}
"""Operation → what it has besides `op` and `path`."""

_POINTER = re.compile(r"(?:/(?:[^/~]|~[01])*)*")
"""RFC 6901, section 3."""


def json_patch(document: Any, patch: Any, limits: Limits) -> Any:
    """The document with all operations of the patch applied, in order; inputs stay as they are.

    Raises InvalidStateError for what is not a patch, whatever the document is; PatchConflictError for an operation that
    does not fit the document, a failed `test` included; StateTooDeepError and StateTooLargeError when the result would
    be nested too deep, or when its `copy` operations copy more than a state may hold. Then nothing was applied.
    Source: RFC 6902, sections 3 to 5.
    """
    operations = _checked(patch)
    patched = deepcopy(document)
    room = limits.state_bytes
    for number, operation in enumerate(operations):
        if operation["op"] == "copy":
            room -= _size(_found(patched, operation, number))
            if room < 0:
                raise StateTooLargeError(
                    f"{_name(number, operation)}: the patch copies more than {limits.state_bytes} bytes",
                    size_bytes=limits.state_bytes - room,
                    limit_bytes=limits.state_bytes,
                )
        patched = _applied(patched, operation, number, limits)
    _check_depth(patched, limits)
    return patched


# -- is it a patch? ---


def _checked(patch: Any) -> list[dict[str, Any]]:
    if not isinstance(patch, list):
        raise InvalidStateError("a JSON patch is an array of operations", reason="json_patch")
    if len(patch) > OPERATIONS:
        raise InvalidStateError(f"the patch has {len(patch)} operations; {OPERATIONS} at most", reason="json_patch")
    return [_checked_operation(operation, number) for number, operation in enumerate(patch)]


def _checked_operation(operation: Any, number: int) -> dict[str, Any]:
    if not isinstance(operation, dict):
        raise _malformed(number, "is not an object")
    name = operation.get("op")
    if not isinstance(name, str) or name not in _MEMBERS:
        raise _malformed(number, f"has op {ascii(name)[:40]}; known are {', '.join(_MEMBERS)}")
    for member in ("path", *_MEMBERS[name]):
        if member not in operation:
            raise _malformed(number, f"({name}) has no {member!r}")
        pointer = operation[member]
        if member != "value" and not (isinstance(pointer, str) and _POINTER.fullmatch(pointer)):
            raise _malformed(number, f"({name}): {member!r} is no JSON pointer: {ascii(pointer)[:80]}")
    if name == "move" and operation["path"].startswith(operation["from"] + "/"):
        raise _malformed(number, f"(move): {ascii(operation['from'])[:80]} cannot be moved into itself")
    return operation


def _malformed(number: int, flaw: str) -> InvalidStateError:
    return InvalidStateError(f"operation {number} of the patch {flaw}", reason="json_patch", operation=number)


# -- does it fit? ---


def _applied(document: Any, operation: dict[str, Any], number: int, limits: Limits) -> Any:
    try:
        return JsonPatch([operation]).apply(document, in_place=True)
    except (JsonPatchException, JsonPointerException) as error:
        raise _conflict(operation, number) from error
    except RecursionError as error:
        raise _too_deep(limits) from error


def _found(document: Any, operation: dict[str, Any], number: int) -> Any:
    try:
        return JsonPointer(operation["from"]).resolve(document)
    except JsonPointerException as error:
        raise _conflict(operation, number) from error


def _conflict(operation: dict[str, Any], number: int) -> PatchConflictError:
    """Without values: they may be as long as a state, or not for the reader of a log."""
    tested = operation["op"] == "test"
    flaw = "the stored value is another one" if tested else "does not fit the stored state"
    return PatchConflictError(
        f"{_name(number, operation)}: {flaw}", operation=number, op=operation["op"], path=operation["path"]
    )


def _name(number: int, operation: dict[str, Any]) -> str:
    return f"operation {number} of the patch ({operation['op']} {ascii(operation['path'])[:80]})"


# -- how much is it? ---


def _size(value: Any) -> int:
    """A number of bytes that its JSON has at least."""
    size, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        size += 1 + (len(each) if isinstance(each, str) else 0)
        if isinstance(each, dict):
            size += sum(map(len, each))
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return size


def _check_depth(value: Any, limits: Limits) -> None:
    """Level by level: a recursive walk would end where the stack does."""
    level = _containers([value])
    for _ in range(limits.depth):
        level = [inner for each in level for inner in _containers(each.values() if isinstance(each, dict) else each)]
    if level:
        raise _too_deep(limits)


def _containers(values: Iterable[Any]) -> list[dict[str, Any] | list[Any]]:
    return [value for value in values if isinstance(value, dict | list)]


def _too_deep(limits: Limits) -> StateTooDeepError:
    return StateTooDeepError(f"the patched state is nested deeper than {limits.depth} levels", limit=limits.depth)
