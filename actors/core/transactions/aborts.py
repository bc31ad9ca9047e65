"""Why transactions are aborted, in the words of their callers; and what is refused before they begin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from lightning_state.actors.core.checks import check_body, check_expected
from lightning_state.actors.core.messages import ANY, Condition, Refused, Share, Transact, Write
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.transactions.host import Host
from lightning_state.actors.errors import (
    InvalidStateError,
    ProtocolError,
    TransactionAbortedError,
    TransactionTooLargeError,
    VersionConflictError,
)
from lightning_state.actors.limits import Limits

_OPS = frozenset({Op.SET, Op.PATCH, Op.STATUS, Op.PROGRESS, Op.DELETE})
_COMPARISONS = frozenset({"==", "!=", "<", ">"})
_LARGE_DETAILS = frozenset({"current_body", "current_updated_us"})
_REASONS = {
    "version_conflict": "conflict",
    "not_found": "conflict",
    "locked": "locked",
    "lock_lost": "locked",
    "stale_fencing_token": "locked",
    "deadline_exceeded": "deadline",
    "request_barred": "interrupted",
    "shard_unavailable": "unavailable",
    "not_owner": "unavailable",
    "fenced": "unavailable",
    "overloaded": "unavailable",
    "store_unavailable": "unavailable",
    "validation_unavailable": "unavailable",
}


def aborted(transaction: str, cause: Refused) -> Refused:
    """The answer to a transaction that was aborted because of this refusal."""
    if cause.code == TransactionAbortedError.code:
        return cause
    details = {name: value for name, value in cause.details.items() if name not in _LARGE_DETAILS}
    details |= {
        "transaction": transaction,
        "cause": cause.code,
        "reason": details.pop("abort_reason", None) or _REASONS.get(cause.code, "refused"),
    }
    error = TransactionAbortedError(f"transaction {transaction} was aborted: {cause.message}")
    return Refused(error.code, str(error), details)


def changed(category: str, key: str, expected: int, current: int) -> Refused:
    """What was read has changed."""
    return refusal(
        VersionConflictError(
            f"{category} {key!r} was read at version {expected} and has version {current} now",
            category=category,
            key=key,
            expected_version=expected,
            current_version=current,
        )
    )


def held(category: str, key: str) -> Refused:
    """Another transaction is deciding about this key."""
    return refusal(
        VersionConflictError(f"{category} {key!r} is held by another transaction", category=category, key=key)
    )


def holds_true(condition: Condition, version: int) -> bool:
    """Whether a condition is true of a version."""
    match condition.compare:
        case "==":
            return version == condition.version
        case "!=":
            return version != condition.version
        case "<":
            return version < condition.version
        case _:
            return version > condition.version


def own_share(request: Transact) -> int:
    """The number of the coordinator's share. Raises ProtocolError for a transaction that writes nothing."""
    for number, share in enumerate(request.shares):
        if share.writes or share.otherwise:
            return number
    raise ProtocolError("a transaction without writes has nothing to decide: check what was read once more instead")


def check_transact(request: Transact, host: Host) -> int:
    """Check what can be checked before anything is kept; returns the number of the receiver's share.

    Raises TransactionTooLargeError, InvalidStateError and its kinds, NotOwnerError or ProtocolError.
    """
    number = own_share(request)
    own = request.shares[number]
    check_writes([*own.writes, *own.otherwise], host)
    for condition in (*own.reads, *own.conditions):
        host.check_place(condition.slot, condition.key)
    _check_conditions(condition for share in request.shares for condition in (*share.reads, *share.conditions))
    if request.is_guarded and any(share.reads for share in request.shares):
        raise ProtocolError("a guarded transaction reads by its conditions only")
    _check_distinct([*_places(request.shares, otherwise=False)])
    _check_distinct([*_places(request.shares, otherwise=True)])
    places = {*_places(request.shares, otherwise=False), *_places(request.shares, otherwise=True)}
    places |= {(each.slot, each.key) for share in request.shares for each in share.conditions}
    check_size(len(places), host.limits)
    return number


def check_size(keys: int, limits: Limits) -> None:
    """Raise TransactionTooLargeError for more keys than a transaction may touch."""
    if keys > limits.transaction_keys:
        raise TransactionTooLargeError(
            f"the transaction reads and writes {keys} keys; the limit is {limits.transaction_keys}",
            keys=keys,
            limit=limits.transaction_keys,
        )


def check_writes(writes: Iterable[Write], host: Host) -> None:
    """Raise unless this shard could carry out these writes."""
    for write in writes:
        host.check_place(write.slot, write.key)
        check_expected(write.expected)
        if write.op not in _OPS:
            raise ProtocolError(f"a transaction does not write {write.op.value!r}")
        check_body(write.body, host.limits)


def folded(share: Share, versions: dict[tuple[int, str], int], *, otherwise: bool) -> Share:
    """The share of the chosen branch: what was seen must be unchanged, of what is written too.

    Raises VersionConflictError when a write expects another version than the one that was seen.
    """
    writes: list[Write] = []
    seen = {(each.slot, each.key): versions[each.slot, each.key] for each in share.conditions}
    for write in share.otherwise if otherwise else share.writes:
        version = seen.pop((write.slot, write.key), ANY)
        if version != ANY and write.expected not in (ANY, version):
            raise VersionConflictError(
                f"{write.key!r} has version {version}, the write expects {write.expected}",
                key=write.key,
                expected_version=write.expected,
                current_version=version,
            )
        writes.append(write if version == ANY else msgspec.structs.replace(write, expected=version))
    return Share([Condition(slot, key, "==", version) for (slot, key), version in seen.items()], writes)


def _places(shares: Sequence[Share], *, otherwise: bool) -> Iterable[tuple[int, str]]:
    for share in shares:
        for each in (*share.reads, *(share.otherwise if otherwise else share.writes)):
            yield each.slot, each.key


def _check_distinct(places: Sequence[tuple[int, str]]) -> None:
    seen: set[tuple[int, str]] = set()
    for place in places:
        if place in seen:
            raise InvalidStateError(f"the transaction writes {place[1]!r} twice", reason="written_twice")
        seen.add(place)


def _check_conditions(conditions: Iterable[Condition]) -> None:
    for condition in conditions:
        if condition.compare not in _COMPARISONS:
            raise InvalidStateError(f"a condition compares by ==, !=, < or >, not {condition.compare!r}")
