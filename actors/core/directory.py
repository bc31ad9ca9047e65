"""The directory's decisions: who owns which slot, which epoch comes next, which categories exist.

Every decision that changes something names the values to store; the shell stores them before anyone hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from lightning_state.actors.core.messages import PROTOCOL
from lightning_state.actors.core.service_map import CategoryInfo, Claim, Granted, Register, ServiceMap, ShardInfo
from lightning_state.actors.errors import CategoryMismatchError, ShardUnavailableError, StoreCorruptError

T = TypeVar("T")

_IDENTITY = "service"
_COUNTERS = "counters"


class Identity(msgspec.Struct, frozen=True):
    """What a service is, fixed when it is created."""

    service: str
    service_id: str
    shards: int
    slots: int
    """Slots of each category."""


class Counters(msgspec.Struct, frozen=True):
    """The last epoch granted and the version of the map."""

    epoch: int = 0
    map_version: int = 0


class Directory:
    """The slot map and the epoch counter. `changes` of a decision are stored before its reply leaves."""

    def __init__(self, values: Mapping[str, bytes], settings: Mapping[str, Any]) -> None:
        """From what the registry holds. Raises StoreCorruptError when that is no directory."""
        try:
            self.identity = msgspec.msgpack.decode(values[_IDENTITY], type=Identity)
            self._counters = msgspec.msgpack.decode(values[_COUNTERS], type=Counters)
            self._categories = {info.name: info for info in _decode(values, "category/", CategoryInfo)}
            self._shards = {info.number: info for info in _decode(values, "shard/", ShardInfo)}
        except (KeyError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StoreCorruptError(f"the service's registry is damaged: {error}") from error
        self._settings = dict(settings)

    def __repr__(self) -> str:
        return f"<Directory {self.identity.service} epoch={self._counters.epoch} map={self._counters.map_version}>"

    @staticmethod
    def create(identity: Identity) -> dict[str, bytes]:
        """The first values of a new service's registry."""
        encode = msgspec.msgpack.encode
        return {_IDENTITY: encode(identity), _COUNTERS: encode(Counters())}

    def map(self) -> ServiceMap:
        """The current map."""
        return ServiceMap(
            service=self.identity.service,
            service_id=self.identity.service_id,
            version=self._counters.map_version,
            protocol=PROTOCOL,
            categories=dict(self._categories),
            shards=[self._shard(number) for number in range(self.identity.shards)],
            settings=self._settings,
        )

    def register(self, request: Register) -> dict[str, bytes]:
        """Register a category; the changes to store, empty when it is registered already.

        The same import path may come with a higher schema version: its older states are upcast when they are read.
        Raises CategoryMismatchError for another definition under this name.
        """
        known = self._categories.get(request.name)
        if known is not None and known.hash == request.hash:
            return {}
        if known is not None and (
            known.import_path != request.import_path or request.schema_version <= known.schema_version
        ):
            raise CategoryMismatchError(
                f"category {request.name!r} is registered as {known.import_path}, schema {known.schema_version}, with "
                "another definition: give yours another name, or raise its schema_version and add an upcast"
            )
        info = CategoryInfo(
            id=known.id if known else len(self._categories),
            name=request.name,
            import_path=request.import_path,
            hash=request.hash,
            schema_version=request.schema_version,
            owners=known.owners if known else [n % self.identity.shards for n in range(self.identity.slots)],
        )
        self._categories[info.name] = info
        return {f"category/{info.name}": msgspec.msgpack.encode(info), **self._count(epochs=0)}

    def claim(self, request: Claim) -> tuple[Granted, dict[str, bytes]]:
        """A new epoch for a shard incarnation that holds its store; and the changes to store first.

        Raises ShardUnavailableError for a shard number this service does not have.
        """
        if not 0 <= request.shard < self.identity.shards:
            raise ShardUnavailableError(f"this service has shards 0 to {self.identity.shards - 1}, not {request.shard}")
        changes = self._count(epochs=1)
        info = ShardInfo(
            number=request.shard,
            epoch=self._counters.epoch,
            pid=request.pid,
            started_ticks=request.started_ticks,
            node_id=request.node_id,
            endpoint=request.endpoint,
        )
        self._shards[info.number] = info
        changes[f"shard/{info.number}"] = msgspec.msgpack.encode(info)
        current = self.map()
        return Granted(info.epoch, current.slots_of(info.number), current), changes

    def _shard(self, number: int) -> ShardInfo:
        return self._shards.get(number) or ShardInfo(number, 0, 0, 0, "", "")

    def _count(self, *, epochs: int) -> dict[str, bytes]:
        self._counters = Counters(self._counters.epoch + epochs, self._counters.map_version + 1)
        return {_COUNTERS: msgspec.msgpack.encode(self._counters)}


def _decode(values: Mapping[str, bytes], prefix: str, kind: type[T]) -> list[T]:
    return [msgspec.msgpack.decode(value, type=kind) for name, value in values.items() if name.startswith(prefix)]
