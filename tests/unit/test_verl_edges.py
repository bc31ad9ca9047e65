"""The rules and the dispatch at their edges: other models, rules that are no functions, validators nobody knows."""

from __future__ import annotations

import msgspec
import pytest
from tests.verl_cases import Order, change, plan_of

from lightning_state.actors.category import AGENTS, RESEARCH, Category
from lightning_state.actors.core.fields import FieldReader
from lightning_state.actors.core.request_ids import generated_id
from lightning_state.actors.core.sessions import Sessions
from lightning_state.actors.core.verl.consistency import check_consistency
from lightning_state.actors.core.verl.dispatch import Dispatch, LaneLimits
from lightning_state.actors.core.verl.evaluate import evaluate, load_plan
from lightning_state.actors.core.verl.messages import Statement
from lightning_state.actors.core.verl.rule_set import rule_set_of
from lightning_state.actors.errors import UnknownCategoryError
from lightning_state.actors.models import AgentState
from lightning_state.actors.settings import Settings

NOT_A_FUNCTION = 3

ORDERS_WITH_RESEARCH_RULES = Category(name="ruled", model=Order, key_field="order_id", rules=RESEARCH.rules)
BAD_RULE = Category(name="bad-rule", model=Order, key_field="order_id", rules=(f"{__name__}:NOT_A_FUNCTION",))


def test_rules_of_another_model_find_nothing_in_this_one() -> None:
    plan = load_plan(rule_set_of(ORDERS_WITH_RESEARCH_RULES, f"{__name__}:ORDERS_WITH_RESEARCH_RULES", Settings()))
    assert evaluate(plan, change(ORDERS_WITH_RESEARCH_RULES, Order(order_id="o-1", amount=1))).issues == []


def test_a_rule_that_is_no_function_is_refused_when_it_is_loaded() -> None:
    with pytest.raises(UnknownCategoryError, match="not a function"):
        load_plan(rule_set_of(BAD_RULE, f"{__name__}:BAD_RULE", Settings()))


def test_numbers_and_nothing_beside_text_with_control_characters_are_passed_over() -> None:
    state = AgentState(agent_id="a-1", agent_type="t", properties={"n": 1, "none": None, "yes": True, "text": "\x01"})
    (issue,) = evaluate(plan_of(AGENTS), change(AGENTS, state)).issues
    assert (issue.path, issue.severity) == ("properties.text", "warning")


def test_the_same_word_twice_is_no_contradiction() -> None:
    said = [
        Statement("1", "the valve is open"),
        Statement("2", "the valve is open"),
        Statement("3", "the valve is closed"),
    ]
    found = check_consistency(said).contradictions
    assert {(pair.first, pair.second) for pair in found} == {("1", "3"), ("2", "3")}


def test_a_validator_nobody_knows_does_not_come_up() -> None:
    limits = LaneLimits(queue=2, frames=1, calls=1)
    made = Dispatch(limits, limits)
    made.came_up("stranger")
    assert not made.has_validator
    assert repr(made) == "<Dispatch validators=0/0 calls=0 frames=0>"


def test_a_number_below_the_floor_is_not_taken_over_any_more() -> None:
    sessions = Sessions()
    sessions.hear("one", 9, 0)
    sessions.supersede("two", 1, generated_id(1, "one", 7))
    assert sessions.hear("one", 9, 0).refusal(7, None) is None


def test_a_base_that_no_longer_fits_its_model_can_be_replaced() -> None:
    base = AGENTS.encode(AgentState(agent_id="a-1", agent_type="t")).replace(b'"agentType":"t"', b'"agentType":7')
    request = change(AGENTS, AgentState(agent_id="a-1", agent_type="t"))
    assert evaluate(plan_of(AGENTS), msgspec.structs.replace(request, base=base, base_version=1)).issues == []
    broken = msgspec.structs.replace(request, base=b"{", base_version=1)
    assert [issue.code for issue in evaluate(plan_of(AGENTS), broken).issues] == ["rule_failed"]


def test_a_reader_of_fields_says_of_which_category_it_is() -> None:
    assert repr(FieldReader(AGENTS)) == "<FieldReader agents>"
