"""A shard's life: hold the store, take an epoch, serve, and after a commit of unknown outcome begin again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from lightning_state.actors.category import load_category
from lightning_state.actors.core.locks import HeldLock
from lightning_state.actors.core.messages import Frame, Refused, Replies
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.service_map import Claim, Granted, ServiceMap
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.core.transactions.participant import HeldKey
from lightning_state.actors.errors import (
    FencedError,
    LightningStateError,
    NotOwnerError,
    StoreCorruptError,
    StoreUnavailableError,
)
from lightning_state.actors.limits import Limits
from lightning_state.actors.metrics.memory import resident_bytes
from lightning_state.actors.metrics.shard import ShardFigures, ShardMetrics
from lightning_state.actors.settings import Settings
from lightning_state.actors.shard_actor.calls import Call
from lightning_state.actors.shard_actor.performer import Alone, Peers, Performer, Verdicts
from lightning_state.actors.shard_actor.subscribers import Subscribers
from lightning_state.actors.store.protocol import CommitUnknownError, Store, StoreStatus

logger = logging.getLogger(__name__)

_RETRY_FIRST_S = 0.05
_RETRY_MOST_S = 1.0


class Claims(Protocol):
    """Where a shard gets its epochs."""

    async def claim(self, claim: Claim) -> Granted:
        """A new epoch. Raises LightningStateError when it cannot be had now."""
        ...


class ShardStatus(msgspec.Struct, frozen=True):
    """Figures of one shard."""

    number: int
    state: str
    """starting, serving or failed."""
    failure: str
    epoch: int
    pid: int
    slots: int
    hot_keys: int
    hot_bytes: int
    pending: int
    commits: int
    rows_committed: int
    memory_bytes: int
    store: StoreStatus | None
    held: list[HeldKey] = []
    """Keys that wait for the decision of a transaction."""
    locks: list[HeldLock] = []
    """Who holds and who waits for what."""
    figures: ShardFigures | None = None
    """None while it serves nothing."""


class ShardRuntime:
    """One shard without the actor around it: runs on any event loop."""

    def __init__(
        self,
        number: int,
        *,
        open_store: Callable[[], Store],
        claims: Claims,
        verdicts: Callable[[Settings], Verdicts],
        identity: Claim,
        peers: Callable[[], Peers] = Alone,
    ) -> None:
        self.number = number
        self._peers = peers
        self._open_store = open_store
        self._claims = claims
        self._verdicts = verdicts
        self._identity = identity
        self._performer: Performer | None = None
        self._failure: LightningStateError | None = None
        self._unknown = asyncio.Event()
        self._adopting = asyncio.Lock()
        self._hashes: dict[str, str] = {}
        self._newest: ServiceMap | None = None
        self.epoch = 0
        """That of the slots it serves; 0 while it serves none."""
        self.service_id = ""
        self.frame_bytes = Limits().frame_bytes
        self.subscribers = Subscribers()
        self._metrics = ShardMetrics()
        self.on_disown: Callable[[], None] = lambda: None
        """Called when what connections were told about ownership is not true any more."""

    def __repr__(self) -> str:
        return f"<ShardRuntime {self.number} epoch={self.epoch} {self._state()}>"

    async def run(self) -> None:
        """Serve for ever, until cancelled; raises what cannot be mended by starting over in this process."""
        while True:
            self._unknown.clear()
            await self._own()
            if self._newest is not None:
                await self.adopt(self._newest)
            await self._unknown.wait()
            performer, self._performer = self._performer, None
            self.epoch = 0
            self.on_disown()
            if performer is not None:
                await performer.close()

    def listens_at(self, endpoint: str) -> None:
        """Claim slots with this address of the direct channel from now on."""
        self._identity = msgspec.structs.replace(self._identity, endpoint=endpoint)

    async def frame(self, frame: Frame) -> Replies:
        """The replies to a frame. A shard that owns nothing (yet) refuses everything with the reason."""
        if self._performer is None:
            return Replies([self._refused()] * len(frame.requests))
        return await self._performer.frame(frame)

    def submit(self, frame: Frame, call: Call) -> None:
        """Take in a frame whose call is answered request by request, as they are decided."""
        if self._performer is not None:
            self._performer.submit(frame, call)
            return
        for index in range(len(frame.requests)):
            call.answer(index, self._refused())
        call.flush()

    def _refused(self) -> Refused:
        return refusal(self._failure or NotOwnerError(f"shard {self.number} is starting"))

    async def adopt(self, current: ServiceMap) -> None:
        """Serve what the map gives this shard and it does not serve yet: slots of newly registered categories."""
        async with self._adopting:
            # Answers of the directory may overtake each other: an older map must not bring back an older category.
            self._newest = current = self._newer(current)
            performer = self._performer
            if performer is None:
                return  # the claim under way may have been answered with an older map: run() comes back to this one
            self._register(performer.shard, performer.verdicts, current)
            performer.peers.learn(current)
            await self._acquire(performer, current)

    async def _acquire(self, performer: Performer, current: ServiceMap) -> None:
        """Own the slots that the map gives this shard; whatever the store says, it does not end without them."""
        wait_s = _RETRY_FIRST_S
        # A performer that begins again takes all its slots then.
        while self._performer is performer and not self._unknown.is_set():
            new = [slot for slot in current.slots_of(self.number) if slot not in performer.shard.slots]
            if not new:
                return
            try:
                heads = await performer.on_writer(lambda new=new: performer.store.acquire(new, self.epoch))
            except StoreUnavailableError as error:  # nothing was written: those slots wait, the others are served
                logger.warning("shard %d cannot take its new slots yet: %s", self.number, error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_MOST_S)
            except (CommitUnknownError, FencedError) as error:
                logger.warning("shard %d begins again: %s", self.number, error)
                performer.perform(performer.shard.disown("its slots have to be taken anew", maybe=True))
                self._unknown.set()
            else:
                performer.shard.adopt(heads)

    def _newer(self, current: ServiceMap) -> ServiceMap:
        return current if self._newest is None or current.version > self._newest.version else self._newest

    async def close(self) -> None:
        """Send every caller to ask again later, and let the store go."""
        performer, self._performer = self._performer, None
        if performer is not None:
            # A commit may be under way in the writer's thread: those who wait cannot be told that nothing happened.
            performer.perform(performer.shard.disown("the shard is closing", maybe=True))
            await performer.close()

    async def status(self) -> ShardStatus:
        """Current figures."""
        performer = self._performer
        shard = performer.shard if performer else None
        return ShardStatus(
            number=self.number,
            state=self._state(),
            failure=str(self._failure or ""),
            epoch=self.epoch,
            pid=os.getpid(),
            slots=len(shard.slots) if shard else 0,
            hot_keys=len(shard.hot) if shard else 0,
            hot_bytes=shard.hot.size_bytes if shard else 0,
            pending=shard.pending if shard else 0,
            commits=performer.commits if performer else 0,
            rows_committed=performer.rows_committed if performer else 0,
            memory_bytes=resident_bytes(),
            locks=shard.leases.locks.look(performer.clock()) if shard and performer else [],
            store=await performer.on_reader(performer.store.status) if performer else None,
            held=shard.transactions.held() if shard else [],
            figures=self.figures(),
        )

    def figures(self) -> ShardFigures | None:
        """What it measures of itself; None while it serves nothing."""
        return self._performer.figures() if self._performer is not None else None

    async def _own(self) -> None:
        wait_s = _RETRY_FIRST_S
        while True:
            try:
                await self._try_to_own()
            except StoreCorruptError as error:
                # Damage is shown to everyone who asks and never served; only a person can decide what follows.
                self._failure = error
                logger.critical("shard %d does not serve: %s", self.number, error)
                await asyncio.Event().wait()
            except LightningStateError as error:
                self._failure = error
                logger.warning("shard %d cannot start yet: %s", self.number, error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_MOST_S)
            else:
                self._failure = None
                return

    async def _try_to_own(self) -> None:
        loop = asyncio.get_running_loop()
        store = self._open_store()
        await loop.run_in_executor(None, store.open)
        performer: Performer | None = None
        try:
            granted = await self._claims.claim(self._identity)
            settings = Settings.published(granted.map.settings)
            shard = Shard(settings.limits)
            self._hashes.clear()
            verdicts = self._verdicts(settings)
            self._register(shard, verdicts, granted.map)
            peers = self._peers()
            peers.learn(granted.map)
            performer = Performer(
                shard, store, verdicts, self._unknown.set, self.subscribers, metrics=self._metrics, peers=peers
            )
            # This first commit under the new epoch also proves that the store can be written (C3).
            heads = await performer.on_writer(lambda: store.acquire(granted.slots, granted.epoch))
            held = await performer.on_writer(lambda: store.held(granted.slots))
            shard.adopt(heads, held, now_us=performer.clock())
        except BaseException:  # whatever it was, it goes on upwards; the lock must not stay held
            if performer is not None:
                performer.end()
            await loop.run_in_executor(None, store.close)
            raise
        self.epoch = granted.epoch
        self._newest = self._newer(granted.map)
        self.service_id = granted.map.service_id
        self.frame_bytes = settings.limits.frame_bytes
        self.subscribers.most = settings.cache.tracked_keys
        self._performer = performer
        performer.perform(shard.woken(performer.clock()))

    def _register(self, shard: Shard, verdicts: Verdicts, current: ServiceMap) -> None:
        verdicts.learn(current)
        replaced: Mapping[str, Mapping[str, list[str]]] = current.settings.get("transitions", {})
        for info in current.categories.values():
            if self._hashes.get(info.name) == info.hash:
                continue
            try:
                category = load_category(info.import_path, info.hash)
            except LightningStateError as error:
                # One category that cannot be imported here (any more) must not keep the others from being served.
                logger.error("category %s is not served: %s", info.name, error)  # noqa: TRY400  # the message says it
                shard.refuse_category(info.id, str(error))
                continue
            table = replaced.get(info.name)
            transitions = {a: frozenset(b) for a, b in table.items()} if table is not None else None
            verdicts.register(category, info.import_path)
            shard.register(Registered(info.id, category, len(info.owners), transitions))
            self._hashes[info.name] = info.hash

    def _state(self) -> str:
        if self._performer is not None:
            return "serving"
        return "failed" if isinstance(self._failure, StoreCorruptError) else "starting"
