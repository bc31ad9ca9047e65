"""C9: epochs only rise, one counter for the service; the map says who owns what; nothing is half registered."""

from __future__ import annotations

import msgspec
import pytest

from lightning_state.actors.category import AGENTS, RESEARCH
from lightning_state.actors.core.directory import Directory, Identity
from lightning_state.actors.core.service_map import Claim, Register
from lightning_state.actors.core.slots import index_of_slot
from lightning_state.actors.errors import CategoryMismatchError, ShardUnavailableError, StoreCorruptError


class Kept:
    """A directory and the registry its changes are stored in."""

    def __init__(self) -> None:
        self.values = Directory.create(Identity("svc", "id", 3, 8))
        self.directory = self.restart()

    def restart(self) -> Directory:
        self.directory = Directory(self.values, {"port": 1})
        return self.directory

    def register(self, name: str = "agents", hash_: str = "h", schema: int = 1, path: str = "m:A") -> bool:
        changes = self.directory.register(Register(name, path, hash_, schema))
        self.values = {**self.values, **changes}
        return bool(changes)

    def claim(self, shard: int) -> int:
        granted, changes = self.directory.claim(Claim(shard, 7, 8, "node", "host:1"))
        self.values = {**self.values, **changes}
        return granted.epoch


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_epochs_rise_over_all_shards_and_restarts(kept: Kept) -> None:
    epochs = [kept.claim(0), kept.claim(1), kept.claim(0)]
    kept.restart()
    assert [*epochs, kept.claim(2)] == [1, 2, 3, 4]


def test_claim_grants_the_slots_of_that_shard(kept: Kept) -> None:
    kept.register("agents")
    kept.register("research", path="m:R")
    owned = [kept.directory.map().slots_of(shard) for shard in range(3)]
    assert sorted(slot for slots in owned for slot in slots) == [*range(8), *range(1 << 16, (1 << 16) + 8)]
    granted, _ = kept.directory.claim(Claim(1, 7, 8, "node", "host:1"))
    assert granted.slots == owned[1]
    assert granted.map.shards[1].endpoint == "host:1"


def test_claim_of_a_shard_that_does_not_exist_is_refused(kept: Kept) -> None:
    for shard in (-1, 3):
        with pytest.raises(ShardUnavailableError):
            kept.claim(shard)


def test_restarted_directory_knows_what_was_stored(kept: Kept) -> None:
    kept.register()
    kept.claim(2)
    before = kept.directory.map()
    assert kept.restart().map() == before
    assert repr(kept.directory) == "<Directory svc epoch=1 map=2>"


def test_map_locates_keys_with_their_owners(kept: Kept) -> None:
    kept.register()
    found = kept.directory.map()
    category = found.categories["agents"]
    slot, shard = found.locate(category, "a")
    assert category.owners[index_of_slot(slot)] == shard
    assert slot in kept.directory.map().slots_of(shard)
    assert [info.epoch for info in found.shards] == [0, 0, 0]


def test_registering_the_same_again_changes_nothing(kept: Kept) -> None:
    assert kept.register()
    version = kept.directory.map().version
    assert not kept.register()
    assert kept.directory.map().version == version


def test_another_definition_under_the_same_name_is_refused(kept: Kept) -> None:
    kept.register(schema=2)
    for hash_, schema, path in (("other", 2, "m:A"), ("other", 1, "m:A"), ("other", 3, "m:B")):
        with pytest.raises(CategoryMismatchError):
            kept.register(hash_=hash_, schema=schema, path=path)


def test_newer_schema_of_the_same_definition_keeps_its_slots(kept: Kept) -> None:
    kept.register()
    owners = kept.directory.map().categories["agents"].owners
    assert kept.register(hash_="new", schema=2)
    info = kept.directory.map().categories["agents"]
    assert (info.id, info.owners, info.schema_version) == (0, owners, 2)


@pytest.mark.parametrize("damage", [{}, {"service": b"\xc1"}, {"counters": msgspec.msgpack.encode([1])}])
def test_damaged_registry_is_not_served(damage: dict[str, bytes]) -> None:
    values = {**Directory.create(Identity("svc", "id", 3, 8)), **damage} if damage else {}
    with pytest.raises(StoreCorruptError):
        Directory(values, {})


def test_built_in_categories_register_under_their_own_paths(kept: Kept) -> None:
    for category in (AGENTS, RESEARCH):
        assert kept.register(category.name, category.hash, category.schema_version, category.import_path)


def test_what_is_logged_of_a_map_names_no_token() -> None:
    kept = Kept()
    kept.directory.claim(Claim(0, 7, 8, "node", "unix:secret"))
    described = kept.directory.map()
    assert described.shards[0].endpoint == "unix:secret"
    assert "secret" not in repr(described)
    assert "<ShardInfo 0 epoch=1 pid=7 node=node>" in repr(described)
