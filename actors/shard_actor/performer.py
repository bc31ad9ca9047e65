"""Performs a shard's effects on an event loop: the store in two threads, verdicts by VERL, replies to their callers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from lightning_state.actors.category import Category
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
from lightning_state.actors.core.messages import Frame, Refused, Replies, Request
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Applied
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.errors import FencedError, LightningStateError, StoreCorruptError, StoreUnavailableError
from lightning_state.actors.logs import line
from lightning_state.actors.metrics.memory import read_memory
from lightning_state.actors.metrics.outcome import OK
from lightning_state.actors.metrics.shard import ShardFigures, ShardMetrics, now
from lightning_state.actors.shard_actor.calls import Call, HandleCall
from lightning_state.actors.shard_actor.clock import SteadyClock
from lightning_state.actors.shard_actor.reads import read_each
from lightning_state.actors.shard_actor.store_thread import StoreThread
from lightning_state.actors.shard_actor.subscribers import Subscribers
from lightning_state.actors.store.protocol import CommitUnknownError, Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOADS_AT_ONCE = 128
"""States that may be in memory beside the hot ones until whoever asked has them: 128 MiB of the longest."""
_PROJECT_ROWS = 4_096
_PROJECT_IDLE_S = 0.1
"""Projections follow when no commit came for this long; under load the store bounds its own tail."""


class Verdicts(Protocol):
    """Where a shard's changes are validated."""

    def learn(self, current: ServiceMap) -> None:
        """Use a newer map."""
        ...

    def register(self, category: Category[Any], import_path: str) -> None:
        """Expect changes of this category."""
        ...

    def judge(self, change: Validate, judged: Callable[[int, Refused | None], None]) -> None:
        """Answer by `judged(change.ticket, refusal)`, at once or later, on the event loop; None admits the change."""
        ...

    async def close(self) -> None:
        """Stop."""
        ...


class _Asked(NamedTuple):
    """A frame being answered."""

    call: Call
    requests: list[Request]
    began_s: float


class Performer:
    """The hands of one `Shard`. All decisions are the shard's; all waiting is here."""

    def __init__(
        self,
        shard: Shard,
        store: Store,
        verdicts: Verdicts,
        recover: Callable[[], None],
        subscribers: Subscribers | None = None,
        *,
        metrics: ShardMetrics | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.shard = shard
        self.store = store
        self.commits = 0
        self.rows_committed = 0
        self.verdicts = verdicts
        self.metrics = metrics or ShardMetrics()
        self.clock = clock or SteadyClock()
        """The time now, in microseconds since 1970."""
        self._recover = recover
        self._subscribers = subscribers or Subscribers()
        self._calls: dict[int, _Asked] = {}
        self._judging: dict[int, float] = {}
        self._last_call = 0
        self._writer = StoreThread("store-writer")
        self._reader = StoreThread("store-reader")
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._verdicts: list[tuple[int, Refused | None]] = []
        self._idle: asyncio.TimerHandle | None = None
        self._waking: asyncio.TimerHandle | None = None

    async def frame(self, frame: Frame) -> Replies:
        """The replies to a frame, within a second; Pending for what is not decided by then."""
        call = HandleCall(len(frame.requests), self.shard.limits.frame_bytes)
        number = self.submit(frame, call)
        try:
            return await call.replies()
        finally:
            self._calls.pop(number, None)

    def submit(self, frame: Frame, call: Call) -> int:
        """Take in a frame; its call is answered now or later, until it says that this was all."""
        self._last_call += 1
        number = self._last_call
        self._calls[number] = _Asked(call, frame.requests, now())
        self.perform(self.shard.receive(number, frame, self.clock()))
        return number

    def perform(self, effects: list[Effect]) -> None:
        """Perform effects in order; those that wait go on beside, and their results come back to the shard.

        Replies leave at the end, after all that is pushed: no reply reflects a commit its caches have not heard of.
        """
        reads: list[Load | Lookup] = []
        changes: list[Invalidate] = []
        answered: dict[int, list[Respond]] = {}
        began_s = now()
        for effect in effects:
            if isinstance(effect, Respond):
                if changes:
                    self._subscribers.changed(changes)
                    changes = []
                if (asked := self._calls.get(effect.call)) is not None:
                    asked.call.answer(effect.index, effect.reply)
                    answered.setdefault(effect.call, []).append(effect)
            elif isinstance(effect, Invalidate):
                changes.append(effect)
            elif isinstance(effect, (Load, Lookup)):
                reads.append(effect)
            else:
                self._begin(effect, began_s)
        if changes:
            self._subscribers.changed(changes)
        for number, responses in answered.items():
            self._flush(number, responses)
        if reads:
            self._spawn(self._read(reads))

    def _flush(self, number: int, responses: list[Respond]) -> None:
        asked = self._calls[number]
        if asked.call.flush():
            del self._calls[number]
        self.metrics.answered(asked.requests, responses, asked.began_s)
        if asked.call.room.is_full:
            self.perform(self.shard.let_go(number))

    def figures(self) -> ShardFigures:
        """What this shard measures of itself, now."""
        return self.metrics.read(len(self._calls), self.shard.depths(), self.shard.hot, read_memory())

    def _begin(self, effect: Validate | Commit | Scan | Notify | Recover | Wake | ReadHistory, now_s: float) -> None:
        match effect:
            case Validate():
                self._judging[effect.ticket] = now_s
                self.verdicts.judge(effect, self._judged)
            case Commit():
                self._begin_commit(effect)
            case Scan():
                self._spawn(self._scan(effect))
            case ReadHistory():
                self._spawn(self._read_history(effect))
            case Notify():
                _log_transition(effect)
            case Recover():
                self._recover()
            case Wake():
                if self._waking is not None:
                    self._waking.cancel()
                delay_s = max(0.0, (effect.at_us - self.clock()) / 1e6)
                self._waking = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self.perform(self.shard.woken(self.clock()))

    async def on_writer(self, work: Callable[[], Any]) -> Any:
        """Run store work on the thread that owns the writing connection."""
        return await self._writer.do(work)

    async def _read(self, reads: list[Load | Lookup]) -> None:
        loads = [read for read in reads if isinstance(read, Load)]
        for begin in range(0, len(loads), _LOADS_AT_ONCE):
            wanted = [load for load in loads[begin : begin + _LOADS_AT_ONCE] if self.shard.is_waited_for(load.ticket)]
            if wanted:
                places = [(load.slot, load.key) for load in wanted]
                found = await self._each(wanted, lambda places=places: read_each(self.store.load, places))
                self.perform(self.shard.all_loaded(found, self.clock()))
        lookups = [read for read in reads if isinstance(read, Lookup)]
        if lookups:
            for ticket, result in await self._each(lookups, lambda: read_each(self._applied, lookups)):
                self.perform(self.shard.looked_up(ticket, result, self.clock()))

    async def _each(
        self, reads: Sequence[Load | Lookup], work: Callable[[], list[T | StoreCorruptError]]
    ) -> list[tuple[int, T]]:
        """(ticket, result) of those that could be read; whoever waits for the others is told why not."""
        try:
            results: Sequence[T | LightningStateError] = await self.on_reader(work)
        except LightningStateError as error:
            results = [error] * len(reads)
        found: list[tuple[int, T]] = []
        for read, result in zip(reads, results, strict=True):
            if isinstance(result, LightningStateError):
                self.perform(self.shard.load_failed(read.ticket, refusal(result), self.clock()))
            else:
                found.append((read.ticket, result))
        return found

    def _applied(self, lookups: Sequence[Lookup]) -> list[Applied | None]:
        applied = self.store.applied
        return [applied(each.slot, each.principal, each.request_id) for each in lookups]

    async def _scan(self, scan: Scan) -> None:
        try:
            entries = await self.on_reader(lambda: self.store.scan(scan.request, scan.size_bytes))
        except LightningStateError as error:
            self.perform(self.shard.load_failed(scan.ticket, refusal(error), self.clock()))
        else:
            self.perform(self.shard.scanned(scan.ticket, entries, self.clock()))

    async def _read_history(self, asked: ReadHistory) -> None:
        try:
            rows = await self.on_reader(
                lambda: self.store.history(asked.slot, asked.key, after_version=asked.after_version, limit=asked.limit)
            )
        except LightningStateError as error:
            self.perform(self.shard.load_failed(asked.ticket, refusal(error), self.clock()))
        else:
            self.perform(self.shard.history_read(asked.ticket, rows, self.clock()))

    def _judged(self, ticket: int, refused: Refused | None) -> None:
        # Later in this turn of the loop: verdicts that came together are committed together.
        if not self._verdicts:
            asyncio.get_running_loop().call_soon(self._take_verdicts)
        self._verdicts.append((ticket, refused))

    def _take_verdicts(self) -> None:
        verdicts, self._verdicts = self._verdicts, []
        if self._closed:
            return
        asked = self._judging.pop
        self.metrics.judged([(at_s, refused) for ticket, refused in verdicts if (at_s := asked(ticket, None))])
        try:
            self.perform(self.shard.all_judged(verdicts, self.clock()))
        except Exception as error:  # noqa: BLE001  # whatever broke, whoever runs this shard decides what follows
            self._broke(error)

    def _begin_commit(self, commit: Commit) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._writer.begin(partial(self.store.commit, commit.rows), partial(self._ended_commit, commit, now()))

    def _ended_commit(self, commit: Commit, began_s: float, _: None, error: BaseException | None) -> None:
        if self._closed:
            return
        self.metrics.committed(len(commit.rows), _outcome(error), began_s)
        try:
            if error is None:
                self._committed(commit)
            elif isinstance(error, (CommitUnknownError, FencedError)):
                # A newer epoch owns the slots, or nobody knows what was written: serve nothing until this is settled.
                logger.warning("commit of %d rows: %s", len(commit.rows), error)
                self.perform(self.shard.commit_unknown(commit.ticket))
            elif isinstance(error, LightningStateError):
                self.perform(self.shard.commit_refused(commit.ticket, refusal(error), self.clock()))
            else:
                self._broke(error)
        except Exception as broken:  # noqa: BLE001  # whatever broke, whoever runs this shard decides what follows
            self._broke(broken)

    def _committed(self, commit: Commit) -> None:
        self.commits += 1
        self.rows_committed += len(commit.rows)
        self.perform(self.shard.committed(commit.ticket, self.clock()))
        self._project_when_idle()

    def _project_when_idle(self) -> None:
        """Project soon, unless a commit comes first; one timer at most, so that closing leaves none behind."""
        if self._idle is not None:
            self._idle.cancel()
        if not self._closed:
            self._idle = asyncio.get_running_loop().call_later(_PROJECT_IDLE_S, self._spawn_projection)

    def _spawn_projection(self) -> None:
        self._spawn(self._project())

    async def _project(self) -> None:
        try:
            left = await self.on_writer(lambda: self.store.project(_PROJECT_ROWS))
        except StoreUnavailableError as error:
            logger.warning("projections wait: %s", error)  # the journal has everything; the next commit tries again
            return
        if left:
            self._project_when_idle()

    async def on_reader(self, work: Callable[[], Any]) -> Any:
        """Run store work on the thread of the reading connection."""
        return await self._reader.do(work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broke(error)

    def _broke(self, error: BaseException) -> None:
        # A broken step would leave its writes waiting for ever: whoever runs this shard decides what follows.
        asyncio.get_running_loop().call_exception_handler({"message": "a shard effect failed", "exception": error})

    async def close(self) -> None:
        """Cancel what is under way and close the store."""
        self._stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.verdicts.close()
        await self.on_writer(self.store.close)
        self.end()

    def end(self) -> None:
        """End all but the store, which is whoever's closes it."""
        self._stop()
        self._writer.end()
        self._reader.end()

    def _stop(self) -> None:
        self._closed = True
        for timer in (self._idle, self._waking):
            if timer is not None:
                timer.cancel()
        for task in list(self._tasks):
            task.cancel()


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return OK
    return error.code if isinstance(error, LightningStateError) else "broken"


def _log_transition(change: Notify) -> None:
    """One line for a change of status; nothing for a write that keeps it. No other values: states may be secret."""
    transition = change.transition
    if transition is not None and logger.isEnabledFor(logging.INFO):
        fields = {"category": transition.category, "key": change.row.key}
        statuses = {"from": transition.before, "to": transition.after}
        logger.info(line("transition", **fields, **statuses, version=change.row.version))
