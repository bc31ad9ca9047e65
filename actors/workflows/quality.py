"""How good the facts of a run are, as one number, and when it is good enough to stop: pure functions.

    quality = 0.35 · coverage + 0.25 · relevance + 0.15 · sources + 0.25 · verified

each part between 0 and 1:

- *coverage*: the share of the question's own terms that some fact, or the name of its source, holds.
- *relevance*: the mean relevance of the `BEST_FACTS` most relevant facts, so that one more weak fact costs nothing.
- *sources*: half for their number (`ENOUGH_SOURCES` documents count in full), half for how evenly the facts come from
  them (Gini-Simpson: 1 - Σ share², over its maximum for that number of documents).
- *verified*: the share of facts that verification confirmed.

Facts that verification refuted (Disputed, Failed) count in *verified* only: they cover nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

COVERAGE, RELEVANCE, SOURCES, VERIFIED = 0.35, 0.25, 0.15, 0.25
BEST_FACTS = 8
ENOUGH_SOURCES = 4
PLATEAU = 0.02
"""An iteration that raises the quality by less has not helped."""


@dataclass(frozen=True)
class RatedFact:
    """What quality looks at in one fact."""

    terms: frozenset[str]
    """Of the fact and of its source's name."""
    relevance: float
    document: str
    is_verified: bool
    is_refuted: bool


@dataclass(frozen=True)
class Quality:
    """The parts of a quality score, each 0 to 1."""

    coverage: float = 0.0
    relevance: float = 0.0
    sources: float = 0.0
    verified: float = 0.0

    @property
    def score(self) -> float:
        """The weighted sum, 0 to 1, in thousandths."""
        total = (
            COVERAGE * self.coverage + RELEVANCE * self.relevance + SOURCES * self.sources + VERIFIED * self.verified
        )
        return round(min(1.0, total), 3)


def quality(question_terms: Collection[str], facts: Sequence[RatedFact]) -> Quality:
    """The quality of these facts as an answer to a question with these terms; all 0 without facts."""
    if not facts:
        return Quality()
    standing = [fact for fact in facts if not fact.is_refuted]
    wanted = set(question_terms)
    held = {term for fact in standing for term in fact.terms if term in wanted}
    best = sorted((fact.relevance for fact in standing), reverse=True)[:BEST_FACTS]
    return Quality(
        coverage=len(held) / len(wanted) if wanted else 0.0,
        relevance=sum(best) / len(best) if best else 0.0,
        sources=_sources([fact.document for fact in standing]),
        verified=sum(fact.is_verified for fact in facts) / len(facts),
    )


def _sources(documents: Sequence[str]) -> float:
    counts = Counter(documents)
    if not counts:
        return 0.0
    number = min(1.0, len(counts) / ENOUGH_SOURCES)
    if len(counts) == 1:
        return number / 2
    simpson = 1 - sum((count / len(documents)) ** 2 for count in counts.values())
    return (number + simpson / (1 - 1 / len(counts))) / 2


@dataclass(frozen=True)
class Round:
    """What one iteration came to."""

    quality_score: float
    """After it, over all facts."""
    new_facts: int
    verified_facts: int
    """After it, over all facts."""


@dataclass(frozen=True)
class Verdict:
    """Whether to stop, and why, in words a report can show."""

    stop: bool
    reason: str = ""


def converged(rounds: Sequence[Round], *, min_facts: int, max_iterations: int, has_queries: bool) -> Verdict:
    """Whether the run is done: nothing left to ask, the most iterations, or enough facts and no more gain.

    A run never stops for a plateau before it has `min_facts` verified facts.
    """
    last = rounds[-1]
    if len(rounds) > 1:
        gain = last.quality_score - rounds[-2].quality_score
        if last.verified_facts >= min_facts and gain < PLATEAU:
            return Verdict(stop=True, reason=f"iteration {len(rounds)} raised the quality by {max(gain, 0.0):.3f} only")
    if len(rounds) >= max_iterations:
        return Verdict(stop=True, reason=f"the most iterations ({max_iterations}) were run")
    if not has_queries:
        return Verdict(stop=True, reason="there is nothing left to ask the corpus")
    return Verdict(stop=False)
