"""What a write makes of a state: transitions (R3), merge patches, index values, older schema versions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lightning_state.actors.category import AGENTS, RESEARCH, VERIFICATIONS, Category
from lightning_state.actors.core.effects import Respond, Validate
from lightning_state.actors.core.merge import merge_patch
from lightning_state.actors.core.messages import List, Page, Refused, Value
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.rows import Applied, Entry, Op
from lightning_state.actors.models import State
from lightning_state.actors.testing.driver import ShardDriver, agent

AGENT_STATUSES = ("Initializing", "Ready", "Processing", "Paused", "Completed", "Failed")
AGENT_TABLE = {
    "Initializing": {"Initializing", "Ready", "Failed"},
    "Ready": {"Ready", "Processing", "Paused", "Completed", "Failed"},
    "Processing": {"Processing", "Ready", "Paused", "Completed", "Failed"},
    "Paused": {"Paused", "Ready", "Processing", "Failed"},
    "Completed": set[str](),
    "Failed": {"Failed", "Initializing"},
}
RESEARCH_STATUSES = ("Pending", "InProgress", "Verifying", "Completed", "Failed")
RESEARCH_TABLE = {
    "Pending": {"Pending", "InProgress", "Failed"},
    "InProgress": {"InProgress", "Verifying", "Failed"},
    "Verifying": {"Verifying", "Completed", "InProgress", "Failed"},
    "Completed": set[str](),
    "Failed": set[str](),
}


def research(key: str, status: str) -> bytes:
    return msgspec.json.encode({"researchId": key, "query": "q", "status": status, "startedAt": "2026-01-01T00:00:00Z"})


def stored(driver: ShardDriver, key: str, body: bytes, category: str = "agents", schema: int = 1) -> None:
    """Make the store hold this state, as if it had been written there before."""
    driver.evict()
    driver.send(driver.get(key, category))
    driver.load(Entry(key, 1, 1, body, schema, 5))


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


@pytest.mark.parametrize("after", AGENT_STATUSES)
@pytest.mark.parametrize("before", AGENT_STATUSES)
def test_agents_follow_their_table(driver: ShardDriver, before: str, after: str) -> None:
    stored(driver, "a", agent("a", before))
    for write in (driver.write("a", body=agent("a", after)), driver.write("a", Op.STATUS, after.encode())):
        stored(driver, "a", agent("a", before))
        call = driver.send(write)
        reply = driver.reply(call)
        if after in AGENT_TABLE[before]:
            assert reply is None
            driver.judge(Refused("validation_failed", "", {}))
        else:
            assert isinstance(reply, Refused)
            assert reply.code == "invalid_transition"
            assert (reply.details["from_status"], reply.details["to_status"]) == (before, after)


@pytest.mark.parametrize("after", RESEARCH_STATUSES)
@pytest.mark.parametrize("before", RESEARCH_STATUSES)
def test_research_follows_its_table(driver: ShardDriver, before: str, after: str) -> None:
    stored(driver, "r", research("r", before), "research")
    reply = driver.ask(driver.write("r", body=research("r", after), category="research"))
    assert isinstance(reply, Value) == (after in RESEARCH_TABLE[before])


@pytest.mark.parametrize("status", RESEARCH_STATUSES)
def test_a_state_begins_in_any_status_that_is_not_terminal(driver: ShardDriver, status: str) -> None:
    reply = driver.ask(driver.write("r", body=research("r", status), category="research"))
    assert isinstance(reply, Value) == bool(RESEARCH_TABLE[status])


@pytest.mark.parametrize("status", RESEARCH_STATUSES)
def test_any_status_accepts_a_delete(driver: ShardDriver, status: str) -> None:
    stored(driver, "r", research("r", status), "research")
    assert isinstance(driver.ask(driver.write("r", Op.DELETE, b"", 1, category="research")), Value)


def test_settings_may_replace_a_table(driver: ShardDriver) -> None:
    driver.shard.register(Registered(0, AGENTS, 1, {"Completed": frozenset({"Ready"}), "Ready": frozenset()}))
    stored(driver, "a", agent("a", "Completed"))
    assert isinstance(driver.ask(driver.write("a", body=agent("a", "Ready"))), Value)
    assert isinstance(driver.ask(driver.write("a", body=agent("a", "Completed"))), Refused)


def test_status_the_table_does_not_know_is_left_to_validation(driver: ShardDriver) -> None:
    driver.send(driver.write("a", body=agent("a", "Sleeping")))
    driver.load()
    assert isinstance(driver.waiting[0], Validate)


def test_category_without_status_has_no_status_update() -> None:
    driver = ShardDriver(categories=(VERIFICATIONS,))
    body = b'{"verificationId":"v","sourceId":"r","content":"c"}'
    assert isinstance(driver.ask(driver.write("v", body=body, category="verifications")), Value)
    refused = driver.ask(driver.write("v", Op.STATUS, b"Ready", category="verifications"))
    assert isinstance(refused, Refused)
    assert refused.code == "invalid_state"


def test_patch_merges_into_what_is_stored_and_answers_with_the_result(driver: ShardDriver) -> None:
    driver.ask(driver.write("a", body=b'{"agentId":"a","agentType":"x","status":"Ready","properties":{"k":1,"l":2}}'))
    reply = driver.ask(driver.write("a", Op.PATCH, b'{"agentType":"y","properties":{"k":null,"m":3}}'))
    assert isinstance(reply, Value)
    assert reply.body is not None
    state = AGENTS.decode(reply.body)
    assert (state.agent_type, state.status, state.properties) == ("y", "Ready", {"l": 2, "m": 3})


def test_progress_is_a_patch(driver: ShardDriver) -> None:
    driver.ask(driver.write("r", body=research("r", "InProgress"), category="research"))
    reply = driver.ask(driver.write("r", Op.PROGRESS, b'{"iterationCount":3}', category="research"))
    assert isinstance(reply, Value)
    assert reply.body is not None
    assert RESEARCH.decode(reply.body).iteration_count == 3


@pytest.mark.parametrize("patch", [b"[]", b"{", b'"x"', b'{"agentType":5}', b'{"unknown":1}', b'{"agentType":null}'])
def test_patch_that_makes_no_valid_state_is_refused(driver: ShardDriver, patch: bytes) -> None:
    driver.ask(driver.write("a"))
    refused = driver.ask(driver.write("a", Op.PATCH, patch))
    assert isinstance(refused, Refused)
    assert refused.code == "invalid_state"


def test_patch_cannot_change_the_id(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    refused = driver.ask(driver.write("a", Op.PATCH, b'{"agentId":"b"}'))
    assert isinstance(refused, Refused)
    assert refused.details == {"reason": "id_mismatch", "moment": (0, 1, 1)}


# RFC 7386, appendix A.
RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386)
def test_merge_patch_gives_the_results_of_the_standard(target: Any, patch: Any, result: Any) -> None:
    before = msgspec.json.encode(target)
    assert merge_patch(target, patch) == result
    assert msgspec.json.encode(target) == before


def test_rows_carry_the_values_of_every_index(driver: ShardDriver) -> None:
    driver.ask(driver.write("a", body=agent("a", kind="worker")))
    driver.ask(driver.write("a", Op.DELETE, b""))
    assert [row.indexes for row in driver.store.rows] == [{"status": "Ready", "agent_type": "worker"}, {}]


class Note(State):
    """A state whose schema has changed twice."""

    note_id: str
    text: str
    label: str | None = None


def _first(value: dict[str, Any]) -> dict[str, Any]:
    return {"noteId": value["noteId"], "content": value["body"]}


def _second(value: dict[str, Any]) -> dict[str, Any]:
    return {"noteId": value["noteId"], "text": value["content"]}


def _broken(value: dict[str, Any]) -> dict[str, Any]:
    return {"noteId": value["missing"]}


NOTES = Category(
    name="notes", model=Note, key_field="note_id", indexes=("label",), schema_version=3, upcasts={1: _first, 2: _second}
)
BROKEN = Category(name="notes", model=Note, key_field="note_id", schema_version=2, upcasts={1: _broken})
OLD = b'{"noteId":"n","body":"hello"}'
NEW = b'{"noteId":"n","text":"hello","label":null}'


def test_value_of_none_is_not_indexed() -> None:
    driver = ShardDriver(categories=(NOTES,))
    driver.ask(driver.write("n", body=NEW, category="notes"))
    assert driver.store.rows[0].indexes == {}
    assert repr(Registered(4, NOTES, 1)) == "<Registered notes id=4>"


def test_older_state_is_read_as_the_current_schema_writes_it() -> None:
    driver = ShardDriver(categories=(NOTES,))
    stored(driver, "n", OLD, "notes")
    reply = driver.ask(driver.get("n", "notes"))
    assert isinstance(reply, Value)
    assert (reply.version, reply.body) == (1, NEW)
    driver.send(List(0, "", "", 10))
    driver.scan(Entry("n", 1, 1, OLD, 1, 5), Entry("z", 2, 2, None, 1, 5))
    listed = driver.log[-1]
    assert isinstance(listed, Respond)
    assert isinstance(listed.reply, Page)
    assert listed.reply.entries == [Entry("n", 1, 1, NEW, 3, 5), Entry("z", 2, 2, None, 1, 5)]


def test_patch_of_an_older_state_writes_the_current_schema() -> None:
    driver = ShardDriver(categories=(NOTES,))
    stored(driver, "n", OLD, "notes")
    driver.ask(driver.write("n", Op.PATCH, b'{"label":"x"}', category="notes"))
    assert driver.store.rows[0].schema_version == 3
    assert driver.store.rows[0].body == b'{"noteId":"n","text":"hello","label":"x"}'


def test_stored_result_of_an_older_schema_is_upcast() -> None:
    driver = ShardDriver(categories=(NOTES,))
    write = driver.write("n", Op.PATCH, b"{}", request_id="x", category="notes")
    driver.send(write)
    driver.load(Entry("n", 1, 1, OLD, 1, 5))
    driver.look_up()
    first = driver.next(Validate)
    assert first.new == NEW
    digest = driver.shard._writes[0, "p", "x"].digest
    driver.take(driver.shard.judged(first.ticket, Refused("validation_failed", "", {}), driver.now_us))
    again = driver.send(msgspec.structs.replace(write, seq=9))
    driver.look_up(Applied("n", 2, 2, Op.PATCH, OLD, 1, digest, 7))
    reply = driver.reply(again)
    assert isinstance(reply, Value)
    assert (reply.version, reply.body) == (2, NEW)


def test_state_that_cannot_be_upcast_is_refused_and_the_shard_goes_on() -> None:
    driver = ShardDriver(categories=(BROKEN,))
    call = driver.send(driver.get("n", "notes"), driver.write("n", body=NEW, category="notes"))
    driver.load(Entry("n", 1, 1, OLD, 1, 5))
    listing = driver.send(List(0, "", "", 10))
    driver.scan(Entry("n", 1, 1, OLD, 1, 5))
    for reply in (driver.reply(call, 0), driver.reply(call, 1), driver.reply(listing)):
        assert isinstance(reply, Refused)
        assert reply.code == "invalid_state"
    assert driver.shard.pending == 0


def test_state_of_a_newer_schema_than_this_program_knows_is_refused() -> None:
    driver = ShardDriver(categories=(NOTES,))
    call = driver.send(driver.get("n", "notes"))
    driver.load(Entry("n", 1, 1, NEW, 4, 5))
    reply = driver.reply(call)
    assert isinstance(reply, Refused)
    assert reply.code == "category_mismatch"


class OldNote(State):
    """What notes were under schema version 1."""

    note_id: str
    body: str


OLD_NOTES = Category(name="notes", model=OldNote, key_field="note_id")


def test_registering_a_newer_schema_takes_effect_for_hot_states_and_writes_under_way() -> None:
    driver = ShardDriver(categories=(OLD_NOTES, AGENTS))
    driver.ask(driver.write("n", body=OLD, category="notes"))
    driver.ask(driver.write("hot"))
    call = driver.send(
        driver.write("n", Op.PATCH, b'{"body":"second"}', category="notes"),
        driver.write("n", Op.PATCH, b'{"label":"third"}', category="notes"),
    )
    driver.shard.register(Registered(0, NOTES, 1))
    assert driver.shard.hot.keys() == [(driver.slot("hot"), "hot")]
    driver.settle()
    assert isinstance(driver.reply(call, 1), Value)
    # What was decided under the old schema is stored as such.
    assert [(row.schema_version, row.body) for row in driver.store.rows if row.key == "n"] == [
        (1, OLD),
        (1, b'{"noteId":"n","body":"second"}'),
        (3, b'{"noteId":"n","text":"second","label":"third"}'),
    ]


def test_read_during_a_change_of_schema_is_answered_in_the_new_one() -> None:
    driver = ShardDriver(categories=(OLD_NOTES,))
    driver.ask(driver.write("n", body=OLD, category="notes"))
    driver.send(driver.write("n", Op.PATCH, b'{"body":"second"}', category="notes"))
    driver.shard.register(Registered(0, NOTES, 1))
    reply = driver.reply(driver.send(driver.get("n", "notes")))
    assert isinstance(reply, Value)
    assert reply.body == NEW
    driver.settle()
    committed = driver.ask(driver.get("n", "notes"))
    assert isinstance(committed, Value)
    assert (committed.version, committed.body) == (2, b'{"noteId":"n","text":"second","label":null}')
