"""The Ray shell of the directory."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from lightning_state.actors.category import load_category
from lightning_state.actors.core.directory import Directory, Identity
from lightning_state.actors.core.liveness import Liveness
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.service_map import (
    Claim,
    Describe,
    Described,
    DirectoryReply,
    DirectoryRequest,
    Register,
    ServiceMap,
)
from lightning_state.actors.errors import CategoryMismatchError, LightningStateError, NotOwnerError
from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.settings import Settings, public_settings
from lightning_state.actors.store.data_directory import DataDirectory
from lightning_state.actors.store.protocol import RegistryStore
from lightning_state.actors.store.sqlite.ownership import kill_holder
from lightning_state.actors.wire.codec import decode_directory_request, encode
from lightning_state.actors.wire.names import NAMESPACE, shard_name

logger = logging.getLogger(__name__)

_RETRY_S = 0.2
_ADOPT_WITHIN_S = 10.0
_TAKEOVER_S = 0.5
"""A predecessor that still holds the registry after this long (a stopped one holds it for ever) is ended."""


class DirectoryActor:
    """The directory: detached, named, restarted by Ray for ever. Its constructor starts it and cannot raise."""

    def __init__(self, service: str, data_dir: str, settings: str) -> None:
        self._service = service
        self._data_dir = Path(data_dir)
        self._settings = Settings.published(msgspec.json.decode(settings))
        self._registry: RegistryStore | None = None
        self._directory: Directory | None = None
        self._told: ServiceMap | None = None
        """The newest map that is stored: what is being decided now, nobody hears of before it is (a crash would take
        it back, and give its epoch or category id to another)."""
        self._failure: LightningStateError = NotOwnerError("the directory is starting")
        self._changing = asyncio.Lock()
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._running.add_done_callback(_restart)

    async def frame(self, data: bytes) -> bytes:
        """The answer to one request; errors are answers too."""
        try:
            return encode(await self._answer(decode_directory_request(data)))
        except LightningStateError as error:
            return encode(refusal(error))

    async def ping(self) -> int:
        """Proof of life: the process id."""
        return os.getpid()

    async def _answer(self, request: DirectoryRequest) -> DirectoryReply:
        directory, told = self._directory, self._told
        if directory is None or told is None:
            raise self._failure
        if isinstance(request, Describe):
            return Described(told)
        async with self._changing:
            if isinstance(request, Claim):
                granted, changes = directory.claim(request)
                await self._store(changes)
                self._told = granted.map
                return granted
            await self._check_importable(directory, request)
            changes = directory.register(request)
            if changes:
                await self._store(changes)
                self._told = directory.map()
                await self._tell_shards(directory)
            return Described(directory.map())

    async def _store(self, changes: dict[str, bytes]) -> None:
        registry = self._registry
        assert registry is not None  # noqa: S101  # the directory exists only with its registry
        try:
            await asyncio.to_thread(registry.put, changes)
        except Exception:  # whatever it was, memory is ahead of the registry now: begin again from what that holds
            logger.critical("the registry cannot be written; the directory restarts", exc_info=True)
            os._exit(1)

    async def _check_importable(self, directory: Directory, request: Register) -> None:
        """Refuse what the shards could not import: once registered, it would be theirs to import at every start.

        Raises UnknownCategoryError, or CategoryMismatchError when the definition here is another one.
        """
        known = directory.map().categories.get(request.name)
        if known is not None and known.hash == request.hash:
            return
        importlib.invalidate_caches()  # the module may have been written after this process looked for it
        category = await asyncio.to_thread(load_category, request.import_path, request.hash)
        if (category.name, category.schema_version) != (request.name, request.schema_version):
            raise CategoryMismatchError(f"{request.import_path} is {category!r}, not {request.name!r}")

    async def _tell_shards(self, directory: Directory) -> None:
        """Every living shard serves the new category before its registration is answered; others learn by claiming."""
        data = msgspec.msgpack.encode(directory.map())
        told = [handle.adopt.remote(data) for handle in map(self._shard, range(directory.identity.shards)) if handle]
        if told:
            await asyncio.wait([asyncio.ensure_future(_settled(ref)) for ref in told], timeout=_ADOPT_WITHIN_S)

    def _shard(self, number: int) -> Any:
        try:
            return ray.get_actor(shard_name(self._service, number), namespace=NAMESPACE)
        except ValueError:
            return None

    async def _run(self) -> None:
        await self._open_registry()
        directory = self._directory
        assert directory is not None  # noqa: S101  # _open_registry returns with it
        await asyncio.gather(*(self._watch(directory, number) for number in range(directory.identity.shards)))

    async def _open_registry(self) -> None:
        while self._directory is None:
            try:
                self._registry, values = await asyncio.to_thread(self._read_registry)
                directory = Directory(values, public_settings(self._settings))
                self._directory, self._told = directory, directory.map()
            except LightningStateError as error:
                self._failure = error
                logger.warning("the directory cannot start yet: %s", error)
                await asyncio.sleep(_RETRY_S)

    def _read_registry(self) -> tuple[RegistryStore, Mapping[str, bytes]]:
        files = DataDirectory.open(self._data_dir, self._service)
        registry = files.registry(takeover_after_s=_TAKEOVER_S)
        registry.open()
        try:
            values = registry.get_all()
            if not values:
                identity = Identity(self._service, files.service_id, files.shards, self._settings.slots)
                values = Directory.create(identity)
                registry.put(values)
        except BaseException:  # whatever it was, it goes on upwards; the lock must not stay held
            registry.close()
            raise
        return registry, values

    async def _watch(self, directory: Directory, number: int) -> None:
        """Ping one shard; when it is silent too long, end its process: Ray starts the next one (C9)."""
        loop = asyncio.get_running_loop()
        liveness = Liveness(loop.time())
        heard: tuple[int, int | None] | None = None
        while True:
            sent = loop.time()
            handle = self._shard(number)
            if handle is not None:
                try:
                    pid = await asyncio.wait_for(_settled(handle.ping.remote()), self._settings.shard_silent_s)
                except TimeoutError:
                    if liveness.timed_out(loop.time(), lives=self._lives(directory, number, heard)):
                        self._replace(directory, number, handle)
                else:
                    heard = None if pid is None else (pid, start_time_ticks(pid))
                    note = liveness.ended if pid is None else liveness.answered
                    note(loop.time())
            await asyncio.sleep(max(0.0, sent + self._settings.ping_interval_s - loop.time()))

    def _lives(self, directory: Directory, number: int, heard: tuple[int, int | None] | None) -> bool | None:
        """Whether the process that answered last, or that owns the slots, is there; None for one of another node."""
        info = directory.map().shards[number]
        if info.node_id and info.node_id != ray.get_runtime_context().get_node_id():
            return None
        known = [heard, (info.pid, info.started_ticks)] if info.pid else [heard]
        return any(each is not None and start_time_ticks(each[0]) == each[1] for each in known)

    def _replace(self, directory: Directory, number: int, handle: Any) -> None:
        info = directory.map().shards[number]
        logger.warning("shard %d does not answer: replacing it", number)
        here = info.node_id == ray.get_runtime_context().get_node_id()
        # A signal ends it at once, also when it is stopped; Ray sees the death and starts the successor.
        if not (here and info.pid and kill_holder(info.pid, info.started_ticks)):
            ray.kill(handle, no_restart=False)


async def _settled(ref: Any) -> Any:
    """The answer, or None for a Ray error: a dying actor is Ray's business, only silence is ours."""
    try:
        return await ref
    except RayError as error:
        logger.debug("no answer: %s", error)
        return None


def _restart(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        logger.critical("the directory ended; its process restarts", exc_info=task.exception())
        os._exit(1)
