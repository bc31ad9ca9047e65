"""Whether a source supports a fact.

By the words and numbers they share: the best passage (a sentence, or two that follow each other) must hold the words
that carry the fact, every number in it, and must not deny it. Words alone cannot tell who did what to whom: a passage
with the same words in other roles counts as support.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lightning_state.actors.core.verl.clauses import Clause, clause, content_words, is_number, sentences
from lightning_state.actors.core.verl.consistency import contradiction_between
from lightning_state.actors.core.verl.messages import FactClaim, FactFinding, FactReport
from lightning_state.actors.models import FactVerificationStatus

SUPPORT_AT = 0.8
"""Share of a fact's words a passage must hold."""
MISSING_NUMBER = 0.4
"""The most confidence a passage can give that lacks a number of the fact."""


@dataclass(frozen=True)
class _Passage:
    text: str
    words: frozenset[str]
    clause: Clause | None
    """None for two sentences together: which of them a negation belongs to is not known."""


def verify_facts(facts: Sequence[FactClaim]) -> FactReport:
    """One finding a fact, in order: Verified, Disputed, Failed (not in the source) or Pending (no source text).

    Each source text is taken apart once; the cost is that of comparing every fact with each sentence of its source.
    """
    sources: dict[str, list[_Passage]] = {}
    for fact in facts:
        if fact.source_text is not None and fact.source_text not in sources:
            sources[fact.source_text] = _passages(fact.source_text)
    findings = [_verify(fact, sources.get(fact.source_text or "", [])) for fact in facts]
    mean = sum(finding.confidence for finding in findings) / len(findings) if findings else 1.0
    return FactReport(findings, round(mean, 9))


def _passages(source_text: str) -> list[_Passage]:
    """Every sentence, then every two that follow each other."""
    parts = [_Passage(text, content_words(text), clause(text)) for text in sentences(source_text)]
    pairs = (_Passage(f"{a.text} {b.text}", a.words | b.words, None) for a, b in pairwise(parts))
    return [*parts, *pairs]


def _verify(fact: FactClaim, passages: Sequence[_Passage]) -> FactFinding:
    if fact.source_text is None:
        return _finding(fact, FactVerificationStatus.PENDING, 0.0, "", "there is no source text to compare with")
    wanted = content_words(fact.content)
    if not wanted:
        return _finding(fact, FactVerificationStatus.FAILED, 0.0, "", "the fact says nothing that could be compared")
    stated = sentences(fact.content)
    said = clause(fact.content) if len(stated) == 1 else None
    for passage in passages:
        if said and passage.clause and (kind := contradiction_between(said, passage.clause)):
            reason = f"the source contradicts it: {kind}"
            return _finding(fact, FactVerificationStatus.DISPUTED, 0.0, passage.text, reason)
    return _best_support(fact, wanted, said, passages)


def _best_support(
    fact: FactClaim, wanted: frozenset[str], said: Clause | None, passages: Sequence[_Passage]
) -> FactFinding:
    best = max(passages, key=lambda passage: len(wanted & passage.words), default=_Passage("", frozenset(), None))
    share = round(len(wanted & best.words) / len(wanted), 9)
    missing = sorted(word for word in wanted - best.words if is_number(word))
    if missing:
        reason = f"the passage lacks the number {missing[0]}"
        return _finding(fact, FactVerificationStatus.FAILED, min(share, MISSING_NUMBER), best.text, reason)
    if share < SUPPORT_AT:
        return _finding(fact, FactVerificationStatus.FAILED, share, best.text, f"the passage holds {share:.0%} of it")
    if said and best.clause and said.is_negated != best.clause.is_negated:
        reason = "one of fact and passage is negated"
        return _finding(fact, FactVerificationStatus.DISPUTED, 0.0, best.text, reason)
    return _finding(fact, FactVerificationStatus.VERIFIED, share, best.text, f"the passage holds {share:.0%} of it")


def _finding(
    fact: FactClaim, status: FactVerificationStatus, confidence: float, passage: str, reason: str
) -> FactFinding:
    return FactFinding(fact.id, status.value, confidence, passage, reason)
