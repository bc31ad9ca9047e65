"""How a shard asks the others about transactions: over their channels, as clients do, until they answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec

from lightning_state.actors.core.effects import Ask
from lightning_state.actors.core.messages import Inquire, Pending, Prepare, Refused, Reply, Request
from lightning_state.actors.core.service_map import Describe, Described, ServiceMap
from lightning_state.actors.core.session import MOVED, Answer, Lost, Session
from lightning_state.actors.core.slots import index_of_slot
from lightning_state.actors.core.transactions.plan import info_of_slot
from lightning_state.actors.errors import LightningStateError
from lightning_state.actors.wire.transport import AsyncTransport

logger = logging.getLogger(__name__)

Answered = Callable[[int, list[Reply] | None], None]

_RETRY_FIRST_S = 0.01
_RETRY_MOST_S = 0.5


class PeerLink:
    """The service's shards, this one included, as one of them asks the others. Belongs to one event loop."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._session: Session | None = None
        self._asking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<PeerLink asking={len(self._asking)}>"

    def learn(self, current: ServiceMap) -> None:
        """Use a newer map."""
        if self._session is None:
            self._session = Session(f"shard-{secrets.token_hex(8)}", current)
        else:
            self._session.learn(current)

    def ask(self, effect: Ask, answered: Answered) -> None:
        """Answer by `answered(ticket, replies)`, later, on the event loop; None when none came in time."""
        task = asyncio.get_running_loop().create_task(self._ask(effect, answered))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        """Stop asking."""
        for task in list(self._asking):
            task.cancel()
        await self._transport.close()

    async def _ask(self, effect: Ask, answered: Answered) -> None:
        deadline_s = time.monotonic() + effect.timeout_ms / 1000
        delay_s = _RETRY_FIRST_S
        while True:
            replies = _replies(await self._send(effect, deadline_s))
            if replies is not None:
                answered(effect.ticket, replies)
                return
            if time.monotonic() + delay_s >= deadline_s:
                answered(effect.ticket, None)
                return
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MOST_S)
            await self._refresh(deadline_s)

    async def _send(self, effect: Ask, deadline_s: float) -> Sequence[Answer]:
        session = self._session
        if session is None:
            return [Lost(sent=False, code="shard_unavailable", message="no map yet")]
        try:
            shard = info_of_slot(session.map, effect.slot).owners[index_of_slot(effect.slot)]
        except LightningStateError as error:
            return [Lost(sent=False, code="shard_unavailable", message=str(error))]
        requests = [_addressed(request, session.epoch(shard)) for request in effect.requests]
        answers = await self._transport.exchange(session, {shard: requests}, deadline_s)
        return answers[shard]

    async def _refresh(self, deadline_s: float) -> None:
        try:
            reply = await self._transport.ask_directory(Describe(), deadline_s)
        except LightningStateError as error:
            logger.info("the directory does not answer: %s", error)  # it restarts: the next attempt asks again
        else:
            if isinstance(reply, Described):
                self.learn(reply.map)


def _addressed(request: Request, epoch: int) -> Request:
    """The request under the newest epoch known: its receiver refuses it under another one."""
    return msgspec.structs.replace(request, epoch=epoch) if isinstance(request, Prepare | Inquire) else request


def _replies(answers: Sequence[Answer]) -> list[Reply] | None:
    """The answers, if all of them are final."""
    replies: list[Reply] = []
    for answer in answers:
        if isinstance(answer, Lost | Pending) or (
            isinstance(answer, Refused) and (answer.code in MOVED or answer.maybe)
        ):
            return None
        replies.append(answer)
    return replies
