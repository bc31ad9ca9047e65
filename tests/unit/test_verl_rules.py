"""Each rule against a table of changes, as a user would meet them: bodies in, findings out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verl_cases import BROKEN, MOMENT, ORDERS, Order, change, plan_of, rules_of

from lightning_state.actors.category import AGENTS, RESEARCH, VERIFICATIONS, Category
from lightning_state.actors.core.verl.confidence import confidence_of
from lightning_state.actors.core.verl.evaluate import evaluate, load_plan
from lightning_state.actors.core.verl.messages import Issue, Severity
from lightning_state.actors.core.verl.rules.references import references_of
from lightning_state.actors.errors import CategoryMismatchError, UnknownCategoryError
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import (
    AgentState,
    AgentStatus,
    FactState,
    ResearchState,
    ResearchStatus,
    State,
    VerificationState,
)

EARLIER, LATER = MOMENT - timedelta(hours=1), MOMENT + timedelta(hours=1)
DONE = AgentStatus.COMPLETED


def agent(status: AgentStatus = AgentStatus.READY, **fields: Any) -> AgentState:
    return AgentState(agent_id="a-1", agent_type="x", status=status).replace(**fields)


def run(status: ResearchStatus = ResearchStatus.IN_PROGRESS, **fields: Any) -> ResearchState:
    return ResearchState(research_id="r-1", query="q", status=status, started_at=MOMENT).replace(**fields)


def fact(number: int, content: str = "", source: str = "s") -> FactState:
    return FactState(id=f"f-{number}", content=content or f"fact {number}", source=source, extracted_at=MOMENT)


def codes(category: Category[Any], new: State | bytes, base: State | None = None, **more: Any) -> list[str]:
    settings = more.pop("settings", {})
    verdict = evaluate(plan_of(category, **settings), change(category, new, base, **more))
    return [issue.code for issue in verdict.issues]


VALID: list[tuple[str, Category[Any], State, State | None]] = [
    ("a fresh agent", AGENTS, agent(AgentStatus.INITIALIZING), None),
    ("an agent that starts ready", AGENTS, agent(), None),
    ("a status kept", AGENTS, agent(agent_type="y"), agent()),
    ("a failed agent restarted", AGENTS, agent(AgentStatus.INITIALIZING), agent(AgentStatus.FAILED)),
    ("a fresh run", RESEARCH, run(ResearchStatus.PENDING), None),
    ("progress", RESEARCH, run(iteration_count=2), run(iteration_count=1)),
    ("completion", RESEARCH, run(ResearchStatus.COMPLETED, completed_at=LATER), run(ResearchStatus.VERIFYING)),
    (
        "failure before the start",
        RESEARCH,
        run(ResearchStatus.FAILED, completed_at=MOMENT),
        run(ResearchStatus.PENDING),
    ),
    ("distinct facts", RESEARCH, run(extracted_facts=(fact(1), fact(2))), None),
    ("one fact of two sources", RESEARCH, run(extracted_facts=(fact(1, "x"), fact(2, "x", "t"))), None),
    ("newline and tab", AGENTS, agent(properties={"text": "a\n\tb\r\nc \\u0000 é 😀"}), None),
    ("a verification", VERIFICATIONS, VerificationState(verification_id="v", source_id="r", content="c"), None),
    ("a user's category", ORDERS, Order(order_id="o", amount=1), None),
]

INVALID: list[tuple[str, Category[Any], State | bytes, State | None, str]] = [
    ("unknown field", AGENTS, b'{"agentId":"k","agentType":"x","nope":1}', None, "schema"),
    ("wrong type", AGENTS, b'{"agentId":"k","agentType":7}', None, "schema"),
    ("no JSON", AGENTS, b"{", None, "schema"),
    ("a share over 1", RESEARCH, RESEARCH.encode(run()).replace(b'Score":0.0', b'Score":1.5'), None, "schema"),
    ("spare whitespace", ORDERS, b'{"orderId":"k","amount":1, "note":""}', None, "not_canonical"),
    ("a duplicate key", ORDERS, b'{"orderId":"k","amount":0,"amount":1,"note":""}', None, "not_canonical"),
    ("a field left out", ORDERS, b'{"orderId":"k","amount":1}', None, "not_canonical"),
    ("a start in a terminal status", AGENTS, agent(AgentStatus.COMPLETED), None, "terminal_start"),
    ("a skipped status", AGENTS, agent(AgentStatus.READY), agent(AgentStatus.FAILED), "invalid_transition"),
    (
        "a terminal state changed",
        AGENTS,
        agent(AgentStatus.COMPLETED, agent_type="y"),
        agent(AgentStatus.COMPLETED),
        "terminal_frozen",
    ),
    ("verifying skipped", RESEARCH, run(ResearchStatus.COMPLETED, completed_at=LATER), run(), "invalid_transition"),
    ("a counter that falls", RESEARCH, run(iteration_count=1), run(iteration_count=2), "counter_decreased"),
    ("an end without a time", RESEARCH, run(ResearchStatus.FAILED), run(), "completion_time"),
    ("a time without an end", RESEARCH, run(completed_at=LATER), run(), "completion_time"),
    (
        "an end before the start",
        RESEARCH,
        run(ResearchStatus.FAILED, completed_at=MOMENT - timedelta(1)),
        run(),
        "time_order",
    ),
    ("a control character in an index", AGENTS, agent(agent_type="a\nb"), None, "control_character"),
    ("a control character in a list of ids", AGENTS, agent(active_task_ids=("t\x1b",)), None, "control_character"),
    ("a control character in a name", AGENTS, agent(properties={"a\x01": 1}), None, "control_character"),
    ("NUL in text", AGENTS, agent(properties={"deep": [{"x": "a\0b"}]}), None, "control_character"),
    ("an amount the user's rule refuses", ORDERS, Order(order_id="k", amount=0), None, "amount"),
]


@pytest.mark.parametrize(("category", "new", "base"), [case[1:] for case in VALID], ids=[case[0] for case in VALID])
def test_a_valid_change_scores_one(category: Category[Any], new: State, base: State | None) -> None:
    verdict = evaluate(plan_of(category), change(category, new, base))
    assert verdict.issues == []
    assert (verdict.is_valid, verdict.confidence, verdict.is_accepted) == (True, 1.0, True)


@pytest.mark.parametrize(
    ("category", "new", "base", "code"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID]
)
def test_an_invalid_change_is_refused_with_its_code(
    category: Category[Any], new: State | bytes, base: State | None, code: str
) -> None:
    verdict = evaluate(plan_of(category), change(category, new, base))
    assert code in [issue.code for issue in verdict.issues if issue.severity is Severity.ERROR]
    assert (verdict.is_valid, verdict.confidence, verdict.is_accepted) == (False, 0.0, False)


def test_the_id_must_be_the_key() -> None:
    assert codes(AGENTS, agent(), key="a-2") == ["key_mismatch"]


def test_a_key_outside_the_grammar_is_refused() -> None:
    assert codes(AGENTS, agent(), key="../a") == ["invalid_key"]


@pytest.mark.parametrize(
    ("limits", "code"),
    [(Limits(state_bytes=50), "too_large"), (Limits(depth=3), "too_deep"), (Limits(key_bytes=2), "invalid_key")],
)
def test_limits_hold(limits: Limits, code: str) -> None:
    deep = agent(properties={"a": [[[[1]]]]})
    assert codes(AGENTS, deep, settings={"limits": limits}) == [code]


def test_settings_replace_the_transition_table() -> None:
    table = {"agents": {"Ready": ["Completed"], "Completed": ["Ready"]}}
    assert codes(AGENTS, agent(), agent(AgentStatus.COMPLETED), settings={"transitions": table}) == []
    assert codes(AGENTS, agent(AgentStatus.FAILED), agent(), settings={"transitions": table}) == ["invalid_transition"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"research/r": True}, []), ({"research/r": False}, ["reference_missing"]), ({}, ["reference_missing"])],
)
def test_references_are_checked_when_asked_for(found: dict[str, bool], expected: list[str]) -> None:
    verification = VerificationState(verification_id="v", source_id="r", content="c")
    assert references_of(VERIFICATIONS, verification) == [("source_id", "research", "r")]
    on: dict[str, Any] = {"verl": {"check_references": True}}
    assert codes(VERIFICATIONS, verification, references=found, settings=on) == expected
    assert codes(VERIFICATIONS, verification, references=found) == []


def test_a_fact_that_repeats_an_id_is_named_as_such() -> None:
    twice = run(extracted_facts=(fact(1), fact(1, "other words")))
    verdict = evaluate(plan_of(RESEARCH), change(RESEARCH, twice, None))
    assert [(issue.code, issue.path) for issue in verdict.issues] == [("duplicate_fact", "extractedFacts.1.id")]


def test_duplicate_facts_lower_the_confidence_until_it_is_too_low() -> None:
    def repeated(times: int) -> ResearchState:
        return run(extracted_facts=(fact(0, "The same"), *(fact(n, "the  same") for n in range(1, times + 1))))

    plan = plan_of(RESEARCH)
    four, five = (evaluate(plan, change(RESEARCH, repeated(times))) for times in (4, 5))
    assert (four.confidence, four.is_valid, four.is_accepted) == (0.8, True, True)
    assert (five.confidence, five.is_valid, five.is_accepted) == (0.75, True, False)


def test_control_characters_in_text_are_a_warning() -> None:
    verdict = evaluate(plan_of(AGENTS), change(AGENTS, agent(properties={"x": "bell \x07", "y": "c1 \x85"})))
    assert [(i.code, i.path, i.severity) for i in verdict.issues] == [
        ("control_character", "properties.x", Severity.WARNING),
        ("control_character", "properties.y", Severity.WARNING),
    ]
    assert verdict.confidence == 0.8


def test_a_rule_that_raises_refuses_the_write_without_telling_why() -> None:
    verdict = evaluate(plan_of(BROKEN), change(BROKEN, Order(order_id="k", amount=1)))
    assert [issue.code for issue in verdict.issues] == ["rule_failed"]
    assert "secret" not in verdict.issues[0].message
    assert verdict.is_transient


def test_schema_findings_name_their_path() -> None:
    verdict = evaluate(plan_of(AGENTS), change(AGENTS, b'{"agentId":"k","agentType":7}'))
    assert [issue.path for issue in verdict.issues] == ["agentType"]


def test_thresholds_come_from_settings_then_category_then_default() -> None:
    own = Category(name="agents", model=AgentState, key_field="agent_id", confidence_threshold=0.5)
    assert rules_of(AGENTS).threshold == 0.8
    assert rules_of(AGENTS, verl={"confidence_thresholds": {"agents": 0.6}}).threshold == 0.6
    assert own.hash != AGENTS.hash


def test_the_rule_set_id_tells_every_difference() -> None:
    ids = {
        rules_of(AGENTS).id,
        rules_of(RESEARCH).id,
        rules_of(AGENTS, verl={"confidence_threshold": 0.7}).id,
        rules_of(AGENTS, verl={"check_references": True}).id,
        rules_of(AGENTS, transitions={"agents": {"Ready": []}}).id,
        rules_of(AGENTS, limits={"depth": 3}).id,
    }
    assert len(ids) == 6
    assert rules_of(AGENTS).id in ids


def test_a_rule_set_of_another_definition_is_not_loaded() -> None:
    rule_set = rules_of(AGENTS)
    with pytest.raises(CategoryMismatchError):
        load_plan(msgspec.structs.replace(rule_set, category_hash="x"))


def test_a_rule_that_cannot_be_imported_is_named() -> None:
    rule_set = rules_of(ORDERS)
    lost = Category(name="lost", model=Order, key_field="order_id", rules=("no.such.module:rule",))
    globals()["LOST"] = lost
    path = f"{__name__}:LOST"
    with pytest.raises(UnknownCategoryError, match=r"no\.such\.module"):
        load_plan(msgspec.structs.replace(rule_set, import_path=path, category_hash=lost.hash))


ISSUES = st.lists(
    st.builds(
        Issue,
        st.just("c"),
        st.just("p"),
        st.just("m"),
        st.sampled_from(Severity),
        st.floats(allow_nan=False, min_value=-1, max_value=2),
    )
)


@given(ISSUES, ISSUES)
def test_another_finding_never_raises_the_confidence(some: list[Issue], more: list[Issue]) -> None:
    assert 0.0 <= confidence_of([*some, *more]) <= confidence_of(some) <= 1.0


@given(ISSUES)
def test_confidence_is_zero_with_any_error_and_one_with_no_finding(issues: list[Issue]) -> None:
    if any(issue.severity is Severity.ERROR for issue in issues):
        assert confidence_of(issues) == 0.0
    assert confidence_of([]) == 1.0
