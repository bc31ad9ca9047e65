"""What is refused at the edge, before anything is buffered: bad keys, too large, too deep, not text."""

from __future__ import annotations

import re

from lightning_state.actors.core.messages import ANY, Write
from lightning_state.actors.core.rows import Op
from lightning_state.actors.errors import (
    InvalidKeyError,
    InvalidStateError,
    ProtocolError,
    StateTooDeepError,
    StateTooLargeError,
)
from lightning_state.actors.limits import Limits

LIST_LIMIT = 1_000
"""States in one page of a list."""

TIMEOUT_MOST_S = 86_400
"""A call's longest deadline."""

CLIENT_OPS = frozenset({Op.SET, Op.PATCH, Op.STATUS, Op.PROGRESS, Op.DELETE})
"""What a Write may ask for."""

LEASE_LEAST_S = 0.1
LEASE_MOST_S = 3_600
"""A lease's time to live."""

_OWNER_MOST = 256
_VERSIONS = 2**63
_REQUEST_ID_MOST = 600
# A batch's own id and, after it, the longest key.
_KEY = re.compile(r"(?![/.])(?!.*(//|\.\.))[A-Za-z0-9._:@/+-]+")
_OPEN = b"[{"
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_key(key: str, limits: Limits) -> str:
    """The key itself. Raises InvalidKeyError for anything outside the key grammar."""
    if not isinstance(key, str) or not _KEY.fullmatch(key) or len(key) > limits.key_bytes:
        shown = ascii(key)[:80]
        raise InvalidKeyError(
            f"key {shown} is not valid: 1 to {limits.key_bytes} characters of A-Z a-z 0-9 . _ : @ / + -, "
            "not starting with / or ., without // or .."
        )
    return key


def check_prefix(prefix: str, limits: Limits) -> str:
    """The prefix itself, empty allowed. Raises InvalidKeyError for what no key could begin with."""
    if prefix != "":
        check_key(prefix + "x" if isinstance(prefix, str) else prefix, limits)
    return prefix


def check_request_id(request_id: str) -> str:
    """The request id itself. Raises InvalidStateError unless it is 1 to 600 printable characters."""
    if not isinstance(request_id, str) or not request_id.isprintable() or not 0 < len(request_id) <= _REQUEST_ID_MOST:
        raise InvalidStateError(
            f"request id {ascii(request_id)[:80]} is not valid: 1 to {_REQUEST_ID_MOST} printable characters",
            reason="request_id",
        )
    return request_id


def check_limit(limit: int) -> int:
    """The number of states in a page of a list. Raises InvalidStateError outside 1 to LIST_LIMIT."""
    if type(limit) is not int or not 1 <= limit <= LIST_LIMIT:
        raise InvalidStateError(f"limit is {limit!r}; a page has 1 to {LIST_LIMIT} states", reason="limit")
    return limit


def check_index_value(value: str) -> str:
    """The index value itself. Raises InvalidStateError for text that is not valid Unicode: no state holds it."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidStateError(f"the value {ascii(value)[:80]} is not valid Unicode", reason="index") from error
    return value


def check_expected(expected: int) -> int:
    """The expected version itself. Raises InvalidStateError unless it is ANY or a version a key can have."""
    if type(expected) is not int or not ANY <= expected < _VERSIONS:
        raise InvalidStateError(
            f"expected_version is {expected!r}: give the version that was read, 0 for a new state, or ANY",
            reason="expected_version",
        )
    return expected


def check_lease(owner: str, ttl_s: float, wait_s: float) -> None:
    """Raise InvalidStateError unless this is a lease that can be asked for."""
    if not isinstance(owner, str) or not owner.isprintable() or not 0 < len(owner) <= _OWNER_MOST:
        raise InvalidStateError(f"an owner is 1 to {_OWNER_MOST} printable characters", reason="owner")
    if not isinstance(ttl_s, (int, float)) or not LEASE_LEAST_S <= ttl_s <= LEASE_MOST_S:
        raise InvalidStateError(f"ttl_s is {ttl_s!r}: give seconds, {LEASE_LEAST_S} to {LEASE_MOST_S}", reason="ttl_s")
    if not isinstance(wait_s, (int, float)) or not 0 <= wait_s <= TIMEOUT_MOST_S:
        raise InvalidStateError(f"wait_s is {wait_s!r}: give seconds, 0 to {TIMEOUT_MOST_S}", reason="wait_s")


def check_timeout(timeout_s: float) -> float:
    """The timeout itself, in seconds. Raises InvalidStateError unless it is a number of at most a day."""
    if not isinstance(timeout_s, (int, float)) or not timeout_s <= TIMEOUT_MOST_S:
        raise InvalidStateError(
            f"timeout_s is {timeout_s!r}: give seconds, {TIMEOUT_MOST_S} at most", reason="timeout_s"
        )
    return timeout_s


def check_body(body: bytes, limits: Limits) -> bytes:
    """The body itself. Raises StateTooLargeError, StateTooDeepError, or InvalidStateError when it is not UTF-8."""
    if len(body) > limits.state_bytes:
        raise StateTooLargeError(
            f"the state has {len(body)} bytes; the limit is {limits.state_bytes}",
            size_bytes=len(body),
            limit_bytes=limits.state_bytes,
        )
    # As many brackets as levels are allowed cannot make one too many: the usual state needs no scan.
    if body.count(b"[") + body.count(b"{") > limits.depth and depth_of(body) > limits.depth:
        raise StateTooDeepError(f"the state is nested deeper than {limits.depth} levels", limit=limits.depth)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidStateError(f"the state is not valid UTF-8: {error.reason} at byte {error.start}") from error
    return body


def check_change(write: Write, limits: Limits) -> None:
    """Raises as `check_body`, and ProtocolError for what is not a client's to write."""
    if write.op not in CLIENT_OPS:
        raise ProtocolError(f"a client does not write {write.op.value!r}")
    check_body(write.body, limits)


def depth_of(body: bytes) -> int:
    """How deep a JSON text is nested, found without parsing it: hostile depth must not reach a recursive parser."""
    if body.count(b"[") + body.count(b"{") < 2:  # noqa: PLR2004  # the usual flat state needs no scan
        return 1
    depth = deepest = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        if bracket in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest
