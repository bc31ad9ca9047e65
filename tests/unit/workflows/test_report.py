from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from lightning_state.actors.models import FactState, FactVerificationStatus, ResearchState, ResearchStatus
from lightning_state.actors.models import VerificationState as Verification
from lightning_state.actors.workflows.report import NOT_CONFIRMED, grouped, report, to_json, to_markdown

AT = datetime(2026, 1, 2, tzinfo=UTC)


def fact(name: str, source: str, status: FactVerificationStatus = FactVerificationStatus.VERIFIED) -> FactState:
    return FactState(
        id=name,
        content=f"Content of {name}.",
        source=source,
        confidence_score=0.5,
        is_verified=status is FactVerificationStatus.VERIFIED,
        extracted_at=AT,
        verification_status=status,
    )


def run_state(metadata: dict[str, Any] | None = None) -> ResearchState:
    about = {
        "a": {"title": "Thing.do", "label": "pkg 1.0, pkg.mod, line 3", "score": 0.5},
        "b": {"title": "Thing.do", "label": "pkg 1.0, pkg.mod, line 9", "score": 0.9},
        "c": {"title": "Other", "label": "pkg 1.0, README, line 4", "score": 0.7},
        "d": {"title": "Other", "label": "pkg 1.0, README, line 5", "score": 0.95},
    }
    recorded: dict[str, Any] = {"facts": about, "iterations": [], "stopped": "enough", **(metadata or {})}
    facts = (
        fact("a", "pypi://pkg@1.0/pkg.mod#L3"),
        fact("b", "pypi://pkg@1.0/pkg.mod#L9"),
        fact("c", "pypi://pkg@1.0/README#L4"),
        fact("d", "pypi://pkg@1.0/README#L5", FactVerificationStatus.DISPUTED),
    )
    return ResearchState(
        research_id="r-1",
        query="What?",
        status=ResearchStatus.COMPLETED,
        extracted_facts=facts,
        sources=("pypi://pkg@1.0/pkg.mod#L1",),
        started_at=AT,
        completed_at=AT,
        metadata=recorded,
    )


VERIFICATIONS = [
    Verification(verification_id="r-1/d", source_id="r-1", content="", issues=("b contradicts it",), verified_by="verl")
]


def test_facts_are_grouped_by_what_they_are_said_of_best_first_the_refuted_last() -> None:
    made = report(run_state(), VERIFICATIONS)
    shown = [(title, [(one.number, one.id) for one in facts]) for title, facts in grouped(made.facts)]
    assert shown == [
        ("pkg.mod.Thing.do", [(1, "b"), (2, "a")]),
        ("pkg README: Other", [(3, "c")]),
        (NOT_CONFIRMED, [(4, "d")]),
    ]


def test_every_fact_names_its_source_in_every_form() -> None:
    made = report(run_state(), VERIFICATIONS)
    text = to_markdown(made)
    for one in made.facts:
        assert f"{one.number}. {one.content}" in text
        assert one.source_label in text
    assert "b contradicts it" in text


def test_json_is_camel_case() -> None:
    value = json.loads(to_json(report(run_state(), VERIFICATIONS)))
    assert value["researchId"] == "r-1"
    assert value["facts"][0]["sourceLabel"] == "pkg 1.0, pkg.mod, line 9"
    assert value["facts"][3]["verificationStatus"] == "Disputed"


def test_a_summarys_citations_are_numbered_as_the_facts_are() -> None:
    summary = {"text": "So [1], and so [2].", "model": "m", "cited": ["c", "b"]}
    made = report(run_state(metadata={"summary": summary}), [])
    assert made.summary == "So [3], and so [1]."


def test_what_went_wrong_is_told() -> None:
    metadata = {"failure": {"code": "x", "reason": "it broke"}, "takenOverFrom": "r-0", "summaryError": "no answer"}
    text = to_markdown(report(run_state(metadata=metadata), []))
    assert "it broke" in text
    assert "r-0" in text
    assert "no answer" in text


def test_a_run_without_facts_says_so() -> None:
    state = ResearchState(research_id="r-2", query="What?", started_at=AT)
    assert "holds nothing on this question" in to_markdown(report(state, []))
