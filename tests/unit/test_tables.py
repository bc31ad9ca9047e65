"""What a notebook shows of states, pages, errors, verdicts and figures: everything of it, and no markup of theirs."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

from lightning_state import AgentState, AgentStatus, FactState, Issue, ResearchState, State, StatePage, Verdict
from lightning_state.actors.core.verl.messages import (
    ConsistencyReport,
    Contradiction,
    FactFinding,
    FactReport,
    PoolDecision,
    PoolView,
    ReasoningReport,
)
from lightning_state.actors.errors import StateNotFoundError, ValidationFailedError, VersionConflictError
from lightning_state.actors.metrics.figures import Figures
from lightning_state.actors.metrics.timings import Timings
from lightning_state.actors.tables import MOST_CHARACTERS, MOST_ROWS, flat_table, record_table

OWN_TAGS = {"table", "caption", "tr", "th", "td", "br"}
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>&amp;\'"'


class Parsed(HTMLParser):
    """The tags of a document, the attributes of all of them, and the text a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def shown(value: object) -> Parsed:
    """What a notebook shows of a value, which must offer its plain text too."""
    offered, _ = cast("tuple[dict[str, Any], Any]", DisplayFormatter().format(value))  # pyright: ignore[reportUnknownMemberType]
    assert offered["text/plain"]
    return Parsed(offered["text/html"])


def hostile_verdict() -> Verdict:
    issues = [Issue("too_expensive", HOSTILE, HOSTILE)]
    return Verdict(
        is_valid=False,
        confidence=0.0,
        issues=issues,
        rule_set="r",
        base_version=1,
        content_hash=b"\x01" * 16,
        threshold=0.8,
    )


def hostile_agent() -> AgentState:
    return AgentState(
        agent_id=HOSTILE,
        agent_type=HOSTILE,
        properties={HOSTILE: [HOSTILE, {HOSTILE: {HOSTILE: {HOSTILE: [{HOSTILE: HOSTILE}]}}}]},
        active_task_ids=(HOSTILE,),
        performance_metrics={HOSTILE: 1.0},
    )


HOSTILE_VALUES: list[object] = [
    hostile_agent(),
    FactState(id=HOSTILE, content=HOSTILE, source=HOSTILE),
    StatePage((hostile_agent(),), HOSTILE),
    hostile_verdict(),
    VersionConflictError(HOSTILE, key=HOSTILE, current=hostile_agent()),
    ValidationFailedError(HOSTILE, verdict=hostile_verdict()),
    StateNotFoundError(HOSTILE, **{HOSTILE: HOSTILE}),
    FactReport([FactFinding("1", HOSTILE, 0.5, HOSTILE, HOSTILE)], 0.5),
    ReasoningReport(is_valid=False, confidence=0.0, issues=[Issue("x", HOSTILE, HOSTILE)]),
    ConsistencyReport(is_consistent=False, contradictions=[Contradiction(HOSTILE, "1", "2", HOSTILE)]),
    PoolView([HOSTILE], 0.5, 1, [PoolDecision(0, "start", HOSTILE, HOSTILE)], 1),
    Figures(calls={HOSTILE: 1}, latencies=[{"operation": HOSTILE}]),
]


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=[type(value).__name__ for value in HOSTILE_VALUES])
def test_markup_in_a_value_is_shown_as_text_and_never_becomes_markup(value: object) -> None:
    parsed = shown(value)
    assert set(parsed.tags) <= OWN_TAGS
    assert parsed.attributes <= {"style", "class"}
    assert HOSTILE in parsed.text


TEXTS = st.text(st.sampled_from("<>&'\"/!a \ud800\0"), max_size=8)


@given(st.recursive(TEXTS | st.floats() | st.none(), lambda inner: st.dictionaries(TEXTS, inner, max_size=3)))
def test_whatever_a_value_holds_only_our_own_tags_come_out(value: Any) -> None:
    for html in (record_table({"value": value}), flat_table([{"value": value}])):
        assert set(Parsed(html).tags) <= OWN_TAGS
        html.encode()


def test_no_colour_is_named_so_that_every_theme_reads_well() -> None:
    html = hostile_agent()._repr_html_() + StatePage((AgentState(agent_id="a", agent_type="x"),), None)._repr_html_()
    assert {name for style in re.findall(r'style="([^"]*)"', html) for name in re.findall(r"([\w-]+):", style)} == {
        "margin",
        "text-align",
        "vertical-align",
        "white-space",
        "overflow-wrap",
        "max-width",
        "caption-side",
    }


def test_dollar_signs_are_kept_from_becoming_formulas() -> None:
    assert 'class="tex2jax_ignore mathjax_ignore"' in record_table({"price": "$5 or $6"})


def test_a_state_shows_its_own_fields_first_then_version_and_time() -> None:
    state = AgentState(
        agent_id="a-1",
        agent_type="researcher",
        status=AgentStatus.READY,
        version=3,
        last_updated=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        properties={"topic": "Ray", "depth": {"most": 3}},
    )
    texts = shown(state).texts
    assert texts[:5] == ["AgentState", "agent_id", "a-1", "agent_type", "researcher"]
    assert texts[-4:] == ["version", "3", "last_updated", "2026-01-02 03:04:05 UTC"]
    assert {"Ready", "topic", "Ray", "most"} <= set(texts)


class Note(State):
    note_id: str
    tags: tuple[str, ...] = ()


def test_a_state_of_a_users_own_is_shown_in_the_same_way() -> None:
    assert shown(Note(note_id="n-1", tags=("a", "b"))).texts[:6] == ["Note", "note_id", "n-1", "tags", "a", "b"]


def test_facts_in_a_research_state_are_a_table_of_their_own() -> None:
    facts = tuple(FactState(id=f"f-{n}", content="said", source="there") for n in range(3))
    parsed = shown(ResearchState(research_id="r", query="q", extracted_facts=facts))
    assert parsed.tags["table"] == 2
    assert {"f-0", "f-1", "f-2"} <= set(parsed.texts)


def test_a_page_has_a_row_for_each_state_and_no_column_that_is_empty_in_all() -> None:
    page = StatePage(tuple(AgentState(agent_id=f"a-{n}", agent_type="x") for n in range(3)), "more")
    parsed = shown(page)
    assert parsed.tags["table"] == 1
    assert parsed.tags["tr"] == 4
    assert [text for text in parsed.texts if text in AgentState.model_fields] == [
        "agent_id",
        "agent_type",
        "status",
        "version",
    ]
    assert parsed.texts[0].startswith("3 × AgentState; ")


def test_an_empty_page_says_so() -> None:
    empty: StatePage[AgentState] = StatePage((), None)
    assert shown(empty).texts == ["0 × State"]


def test_long_texts_and_many_rows_are_cut_and_say_so() -> None:
    long = AgentState(agent_id="a", agent_type="x" * (MOST_CHARACTERS + 1_500))
    assert "… 1,500 more characters" in shown(long).text
    many = tuple(AgentState(agent_id=f"a-{n}", agent_type="x") for n in range(MOST_ROWS + 7))
    parsed = shown(StatePage(many, None))
    assert parsed.tags["tr"] == MOST_ROWS + 1
    assert "… and 7 more" in parsed.text


def test_a_conflict_shows_the_stored_state() -> None:
    conflict = VersionConflictError(
        "expected 1, stored 2",
        key="a-1",
        expected_version=1,
        current_version=2,
        current=AgentState(agent_id="a-1", agent_type="writer", version=2),
    )
    parsed = shown(conflict)
    assert parsed.texts[0] == "VersionConflictError: version_conflict"
    assert {"expected 1, stored 2", "writer", "current_version"} <= set(parsed.texts)
    assert parsed.tags["table"] == 2


def test_a_refusal_shows_each_finding() -> None:
    parsed = shown(ValidationFailedError("refused", verdict=hostile_verdict()))
    assert {"too_expensive", "error", "content_hash", "01" * 16} <= set(parsed.texts)
    assert "Verdict: refused" in shown(hostile_verdict()).texts


def test_decisions_of_the_pool_are_shown_with_their_moment_and_reason() -> None:
    decisions = [PoolDecision(1_000_000 * n, "scale_up", f"v-{n}", "utilisation 90%") for n in range(MOST_ROWS + 1)]
    pool = PoolView(["v-1"], 0.9, 2, decisions, 1, {"v-1": "unix:secret"})
    assert "secret" not in repr(pool) + pool._repr_html_()
    texts = shown(pool).texts
    assert {"1970-01-01 00:00:50 UTC", "scale_up", "v-50", "utilisation 90%"} <= set(texts)
    assert "v-0" not in texts  # the latest count


def test_figures_stay_a_dict_as_text_and_as_json() -> None:
    timings = Timings(0.0)
    timings.observe("get", "ok", 0.002, 1.0)
    plain: dict[str, Any] = {"calls": {"agents.get": 1}, "latencies": msgspec.to_builtins(timings.read(1.0))}
    figures = Figures(plain)
    assert figures == plain
    assert json.loads(json.dumps(figures)) == msgspec.json.decode(msgspec.json.encode(figures)) == plain
    assert repr(figures) == repr(plain)
    assert {"agents.get", "operation", "p95_ms", "get"} <= set(shown(figures).texts)
