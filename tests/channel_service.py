"""Real shards with their channels on an event loop of a thread, without Ray: memory stores, handles that can be cut."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Self, TypeVar, cast

from ray import ObjectRef
from ray.exceptions import ActorUnavailableError, GetTimeoutError

from lightning_state.actors.category import BUILT_IN, Category
from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.core.directory import Directory, Identity
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.service_map import Claim, Described, Granted, Register, ServiceMap
from lightning_state.actors.errors import ShardUnavailableError
from lightning_state.actors.limits import CacheSettings, Limits
from lightning_state.actors.settings import Settings
from lightning_state.actors.shard_actor.channel import ShardChannel
from lightning_state.actors.shard_actor.runtime import ShardRuntime
from lightning_state.actors.store.memory import MemoryDisk, MemoryStore
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.channel_sync import ChannelTransport
from lightning_state.actors.wire.codec import decode_frame, encode
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.handle_async import AsyncHandleTransport
from lightning_state.actors.wire.handle_sync import HandleTransport
from lightning_state.actors.wire.names import directory_name, shard_name

T = TypeVar("T")


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for what other threads do. Raises TimeoutError."""
    deadline_s = time.monotonic() + within_s
    waiting = threading.Event()
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        waiting.wait(0.005)


class Judges:
    """Verdicts of a test: `refuse` decides, `gate` holds them back."""

    def __init__(self) -> None:
        self.gate: Callable[[Validate], Awaitable[None]] | None = None
        self._judging: set[asyncio.Task[None]] = set()
        self.refuse: Callable[[Validate], Refused | None] = lambda _: None

    def learn(self, current: ServiceMap) -> None:
        pass

    def register(self, category: Category[Any], import_path: str) -> None:
        pass

    def judge(self, change: Validate, judged: Callable[[int, Refused | None], None]) -> None:
        task = asyncio.get_running_loop().create_task(self._judge(change, judged))
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def _judge(self, change: Validate, judged: Callable[[int, Refused | None], None]) -> None:
        if self.gate is not None:
            await self.gate(change)
        judged(change.ticket, self.refuse(change))

    async def close(self) -> None:
        for task in list(self._judging):
            task.cancel()


class ChannelShard:
    """One shard process, as far as it matters here."""

    def __init__(self, service: ChannelService, number: int) -> None:
        self.number = number
        self.disk = MemoryDisk()
        self.judges = Judges()
        self.endpoint = ""
        self._service = service

    async def start(self) -> None:
        """A new incarnation: serving, under a new epoch."""
        self.disk.owner = None
        claim = Claim(self.number, 1, 1, "here", "")
        self.runtime = ShardRuntime(
            self.number,
            open_store=lambda: MemoryStore(self.disk),
            claims=self._service,
            verdicts=lambda _: self.judges,
            identity=claim,
        )
        self.channel = ShardChannel(self.runtime, shard_name(self._service.name, self.number), "127.0.0.1")
        self.endpoint = await self.channel.open()
        self.runtime.listens_at(self.endpoint)
        self.running = asyncio.get_running_loop().create_task(self.runtime.run())
        while not self.runtime.epoch:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """End it as a crash does: no word to anybody."""
        listener = self.channel._listener
        for peer in [*listener._peers, *listener._strangers]:
            peer._transport.abort()
        await listener.close()
        self.running.cancel()
        if (performer := self.runtime._performer) is not None:
            self.runtime._performer = None
            await performer.close()

    @property
    def connections(self) -> int:
        return len(self.channel._listener)


class ChannelService:
    """Shards and a directory; use it as a context manager."""

    def __init__(
        self,
        shards: int = 1,
        limits: Limits | None = None,
        cache: CacheSettings | None = None,
        categories: Sequence[Category[Any]] = (),
        service_id: str = "id-1",
    ) -> None:
        self.name = "channels"
        limits = limits or Limits()
        settings = Settings(limits=limits, timeout_s=20, cache=cache or CacheSettings()).model_dump(
            mode="json", exclude={"data_dir"}
        )
        self.directory = Directory(Directory.create(Identity(self.name, service_id, shards, 8)), settings)
        for category in (*BUILT_IN, *categories):
            self.directory.register(
                Register(category.name, category.import_path, category.hash, category.schema_version)
            )
        self.loop = asyncio.new_event_loop()
        self.shards = [ChannelShard(self, number) for number in range(shards)]
        self.handle_frames = 0
        self.handles_work = True
        self._thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        for shard in self.shards:
            self.run(shard.start())
        return self

    def __exit__(self, *_: object) -> None:
        for shard in self.shards:
            self.run(shard.stop())
        self.run(_settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the shards' loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def on_loop(self, work: Callable[[], T]) -> T:
        """The same for what does not wait."""

        async def call() -> T:
            return work()

        return self.run(call())

    def restart(self, number: int = 0) -> None:
        """Kill a shard; its successor begins at once."""
        self.run(self.shards[number].stop())
        self.run(self.shards[number].start())

    def endpoint(self, number: int = 0) -> Endpoint:
        found = Endpoint.decode(self.shards[number].endpoint)
        assert found is not None
        return found

    async def claim(self, claim: Claim) -> Granted:
        granted, _ = self.directory.claim(claim)
        return granted

    def client(self) -> StateClient:
        handles = HandleTransport(self.name, _Handles(self))
        return StateClient(ChannelTransport(self.name, handles), service=self.name)

    def async_client(self) -> AsyncStateClient:
        handles = AsyncHandleTransport(self.name, _Handles(self))
        return AsyncStateClient(AsyncChannelTransport(self.name, handles), service=self.name)

    async def answer(self, name: str, data: bytes) -> bytes:
        """What the actor's method returns."""
        if name == directory_name(self.name):
            return encode(Described(self.directory.map()))
        self.handle_frames += 1
        if not self.handles_work:
            raise ActorUnavailableError("cut", b"\0" * 16)
        number = int(name.rpartition("/")[2])
        return encode(await self.shards[number].runtime.frame(decode_frame(data)))


class _Sent:
    def __init__(self, answer: concurrent.futures.Future[bytes]) -> None:
        self.answer = answer

    def __await__(self) -> Generator[Any, None, bytes]:
        return asyncio.wrap_future(self.answer).__await__()


class _Handles(ActorCalls):
    def __init__(self, service: ChannelService) -> None:
        super().__init__()
        self._service = service

    def knows(self, name: str) -> bool:
        return bool(name)

    def find(self, name: str) -> Any:
        if not name:
            raise ShardUnavailableError
        return None

    def submit(self, name: str, data: bytes) -> ObjectRef[bytes]:
        sent = asyncio.run_coroutine_threadsafe(self._service.answer(name, data), self._service.loop)
        return cast("ObjectRef[bytes]", _Sent(sent))

    def first(self, sent: Sequence[ObjectRef[bytes]], deadline_s: float) -> ObjectRef[bytes] | None:
        futures = {cast("_Sent", each).answer: each for each in sent}
        timeout_s = max(0.0, deadline_s - time.monotonic())
        done, _ = concurrent.futures.wait(futures, timeout_s, concurrent.futures.FIRST_COMPLETED)
        return futures[done.pop()] if done else None

    def result(self, sent: ObjectRef[bytes], deadline_s: float) -> bytes:
        try:
            return cast("_Sent", sent).answer.result(max(0.0, deadline_s - time.monotonic()))
        except TimeoutError as error:
            raise GetTimeoutError from error


async def _settle() -> None:
    """Let what was aborted hear of it."""
    for _ in range(5):
        await asyncio.sleep(0)
