from __future__ import annotations

import pytest

from lightning_state.actors.workflows.quality import Quality, RatedFact, Round, converged, quality

TERMS = ("ray", "restart", "actor")


def fact(*terms: str, document: str = "d1", relevance: float = 1.0, verified: bool = True) -> RatedFact:
    return RatedFact(frozenset(terms), relevance, document, is_verified=verified, is_refuted=not verified)


def test_no_facts_are_worth_nothing() -> None:
    assert quality(TERMS, []).score == 0.0


def test_everything_covered_from_four_even_sources_and_verified_is_one() -> None:
    facts = [fact(*TERMS, document=f"d{number}") for number in range(4)]
    assert quality(TERMS, facts) == Quality(1.0, 1.0, 1.0, 1.0)
    assert quality(TERMS, facts).score == 1.0


def test_the_score_is_the_documented_weighted_sum() -> None:
    assert Quality(coverage=0.5, relevance=0.4, sources=0.2, verified=0.8).score == pytest.approx(
        0.35 * 0.5 + 0.25 * 0.4 + 0.15 * 0.2 + 0.25 * 0.8
    )


def test_a_refuted_fact_covers_nothing_and_lowers_the_verified_share() -> None:
    found = quality(TERMS, [fact("ray"), fact("restart", "actor", verified=False)])
    assert found.coverage == pytest.approx(1 / 3)
    assert found.verified == 0.5


def test_one_more_weak_fact_does_not_lower_relevance() -> None:
    strong = [fact("ray", relevance=0.9) for _ in range(8)]
    assert quality(TERMS, [*strong, fact("ray", relevance=0.1)]).relevance == pytest.approx(0.9)


def test_facts_of_one_document_are_worth_less_than_of_several() -> None:
    alone = quality(TERMS, [fact("ray") for _ in range(4)])
    uneven = quality(TERMS, [fact("ray"), fact("ray"), fact("ray"), fact("ray", document="d2")])
    even = quality(TERMS, [fact("ray"), fact("ray"), fact("ray", document="d2"), fact("ray", document="d2")])
    assert alone.sources < uneven.sources < even.sources


def test_only_refuted_facts_are_worth_nothing() -> None:
    assert quality(TERMS, [fact("ray", verified=False)]).score == 0.0


def verdict(*rounds: Round, min_facts: int = 5, max_iterations: int = 4, has_queries: bool = True) -> bool:
    return converged(rounds, min_facts=min_facts, max_iterations=max_iterations, has_queries=has_queries).stop


def test_a_plateau_stops_only_with_enough_facts() -> None:
    assert verdict(Round(0.90, 5, 5), Round(0.91, 1, 6))
    assert not verdict(Round(0.90, 2, 2), Round(0.91, 1, 3))


def test_a_gain_goes_on_and_the_first_iteration_never_stops_alone() -> None:
    assert not verdict(Round(0.80, 5, 5), Round(0.90, 3, 8))
    assert not verdict(Round(0.99, 9, 9))


def test_the_most_iterations_and_nothing_left_to_ask_stop() -> None:
    assert verdict(Round(0.1, 0, 0), max_iterations=1)
    assert verdict(Round(0.1, 0, 0), has_queries=False)
