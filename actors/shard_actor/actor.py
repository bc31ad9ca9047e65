"""The Ray shell of one shard."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import msgspec
import ray

from lightning_state.actors.core.messages import Replies
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.service_map import Claim, ServiceMap
from lightning_state.actors.errors import ProtocolError
from lightning_state.actors.logs import configure
from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.shard_actor.channel import ShardChannel
from lightning_state.actors.shard_actor.peer_link import PeerLink
from lightning_state.actors.shard_actor.prometheus import PrometheusExport
from lightning_state.actors.shard_actor.runtime import ShardRuntime
from lightning_state.actors.shard_actor.verdicts import PoolVerdicts
from lightning_state.actors.store.data_directory import DataDirectory
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.codec import decode_frame, encode
from lightning_state.actors.wire.directory_link import DirectoryLink
from lightning_state.actors.wire.handle_async import AsyncHandleTransport
from lightning_state.actors.wire.names import shard_name

logger = logging.getLogger(__name__)

_EXIT_TO_RESTART = 1
_EXPORT_EVERY_S = 1.0
_TAKEOVER_S = 0.5
"""A predecessor that still holds the store after this long (a stopped one holds it for ever) is ended."""


class ShardActor:
    """One shard: detached, named, restarted by Ray for ever. Its constructor starts it and cannot raise."""

    def __init__(self, service: str, number: int, data_dir: str) -> None:
        configure("INFO")
        self._runtime = ShardRuntime(
            number,
            open_store=lambda: DataDirectory.open(Path(data_dir), service).store(number, takeover_after_s=_TAKEOVER_S),
            claims=DirectoryLink(service),
            verdicts=lambda settings: PoolVerdicts(service, settings),
            identity=Claim(
                shard=number,
                pid=os.getpid(),
                started_ticks=start_time_ticks(os.getpid()) or 0,
                node_id=ray.get_runtime_context().get_node_id(),
                endpoint="",
            ),
            peers=lambda: PeerLink(AsyncChannelTransport(service, AsyncHandleTransport(service))),
        )
        self._channel = ShardChannel(self._runtime, shard_name(service, number), ray.util.get_node_ip_address())
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._running.add_done_callback(_restart)
        self._exporting = asyncio.get_running_loop().create_task(self._export(PrometheusExport(service, number)))
        self._exporting.add_done_callback(_say_no_metrics)
        # A step that broke inside the shard leaves its writes without an answer: begin again from the store.
        asyncio.get_running_loop().set_exception_handler(_restart_on_error)

    def __repr__(self) -> str:
        return repr(self._runtime)

    async def _run(self) -> None:
        self._runtime.listens_at(await self._channel.open())
        await self._runtime.run()

    async def _export(self, export: PrometheusExport) -> None:
        while True:
            await asyncio.sleep(_EXPORT_EVERY_S)
            figures = self._runtime.figures()
            if figures is not None:
                export.update(figures)

    async def frame(self, data: bytes) -> bytes:
        """The replies to a frame: the one method of the data path beside the direct channel."""
        try:
            frame = decode_frame(data)
        except ProtocolError as error:
            return encode(Replies([refusal(error)]))
        return encode(await self._runtime.frame(frame))

    async def adopt(self, data: bytes) -> None:
        """Take over what a newer map gives this shard."""
        await self._runtime.adopt(msgspec.msgpack.decode(data, type=ServiceMap))

    async def ping(self) -> int:
        """Proof of life: the process id."""
        return os.getpid()

    async def close(self) -> None:
        """Stop serving and close the store; the process is ended by whoever asked."""
        self._running.remove_done_callback(_restart)
        self._running.cancel()
        self._exporting.cancel()
        await self._runtime.close()
        await self._channel.close()

    async def status(self) -> bytes:
        """A `ShardStatus` in msgpack."""
        return msgspec.msgpack.encode(await self._runtime.status())


def _restart(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        logger.critical("the shard ended; its process restarts", exc_info=task.exception())
        os._exit(_EXIT_TO_RESTART)


def _say_no_metrics(task: asyncio.Task[None]) -> None:
    """A shard that cannot be measured still serves: no reason to end it, but one to say so."""
    if not task.cancelled():
        logger.error("the shard is not shown in Prometheus any more", exc_info=task.exception())


def _restart_on_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if "a shard effect failed" in str(context.get("message")):
        logger.critical("%s; its process restarts: %r", context["message"], context.get("exception"))
        os._exit(_EXIT_TO_RESTART)
    loop.default_exception_handler(context)
