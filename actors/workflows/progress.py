"""What a run knows so far: rebuilt from its recorded steps when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_state.actors.models import FactVerificationStatus
from lightning_state.actors.workflows.corpus.terms import query_terms, terms
from lightning_state.actors.workflows.evidence import Assessment, disputed
from lightning_state.actors.workflows.finding import Finding
from lightning_state.actors.workflows.quality import Quality, RatedFact, Round, quality

_REFUTED = (FactVerificationStatus.DISPUTED.value, FactVerificationStatus.FAILED.value)


class Progress:
    """The facts of a run with their assessments, the queries asked, and a round for each iteration done."""

    def __init__(self, question: str) -> None:
        self.findings: list[Finding] = []
        self.asked: list[str] = []
        self.assessments: dict[str, Assessment] = {}
        """Fact id → what verification says of it."""
        self.rounds: list[Round] = []
        self.quality = Quality()
        self._question_terms = query_terms(question)

    def found(self, queries: Sequence[str], findings: Sequence[Finding]) -> None:
        """These queries were asked and brought these new facts."""
        self.asked.extend(queries)
        self.findings.extend(findings)

    def verified(self, assessments: Sequence[Assessment], contradicted: Mapping[str, Sequence[str]]) -> None:
        """New assessments; a fact that another one contradicts is disputed, whatever its source says."""
        self.assessments.update({one.fact_id: one for one in assessments})
        for fact_id, issues in contradicted.items():
            known = self.assessments.get(fact_id)
            if known is not None and known.is_verified:
                self.assessments[fact_id] = disputed(known, issues)

    def close_round(self, new_facts: int) -> list[Round]:
        """The iteration is done: all rounds, this one with its quality."""
        rated = [self._rated(item) for item in self.findings]
        self.quality = quality(self._question_terms, rated)
        self.rounds.append(Round(self.quality.score, new_facts, sum(fact.is_verified for fact in rated)))
        return self.rounds

    def verified_findings(self) -> list[Finding]:
        """The facts that verification confirmed, best first."""
        standing = [item for item in self.findings if self.assessments[item.fact_id].is_verified]
        return sorted(standing, key=lambda item: (-item.score, item.source))

    def _rated(self, item: Finding) -> RatedFact:
        assessment = self.assessments[item.fact_id]
        return RatedFact(
            terms=frozenset(terms(f"{item.sentence} {item.title} {item.label}")),
            relevance=item.relevance,
            document=item.document,
            is_verified=assessment.is_verified,
            is_refuted=assessment.status in _REFUTED,
        )
