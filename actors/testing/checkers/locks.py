"""Locks as their owners handled them (C6): leases with fencing tokens, judged by the owner's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lightning_state.actors.testing.history import Token
from lightning_state.actors.testing.lock_history import LockAct, LockEvent


def check_locks(events: Iterable[LockEvent]) -> list[str]:
    """Violations in what owners did, in the order they did it.

    Per key tokens are (owner's epoch, generation) and strictly increase. No grant begins while another lives; a lease
    lives for its TTL from its grant or last renewal, and for its full TTL again from a takeover. A write under a token
    was accepted only while that grant was the newest and alive, a write without one only while none was, and a renewal
    only while it lived. The queue is served in order, newcomers last, and only within the time a waiter is ready to
    wait. At the very end of a lease both answers are right.

    Raises ValueError when the epoch of a slot changes without a TAKEOVER: nobody could say when leases began anew.
    Linear in the number of events, times the length of the queues.
    """
    steps = list(_steps(events))
    return [violation for rule in _RULES for violation in rule(steps)]


@dataclass(slots=True)
class _Lease:
    """A key's newest grant."""

    token: Token
    lasts_us: int
    ends_us: int
    over: bool = False
    """Released."""


@dataclass(frozen=True, slots=True)
class _Step:
    """An event and what it found."""

    event: LockEvent
    newest: Token | None
    """The key's newest grant; None before the first."""
    ends_us: int
    """When its lease ends; 0 when it was released, or never was."""
    queue: tuple[tuple[str, int], ...]
    """Who waits for the key, first come first, and until when (0: for ever)."""


def _steps(events: Iterable[LockEvent]) -> Iterator[_Step]:
    epochs: dict[int, int] = {}
    leases: dict[int, dict[str, _Lease]] = {}
    queues: dict[int, dict[str, list[tuple[str, int]]]] = {}
    for event in events:
        if event.act is LockAct.TAKEOVER:
            epochs[event.slot] = event.epoch
            queues[event.slot] = {}
            for lease in leases.get(event.slot, {}).values():
                lease.ends_us = event.at_us + lease.lasts_us
            continue
        if epochs.setdefault(event.slot, event.epoch) != event.epoch:
            raise ValueError(f"the epoch was {epochs[event.slot]}, and no takeover is recorded before {event}")
        of_slot = leases.setdefault(event.slot, {})
        lease = of_slot.get(event.key)
        queue = queues.setdefault(event.slot, {}).setdefault(event.key, [])
        alive = lease is not None and not lease.over
        yield _Step(event, lease.token if lease else None, lease.ends_us if lease and alive else 0, tuple(queue))
        _enter(event, of_slot, lease)
        _queue(event, queue)


def _enter(event: LockEvent, leases: dict[str, _Lease], lease: _Lease | None) -> None:
    if event.act is LockAct.GRANT and event.token is not None:
        leases[event.key] = _Lease(event.token, event.lasts_us, event.at_us + event.lasts_us)
    elif lease is not None and event.token == lease.token:
        if event.act is LockAct.RENEW:
            lease.lasts_us, lease.ends_us = event.lasts_us, event.at_us + event.lasts_us
        lease.over = lease.over or event.act is LockAct.RELEASE


def _queue(event: LockEvent, queue: list[tuple[str, int]]) -> None:
    if event.act is LockAct.WAIT:
        queue.append((event.holder, event.at_us + event.lasts_us if event.lasts_us else 0))
    elif event.act in (LockAct.LEAVE, LockAct.GRANT):
        queue[:] = [waiter for waiter in queue if waiter[0] != event.holder]


def _tokens_increase(steps: Iterable[_Step]) -> Iterator[str]:
    highest: dict[tuple[int, str], Token] = {}
    for event in (step.event for step in steps if step.event.act is LockAct.GRANT):
        place, token = (event.slot, event.key), event.token
        if token is None or token[0] != event.epoch:
            yield f"granted without a token of its owner's epoch: {event}"
        elif token <= highest.get(place, (0, 0)):
            yield f"granted with a token that is not above {highest[place]}: {event}"
        else:
            highest[place] = token


def _one_at_a_time(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        if step.event.act is LockAct.GRANT and step.event.at_us < step.ends_us:
            yield f"granted while {step.newest} lives until {step.ends_us}: {step.event}"


def _only_the_newest_writes(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        event = step.event
        if event.act is LockAct.WRITE and event.token is not None and event.token != step.newest:
            yield f"wrote under a token, but the newest grant is {step.newest}: {event}"


def _only_the_living_write(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        event = step.event
        using = event.act is LockAct.WRITE or event.act is LockAct.RENEW
        if using and event.token is not None and event.token == step.newest and event.at_us > step.ends_us:
            yield f"used a lease that had ended{f' at {step.ends_us}' if step.ends_us else ''}: {event}"


def _only_the_newest_is_renewed(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        if step.event.act is LockAct.RENEW and step.event.token != step.newest:
            yield f"renewed, but the newest grant is {step.newest}: {step.event}"


def _locked_means_locked(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        if step.event.act is LockAct.WRITE and step.event.token is None and step.event.at_us < step.ends_us:
            yield f"wrote without a token while {step.newest} lives until {step.ends_us}: {step.event}"


def _first_come_first_served(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        if step.event.act is LockAct.GRANT and step.queue and step.queue[0][0] != step.event.holder:
            yield f"granted while {step.queue[0][0]!r} had waited longer: {step.event}"


def _waiters_are_still_there(steps: Iterable[_Step]) -> Iterator[str]:
    for step in steps:
        until_us = dict(step.queue).get(step.event.holder, 0)
        if step.event.act is LockAct.GRANT and 0 < until_us < step.event.at_us:
            yield f"granted to a waiter that had given up at {until_us}: {step.event}"


_RULES: tuple[Callable[[Iterable[_Step]], Iterator[str]], ...] = (
    _tokens_increase,
    _one_at_a_time,
    _only_the_newest_writes,
    _only_the_living_write,
    _only_the_newest_is_renewed,
    _locked_means_locked,
    _first_come_first_served,
    _waiters_are_still_there,
)
