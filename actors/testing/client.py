"""A simulated client process: one session, a few concurrent callers, retries as the real client makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.messages import (
    ANY,
    Absent,
    List,
    Page,
    Reply,
    Request,
    Resolution,
    Value,
    Write,
)
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.session import BUSY, MOVED, Again, Answer, Done, Lost, Operation, Session
from lightning_state.actors.errors import LightningStateError, OutcomeUnknownError
from lightning_state.actors.testing.history import Call, Kind, Outcome, Seen, seen_in
from lightning_state.actors.testing.process import CATEGORY_ID
from lightning_state.actors.testing.stage import Stage

_TIMEOUT_US = 30_000
_THINK_US = 3_000
_GATHER_US = 40
_PATIENT_S = 60.0
_OPS = {Kind.SET: Op.SET, Kind.PATCH: Op.PATCH, Kind.STATUS: Op.STATUS, Kind.DELETE: Op.DELETE}
_KINDS = (Kind.READ, Kind.SET, Kind.PATCH, Kind.STATUS, Kind.DELETE)
_WEIGHTS = (40, 32, 9, 9, 8)
_LISTS = 0.03
_STATUSES = ("Initializing", "Ready", "Processing", "Paused", "Failed", "Completed")
_STATUS_WEIGHTS = (4, 8, 6, 4, 2, 1)
_NOT_LOOKED_UP = MOVED | BUSY | {"deadline_exceeded"}
_LOST = Lost(True, "shard_unavailable", "simulated: no answer in time")
_UNSENT = Lost(False, "shard_unavailable", "simulated: no connection")
_ABSENT: tuple[int, Seen | None] = (0, None)


@dataclass(slots=True, eq=False)
class _Running:
    """One caller's operation under way."""

    caller: str
    call: Call
    operation: Operation
    repeats: bool = False
    """An earlier call made the same request, and its outcome is unknown."""
    attempt: int = 0
    over: bool = False


class Client:
    """Runs operations until the simulation has had enough of them, and records what it asked and heard."""

    def __init__(self, simulation: Stage, name: str) -> None:
        self._simulation = simulation
        self._world = simulation.world
        self._name = name
        self._session = Session(name, simulation.map(), principal="p")
        self._versions: dict[str, int] = {}
        self._outbox: dict[int, list[tuple[_Running, Request]]] = {}
        self._marks = 0

    def __repr__(self) -> str:
        return f"<Client {self._name} {self._session!r}>"

    def begin(self, caller: str) -> None:
        """One caller starts its next operation, if there is one left to do."""
        if not self._simulation.take_operation():
            return
        world, random = self._world, self._world.random
        key = random.choice(self._simulation.keys)
        if world.chance(_LISTS):
            self._list(caller)
            return
        kind = random.choices(_KINDS, _WEIGHTS)[0]
        if kind is Kind.READ:
            self.read(caller, key)
        else:
            self._write(caller, key, kind)

    def read(self, caller: str, key: str) -> None:
        """Read a key."""
        call = Call(client=caller, kind=Kind.READ, key=key, invoked=self._world.moment())
        deadline_s = self._world.now_s + _PATIENT_S if caller == "end" else self._deadline_s()
        self._run(_Running(caller, call, self._session.read(AGENTS.name, key, deadline_s)))

    def _list(self, caller: str) -> None:
        shard = self._world.random.randrange(self._simulation.shards)
        call = Call(client=caller, kind=Kind.READ, key="", invoked=self._world.moment())
        request = List(CATEGORY_ID, "", "", 100)
        self._run(_Running(caller, call, self._session.listing(AGENTS.name, shard, request, self._deadline_s())))

    def _write(self, caller: str, key: str, kind: Kind) -> None:
        random = self._world.random
        self._marks += 1
        expected = ANY if random.random() < 0.3 else self._versions.get(key, 0)  # noqa: PLR2004  # most writes compare
        call = Call(
            client=caller,
            kind=kind,
            key=key,
            invoked=self._world.moment(),
            expected=expected,
            mark=f"{self._name}.{self._marks}" if kind in (Kind.SET, Kind.PATCH) else "",
            status=random.choices(_STATUSES, _STATUS_WEIGHTS)[0] if kind in (Kind.SET, Kind.STATUS) else "",
        )
        self._send_write(caller, call, None)

    def _send_write(self, caller: str, call: Call, request_id: str | None) -> None:
        operation = self._session.write(
            AGENTS.name,
            call.key,
            _OPS[call.kind],
            _body(call),
            call.expected,
            deadline_s=self._deadline_s(),
            now_ms=self._world.now_us // 1000,
            request_id=request_id,
        )
        template = operation.template
        if isinstance(template, Write):
            call = replace(call, request_id=template.request_id)
        self._run(_Running(caller, call, operation, repeats=request_id is not None))

    def _deadline_s(self) -> float:
        return self._world.now_s + self._world.random.choice((0.08, 0.3, 2.0))

    # -- one operation ---

    def _run(self, running: _Running) -> None:
        if self._world.chance(self._simulation.network.faults.cancel):
            self._world.after(self._simulation.network.delay_us(), self._cancel, running)
        self._send(running)

    def _send(self, running: _Running) -> None:
        if running.over:
            return
        shard, request = self._session.send(running.operation, self._world.now_s)
        waiting = self._outbox.setdefault(shard, [])
        waiting.append((running, request))
        if len(waiting) == 1:
            self._world.after(_GATHER_US, self._flush, shard)

    def _flush(self, shard: int) -> None:
        """Send what has gathered for a shard in one frame."""
        waiting = self._outbox.pop(shard)
        attempts = [(running, running.attempt) for running, _ in waiting]
        process = self._simulation.reach(shard, self._session.map)
        if process is None:
            self._world.after(_GATHER_US, self._lost, attempts, _UNSENT)
            return
        frame = self._session.frame([request for _, request in waiting])
        link = f"{self._name}-{shard}"

        def answer(replies: list[Reply]) -> None:
            for (running, attempt), reply in zip(attempts, replies, strict=True):
                self._answered(running, attempt, reply)

        self._simulation.network.send(link, process.deliver, frame, link, answer)
        self._world.after(_TIMEOUT_US, self._lost, attempts, _LOST)

    def _lost(self, attempts: list[tuple[_Running, int]], lost: Lost) -> None:
        for running, attempt in attempts:
            self._answered(running, attempt, lost)

    def _answered(self, running: _Running, attempt: int, answer: Answer) -> None:
        if running.over or running.attempt != attempt:
            return
        running.attempt += 1
        world = self._world
        decision = self._session.answered(running.operation, answer, world.now_s, world.random.random())
        if isinstance(decision, Again):
            delay_us = int(decision.delay_s * 1e6)
            if decision.refresh:
                world.after(max(0, delay_us - _GATHER_US), self._refresh)
            world.after(delay_us, self._send, running)
        elif isinstance(decision, Done):
            self._done(running, decision.reply)
        else:
            self._failed(running, decision.error)

    def _refresh(self) -> None:
        self._world.after(self._simulation.network.delay_us(), self._session.learn, self._simulation.map())

    def _cancel(self, running: _Running) -> None:
        if not running.over:
            self._simulation.figures["cancelled"] += 1
            self._finish(running, running.call, known=False)

    # -- how it ended ---

    def _done(self, running: _Running, reply: Reply) -> None:
        call = replace(running.call, outcome=Outcome.OK)
        if isinstance(reply, Page):
            found = {entry.key: (entry.version, seen_in(entry.body)) for entry in reply.entries}
            for key in self._simulation.keys_of(running.operation.shard or 0):
                version, seen = found.get(key, _ABSENT)
                self._record(replace(call, key=key, version=version, seen=seen))
        elif isinstance(reply, Value):
            seen = seen_in(reply.body) if reply.body is not None else _written(call)
            call = replace(call, version=reply.version, seen=seen)
            self._versions[call.key] = reply.version if seen is not None else 0
        elif isinstance(reply, Absent | Resolution):
            call = replace(call, version=reply.version)
            self._versions[call.key] = 0 if isinstance(reply, Absent) else reply.version
        self._finish(running, call, known=True)

    def _failed(self, running: _Running, error: LightningStateError) -> None:
        # That this call changed nothing says nothing of the earlier one, unless the owner looked that one up.
        if isinstance(error, OutcomeUnknownError) or (running.repeats and error.code in _NOT_LOOKED_UP):
            self._finish(running, running.call, known=False)
            return
        observed = {"version_conflict": error.details.get("current_version"), "not_found": 0}.get(error.code)
        if observed is not None:
            self._versions[running.call.key] = observed
        call = replace(running.call, outcome=Outcome.REFUSED, code=error.code, observed=observed)
        self._finish(running, call, known=True)

    def _finish(self, running: _Running, call: Call, *, known: bool) -> None:
        running.over = True
        self._session.end(running.operation)
        world = self._world
        if not known and call.writes:
            self._simulation.figures["outcomes unknown"] += 1
            if world.chance(0.4):
                # The same request again: both sendings are one write, begun when the first was.
                self._simulation.figures["repeated by caller"] += 1
                world.after(
                    self._simulation.network.delay_us(), self._send_write, running.caller, call, call.request_id
                )
                return
            if world.chance(0.6):
                world.after(self._simulation.network.delay_us(), self._resolve, running.caller, call)
        if call.key:
            self._record(call if known else replace(call, outcome=Outcome.UNKNOWN))
        if call.kind is not Kind.RESOLVE:
            world.after(int(world.random.random() * _THINK_US), self.begin, running.caller)

    def _resolve(self, caller: str, unknown: Call) -> None:
        self._simulation.figures["resolves"] += 1
        call = Call(
            client=f"{caller}/resolve",
            kind=Kind.RESOLVE,
            key=unknown.key,
            invoked=self._world.moment(),
            request_id=unknown.request_id,
        )
        operation = self._session.resolve(AGENTS.name, unknown.key, unknown.request_id, self._deadline_s())
        self._run(_Running(caller, call, operation))

    def _record(self, call: Call) -> None:
        if call.outcome is Outcome.UNKNOWN:
            self._simulation.history.append(call)
        else:
            self._simulation.history.append(replace(call, returned=self._world.moment()))


def _written(call: Call) -> Seen | None:
    """What a write leaves behind whose reply does not repeat it."""
    return (call.mark, call.status) if call.kind is Kind.SET else None


def _body(call: Call) -> bytes:
    if call.kind is Kind.SET:
        return msgspec.json.encode({"agentId": call.key, "agentType": call.mark, "status": call.status})
    if call.kind is Kind.PATCH:
        return msgspec.json.encode({"agentType": call.mark})
    return call.status.encode()
