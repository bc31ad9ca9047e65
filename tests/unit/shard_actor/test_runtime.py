"""A shard's life without the actor around it: it never ends up without the slots that the map gives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import pytest

from lightning_state.actors.category import AGENTS, RESEARCH, Category
from lightning_state.actors.core.directory import Directory, Identity
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.core.messages import PROTOCOL, Absent, Frame, Get, Refused, Reply
from lightning_state.actors.core.rows import SlotHead
from lightning_state.actors.core.service_map import Claim, Granted, Register, ServiceMap
from lightning_state.actors.errors import StoreError, StoreUnavailableError
from lightning_state.actors.settings import Settings, public_settings
from lightning_state.actors.shard_actor.runtime import ShardRuntime
from lightning_state.actors.store.memory import MemoryDisk, MemoryStore
from lightning_state.actors.store.protocol import CommitUnknownError, Store

WITHIN_S = 10.0


class Admitting:
    """Verdicts: everything is admitted."""

    learnt: ServiceMap | None = None

    def learn(self, current: ServiceMap) -> None:
        self.learnt = current

    def register(self, category: Category[Any], import_path: str) -> None: ...

    def judge(self, change: Validate, judged: Callable[[int, Refused | None], None]) -> None:
        judged(change.ticket, None)

    async def close(self) -> None: ...


class Failing(MemoryStore):
    """A store whose next acquisitions fail."""

    errors: list[StoreError]

    def acquire(self, slots: Iterable[int], epoch: int) -> list[SlotHead]:
        if self.errors:
            raise self.errors.pop(0)
        return super().acquire(slots, epoch)


class World:
    """One shard, the directory it claims from, and the disk its stores are on."""

    def __init__(self) -> None:
        Failing.errors = []
        self.directory = Directory(
            Directory.create(Identity("svc", "id", 1, 4)), public_settings(Settings.published({"service": "svc"}))
        )
        self.register(AGENTS)
        self.disk = MemoryDisk()
        self.verdicts = Admitting()
        self.runtime = ShardRuntime(
            0,
            open_store=self.open_store,
            claims=self,
            verdicts=lambda _: self.verdicts,
            identity=Claim(0, 1, 1, "node", ""),
        )

    def open_store(self) -> Store:
        return Failing(self.disk)

    async def claim(self, claim: Claim) -> Granted:
        return self.directory.claim(claim)[0]

    def register(self, category: Category[Any]) -> ServiceMap:
        request = Register(category.name, category.import_path, category.hash, category.schema_version)
        self.directory.register(request)
        return self.directory.map()

    async def get(self, category: Category[Any]) -> Reply:
        slot, _ = self.directory.map().locate(self.directory.map().categories[category.name], "k")
        return (await self.runtime.frame(Frame(PROTOCOL, "s", 0, "", [Get(slot, "k")]))).replies[0]

    async def until(self, what: str, probe: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                while not probe():  # noqa: ASYNC110  # a repr has no event to wait for
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"not seen: {what}")

    async def epoch(self) -> int:
        return (await self.runtime.status()).epoch


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    made = World()
    running = asyncio.get_running_loop().create_task(made.runtime.run())
    await made.until("the shard serves", lambda: "serving" in repr(made.runtime))
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.runtime.close()


async def test_new_slots_are_taken_when_the_store_can_be_written_again(world: World) -> None:
    Failing.errors = [StoreUnavailableError("full"), StoreUnavailableError("full")]
    await asyncio.wait_for(world.runtime.adopt(world.register(RESEARCH)), WITHIN_S)
    assert isinstance(await world.get(RESEARCH), Absent)
    assert await world.epoch() == 1


async def test_a_commit_of_unknown_outcome_while_taking_slots_begins_again_under_a_new_epoch(world: World) -> None:
    Failing.errors = [CommitUnknownError("fsync failed")]
    await world.runtime.adopt(world.register(RESEARCH))
    await world.until("a new epoch", lambda: "epoch=2 serving" in repr(world.runtime))
    assert isinstance(await world.get(AGENTS), Absent)
    assert isinstance(await world.get(RESEARCH), Absent)


async def test_an_older_map_that_arrives_late_changes_nothing(world: World) -> None:
    older = world.directory.map()
    newest = world.register(RESEARCH)
    await world.runtime.adopt(newest)
    await world.runtime.adopt(older)
    assert world.verdicts.learnt is not None
    assert world.verdicts.learnt.version == newest.version
    assert isinstance(await world.get(RESEARCH), Absent)
