"""A whole service in this process, without Ray: real shards and directory on memory stores, faults on demand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, cast

from ray import ObjectRef
from ray.exceptions import ActorUnavailableError, GetTimeoutError

from lightning_state.actors.category import BUILT_IN, Category, load_category
from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.core.directory import Directory, Identity
from lightning_state.actors.core.effects import (
    Commit,
    Effect,
    Load,
    Lookup,
    ReadHistory,
    Respond,
    Scan,
    Validate,
)
from lightning_state.actors.core.messages import Frame, Pending, Refused, Replies, Reply
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.service_map import Claim, Described, DirectoryReply, DirectoryRequest, Register
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.errors import LightningStateError, NotOwnerError, ShardUnavailableError
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import State
from lightning_state.actors.store.memory import MemoryDisk, MemoryStore
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.codec import decode_directory_request, decode_frame, encode
from lightning_state.actors.wire.handle_async import AsyncHandleTransport
from lightning_state.actors.wire.handle_sync import HandleTransport
from lightning_state.actors.wire.names import directory_name, shard_name

Fault = Literal["unsent", "lose_request", "lose_reply", "hang", "pending"]
"""What happens to a frame: not sent; sent but never arrived; executed, its answer lost; no answer; undecided yet."""


class Note(State):
    """A user's own state."""

    note_id: str
    text: str = ""


NOTES = Category(name="notes", model=Note, key_field="note_id")
OTHER_NOTES = Category(name="notes", model=Note, key_field="note_id", indexes=("text",))


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Let the other tasks run until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # it is about what other tasks did; there is no event to wait for
            await asyncio.sleep(0)


class LocalShard:
    """One shard: the pure core, its effects performed at once on a memory store that outlives it."""

    def __init__(self, number: int, service: LocalService) -> None:
        self.number = number
        self.disk = MemoryDisk()
        self._service = service
        self.start()

    def start(self) -> None:
        """Begin, or begin again with the memory lost: everything is refused until `claim`."""
        self.disk.owner = None
        self.store = MemoryStore(self.disk)
        self.store.open()
        self.shard = Shard(self._service.limits)
        self._calls = 0

    def claim(self) -> None:
        """Take a new epoch for the shard's slots."""
        granted, _ = self._service.directory.claim(Claim(self.number, 1, 1, "here", ""))
        self.adopt()
        self.shard.adopt(self.store.acquire(granted.slots, granted.epoch))
        self.epoch = granted.epoch

    def adopt(self) -> None:
        """Serve every registered category."""
        for info in self._service.directory.map().categories.values():
            self.shard.register(Registered(info.id, load_category(info.import_path), len(info.owners)))

    def adopt_slots(self) -> None:
        """Own the slots of newly registered categories too."""
        self.adopt()
        new = [s for s in self._service.directory.map().slots_of(self.number) if s not in self.shard.slots]
        self.shard.adopt(self.store.acquire(new, self.epoch))

    def frame(self, frame: Frame) -> Replies:
        """The replies to a frame."""
        self._calls += 1
        replies: list[Reply] = [Pending()] * len(frame.requests)
        todo = deque(self.shard.receive(self._calls, frame, _now_us()))
        while todo:
            effect = todo.popleft()
            if isinstance(effect, Respond):
                replies[effect.index] = effect.reply
            else:
                todo.extend(self._perform(effect))
        return Replies(replies)

    def _perform(self, effect: Effect) -> list[Effect]:
        shard, store, now_us = self.shard, self.store, _now_us()
        match effect:
            case Load():
                return shard.loaded(effect.ticket, store.load([(effect.slot, effect.key)])[0], now_us)
            case Lookup():
                found = store.applied(effect.slot, effect.principal, effect.request_id)
                return shard.looked_up(effect.ticket, found, now_us)
            case Scan():
                return shard.scanned(effect.ticket, store.scan(effect.request, effect.size_bytes), now_us)
            case ReadHistory():
                rows = store.history(effect.slot, effect.key, after_version=effect.after_version, limit=effect.limit)
                return shard.history_read(effect.ticket, rows, now_us)
            case Validate():
                return shard.judged(effect.ticket, self._service.verdict(effect), now_us)
            case Commit():
                store.commit(effect.rows)
                return shard.committed(effect.ticket, now_us)
            case _:
                return []


class LocalService:
    """Two shards and a directory. `faults` befall the next frames to shards, in order; None lets one pass."""

    def __init__(self, shards: int = 2, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.name = "local"
        values = Directory.create(Identity(self.name, "id-1", shards, 8))
        self.directory = Directory(values, {"limits": self.limits.model_dump(), "timeout_s": 5.0})
        for category in BUILT_IN:
            self.register(Register(category.name, category.import_path, category.hash, category.schema_version))
        self.shards = [LocalShard(number, self) for number in range(shards)]
        for shard in self.shards:
            shard.claim()
        self.frames: list[tuple[int, Frame]] = []
        self.faults: deque[Fault | None] = deque()
        self.refuse_next: deque[Refused] = deque()
        self.verdict: Callable[[Validate], Refused | None] = lambda _: None
        self.running = True
        self.directory_faults: deque[LightningStateError] = deque()
        self._lock = threading.Lock()

    def client(self) -> StateClient:
        """A client for threads."""
        return StateClient(HandleTransport(self.name, LocalCalls(self)), service=self.name)

    def async_client(self) -> AsyncStateClient:
        """A client for asyncio."""
        return AsyncStateClient(AsyncHandleTransport(self.name, LocalCalls(self)), service=self.name)

    def restart(self, number: int) -> None:
        """Kill a shard and start it again: memory lost, a new epoch."""
        self.shards[number].start()
        self.shards[number].claim()

    def register(self, request: Register) -> None:
        """Register a category, and tell the shards."""
        self.directory.register(request)
        for shard in getattr(self, "shards", []):
            shard.adopt_slots()

    def ask_directory(self, request: DirectoryRequest) -> DirectoryReply:
        """The directory's answer."""
        try:
            if self.directory_faults:
                raise self.directory_faults.popleft()
            if isinstance(request, Register):
                self.register(request)
        except LightningStateError as error:
            return refusal(error)
        return Described(self.directory.map())

    def ask_shard(self, number: int, frame: Frame) -> Replies:
        """A shard's replies."""
        with self._lock:
            self.frames.append((number, frame))
            if self.refuse_next:
                return Replies([self.refuse_next.popleft()] * len(frame.requests))
            if not self.shards[number].shard.slots:
                return Replies([refusal(NotOwnerError("starting"))] * len(frame.requests))
            return self.shards[number].frame(frame)

    def take_fault(self) -> Fault | None:
        """What befalls the next frame."""
        return self.faults.popleft() if self.faults else None


class _Sent:
    """A call under way, awaitable and waitable like Ray's references."""

    def __init__(self, answer: bytes | Exception | None) -> None:
        self._answer = answer

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from asyncio.sleep(0).__await__()
        if self._answer is None:
            yield from asyncio.get_running_loop().create_future().__await__()
        return self.wait(0.0)

    def wait(self, deadline_s: float) -> bytes:
        if self._answer is None:
            while (left_s := deadline_s - time.monotonic()) > 0:
                threading.Event().wait(left_s)
            raise GetTimeoutError("no answer")
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class LocalCalls(ActorCalls):
    """Calls of a LocalService's actors."""

    def __init__(self, service: LocalService) -> None:
        super().__init__()
        self._service = service
        self._names = {shard_name(service.name, shard.number): shard.number for shard in service.shards}

    def knows(self, name: str) -> bool:
        return self._service.running and bool(name)

    def find(self, name: str) -> Any:
        if not self._service.running:
            raise ShardUnavailableError(f"there is no actor {name}")
        return None

    def submit(self, name: str, data: bytes) -> ObjectRef[bytes]:
        return cast("ObjectRef[bytes]", self._call(name, data))

    def first(self, sent: Sequence[ObjectRef[bytes]], deadline_s: float) -> ObjectRef[bytes] | None:
        del deadline_s
        return sent[0]

    def result(self, sent: ObjectRef[bytes], deadline_s: float) -> bytes:
        return cast("_Sent", sent).wait(deadline_s)

    def _call(self, name: str, data: bytes) -> _Sent:
        self.find(name)
        if name == directory_name(self._service.name):
            return _Sent(encode(self._service.ask_directory(decode_directory_request(data))))
        frame = decode_frame(data)
        lost = ActorUnavailableError("lost", b"\0" * 16)
        match self._service.take_fault():
            case "unsent":
                raise ConnectionError("no route")
            case "lose_request":
                return _Sent(lost)
            case "hang":
                return _Sent(None)
            case "pending":
                return _Sent(encode(Replies([Pending()] * len(frame.requests))))
            case "lose_reply":
                self._service.ask_shard(self._names[name], frame)
                return _Sent(lost)
            case None:
                return _Sent(encode(self._service.ask_shard(self._names[name], frame)))


def _now_us() -> int:
    return time.time_ns() // 1_000
