"""A simulated shard process: performs the effects of one pure Shard against the simulated world, until it dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.effects import (
    Commit,
    Effect,
    Invalidate,
    Load,
    Lookup,
    Notify,
    ReadHistory,
    Recover,
    Respond,
    Scan,
    Validate,
    Wake,
)
from lightning_state.actors.core.messages import Frame, Refused, Replies, Reply
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.rows import JournalRow
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.errors import (
    FencedError,
    StoreUnavailableError,
    ValidationFailedError,
    ValidationUnavailableError,
)
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.checkers.output_gate import OutputGate
from lightning_state.actors.testing.stage import Answer, Stage

CATEGORY_ID = 0
SLOTS = 4
_LIMITS = Limits(key_queue=6, shard_queue=16)
"""Small, so that overload happens."""
_UNREACHABLE = refusal(StoreUnavailableError("simulated: the store cannot be reached"))
_INVALID = refusal(ValidationFailedError("simulated: not valid"))
_NO_VERDICT = refusal(ValidationUnavailableError("simulated: no validator"))


@dataclass(slots=True)
class _Received:
    """A frame that is being answered."""

    link: str
    answer: Answer
    replies: list[Reply | None]
    missing: int


class Process:
    """One incarnation of a shard. `owner`: its lease is valid; without it the process tells nobody anything."""

    def __init__(self, simulation: Stage, number: int) -> None:
        self.number = number
        self.epoch = 0
        self.alive = True
        self.owner = False
        self._simulation = simulation
        self._world = simulation.world
        self._network = simulation.network
        self._store = simulation.stores[number]
        self._shard = Shard(_LIMITS)
        self._shard.register(Registered(CATEGORY_ID, AGENTS, SLOTS))
        self._gate = OutputGate(f"shard {number}", self._store.holds, simulation.violations)
        self._received: dict[int, _Received] = {}
        self._calls = 0
        self._paused_until_us = 0
        self._perform_one: dict[type[Effect], Callable[[Any], None]] = {
            Respond: self._respond,
            Load: self._load,
            Lookup: self._lookup,
            Scan: self._scan,
            Validate: self._validate,
            Commit: self._commit,
            Invalidate: self._gate.invalidate,
            Notify: self._gate.notify,
            Recover: self._recover,
            Wake: self._wake,
            ReadHistory: self._history,
        }

    def __repr__(self) -> str:
        state = ("owner" if self.owner else "zombie") if self.alive else "dead"
        return f"<Process {self.number} epoch={self.epoch} {state} {self._shard!r}>"

    def start(self) -> None:
        """Ask the directory for an epoch, then take the slots of the store, then serve."""
        if self.alive:
            granted = self._simulation.claim(self.number)
            self.epoch = granted.epoch
            self._world.after(self._network.delay_us(), self._acquire, granted.slots)

    def deliver(self, frame: Frame, link: str, answer: Answer) -> None:
        """A frame arrives."""
        if not self.alive:
            return
        if self._world.now_us < self._paused_until_us:
            self._world.after(self._paused_until_us - self._world.now_us, self.deliver, frame, link, answer)
            return
        self._calls += 1
        count = len(frame.requests)
        self._received[self._calls] = _Received(link, answer, [None] * count, count)
        self._perform(self._shard.receive(self._calls, frame, self._world.now_us))

    def crash(self) -> None:
        """Everything in memory is gone; what was handed to the store may still be written."""
        if self.alive:
            self.alive = self.owner = False
            self._simulation.figures["crashes"] += 1
            self._simulation.restart_later(self)

    def retire(self) -> None:
        """A newer epoch owns the slots: end, and tell whoever waits to ask the new owner."""
        self._simulation.figures["fenced"] += 1
        self._perform(self._shard.disown("a newer epoch owns the slots", maybe=False))
        self.alive = self.owner = False

    def pause(self, duration_us: int) -> None:
        """SIGSTOP: nothing happens here until later."""
        self._paused_until_us = self._world.now_us + duration_us

    # -- effects ---

    def _perform(self, effects: list[Effect]) -> None:
        world, faults = self._world, self._network.faults
        for effect in effects:
            if world.chance(faults.crash):
                self.crash()
                return
            if world.chance(faults.suspicion):
                self._simulation.suspect(self)
            self._perform_one[type(effect)](effect)
        if world.chance(faults.evict):
            for slot, key in self._shard.hot.keys():  # noqa: SIM118  # not a mapping: keys() is what it has
                if world.chance(0.5):
                    self._shard.hot.evict(slot, key)

    def _respond(self, effect: Respond) -> None:
        if not self.owner and not isinstance(effect.reply, Refused):
            return
        if self.owner:
            self._gate.respond(effect)
        elif isinstance(effect.reply, Refused) and effect.reply.code not in ("not_owner", "fenced"):
            return
        received = self._received[effect.call]
        if received.replies[effect.index] is not None:
            self._simulation.violations.append(f"request answered twice: {effect}")
            return
        received.replies[effect.index] = effect.reply
        received.missing -= 1
        if not received.missing:
            del self._received[effect.call]
            replies = Replies([reply for reply in received.replies if reply is not None])
            self._network.send(received.link, received.answer, replies.replies)

    def _load(self, effect: Load) -> None:
        self._read(effect.ticket, "loaded", lambda: self._store.load(effect.slot, effect.key))

    def _lookup(self, effect: Lookup) -> None:
        self._read(
            effect.ticket,
            "looked_up",
            lambda: self._store.applied(effect.slot, effect.principal, effect.request_id),
        )

    def _scan(self, effect: Scan) -> None:
        self._read(effect.ticket, "scanned", lambda: self._store.scan(effect.request, effect.size_bytes))

    def _read(self, ticket: int, reply: str, read: Callable[[], Any]) -> None:
        """Read the store at one moment, and hear of it at a later one."""
        self._world.after(self._network.delay_us(), self._read_now, ticket, reply, read)

    def _read_now(self, ticket: int, reply: str, read: Callable[[], Any]) -> None:
        if self._world.chance(self._network.faults.store_read):
            self._tell("load_failed", ticket, _UNREACHABLE)
        else:
            self._tell(reply, ticket, read())

    def _validate(self, effect: Validate) -> None:
        roll = self._world.random.random()
        faults = self._network.faults
        verdict = None
        if roll < faults.verdict_refused:
            verdict = _INVALID
        elif roll < faults.verdict_refused + faults.verdict_missing:
            verdict = _NO_VERDICT
        self._tell("judged", effect.ticket, verdict)

    def _commit(self, effect: Commit) -> None:
        self._world.after(self._network.delay_us(), self._commit_now, effect)

    def _commit_now(self, effect: Commit) -> None:
        """The store works on a commit. What a process that just died handed over may or may not be carried out."""
        world, faults, figures = self._world, self._network.faults, self._simulation.figures
        if not self.alive and world.chance(0.5):
            return
        roll = world.random.random()
        if roll < faults.commit_refused:
            figures["commits refused"] += 1
            self._tell("commit_refused", effect.ticket, _UNREACHABLE)
        elif roll < faults.commit_refused + faults.commit_unknown:
            figures["commits unknown"] += 1
            self._maybe_append(effect.rows)
            self._tell("commit_unknown", effect.ticket)
        else:
            try:
                self._store.append(effect.rows)
            except FencedError as error:
                self._tell("commit_refused", effect.ticket, refusal(error))
                world.after(self._network.delay_us(), self._end)
            else:
                figures["commits"] += 1
                self._tell("committed", effect.ticket)

    def _maybe_append(self, rows: Sequence[JournalRow]) -> None:
        roll = self._world.random.random()
        if roll < 0.25:  # noqa: PLR2004  # a quarter now, a quarter late, half never
            self._append_if_owned(rows)
        elif roll < 0.5:  # noqa: PLR2004  # the same
            self._world.after(self._network.delay_us(), self._append_if_owned, rows)

    def _append_if_owned(self, rows: Sequence[JournalRow]) -> None:
        try:
            self._store.append(rows)
        except FencedError:
            self._simulation.figures["late commits fenced"] += 1

    def _recover(self, effect: Recover) -> None:  # noqa: ARG002  # the effect has nothing to say but its type
        self._simulation.figures["recoveries"] += 1
        self._received.clear()
        self.owner = False
        self.start()

    def _history(self, effect: ReadHistory) -> None:
        self._read(
            effect.ticket,
            "history_read",
            lambda: self._store.history(
                effect.slot, effect.key, after_version=effect.after_version, limit=effect.limit
            ),
        )

    def _wake(self, effect: Wake) -> None:
        """Wakings are never cancelled here: one that comes too early or twice must do no harm."""
        self._world.after(max(0, effect.at_us - self._world.now_us), self._call, "woken", ())

    def _acquire(self, slots: list[int]) -> None:
        if not self.alive:
            return
        compact = self._world.chance(self._network.faults.compact)
        try:
            heads = self._store.acquire(slots, self.epoch, compact=compact)
        except FencedError:
            self.retire()
            return
        self._simulation.take_over(self)
        self._gate.begin(heads)
        self._tell("adopt", heads, self._store.held(slots))

    # -- calls into the shard ---

    def _tell(self, method: str, *arguments: Any) -> None:
        self._world.after(self._network.delay_us(), self._call, method, arguments)

    def _call(self, method: str, arguments: tuple[Any, ...]) -> None:
        if not self.alive:
            return
        if self._world.now_us < self._paused_until_us:
            self._world.after(self._paused_until_us - self._world.now_us, self._call, method, arguments)
        elif method == "adopt":
            self._shard.adopt(*arguments, now_us=self._world.now_us)
        elif method == "commit_unknown":
            self._perform(self._shard.commit_unknown(*arguments))
        else:
            self._perform(getattr(self._shard, method)(*arguments, self._world.now_us))

    def _end(self) -> None:
        if self.alive:
            self.retire()
