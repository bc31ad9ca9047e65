"""Contradictions found, and near misses left alone: precision comes first."""

from __future__ import annotations

import pytest

from lightning_state.actors.category import RESEARCH
from lightning_state.actors.core.verl.clauses import clause
from lightning_state.actors.core.verl.consistency import check_consistency, contradiction_between
from lightning_state.actors.core.verl.messages import Statement
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import FactState, ResearchState, ResearchStatus

CONTRADICTIONS = [
    ("negation", "The sky is blue.", "The sky is not blue."),
    ("negation", "the sky is blue", "The sky isn't blue!"),
    ("negation", "Actors can restart.", "Actors cannot restart."),
    ("negation", "The store supports transactions.", "The store does not support transactions."),
    ("negation", "Detached actors don't survive the cluster.", "A detached actor does survive the cluster."),
    ("negation", "Ray stores objects in shared memory.", "Ray never stores objects in shared memory."),
    ("antonym", "The valve is open.", "The valve is closed."),
    ("antonym", "Encryption is enabled by default.", "Encryption is disabled by default."),
    ("antonym", "Caching increases latency.", "Caching decreases latency."),
    ("quantity", "The timeout is 30 s.", "The timeout is 60 s."),
    ("quantity", "The timeout is 30 s.", "The timeout is 1 minute."),
    ("quantity", "The limit is 1,000 keys.", "The limit is 128 keys."),
    ("quantity", "The cluster has 3 nodes.", "The cluster has 5 nodes."),
    ("quantity", "Shard 1 has 10 keys.", "Shard 1 has 12 keys."),
]

NEAR_MISSES = [
    ("The sky is blue.", "The sea is not blue."),
    ("The sky is blue.", "The sky is blue."),
    ("The sky is not blue.", "The sky isn't blue."),
    ("The sky is blue.", "The sky is wide."),
    ("Some actors restart.", "Some actors do not restart."),
    ("The call may fail.", "The call may not fail."),
    ("If the node is alive, the call works.", "If the node is not alive, the call works."),
    ("A store that is open works.", "A store that is not open works."),
    ("It is safe.", "It is not safe."),
    ("Is the sky blue?", "The sky is not blue."),
    ("The valve is open.", "The valve is not closed."),
    ("The valve is not open.", "The valve is not closed."),
    ("The open valve is red.", "The closed valve is red."),
    ("The left door is open.", "The right door is closed."),
    ("The service was available.", "The service is unavailable."),
    ("The timeout is 30 s.", "The timeout is 30 seconds."),
    ("The timeout is 60 s.", "The timeout is 1 min."),
    ("The limit is 1,000 keys.", "The limit is 1000 keys."),
    ("The timeout is at least 30 s.", "The timeout is at least 60 s."),
    ("The timeout is about 30 s.", "The timeout is 31 s."),
    ("The timeout of reads is 30 s.", "The timeout of writes is 60 s."),
    ("Shard 1 has 10 keys.", "Shard 2 has 12 keys."),
    ("The size is 30 s.", "The size is 30 MB."),
    ("The version is 1.2.3.", "The version is 1.2.4."),
    ("Ray was released in 2017.", "Ray was bought in 2018."),
]


@pytest.mark.parametrize(("kind", "first", "second"), CONTRADICTIONS)
def test_a_contradiction_is_found_either_way_round(kind: str, first: str, second: str) -> None:
    for a, b in ((first, second), (second, first)):
        assert contradiction_between(clause(a), clause(b)) == kind


@pytest.mark.parametrize(("first", "second"), NEAR_MISSES)
def test_a_near_miss_is_left_alone(first: str, second: str) -> None:
    assert contradiction_between(clause(first), clause(second)) is None
    assert contradiction_between(clause(second), clause(first)) is None


def test_contradictions_are_named_pair_by_pair() -> None:
    statements = [
        Statement("a", "The sky is blue. The sea is deep."),
        Statement("b", "The sea is warm."),
        Statement("c", "The sky is not blue."),
        Statement("d", "The sea is not deep."),
    ]
    report = check_consistency(statements)
    assert not report.is_consistent
    assert {(c.first, c.second) for c in report.contradictions} == {("a", "c"), ("a", "d")}
    assert check_consistency(statements[:2]).is_consistent


def run(status: ResearchStatus, *contents: str, research_id: str = "r-1") -> bytes:
    facts = tuple(FactState(id=f"f-{n}", content=text, source="s") for n, text in enumerate(contents))
    return RESEARCH.encode(ResearchState(research_id=research_id, query="q", status=status, extracted_facts=facts))


def test_two_statuses_for_one_run_contradict() -> None:
    report = check_consistency([], [run(ResearchStatus.PENDING), run(ResearchStatus.VERIFYING)])
    assert [(c.kind, c.first) for c in report.contradictions] == [("status", "r-1")]
    other = run(ResearchStatus.VERIFYING, research_id="r-2")
    assert check_consistency([], [run(ResearchStatus.PENDING), other]).is_consistent


def test_facts_of_research_states_are_compared() -> None:
    states = [
        run(ResearchStatus.PENDING, "The timeout is 30 s."),
        run(ResearchStatus.PENDING, "The timeout is 60 s.", research_id="r-2"),
    ]
    (found,) = check_consistency([], states).contradictions
    assert (found.first, found.second) == ("r-1/f-0", "r-2/f-0")


def test_a_body_that_is_no_research_state_is_refused() -> None:
    with pytest.raises(InvalidStateError):
        check_consistency([], [b"{}"])


def test_many_contradictions_are_reported_up_to_the_bound() -> None:
    statements = [Statement(str(n), f"The timeout is {n} s.") for n in range(2_000)]
    assert len(check_consistency(statements).contradictions) == 1_000
