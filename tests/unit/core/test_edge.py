"""What is refused before anything is buffered: keys, sizes, depth, slots, full queues, nonsense."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.checks import (
    check_expected,
    check_index_value,
    check_limit,
    check_prefix,
    check_timeout,
    depth_of,
)
from lightning_state.actors.core.messages import ANY, Absent, Get, List, Page, Pending, Refused, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.slots import category_of_slot, index_of_slot, slot_of, slots_of_category
from lightning_state.actors.errors import InvalidKeyError, InvalidStateError
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import ShardDriver, agent


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def refused(driver: ShardDriver, call: int) -> str:
    reply = driver.reply(call)
    assert isinstance(reply, Refused), reply
    assert driver.waiting == []
    assert driver.shard.pending == 0
    return reply.code


@pytest.mark.parametrize("key", ["a", "A-9_.:@/+", "x" * 256, "a/b/c", "a.b", "@", "-", "a/"])
def test_key_of_the_grammar_is_accepted(driver: ShardDriver, key: str) -> None:
    assert isinstance(driver.ask(driver.write(key)), Value)


@pytest.mark.parametrize("key", ["", "/a", ".a", "a//b", "a..b", "a b", "ä", "a\n", "a~b", "x" * 257, "a%2Fb", "a\x00"])
def test_key_outside_the_grammar_is_refused(driver: ShardDriver, key: str) -> None:
    assert refused(driver, driver.send(driver.write(key))) == "invalid_key"
    assert refused(driver, driver.send(driver.get(key))) == "invalid_key"


@pytest.mark.parametrize("expected", [ANY, 0, 1, 2**63 - 1])
def test_an_expected_version_is_any_or_what_a_key_can_have(expected: int) -> None:
    assert check_expected(expected) == expected


@pytest.mark.parametrize("expected", [-2, 2**63, 1.0, True, "1", None])
def test_other_expected_versions_are_refused(expected: object) -> None:
    with pytest.raises(InvalidStateError, match="expected_version"):
        check_expected(expected)  # pyright: ignore[reportArgumentType]  # that is the point


@pytest.mark.parametrize("limit", [0, 1_001, 5.0, True, "5"])
def test_a_page_has_a_number_of_states(limit: object) -> None:
    with pytest.raises(InvalidStateError, match="limit"):
        check_limit(limit)  # pyright: ignore[reportArgumentType]  # that is the point


@pytest.mark.parametrize("timeout_s", [float("nan"), float("inf"), 86_401, "5"])
def test_a_timeout_is_seconds_of_a_day_at_most(timeout_s: object) -> None:
    assert check_timeout(0.5) == 0.5
    with pytest.raises(InvalidStateError, match="timeout_s"):
        check_timeout(timeout_s)  # pyright: ignore[reportArgumentType]  # that is the point


def test_an_index_value_is_text() -> None:
    assert check_index_value("é") == "é"
    with pytest.raises(InvalidStateError, match="Unicode"):
        check_index_value("\ud800")


def test_prefix_is_what_a_key_could_begin_with() -> None:
    limits = Limits()
    assert check_prefix("", limits) == ""
    assert check_prefix("a/", limits) == "a/"
    with pytest.raises(InvalidKeyError):
        check_prefix("/", limits)
    with pytest.raises(InvalidKeyError):
        check_prefix(None, limits)  # pyright: ignore[reportArgumentType]  # that is the point


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'"' + b"x" * 200 + b'"', "too_large"),
        (b"[" * 5 + b"]" * 5, "too_deep"),
        (b'{"agentId":"\xff"}', "invalid_state"),
        (b"{", "invalid_state"),
        (b'{"agentId":"a"}', "invalid_state"),
        (b'{"agentId":"a","agentType":{},"status":"Ready"}', "invalid_state"),
        (b'{"agentId":"b","agentType":"x","status":"Ready"}', "invalid_state"),
    ],
)
def test_body_beyond_the_limits_or_not_of_the_category_is_refused(body: bytes, code: str) -> None:
    driver = ShardDriver(limits=Limits(state_bytes=150, depth=4))
    driver.send(driver.get("a"))
    driver.settle()
    assert refused(driver, driver.send(driver.write("a", body=body))) == code


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        (b"{}", 1),
        (b'{"a":[]}', 2),
        (b'{"a":"[[[[","b":{"c":"\\"[["}}', 2),
        (b"[[],[[]],[]]", 3),
        (b"]]]{[", 0),
        (b"[[" * 40, 80),
    ],
)
def test_depth_is_found_without_parsing_and_ignores_strings(body: bytes, depth: int) -> None:
    assert depth_of(body) == depth


def test_patched_state_is_checked_again() -> None:
    driver = ShardDriver(limits=Limits(state_bytes=150))
    driver.ask(driver.write("a"))
    reply = driver.ask(driver.write("a", Op.PATCH, b'{"agentType":"' + b"x" * 100 + b'"}'))
    assert isinstance(reply, Refused)
    assert reply.code == "too_large"


def test_key_of_another_slot_is_refused() -> None:
    driver = ShardDriver(slots=8)
    wrong = Get(slot_of(0, "a", 8) ^ 1, "a")
    assert refused(driver, driver.send(wrong)) == "protocol"


def test_slot_that_is_not_owned_is_refused(driver: ShardDriver) -> None:
    assert refused(driver, driver.send(Get(77, "a"))) == "not_owner"


def test_slot_of_an_unregistered_category_is_refused(driver: ShardDriver) -> None:
    slot = next(iter(slots_of_category(5, 1)))
    driver.shard.adopt(driver.store.acquire([slot], 1, compact=False))
    assert refused(driver, driver.send(Get(slot, "a"))) == "unknown_category"


def test_slot_number_carries_category_and_index() -> None:
    assert {category_of_slot(slot) for slot in slots_of_category(3, 16)} == {3}
    assert [index_of_slot(slot) for slot in slots_of_category(3, 16)] == list(range(16))
    assert slot_of(3, "a", 16) in slots_of_category(3, 16)


def test_a_bar_cannot_be_written(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    assert refused(driver, driver.send(driver.write("a", Op.BAR, b"{}"))) == "protocol"


def test_keys_queue_is_bounded(driver: ShardDriver) -> None:
    driver = ShardDriver(limits=Limits(key_queue=2))
    call = driver.send(*(driver.write("a") for _ in range(3)), driver.write("b"))
    full = driver.reply(call, 2)
    assert isinstance(full, Refused)
    assert (full.code, full.details) == ("overloaded", {"retry_after_s": 0.05})
    driver.settle()
    assert isinstance(driver.reply(call, 1), Value)
    assert isinstance(driver.reply(call, 3), Value)


def test_shards_queue_is_bounded_and_empties() -> None:
    driver = ShardDriver(limits=Limits(shard_queue=2))
    call = driver.send(*(driver.write(key) for key in "abc"))
    full = driver.reply(call, 2)
    assert isinstance(full, Refused)
    assert full.code == "overloaded"
    driver.settle()
    assert driver.shard.pending == 0
    assert isinstance(driver.ask(driver.write("c")), Value)


def test_list_names_an_index_the_category_has(driver: ShardDriver) -> None:
    reply = driver.reply(driver.send(List(0, "", "", 10, "colour", "red")))
    assert isinstance(reply, Refused)
    assert reply.code == "unknown_category"
    assert "agent_type" in reply.message
    driver.send(List(0, "", "", 10, "status", "Ready"))
    assert len(driver.waiting) == 1


def test_list_has_room_for_a_state(driver: ShardDriver) -> None:
    assert refused(driver, driver.send(List(0, "", "", 0))) == "protocol"


def test_list_of_a_category_unknown_or_owned_elsewhere_is_refused(driver: ShardDriver) -> None:
    assert refused(driver, driver.send(List(9, "", "", 10))) == "unknown_category"
    driver.take(driver.shard.disown("lease lost", maybe=False))
    assert refused(driver, driver.send(List(0, "", "", 10))) == "not_owner"


def test_full_page_may_have_a_successor(driver: ShardDriver) -> None:
    for key in "ab":
        driver.ask(driver.write(key))
    pages = [driver.ask(List(0, "", "", limit)) for limit in (2, 3)]
    assert [getattr(page, "more", None) for page in pages] == [True, False]


def test_page_that_is_full_in_bytes_may_have_a_successor() -> None:
    driver = ShardDriver(limits=Limits(frame_bytes=400))
    for key in "abcd":
        driver.ask(driver.write(key, body=agent(key, kind="x" * 100)))
    page = driver.ask(List(0, "", "", 10))
    assert isinstance(page, Page)
    assert [entry.key for entry in page.entries] == ["a", "b"]
    assert page.more
    last = driver.ask(List(0, "", "d", 10))
    assert last == Page([], more=False)


def test_reads_of_a_frame_that_has_got_enough_wait_no_longer(driver: ShardDriver) -> None:
    full, other = driver.send(driver.get("a"), driver.get("b"), driver.get("c")), driver.send(driver.get("b"))
    writing = driver.send(driver.write("c"))
    tickets = [effect.ticket for effect in driver.waiting]
    driver.take(driver.shard.let_go(full))
    assert [driver.reply(full, index) for index in range(3)] == [Pending()] * 3
    assert [driver.shard.is_waited_for(ticket) for ticket in tickets] == [False, True, True]
    driver.take(driver.shard.let_go(full))
    driver.settle()
    assert isinstance(driver.reply(other), Absent)
    assert isinstance(driver.reply(writing), Value)
    assert isinstance(driver.ask(driver.get("a")), Absent)


def test_wrong_request_leaves_the_others_of_its_frame_alone(driver: ShardDriver) -> None:
    call = driver.send(driver.write("/"), driver.write("a", body=agent("a")))
    driver.settle()
    assert isinstance(driver.reply(call, 0), Refused)
    assert isinstance(driver.reply(call, 1), Value)
