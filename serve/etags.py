"""ETags and conditional requests (RFC 9110): a state's strong ETag is its version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers

from lightning_state.actors.core.messages import ANY
from lightning_state.serve.errors import HttpError, PreconditionRequiredError

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*)*')
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Condition:
    """What a change asks of the stored version: `expected` itself, or one of `versions` / that there is a state."""

    expected: int | None = None
    """ANY, 0 for "must not exist yet", or a version; None: what follows decides."""
    versions: frozenset[int] = frozenset()
    exists: bool = False
    """Any version will do, but there must be one."""


def is_unchanged(headers: Headers, version: int) -> bool:
    """Whether If-None-Match says that the caller has this version already (weak comparison)."""
    text = _header(headers, "if-none-match")
    if text is None:
        return False
    return text.strip() == "*" or etag(version) in [f'"{tag}"' for _, tag in _tags("If-None-Match", text)]


def condition_of(headers: Headers, query: Mapping[str, str], *, required: bool) -> Condition:
    """The condition of a change.

    Raises PreconditionRequiredError without one where it is `required`, HttpError for one that is malformed or for
    more than one.
    """
    match, none_match = _header(headers, "if-match"), _header(headers, "if-none-match")
    expected = query.get("expectedVersion")
    given = [text for text in (match, none_match, expected) if text is not None]
    if len(given) > 1:
        raise HttpError("give one condition: If-Match, If-None-Match: * or ?expectedVersion=any")
    if match is not None:
        return _match(match)
    if none_match is not None:
        if none_match.strip() != "*":
            raise HttpError('a change takes If-None-Match: * ("must not exist yet") and no tags; use If-Match')
        return Condition(expected=0)
    if expected is not None and expected != "any":
        raise HttpError('expectedVersion is "any" (the last writer wins); a version goes into If-Match')
    if expected is None and required:
        raise PreconditionRequiredError
    return Condition(expected=ANY)


def _header(headers: Headers, name: str) -> str | None:
    """A list header may be sent in several lines."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def _match(text: str) -> Condition:
    if text.strip() == "*":
        return Condition(exists=True)
    # Strong comparison: a weak tag never matches, nor does one this service cannot have given.
    versions = {int(tag) for weak, tag in _tags("If-Match", text) if not weak and _VERSION.fullmatch(tag)}
    return Condition(expected=versions.pop()) if len(versions) == 1 else Condition(versions=frozenset(versions))


def _tags(name: str, text: str) -> list[tuple[str, str]]:
    if not _LIST.fullmatch(text):
        raise HttpError(f'{name} is * or a list of ETags such as "3"')
    return _TAG.findall(text)
