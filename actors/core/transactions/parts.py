"""What coordinator and participants have in common: a part whose operations wait for the head of their queues."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from lightning_state.actors.core.effects import Ask, Wake
from lightning_state.actors.core.messages import Check, Reply, Request
from lightning_state.actors.core.operation import Operation, Part
from lightning_state.actors.core.transactions.host import Host

Replies = list[Reply] | None
"""Answers of another shard; None: there was none in time."""


def commit(host: Host, operations: list[Operation]) -> None:
    """Let these operations be committed together."""
    leader, *followers = operations
    leader.followers = followers
    host.ready.append(leader)


def let_go(host: Host, part: Part) -> None:
    """Let a part's keys go. What is being loaded or judged just now goes when that is over."""
    part.is_over = True
    for operation in list(part.operations):
        if operation.is_decided or host.queues[operation.place][0] is not operation:
            drop(host, operation)


def drop(host: Host, operation: Operation) -> None:
    """Let one key go."""
    if operation.part is not None:
        operation.part.operations.remove(operation)
    host.withdraw(operation)


class Alarms:
    """What is to be done at some time, if nothing happens before."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._set = 0
        self._wake_us: int | None = None

    def at(self, when_us: int, act: Callable[[], None]) -> None:
        """Call `act` then; it has to see for itself whether there is still something to do."""
        self._set += 1
        heappush(self._heap, (when_us, self._set, act))

    def ring(self) -> None:
        """Do what is due."""
        self._wake_us = None
        while self._heap and self._heap[0][0] <= self._host.now_us:
            heappop(self._heap)[2]()

    def set(self) -> None:
        """Ask to be woken for the first of them."""
        if self._heap and (self._wake_us is None or self._heap[0][0] < self._wake_us):
            self._wake_us = self._heap[0][0]
            self._host.effects.append(Wake(self._wake_us))

    def clear(self) -> None:
        """Forget them all."""
        self._heap.clear()
        self._wake_us = None


class Questions:
    """What was asked of other shards, or of this one, and who takes the answers."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asked: dict[int, Callable[[Replies], None]] = {}
        self._own: dict[int, list[Reply | None]] = {}
        self._answers: list[tuple[int, Replies]] = []

    def ask(self, slot: int, requests: list[Request], timeout_ms: int, then: Callable[[Replies], None]) -> None:
        """Ask the owner of a slot."""
        ticket = self._host.ticket()
        self._asked[ticket] = then
        self._host.effects.append(Ask(ticket, slot, requests, timeout_ms))

    def ask_self(self, checks: list[Check], then: Callable[[Replies], None]) -> None:
        """Ask this shard: the answers come through `answered_self`."""
        ticket = self._host.ticket()
        self._asked[ticket] = then
        self._own[ticket] = [None] * len(checks)
        for index, check in enumerate(checks):
            self._host.read(-ticket, index, check)

    def answered_self(self, ticket: int, index: int, reply: Reply) -> None:
        """One of the answers to `ask_self`. They are taken by `take`, not in the middle of whatever happens now."""
        replies = self._own.get(ticket)
        if replies is None:
            return
        replies[index] = reply
        if None not in replies:
            del self._own[ticket]
            self._answers.append((ticket, [each for each in replies if each is not None]))

    def answered(self, ticket: int, replies: Replies) -> None:
        """Another shard's answers."""
        then = self._asked.pop(ticket, None)
        if then is not None:
            then(replies)

    def take(self) -> bool:
        """Hand on this shard's own answers; whether there were any."""
        answers, self._answers = self._answers, []
        for ticket, replies in answers:
            self.answered(ticket, replies)
        return bool(answers)

    def clear(self) -> None:
        """Forget everything: answers to what an earlier owner asked mean nothing."""
        self._asked.clear()
        self._own.clear()
        self._answers.clear()
