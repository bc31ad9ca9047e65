"""Models: immutable, camelCase on the wire, one canonical body."""

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lightning_state.actors.category import AGENTS, RESEARCH, VERIFICATIONS
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import (
    AgentState,
    AgentStatus,
    FactState,
    FrozenDict,
    ResearchState,
    VerificationState,
    freeze,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
AGENT = AgentState(agent_id="a-1", agent_type="researcher", properties={"k": [1, {"deep": [2]}]})


def test_a_wire_body_is_camel_case_with_pascal_case_enums_and_without_version() -> None:
    body = json.loads(AGENTS.encode(AGENT))
    assert body == {
        "agentId": "a-1",
        "agentType": "researcher",
        "status": "Initializing",
        "properties": {"k": [1, {"deep": [2]}]},
        "activeTaskIds": [],
        "performanceMetrics": {},
    }


def test_dictionary_keys_are_never_renamed() -> None:
    state = AgentState(agent_id="a", agent_type="t", properties={"snake_case": 1, "camelCase": 2, "with space": 3})
    assert json.loads(AGENTS.encode(state))["properties"] == {"snake_case": 1, "camelCase": 2, "with space": 3}


def test_times_are_iso_8601_in_utc_whatever_zone_they_came_in() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5)))
    state = VerificationState(verification_id="v", source_id="r", content="c", verified_at=moment)
    assert state.verified_at == datetime(2026, 1, 1, 22, 4, 5, tzinfo=UTC)
    assert json.loads(VERIFICATIONS.encode(state))["verifiedAt"] == "2026-01-01T22:04:05Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        VerificationState(verification_id="v", source_id="r", content="c", verified_at=datetime(2026, 1, 1))  # noqa: DTZ001


@given(JSON)
def test_any_json_comes_back_equal_from_its_body(value: Any) -> None:
    state = AgentState(agent_id="a", agent_type="t", properties={"value": value})
    again = AGENTS.decode(AGENTS.encode(state))
    assert again == state
    assert AGENTS.encode(again) == AGENTS.encode(state)


def test_nothing_inside_a_state_can_be_changed() -> None:
    with pytest.raises(ValidationError):
        AGENT.status = AgentStatus.READY  # pyright: ignore[reportAttributeAccessIssue]  # the point of the test
    properties: Any = AGENT.properties
    nested = properties["k"][1]
    for change in (
        lambda: properties.update(k=1),
        lambda: properties.__setitem__("k", 1),
        lambda: properties.pop("k"),
        lambda: properties.setdefault("z", 1),
        nested.clear,
        lambda: AGENT.performance_metrics.__delitem__("x"),
    ):
        with pytest.raises(TypeError, match="immutable"):
            change()
    assert isinstance(AGENT.properties["k"], tuple)
    assert isinstance(nested["deep"], tuple)


def test_a_state_owns_its_values_and_not_the_callers_objects() -> None:
    mine: dict[str, Any] = {"list": [1]}
    state = AgentState(agent_id="a", agent_type="t", properties=mine)
    mine["list"].append(2)
    assert state.properties["list"] == (1,)


def test_frozen_values_copy_pickle_hash_and_compare_as_ordinary_ones() -> None:
    assert copy.deepcopy(AGENT.properties) is AGENT.properties
    assert copy.copy(AGENT.properties) == {"k": (1, {"deep": (2,)})}
    assert pickle.loads(pickle.dumps(AGENT)) == AGENT
    assert hash(FrozenDict(a=1)) == hash(FrozenDict(a=1))


def test_replace_validates_and_leaves_the_original_alone() -> None:
    changed = AGENT.replace(agent_type="x", status=AgentStatus.READY)
    assert (changed.agent_type, changed.status, AGENT.agent_type) == ("x", AgentStatus.READY, "researcher")
    with pytest.raises(InvalidStateError, match="status") as refused:
        AGENT.replace(status="Nonsense")
    assert refused.value.findings[0]["path"] == "status"
    with pytest.raises(InvalidStateError, match="agentTyp"):
        AGENT.replace(agentTyp="x")


def test_replace_keeps_the_version_the_state_was_read_at() -> None:
    stored = AGENTS.stamp(AGENT, 7, 1_000_000)
    assert stored.replace(agent_type="x").version == 7
    assert stored.last_updated == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        AgentState(agent_id="a", agent_type="t", properties={"x": [value]})
    with pytest.raises(ValidationError, match="finite"):
        AgentState(agent_id="a", agent_type="t", performance_metrics={"x": value})
    with pytest.raises(ValueError, match="finite"):
        freeze(value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"agentId":"a"}',
        b'{"agentId":"a","agentType":"t","extra":1}',
        b'{"agent_id":"a","agent_type":"t"}',
        b'{"agentId":"a","agentType":"t","status":"ready"}',
        b'{"agentId":"a","agentType":"t","properties":{"x":NaN}}',
        b'{"agentId":1,"agentType":"t"}',
        b'{"agentId":"a","agentType":"t","activeTaskIds":"x"}',
        b'{"agentId":"\xff","agentType":"t"}',
        b'{"agentId":"\\ud800","agentType":"t"}',
    ],
)
def test_a_body_that_does_not_fit_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(InvalidStateError):
        AGENTS.decode(body)


def test_text_that_is_not_unicode_cannot_become_a_body() -> None:
    with pytest.raises(InvalidStateError, match="JSON"):
        AGENTS.encode(AgentState(agent_id="\ud800", agent_type="t"))


@pytest.mark.parametrize("score", [-0.01, 1.01])
def test_scores_stay_between_0_and_1(score: float) -> None:
    with pytest.raises(ValidationError):
        ResearchState(research_id="r", query="q", current_quality_score=score)
    with pytest.raises(ValidationError):
        FactState(id="f", content="c", source="s", confidence_score=score)


def test_facts_inside_a_research_state_are_rebuilt_whole() -> None:
    fact = FactState(id="f", content="c", source="file:///x", confidence_score=0.5)
    state = ResearchState(research_id="r", query="q", extracted_facts=(fact,))
    assert RESEARCH.decode(RESEARCH.encode(state)).extracted_facts == (fact,)
