"""The pool's supervisor: starts, pings, scales and replaces validators, and says why."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from ray.exceptions import RayError
from ray.util.metrics import Gauge

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import Pong as Load
from lightning_state.actors.core.verl.messages import PoolDecision, PoolView
from lightning_state.actors.core.verl.policy import ScalingPolicy
from lightning_state.actors.errors import LightningStateError, ProtocolError
from lightning_state.actors.settings import JudgeSettings, VerlSettings
from lightning_state.actors.verl_actor.validators import kill_actor, list_validators, start_validator
from lightning_state.actors.wire.names import pool_name, validator_name
from lightning_state.actors.wire.validator_transport import RayTransport, ping
from lightning_state.actors.wire.verl_codec import decode_to_pool, encode

_TICK_S = 0.5
_PING_S = 1.0
_SILENT_S = 3.0
"""A validator that answers no ping for this long is replaced."""
_STARTING_S = 30.0
"""A starting one may take this long: its first ping waits for the process."""
_DRAIN_S = 2.5
"""Links learn within a second that a validator is leaving; none sends to it after this."""
_LEAVE_S = 60.0
_DECISIONS = 500


@dataclass
class _Member:
    name: str
    seen_s: float
    """When it last answered; when it was started or adopted, until it does."""
    load: Load | None = None
    utilisation: float = 0.0
    leaving_s: float | None = None
    """Since when it is to leave."""


@dataclass
class _Pool:
    members: dict[int, _Member] = field(default_factory=dict[int, _Member])

    def staying(self) -> dict[int, _Member]:
        return {number: member for number, member in self.members.items() if member.leaving_s is None}


class PoolSupervisor:
    """Keeps between min and max validators alive. Its own memory is only load and log: it may die at any time.

    Restarted, it adopts the validators it finds by name; they answer shards all the while.
    """

    def __init__(self, service: str, verl: VerlSettings, judge: JudgeSettings) -> None:
        self._service = service
        self._verl = verl
        self._judge = judge
        self._transport = RayTransport(service)
        self._policy = ScalingPolicy(verl)
        self._pool = _Pool()
        self._decisions: deque[PoolDecision] = deque(maxlen=_DECISIONS)
        self._desired = verl.min_validators
        self._size = Gauge("lightning_state_validators", "Validators by state.", ("service", "state"))
        self._busy = Gauge("lightning_state_validator_utilisation", "Share of their time at work.", ("service",))
        self._utilisation = 0.0
        # Runs on the actor's loop, before any call. A constructor that raises would end the actor for good.
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(_end_process)

    def __repr__(self) -> str:
        return f"<PoolSupervisor {self._service} validators={len(self._pool.members)} desired={self._desired}>"

    async def frame(self, data: bytes) -> bytes:
        """Answer Members with the PoolView; a frame that cannot be read is answered with Refused."""
        try:
            decode_to_pool(data)
        except ProtocolError as error:
            return encode(Refused(error.code, str(error), {}))
        ready = {m.name: m.load for _, m in sorted(self._pool.staying().items()) if m.load is not None}
        endpoints = {name: load.endpoint for name, load in ready.items() if load.endpoint}
        decisions = list(self._decisions)
        return encode(PoolView(list(ready), self._utilisation, self._desired, decisions, os.getpid(), endpoints))

    async def ping(self) -> int:
        """Proof of life: the process id."""
        return os.getpid()

    async def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                await self._tick(began_s)
            except (RayError, LightningStateError, ValueError, OSError) as error:
                # Ray's control store may be away: the validators go on, and the next tick tries again.
                self._decide("wait", pool_name(self._service), f"Ray did not answer: {type(error).__name__}")
            await asyncio.sleep(max(0.0, began_s + _TICK_S - time.monotonic()))

    async def _tick(self, now_s: float) -> None:
        await self._adopt(now_s)
        await asyncio.gather(*(self._ping(member) for member in self._pool.members.values()))
        await self._replace(time.monotonic())
        staying = self._pool.staying()
        busy = [member.utilisation for member in staying.values() if member.load is not None]
        self._utilisation = sum(busy) / len(busy) if busy else 0.0
        decision = self._policy.decide(len(staying), self._utilisation, now_s)
        self._desired = decision.desired
        self._size.set(len(busy), tags={"service": self._service, "state": "running"})
        self._size.set(decision.desired, tags={"service": self._service, "state": "desired"})
        self._busy.set(self._utilisation, tags={"service": self._service})
        if decision.is_change:
            await self._scale(len(staying), decision.desired, decision.reason, now_s)
        await self._dismiss(time.monotonic())

    async def _adopt(self, now_s: float) -> None:
        """Take in every validator Ray knows by name, drop those it no longer does."""
        found = await asyncio.to_thread(list_validators, self._service)
        for number, name in found.items():
            if number not in self._pool.members:
                self._pool.members[number] = _Member(name, now_s)
                self._decide("adopt", name, "it runs already")
        for number in self._pool.members.keys() - found.keys():
            gone = self._pool.members[number]
            if gone.leaving_s is not None:
                self._decide("stop", gone.name, "it has left the pool")
            elif gone.load is None and now_s - gone.seen_s < _STARTING_S:
                continue  # Ray may not list it yet
            else:
                self._decide("replace", gone.name, "it is gone for good")
            del self._pool.members[number]

    async def _ping(self, member: _Member) -> None:
        try:
            load = await ping(self._transport, member.name, _PING_S)
        except LightningStateError:
            return
        before = member.load
        if before is not None and before.pid == load.pid and load.alive_s > before.alive_s:
            member.utilisation = (load.busy_s - before.busy_s) / (load.alive_s - before.alive_s)
        elif before is not None and before.pid != load.pid:
            self._decide("replace", member.name, f"its process {before.pid} ended; Ray started {load.pid}")
        member.load = load
        member.seen_s = time.monotonic()

    async def _replace(self, now_s: float) -> None:
        """End what is silent or stuck; Ray starts it anew under its name, and calls in flight go to others."""
        for member in self._pool.staying().values():
            silent_s = now_s - member.seen_s
            if member.load is not None and member.load.is_stuck:
                reason = "user validators that overran their time hold all its threads"
            elif silent_s > (_STARTING_S if member.load is None else _SILENT_S):
                reason = f"silent for {silent_s:.1f} s"
            else:
                continue
            self._decide("replace", member.name, reason)
            member.load, member.seen_s, member.utilisation = None, now_s, 0.0
            await asyncio.to_thread(partial(kill_actor, member.name, restart=True))

    async def _scale(self, running: int, desired: int, reason: str, now_s: float) -> None:
        if desired > running:
            action = "scale_up" if running >= self._verl.min_validators else "start"
            free = (n for n in range(10 * self._verl.max_validators) if n not in self._pool.members)
            for _, number in zip(range(desired - running), free, strict=False):
                await asyncio.to_thread(start_validator, self._service, number, self._judge)
                member = _Member(validator_name(self._service, number), now_s)
                self._pool.members[number] = member
                self._decide(action, member.name, reason)
            return
        for _, member in sorted(self._pool.staying().items(), reverse=True)[: running - desired]:
            member.leaving_s = now_s
            self._decide("scale_down", member.name, reason)

    async def _dismiss(self, now_s: float) -> None:
        """Stop the leaving ones once nobody sends to them and their work is done."""
        for member in self._pool.members.values():
            if member.leaving_s is None:
                continue
            left_s = now_s - member.leaving_s
            is_idle = member.load is None or not member.load.in_hand
            if (left_s > _DRAIN_S and is_idle) or left_s > _LEAVE_S:
                await asyncio.to_thread(partial(kill_actor, member.name, restart=False))

    def _decide(self, action: str, subject: str, reason: str) -> None:
        last = self._decisions[-1] if self._decisions else None
        if last is not None and (last.action, last.subject, last.reason) == (action, subject, reason):
            return  # an outage that lasts many ticks is one entry
        self._decisions.append(PoolDecision(time.time_ns() // 1000, action, subject, reason))


def _end_process(task: asyncio.Task[None]) -> None:
    """A supervisor whose loop died would look alive: end the process, so that Ray restarts it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        traceback.print_exception(error, file=sys.stderr)
        os._exit(1)
