"""Bad input gets its typed error, with its stable code; nothing is written by it and nothing lost (R10, Errors)."""

from __future__ import annotations

import json
import pickle
import time
import types
import uuid
from collections.abc import Callable, Generator
from typing import Any, cast

import msgspec
import pytest
import ray
from tests.own_category import OTHER_TICKETS, TICKETS, OtherTicketState, TicketState
from tests.service_processes import end, shard_of, shard_pid

from lightning_state import (
    ANY,
    AgentState,
    AgentStatus,
    Category,
    CategoryMismatchError,
    IdempotencyMismatchError,
    InvalidKeyError,
    InvalidStateError,
    InvalidTransitionError,
    LightningStateError,
    RequestBarredError,
    ResearchState,
    State,
    StateClient,
    StateNotFoundError,
    StateTooDeepError,
    StateTooLargeError,
    UnknownCategoryError,
    ValidationFailedError,
    VersionConflictError,
)
from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.messages import (
    PROTOCOL,
    Frame,
    Get,
    List,
    Recall,
    Refused,
    Reply,
    Request,
    Resolve,
    Value,
    Write,
)
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.wire.codec import decode_replies, encode
from lightning_state.actors.wire.names import NAMESPACE, shard_name
from lightning_state.cluster.service import Service, service_map


class Raw:
    """Frames of one's own making, past everything that a client checks."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.map: ServiceMap = service_map(service)
        self.seq = 0
        self.session = f"raw-{uuid.uuid4().hex}"  # id() would come again, and its numbers would be answered already

    def place(self, category: str, key: str) -> tuple[int, int, int]:
        slot, shard = self.map.locate(self.map.categories[category], key)
        return slot, shard, self.map.shards[shard].epoch

    def send(self, shard: int, *requests: Request) -> list[Reply]:
        return self.send_bytes(shard, encode(Frame(PROTOCOL, self.session, 0, "", list(requests))))

    def send_bytes(self, shard: int, data: bytes) -> list[Reply]:
        actor: Any = ray.get_actor(shard_name(self.service, shard), NAMESPACE)
        return decode_replies(cast("bytes", ray.get(actor.frame.remote(data), timeout=20))).replies

    def write(self, key: str, body: bytes, *, category: str = "agents", **fields: Any) -> Reply:
        slot, shard, epoch = self.place(category, key)
        self.seq += 1
        template = Write(slot, epoch, key, Op.SET, body, 0, f"raw-{uuid.uuid4().hex}", self.seq, fresh=True)
        return self.send(shard, msgspec.structs.replace(template, **fields))[0]

    def get(self, key: str, category: str = "agents") -> Reply:
        slot, shard, _ = self.place(category, key)
        return self.send(shard, Get(slot, key))[0]


@pytest.fixture
def raw(service: Service) -> Raw:
    return Raw(service.name)


def body_of(key: str, without: str = "", **fields: Any) -> bytes:
    """The canonical body, changed."""
    canonical = json.loads(AGENTS.encode(AgentState(agent_id=key, agent_type="t")))
    return json.dumps(
        {name: v for name, v in {**canonical, **fields}.items() if name != without}, separators=(",", ":")
    ).encode()


def appended(key: str, text: bytes) -> bytes:
    """The canonical body with one more member, spelled by hand."""
    return body_of(key)[:-1] + b"," + text + b"}"


def refusal_of(reply: Reply) -> Refused:
    assert isinstance(reply, Refused), f"accepted: {reply}"
    return reply


RAW_BODIES: dict[str, tuple[Callable[[str], bytes], set[str]]] = {
    "not JSON": (lambda _: b'{"agentId": ', {"invalid_state"}),
    "empty": (lambda _: b"", {"invalid_state"}),
    "not an object": (lambda _: b"[1, 2]", {"invalid_state"}),
    "not UTF-8": (lambda key: appended(key, b'"x":"\xff"'), {"invalid_state"}),
    "unknown field": (lambda key: body_of(key, nonsense=1), {"validation_failed", "invalid_state"}),
    "wrong type": (lambda key: body_of(key, activeTaskIds="not a list"), {"validation_failed", "invalid_state"}),
    "missing field": (lambda key: body_of(key, without="agentType"), {"validation_failed", "invalid_state"}),
    "NaN": (
        lambda key: body_of(key).replace(b'"performanceMetrics":{}', b'"performanceMetrics":{"m":NaN}'),
        {"validation_failed", "invalid_state"},
    ),
    "infinite": (
        lambda key: body_of(key).replace(b'"performanceMetrics":{}', b'"performanceMetrics":{"m":1e999}'),
        {"validation_failed", "invalid_state"},
    ),
    "wrong enum": (
        lambda key: body_of(key, status="Sleeping"),
        {"validation_failed", "invalid_state", "invalid_transition"},
    ),
    "snake_case names": (
        lambda key: body_of(key).replace(b"agentType", b"agent_type"),
        {"validation_failed", "invalid_state"},
    ),
    "duplicate key": (lambda key: appended(key, b'"agentType":"other"'), {"validation_failed", "invalid_state"}),
    "duplicate id": (lambda key: b'{"agentId": "other", ' + body_of(key)[1:], {"validation_failed", "invalid_state"}),
    "a version of its own": (lambda key: body_of(key, version=7), {"validation_failed", "invalid_state"}),
    "another id": (lambda key: body_of(key + "x"), {"invalid_state"}),
    "terminal at birth": (lambda key: body_of(key, status="Completed"), {"invalid_transition"}),
    "too large": (lambda key: body_of(key, properties={"x": "y" * 1024 * 1024}), {"too_large"}),
    "too deep": (lambda key: body_of(key, properties={"x": nested(40)}), {"too_deep"}),
    "very deep": (lambda _: b"[" * 200_000, {"too_deep"}),
    "NUL in text": (lambda key: body_of(key, properties={"x": "a\0b"}), {"validation_failed"}),
    "lone surrogate": (
        lambda key: body_of(key).replace(b'"properties":{}', b'"properties":{"x":"\\ud800"}'),
        {"validation_failed", "invalid_state"},
    ),
}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", RAW_BODIES)
def test_a_raw_body_that_is_bad_is_refused_and_not_stored(raw: Raw, client: StateClient, key: str, name: str) -> None:
    make, codes = RAW_BODIES[name]
    refused = refusal_of(raw.write(key, make(key)))
    assert refused.code in codes, refused
    assert refused.message
    assert not refused.maybe
    assert not client.agents.exists(key)
    assert client.agents.set(AgentState(agent_id=key, agent_type="t")).version == 1


BAD_KEYS = ["", " ", "a b", "..", "a/../b", "/a", ".a", "a//b", "a\0b", "a\n", "é", "x" * 300, "{}", "a?b", "a%2e"]


@pytest.mark.parametrize("bad", BAD_KEYS, ids=[ascii(bad)[:12] for bad in BAD_KEYS])
def test_a_bad_key_is_refused_at_both_edges(raw: Raw, client: StateClient, bad: str) -> None:
    for call in (
        lambda: client.agents.get(bad),
        lambda: client.agents.set(AgentState(agent_id=bad, agent_type="t")),
        lambda: client.agents.get_many(["fine", bad]),
        lambda: client.agents.delete(bad, expected_version=ANY),
        lambda: client.agents.patch(bad, {}, expected_version=ANY),
        lambda: client.resolve("some-id", "agents", bad),
    ):
        with pytest.raises(InvalidKeyError) as caught:
            call()
        assert caught.value.code == "invalid_key"
    assert refusal_of(raw.write(bad, body_of(bad))).code == "invalid_key"
    assert refusal_of(raw.get(bad)).code == "invalid_key"


@pytest.mark.parametrize("bad", ["\ud800", None, 7, b"bytes"], ids=["lone surrogate", "None", "number", "bytes"])
def test_a_key_that_is_no_text_is_refused(client: StateClient, bad: Any) -> None:
    for call in (
        lambda: client.agents.get(bad),
        lambda: client.agents.get_many([bad]),
        lambda: client.agents.exists(bad),
        lambda: client.resolve("some-id", "agents", bad),
    ):
        with pytest.raises(InvalidKeyError):
            call()


def test_an_unknown_id_is_not_found_by_every_operation(client: StateClient, key: str) -> None:
    for call in (
        lambda: client.agents.get(key),
        lambda: client.agents.update_status(key, AgentStatus.READY),
        lambda: client.agents.patch(key, {"agentType": "x"}, expected_version=ANY),
        lambda: client.agents.delete(key, expected_version=ANY),
        lambda: client.agents.update(key, lambda s: s),
        lambda: client.research.update_progress(key, iteration_count=1),
    ):
        with pytest.raises(StateNotFoundError) as caught:
            call()
        assert caught.value.code == "not_found"
    assert not client.agents.exists(key)
    assert client.verifications.for_source(key) == ()


def test_states_that_do_not_fit_are_refused_through_the_client(client: StateClient, key: str) -> None:
    good = AgentState(agent_id=key, agent_type="t")
    bad: list[tuple[State, type[LightningStateError]]] = [
        (good.model_copy(update={"status": "Sleeping"}), InvalidStateError),
        (good.model_copy(update={"active_task_ids": "text"}), InvalidStateError),
        (good.model_copy(update={"performance_metrics": {"m": float("nan")}}), InvalidStateError),
        (good.model_copy(update={"properties": {"x": "y" * 1024 * 1024}}), StateTooLargeError),
        (good.model_copy(update={"properties": {"x": nested(40)}}), StateTooDeepError),
        (ResearchState(research_id=key, query="q"), InvalidStateError),
    ]
    for state, error in bad:
        with pytest.raises(error):
            client.agents.set(cast("AgentState", state))
    for patch in ({"nonsense": 1}, {"status": "Sleeping"}, {"agentId": "other"}, {"x": float("nan")}, {"x": object()}):
        client.agents.set(good, expected_version=ANY)
        with pytest.raises((InvalidStateError, ValidationFailedError, InvalidTransitionError)):
            client.agents.patch(key, patch, expected_version=ANY)
    with pytest.raises(StateTooLargeError):
        client.agents.get_many(f"k{n}" for n in range(1_001))
    with pytest.raises(InvalidStateError, match="twice"):
        client.agents.set_many([good, good])
    with pytest.raises(InvalidStateError, match="index"):
        client.agents.list(nonsense="x")
    for limit in (0, -1, 1_001):
        with pytest.raises(InvalidStateError, match="limit"):
            client.agents.list(limit=limit)
    with pytest.raises(InvalidStateError):
        client.agents.list(cursor="not a cursor")
    assert client.agents.get(key) == good.replace(version=5, last_updated=client.agents.get(key).last_updated)


def test_stale_versions_and_transitions_are_refused_with_what_is_stored(client: StateClient, key: str) -> None:
    first = client.agents.set(AgentState(agent_id=key, agent_type="t"))
    for call in (
        lambda: client.agents.set(AgentState(agent_id=key, agent_type="t")),
        lambda: client.agents.set(first, expected_version=9),
        lambda: client.agents.patch(key, {"agentType": "x"}, expected_version=2),
        lambda: client.agents.delete(key, expected_version=2),
        lambda: client.agents.update_status(key, AgentStatus.READY, expected_version=0),
    ):
        with pytest.raises(VersionConflictError) as caught:
            call()
        assert caught.value.current_version == 1
        assert caught.value.current == first
    with pytest.raises(InvalidTransitionError) as refused:
        client.agents.update_status(key, AgentStatus.COMPLETED)
    assert (refused.value.from_status, refused.value.to_status) == ("Initializing", "Completed")
    client.agents.update_status(key, AgentStatus.READY)
    done = client.agents.update_status(key, AgentStatus.COMPLETED)
    for status in (AgentStatus.COMPLETED, AgentStatus.READY):
        with pytest.raises(InvalidTransitionError):
            client.agents.update_status(key, status)
    with pytest.raises(InvalidTransitionError):
        client.agents.set(done.replace(agent_type="other"))
    assert client.agents.get(key) == done
    client.agents.delete(key, expected_version=3)
    with pytest.raises(VersionConflictError) as gone:
        client.agents.set(done)
    assert gone.value.current is None
    assert client.agents.set(AgentState(agent_id=key, agent_type="t")).version == 5


def test_a_request_id_is_for_one_request(client: StateClient, key: str) -> None:
    state = AgentState(agent_id=key, agent_type="t")
    assert client.agents.set(state, request_id=f"{key}-1").version == 1
    assert client.agents.set(state, request_id=f"{key}-1").version == 1
    with pytest.raises(IdempotencyMismatchError):
        client.agents.set(state.replace(agent_type="u"), request_id=f"{key}-1")
    for bad in ("", "\ud800", "a\nb", "x" * 601, 7):
        with pytest.raises(InvalidStateError, match="request id"):
            client.agents.set(state, expected_version=ANY, request_id=cast("str", bad))
        with pytest.raises(InvalidStateError, match="request id"):
            client.resolve(cast("str", bad), "agents", key)
    assert client.resolve(f"{key}-1", "agents", key).applied
    assert not client.resolve(f"{key}-2", "agents", key).applied
    with pytest.raises(RequestBarredError):
        client.agents.set(state, expected_version=ANY, request_id=f"{key}-2")
    assert client.agents.get(key).version == 1


def test_raw_requests_that_make_no_sense_are_refused(raw: Raw, client: StateClient, key: str) -> None:
    stored = client.agents.set(AgentState(agent_id=key, agent_type="t"))
    slot, shard, epoch = raw.place("agents", key)
    good = Write(slot, epoch, key, Op.SET, body_of(key), 1, f"{key}-good", 1_000, fresh=False)
    replace = msgspec.structs.replace
    requests: list[tuple[Request, set[str]]] = [
        (replace(good, op=Op.BAR, request_id="bar", seq=1_001), {"protocol", "invalid_state"}),
        (replace(good, slot=slot ^ 1, seq=1_002, request_id="slot"), {"protocol", "not_owner"}),
        (replace(good, epoch=epoch + 1, seq=1_003, request_id="epoch"), {"not_owner"}),
        (replace(good, slot=77 << 16, seq=1_004, request_id="category"), {"not_owner", "unknown_category"}),
        (replace(good, request_id="", seq=1_005), {"protocol", "invalid_state"}),
        (replace(good, request_id="r" * 100_000, seq=1_006), {"protocol", "invalid_state", "too_large"}),
        (replace(good, expected=-7, seq=1_007, request_id="expected"), {"version_conflict", "protocol"}),
        (replace(good, op=Op.PATCH, body=b"[]", seq=1_008, request_id="patch"), {"invalid_state"}),
        (replace(good, op=Op.PATCH, body=b"{", seq=1_009, request_id="patch2"), {"invalid_state"}),
        (replace(good, op=Op.STATUS, body=b"\xff", seq=1_011, request_id="status"), {"invalid_state"}),
        (replace(good, op=Op.PROGRESS, body=b"\xff{}", seq=1_012, request_id="progress"), {"invalid_state"}),
        (Get(77 << 16, key), {"not_owner", "unknown_category"}),
        (List(77, "", "", 10), {"unknown_category"}),
        (List(0, "", "", 10, "nonsense", "x"), {"unknown_category", "invalid_state"}),
        (List(0, "", "", -1), {"protocol", "invalid_state"}),
        (List(0, "", "", 10_000_000), {"protocol", "invalid_state", "too_large"}),
        (Resolve(slot, epoch, "a b", "r", 1_014), {"invalid_key"}),
        (Resolve(slot, epoch, key, "", 1_015), {"protocol", "invalid_state"}),
        (Recall(slot, "a b", Op.SET, b"", "r"), {"invalid_key"}),
        (Recall(slot, key, Op.SET, b"", ""), {"invalid_state"}),
        (Recall(77 << 16, key, Op.SET, b"", "r"), {"not_owner", "unknown_category"}),
    ]
    wrong: list[str] = []
    for request, codes in requests:
        [reply] = raw.send(shard, request)
        if not isinstance(reply, Refused) or reply.code not in codes:
            wrong.append(f"{request!r:.150} → {reply!r:.150}, expected {sorted(codes)}")
    assert not wrong, "\n".join(wrong)
    assert client.agents.get(key, consistency="linearizable") == stored
    assert client.agents.set(stored.replace(agent_type="u")).version == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"nonsense",
        msgspec.msgpack.encode([99, "s", 0, "", []]),
        msgspec.msgpack.encode([PROTOCOL, "s", 0, "", [["get", "not a slot", "k"]]]),
        msgspec.msgpack.encode([PROTOCOL, "s", 0, "", [["unheard-of"]]]),
        b"\x95\x01\xa2\xff\xfe\x00\xa0\x90",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ],
    ids=[
        "empty",
        "a number",
        "text",
        "newer protocol",
        "wrong type",
        "unknown request",
        "not UTF-8",
        "cut off",
        "deep",
    ],
)
def test_bytes_that_are_no_frame_are_refused_by_every_actor(raw: Raw, data: bytes) -> None:
    [reply] = raw.send_bytes(0, data)
    assert refusal_of(reply).code == "protocol"
    directory: Any = ray.get_actor(f"lightning-state/{raw.service}/directory", NAMESPACE)
    assert b"protocol" in cast("bytes", ray.get(directory.frame.remote(data), timeout=20))


def test_two_definitions_under_one_category_name_are_refused(client: StateClient, key: str) -> None:
    tickets = client.category(TICKETS)
    stored = tickets.set(TicketState(ticket_id=key, queue="billing"))
    with pytest.raises(CategoryMismatchError):
        client.category(OTHER_TICKETS).set(OtherTicketState(ticket_id=key, queue="billing"))
    assert tickets.get(key) == stored


class HomelessState(State):
    homeless_id: str


def test_a_category_that_other_processes_cannot_import_is_refused_and_harms_nobody(
    service: Service, client: StateClient, key: str
) -> None:
    local = Category(name="homeless", model=HomelessState, key_field="homeless_id")
    with pytest.raises(UnknownCategoryError, match="top-level"):
        client.category(local).set(HomelessState(homeless_id=key))
    # A module that exists in this process alone: the name looks importable and is not.
    module = types.ModuleType("nowhere_but_here")
    state: Any = type("GhostState", (State,), {"__annotations__": {"ghost_id": str}, "__module__": module.__name__})
    module.GHOSTS = ghosts = Category(name="ghosts", model=state, key_field="ghost_id")  # pyright: ignore[reportAttributeAccessIssue]  # a new attribute
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, module.__name__, module)
        with pytest.raises(UnknownCategoryError):
            client.category(ghosts).set(state(ghost_id=key), timeout_s=10)
    end(shard_pid(service.name, 0))
    owner = shard_of(service.name)
    name = next(each for each in (f"{key}-{n}" for n in range(100)) if owner(each) == 0)
    assert client.agents.set(AgentState(agent_id=name, agent_type="t")).version == 1


def test_a_model_without_a_category_is_refused(client: StateClient) -> None:
    with pytest.raises(UnknownCategoryError):
        client.category(HomelessState)


@ray.remote(max_retries=0, num_cpus=0)
def raise_in_a_task(service: str, key: str, kind: str) -> None:
    with StateClient.connect(service) as client:
        if kind == "conflict":
            client.agents.set(AgentState(agent_id=key, agent_type="t"))
        elif kind == "invalid":
            client.agents.set(AgentState(agent_id=key, agent_type="a\0b"), expected_version=ANY)
        else:
            client.agents.get(f"{key}-none")


def test_errors_survive_pickling_and_ray(service: Service, client: StateClient, key: str) -> None:
    stored = client.agents.set(AgentState(agent_id=key, agent_type="t"))
    with pytest.raises(VersionConflictError) as caught:
        ray.get(raise_in_a_task.remote(service.name, key, "conflict"))
    error = cast("VersionConflictError", getattr(caught.value, "cause", caught.value))
    assert (error.code, error.current_version, error.current) == ("version_conflict", 1, stored)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.details, str(again)) == (type(error), error.details, str(error))
    with pytest.raises(StateNotFoundError):
        ray.get(raise_in_a_task.remote(service.name, key, "missing"))
    with pytest.raises(ValidationFailedError):
        ray.get(raise_in_a_task.remote(service.name, key, "invalid"))


def test_a_deadline_that_has_passed_is_told_at_once(client: StateClient, key: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(LightningStateError):
        client.agents.get(key, timeout_s=0.0)
    assert time.monotonic() - began_s < 2


@pytest.fixture(scope="module", autouse=True)
def nothing_but_what_was_acknowledged(service: Service) -> Generator[None]:
    """After all of the above both shards still serve, and neither was restarted by bad input."""
    before = [shard_pid(service.name, number) for number in (0, 1)]
    yield
    assert shard_pid(service.name, 1) == before[1]


def test_a_stored_value_is_the_canonical_one(raw: Raw, client: StateClient, key: str) -> None:
    # Whatever spelling a raw writer sends, readers see the state that a client would have written.
    reply = raw.write(key, b" " + body_of(key).replace(b",", b" , "))
    if isinstance(reply, Value):
        assert client.agents.get(key).agent_type == "t"
    else:
        assert refusal_of(reply).code in {"validation_failed", "invalid_state"}
