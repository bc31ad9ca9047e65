"""Whether a source supports a fact.

By the words and numbers they share: the best passage (a sentence, or two that follow each other) must hold the words
that carry the fact, every number in it, and must not deny it. Words alone cannot tell who did what to whom: a passage
with the same words in other roles counts as support.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from lightning_state.actors.core.verl.clauses import clause, content_words, is_number, sentences
from lightning_state.actors.core.verl.consistency import contradiction_of
from lightning_state.actors.core.verl.messages import FactClaim, FactFinding, FactReport
from lightning_state.actors.models import FactVerificationStatus

SUPPORT_AT = 0.8
"""Share of a fact's words a passage must hold."""
MISSING_NUMBER = 0.4
"""The most confidence a passage can give that lacks a number of the fact."""


def verify_facts(facts: Sequence[FactClaim]) -> FactReport:
    """One finding a fact, in order: Verified, Disputed, Failed (not in the source) or Pending (no source text)."""
    findings = [verify_fact(fact) for fact in facts]
    mean = sum(finding.confidence for finding in findings) / len(findings) if findings else 1.0
    return FactReport(findings, round(mean, 9))


def verify_fact(fact: FactClaim) -> FactFinding:
    """What its source text says of one fact."""
    if fact.source_text is None:
        return _finding(fact, FactVerificationStatus.PENDING, 0.0, "", "there is no source text to compare with")
    wanted = content_words(fact.content)
    if not wanted:
        return _finding(fact, FactVerificationStatus.FAILED, 0.0, "", "the fact says nothing that could be compared")
    parts = sentences(fact.source_text)
    for sentence in parts:
        if (found := contradiction_of(fact.content, sentence)) is not None:
            return _finding(
                fact, FactVerificationStatus.DISPUTED, 0.0, sentence, f"the source contradicts it: {found.kind}"
            )
    passage, share = _best_passage(wanted, parts)
    missing = sorted(word for word in wanted - content_words(passage) if is_number(word))
    if missing:
        reason = f"the passage lacks the number {missing[0]}"
        return _finding(fact, FactVerificationStatus.FAILED, min(share, MISSING_NUMBER), passage, reason)
    if share < SUPPORT_AT:
        return _finding(fact, FactVerificationStatus.FAILED, share, passage, f"the passage holds {share:.0%} of it")
    if _denies(fact.content, passage):
        return _finding(fact, FactVerificationStatus.DISPUTED, 0.0, passage, "one of fact and passage is negated")
    return _finding(fact, FactVerificationStatus.VERIFIED, share, passage, f"the passage holds {share:.0%} of it")


def _best_passage(wanted: frozenset[str], parts: Sequence[str]) -> tuple[str, float]:
    """The sentence, or else the two neighbours, that hold most of the words."""
    candidates = [*parts, *(f"{first} {second}" for first, second in pairwise(parts))]
    shares = [(len(wanted & content_words(text)) / len(wanted), text) for text in candidates]
    share, passage = max(shares, key=lambda item: item[0], default=(0.0, ""))
    return passage, round(share, 9)


def _denies(content: str, passage: str) -> bool:
    """Whether exactly one of them is negated; told only of single sentences, where the negation has one place."""
    stated, found = sentences(content), sentences(passage)
    return len(stated) == len(found) == 1 and clause(stated[0]).is_negated != clause(found[0]).is_negated


def _finding(
    fact: FactClaim, status: FactVerificationStatus, confidence: float, passage: str, reason: str
) -> FactFinding:
    return FactFinding(fact.id, status.value, confidence, passage, reason)
