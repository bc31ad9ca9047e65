from __future__ import annotations

from lightning_state.actors.workflows.finding import Finding
from lightning_state.actors.workflows.plan import FIRST_FACTS, MOST_FACTS, first_queries, next_queries, select


def found(number: int, *, score: float = 1.0, relevance: float = 0.8, sentence: str | None = None) -> Finding:
    return Finding(
        sentence=sentence or f"Sentence number {number}.",
        title="T",
        source=f"file:///a.md#L{number}",
        label=f"a.md, line {number}",
        document="file:///a.md#L1",
        path="/a.md",
        line=number,
        document_line=1,
        score=score,
        relevance=relevance,
    )


def test_several_questions_are_asked_together_and_one_by_one() -> None:
    assert first_queries("How does Ray restart actors, and what happens to their tasks?") == [
        "How does Ray restart actors, and what happens to their tasks?",
        "How does Ray restart actors",
        "what happens to their tasks",
    ]


def test_one_question_is_asked_once() -> None:
    assert first_queries(" How are salt and pepper ground? ") == ["How are salt and pepper ground?"]


def test_nothing_is_asked_twice() -> None:
    assert next_queries(["a b", "A C", "a b", "d"], ["a c"]) == ["a b", "d"]


def test_the_best_are_chosen_and_none_twice() -> None:
    findings = [found(1, score=0.6), found(2, score=0.9), found(2, score=0.9), found(3, sentence="sentence  NUMBER 2.")]
    assert [item.line for item in select(findings, [], is_first=True)] == [3, 1]


def test_what_is_known_is_not_chosen_again() -> None:
    known = [found(1)]
    assert select([found(1), found(9, sentence="Sentence number 1.")], known, is_first=False) == []


def test_what_is_far_below_the_best_or_hardly_relevant_is_no_fact() -> None:
    assert [
        item.line for item in select([found(1), found(2, score=0.2), found(3, relevance=0.1)], [], is_first=True)
    ] == [1]


def test_a_run_has_at_most_so_many_facts() -> None:
    many = [found(number) for number in range(1, 60)]
    first = select(many, [], is_first=True)
    assert len(first) == FIRST_FACTS
    assert len(select(many, many[: MOST_FACTS - 1], is_first=False)) == 1
    assert select(many, many[:MOST_FACTS], is_first=False) == []
