"""What to ask the corpus in each iteration, and which of the findings become facts: pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from lightning_state.actors.workflows.finding import Finding

MOST_QUERIES = 4
"""Queries of one iteration."""
FINDINGS_PER_QUERY = 12
FIRST_FACTS = 10
"""New facts an iteration may add: the first, and each further one."""
FURTHER_FACTS = 4
MOST_FACTS = 20
RELEVANCE_FLOOR = 0.3
"""A finding less relevant to the question is no answer to it (a follow-up finds much about its own subtopic)."""
SCORE_SHARE = 0.35
"""Of the best finding's score that a fact must have."""

_PARTS = re.compile(
    r"\?\s+|;\s+|,?\s+and\s+(?=(?:how|what|why|when|where|which|who|does|do|is|are|can)\b)", re.IGNORECASE
)
_MIN_WORDS = 3


def first_queries(question: str) -> list[str]:
    """The question, and its parts when it is several questions."""
    split: list[str] = _PARTS.split(question)
    parts = [part.strip(" ?.,;") for part in split if len(part.split()) >= _MIN_WORDS]
    queries = [question.strip()]
    queries += [part for part in dict.fromkeys(parts) if len(parts) > 1]
    return queries[:MOST_QUERIES]


def next_queries(expansions: Iterable[str], asked: Collection[str]) -> list[str]:
    """Of the corpus's follow-ups those that were not asked yet."""
    known = {query.casefold() for query in asked}
    return [query for query in dict.fromkeys(expansions) if query.casefold() not in known][:MOST_QUERIES]


def select(findings: Sequence[Finding], known: Sequence[Finding], *, is_first: bool) -> list[Finding]:
    """The findings that become facts: the best for the question, none twice, each good beside the best one.

    `findings` carry score and relevance for the question itself, not for the query that found them.
    """
    room = min(FIRST_FACTS if is_first else FURTHER_FACTS, MOST_FACTS - len(known))
    sources = {finding.source for finding in known}
    sentences = {_normal(finding.sentence) for finding in known}
    best = max((finding.score for finding in [*findings, *known]), default=0.0)
    chosen: list[Finding] = []
    for finding in sorted(findings, key=lambda item: (-item.score, item.source)):
        if len(chosen) >= room or finding.score < SCORE_SHARE * best:
            break
        if finding.relevance < RELEVANCE_FLOOR:
            continue
        if finding.source in sources or _normal(finding.sentence) in sentences:
            continue
        sources.add(finding.source)
        sentences.add(_normal(finding.sentence))
        chosen.append(finding)
    return chosen


def _normal(sentence: str) -> str:
    return " ".join(sentence.casefold().split())
