"""Where everything is: what clients cache and the directory decides. Also the frames the directory understands."""

from __future__ import annotations

from typing import Any

import msgspec

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.slots import index_of_slot, slot_of, slots_of_category


class CategoryInfo(msgspec.Struct, frozen=True):
    """A registered category and the shard that owns each of its slots."""

    id: int
    name: str
    import_path: str
    hash: str
    schema_version: int
    owners: list[int]
    """Slot number within the category → shard number; its length is the category's number of slots, fixed for good."""


class ShardInfo(msgspec.Struct, frozen=True):
    """The incarnation of a shard that last claimed its slots."""

    number: int
    epoch: int
    """0: not claimed yet since the service was created."""
    pid: int
    started_ticks: int
    """When that process started (the kernel's clock ticks since boot): a pid alone may belong to another by now."""
    node_id: str
    endpoint: str
    """Where its direct channel listens; empty without one."""

    def __repr__(self) -> str:
        # Without the endpoint: it holds the token of the channel.
        return f"<ShardInfo {self.number} epoch={self.epoch} pid={self.pid} node={self.node_id}>"


class ServiceMap(msgspec.Struct, frozen=True):
    """The directory's answer to Describe. `version` rises with every change."""

    service: str
    service_id: str
    version: int
    protocol: int
    categories: dict[str, CategoryInfo]
    shards: list[ShardInfo]
    settings: dict[str, Any]
    """The service's settings as JSON values, without secrets."""

    def locate(self, category: CategoryInfo, key: str) -> tuple[int, int]:
        """(slot, shard number) of a key."""
        slot = slot_of(category.id, key, len(category.owners))
        return slot, category.owners[index_of_slot(slot)]

    def slots_of(self, shard: int) -> list[int]:
        """Every slot, of every category, that a shard owns."""
        return [
            slot
            for info in self.categories.values()
            for slot, owner in zip(slots_of_category(info.id, len(info.owners)), info.owners, strict=True)
            if owner == shard
        ]


class Describe(msgspec.Struct, tag="describe", array_like=True, frozen=True):
    """Ask for the ServiceMap."""


class Register(msgspec.Struct, tag="register", array_like=True, frozen=True):
    """Register a category by its import path and hash; answered with the ServiceMap, the same again is no change."""

    name: str
    import_path: str
    hash: str
    schema_version: int


class Claim(msgspec.Struct, tag="claim", array_like=True, frozen=True):
    """A shard incarnation that holds its store asks for a new epoch; answered with Granted."""

    shard: int
    pid: int
    started_ticks: int
    node_id: str
    endpoint: str


class Granted(msgspec.Struct, tag="granted", array_like=True, frozen=True):
    """The epoch, strictly greater than every one granted before, and the slots it is for."""

    epoch: int
    slots: list[int]
    map: ServiceMap


class Described(msgspec.Struct, tag="described", array_like=True, frozen=True):
    """The answer to Describe and Register."""

    map: ServiceMap


DirectoryRequest = Describe | Register | Claim
DirectoryReply = Described | Granted | Refused
