"""What few ever meet: an id nobody may choose, a category whose definition is not at hand, two facts under one id."""

from __future__ import annotations

import pytest

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.cache import Cache
from lightning_state.actors.core.checks import check_request_id
from lightning_state.actors.core.liveness import Liveness
from lightning_state.actors.core.messages import List, Refused, Value
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.rows import JournalRow, Op, begun_hold, ended_hold
from lightning_state.actors.core.service_map import CategoryInfo, ServiceMap
from lightning_state.actors.core.session import Session
from lightning_state.actors.errors import InvalidStateError, ProtocolError
from lightning_state.actors.testing.driver import ShardDriver


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 601])
def test_a_request_id_is_1_to_600_printable_characters(name: str) -> None:
    with pytest.raises(InvalidStateError, match="request id"):
        check_request_id(name)


def test_liveness_says_whether_it_was_heard() -> None:
    assert "not heard" in repr(Liveness(0.0))


def test_a_category_that_cannot_be_imported_is_refused_with_the_reason_until_it_can() -> None:
    driver = ShardDriver(categories=())
    driver.adopt()
    driver.shard.refuse_category(0, "no module named shop")
    refused = driver.ask(List(0, "", "", 10))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.message) == ("unknown_category", "no module named shop")
    driver = ShardDriver()
    driver.shard.refuse_category(0, "no module named shop")
    driver.shard.register(Registered(0, AGENTS, 1))
    assert isinstance(driver.ask(driver.write("a")), Value)


def test_a_list_has_no_one_slot_to_be_routed_by() -> None:
    info = CategoryInfo(0, "agents", "", "", 1, [0])
    session = Session("s", ServiceMap("s", "id", 1, 1, {"agents": info}, [], {}))
    with pytest.raises(ProtocolError):
        session.route(session.listing("agents", 0, List(0, "", "", 10), 1.0))


def test_a_list_that_came_by_no_channel_is_not_kept() -> None:
    cache = Cache(1_000, 300.0)
    assert not cache.end_list(cache.begin_list(("agents", "status", "Ready", 0), 0), [], (), 10, 0.0)


def test_a_shard_says_where_its_writes_are() -> None:
    driver = ShardDriver()
    driver.send(driver.write("a"), driver.write("a"), driver.write("b"), driver.get("c"))
    depths = driver.shard.depths()
    assert (depths.pending, depths.queued, depths.longest_queue, depths.loading) == (3, 1, 2, 3)
    assert "pending=3" in repr(driver.shard)
    driver.settle()
    assert driver.shard.depths().pending == 0


@pytest.mark.parametrize(
    ("op", "transaction", "begins", "ends"),
    [
        (Op.LOCK, "", "lock", None),
        (Op.UNLOCK, "", None, "lock"),
        (Op.PREPARE, "t", "prepare", None),
        (Op.SET, "t", None, "prepare"),
        (Op.DECIDE, "t", None, None),
        (Op.SET, "", None, None),
    ],
)
def test_what_a_row_begins_and_ends_to_hold(op: Op, transaction: str, begins: str | None, ends: str | None) -> None:
    row = JournalRow(1, 1, 1, "k", 1, op, None, 1, {}, "", "", b"", 0, transaction=transaction)
    assert begun_hold(row) == (None if begins is None else (1, begins, "k"))
    assert ended_hold(row) == (None if ends is None else (1, ends, "k"))
