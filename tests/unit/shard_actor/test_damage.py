"""A damaged row is told of to whoever asks for it, and to nobody who shares a batch with them (C13)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from lightning_state.actors.category import AGENTS, Category
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.core.messages import ANY, PROTOCOL, Frame, Get, Refused, Reply, Request, Value, Write
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.core.slots import slot_of
from lightning_state.actors.limits import Limits
from lightning_state.actors.shard_actor.performer import Performer
from lightning_state.actors.store.sqlite import SqliteStore, create_shard_file

KEYS = [f"k-{number}" for number in range(8)]
SLOT = slot_of(0, "k-0", 1)


class Admitting:
    """Verdicts: everything is admitted."""

    def learn(self, current: ServiceMap) -> None: ...

    def register(self, category: Category[Any], import_path: str) -> None: ...

    def judge(self, change: Validate, judged: Callable[[int, Refused | None], None]) -> None:
        judged(change.ticket, None)

    async def close(self) -> None: ...


class Files:
    """One shard's file, and a shard that serves it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        create_shard_file(path, "service", 0)
        self.epoch = 0
        self.numbers = 0

    async def serve(self) -> None:
        self.epoch += 1
        store = SqliteStore(self.path, 0, "service")
        store.open()
        shard = Shard(Limits())
        shard.register(Registered(0, AGENTS, 1))
        shard.adopt(store.acquire([SLOT], self.epoch))
        self.performer = Performer(shard, store, Admitting(), lambda: None)

    async def ask(self, *requests: Request) -> list[Reply]:
        return (await self.performer.frame(Frame(PROTOCOL, "s", 0, "", list(requests)))).replies

    def write(self, key: str, request_id: str) -> Write:
        self.numbers += 1
        body = msgspec.json.encode({"agentId": key, "agentType": "x", "status": "Ready"})
        return Write(SLOT, self.epoch, key, Op.SET, body, ANY, request_id, self.numbers, fresh=False)

    async def damage(self, statement: str) -> None:
        """Change the file behind everybody's back, page checksums and all, and serve it again."""
        await self.performer.close()
        store = SqliteStore(self.path, 0, "service")
        store.open()
        store.close()  # everything is projected now
        editor = apsw.Connection(str(self.path / "shard-0.db"), vfs="cksmvfs")
        editor.execute(statement)
        editor.close()
        await self.serve()


@pytest.fixture
async def files(tmp_path: Path) -> AsyncGenerator[Files]:
    made = Files(tmp_path)
    await made.serve()
    await made.ask(*(made.write(key, f"r-{key}") for key in KEYS))
    yield made
    await made.performer.close()


def code(reply: Reply) -> str:
    return reply.code if isinstance(reply, Refused) else type(reply).__name__


async def test_a_damaged_row_is_refused_and_those_read_with_it_are_answered(files: Files) -> None:
    await files.damage("UPDATE journal SET body = x'00' WHERE key IN ('k-2', 'k-5')")
    replies = await files.ask(*(Get(SLOT, key) for key in KEYS))
    damaged = [key for key, reply in zip(KEYS, replies, strict=True) if code(reply) == "store_corrupt"]
    assert damaged == ["k-2", "k-5"]
    assert all(isinstance(r, Value) for key, r in zip(KEYS, replies, strict=True) if key not in damaged)


async def test_a_damaged_request_id_is_refused_and_those_looked_up_with_it_are_answered(files: Files) -> None:
    await files.damage("UPDATE journal SET body = x'00' WHERE key = 'k-2'")
    replies = await files.ask(files.write("k-1", "r-k-1"), files.write("k-3", "r-k-2"), files.write("k-4", "new"))
    assert [code(reply) for reply in replies] == ["Value", "store_corrupt", "Value"]
    assert [reply.version for reply in replies if isinstance(reply, Value)] == [1, 2]


async def test_a_write_of_a_damaged_key_is_refused_and_the_others_of_its_frame_go_on(files: Files) -> None:
    await files.damage("UPDATE journal SET body = x'00' WHERE key = 'k-2'")
    replies = await asyncio.wait_for(files.ask(*(files.write(key, f"again-{key}") for key in KEYS)), 10)
    assert [code(reply) for reply in replies] == [*["Value"] * 2, "store_corrupt", *["Value"] * 5]
    again = await files.ask(Get(SLOT, "k-2"), Get(SLOT, "k-3"))
    assert [code(reply) for reply in again] == ["store_corrupt", "Value"]
