"""Control characters: refused where a string identifies something, reported where it is text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue, Severity

TEXT_WEIGHT = 0.1
"""How much a text with control characters lowers the confidence."""

# How JSON spells C0 controls (line breaks too: an id must not hold them), and DEL and C1 as UTF-8. The walk decides.
_SUSPECT = re.compile(rb"\\u00[01]|\\[bfnrt]|\x7f|\xc2[\x80-\x9f]", re.IGNORECASE)
_BACKSLASH, _DELETE, _LATIN = 0x5C, 0x7F, 0xC2
# Without one of these bytes none of that is there, and looking for them takes a fiftieth of the time.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # newline, carriage return and tab are text
_ID_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ID_NAME = re.compile(r"id|ids|\w+(Id|Ids)")


def control_characters(context: VerdictContext) -> Iterator[Issue]:
    """An error in ids, index values and mapping keys, and for NUL anywhere; a warning in other text."""
    body = context.new_body
    if not (_BACKSLASH in body or _DELETE in body or _LATIN in body) or _SUSPECT.search(body) is None:
        return
    category = context.category
    named = {category.alias(name) for name in (category.key_field, *category.indexes, *category.references)}
    yield from _walk(json.loads(body), (), named, is_id=False)


def _walk(value: Any, path: tuple[str, ...], named: set[str], *, is_id: bool) -> Iterator[Issue]:
    if isinstance(value, str):
        yield from _check(value, ".".join(path), is_id=is_id)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, str(index)), named, is_id=is_id)
    elif isinstance(value, dict):
        for name, item in value.items():
            if _ID_CONTROL.search(name):
                yield Issue("control_character", ".".join(path), "a name in this mapping holds a control character")
            else:
                identifies = _ID_NAME.fullmatch(name) is not None or (not path and name in named)
                yield from _walk(item, (*path, name), named, is_id=identifies)


def _check(text: str, path: str, *, is_id: bool) -> Iterator[Issue]:
    if is_id:
        if _ID_CONTROL.search(text):
            yield Issue("control_character", path, "an id holds a control character")
    elif "\0" in text:
        yield Issue("control_character", path, "text must not hold NUL: not every store can keep it")
    elif _CONTROL.search(text):
        message = "the text holds control characters other than newline and tab"
        yield Issue("control_character", path, message, Severity.WARNING, TEXT_WEIGHT)
