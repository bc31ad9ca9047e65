"""The report of a run, made from its recorded state: data, JSON and Markdown. Every fact names its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lightning_state.actors.models import FactState, FactVerificationStatus, ResearchState, VerificationState


class ReportFact(msgspec.Struct, frozen=True, rename="camel"):
    """One fact of a report."""

    number: int
    """As cited in the summary and the text; from 1."""
    id: str
    content: str
    title: str
    """What the documentation says it of: a class, a function, a section."""
    source: str
    """URI of the line."""
    source_label: str
    """The source for people."""
    confidence_score: float
    """The fact's relevance to the question, 0 to 1."""
    verification_status: str
    verified_by: str
    issues: list[str]


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What a run came to."""

    research_id: str
    query: str
    status: str
    quality_score: float
    iteration_count: int
    started_at: str
    completed_at: str | None
    facts: list[ReportFact]
    """Best first; those that verification refuted come last."""
    sources: list[str]
    iterations: list[dict[str, Any]]
    stopped: str
    """Why no further iteration was run."""
    summary: str | None
    """Written by the judge, citing facts by number; None without one."""
    summary_by: str | None
    notes: list[str]
    """What a reader must know beside: the judge's failures, a failed run's reason, a run that was taken over."""

    @property
    def standing(self) -> list[ReportFact]:
        """The facts that verification did not refute."""
        return [fact for fact in self.facts if fact.verification_status not in _REFUTED]

    @property
    def refuted(self) -> list[ReportFact]:
        """The facts that verification disputes or could not find in their source."""
        return [fact for fact in self.facts if fact.verification_status in _REFUTED]


_REFUTED = (FactVerificationStatus.DISPUTED.value, FactVerificationStatus.FAILED.value)


def report(run: ResearchState, verifications: Sequence[VerificationState]) -> Report:
    """The report of a run in any status."""
    by_id = {item.verification_id: item for item in verifications}
    about: Mapping[str, Any] = run.metadata.get("facts", {})
    cited: Sequence[str] = run.metadata.get("summary", {}).get("cited", ())
    facts = [
        _fact(number, fact, about.get(fact.id, {}), by_id.get(f"{run.research_id}/{fact.id}"))
        for number, fact in enumerate(_ordered(run, about, cited), 1)
    ]
    summary = run.metadata.get("summary", {})
    return Report(
        research_id=run.research_id,
        query=run.query,
        status=run.status.value,
        quality_score=run.current_quality_score,
        iteration_count=run.iteration_count,
        started_at=run.started_at.isoformat(),
        completed_at=run.completed_at.isoformat() if run.completed_at else None,
        facts=facts,
        sources=list(run.sources),
        iterations=[_plain(one) for one in run.metadata.get("iterations", ())],
        stopped=run.metadata.get("stopped", ""),
        summary=summary.get("text"),
        summary_by=summary.get("model"),
        notes=_notes(run),
    )


def to_json(made: Report) -> str:
    """The report as JSON in camelCase, two spaces deep."""
    return msgspec.json.format(msgspec.json.encode(made), indent=2).decode()


def grouped(facts: Sequence[ReportFact]) -> list[tuple[str, list[ReportFact]]]:
    """Facts by what they are said of, groups and facts in the order of the best."""
    groups: dict[str, list[ReportFact]] = {}
    for fact in facts:
        place = fact.source_label.rsplit(", line ", 1)[0]
        groups.setdefault(f"{fact.title} — {place}" if fact.title else place, []).append(fact)
    return list(groups.items())


def to_markdown(made: Report) -> str:
    """The report to read or keep."""
    lines = [f"# {made.query}", ""]
    if made.summary:
        lines += [made.summary, "", f"*Written by {made.summary_by} from the facts below.*", ""]
    if not made.standing:
        lines += ["No fact of the corpus answers this question.", ""]
    for title, facts in grouped(made.standing):
        lines += [f"## {title}", ""]
        lines += [f"{fact.number}. {fact.content}  \n   {_provenance(fact)}" for fact in facts]
        lines += [""]
    if made.refuted:
        lines += ["## Not confirmed", ""]
        lines += [
            f"{fact.number}. {fact.content}  \n   {_provenance(fact)}: {'; '.join(fact.issues)}"
            for fact in made.refuted
        ]
        lines += [""]
    lines += ["## How this was found", ""]
    lines += [f"- {line}" for line in account(made)]
    return "\n".join(lines) + "\n"


def account(made: Report) -> list[str]:
    """The run in a few lines: facts, quality by iteration, why it ended, its id."""
    verified = sum(fact.verification_status == FactVerificationStatus.VERIFIED.value for fact in made.facts)
    lines = [
        f"{len(made.facts)} facts from {len(made.sources)} documents, {verified} verified against their source",
        f"quality {made.quality_score:.2f} after {made.iteration_count} iterations"
        + (f": {made.stopped}" if made.stopped else ""),
    ]
    lines += [
        f"iteration {one['iteration']}: {one['newFacts']} new facts, quality {one['quality']:.2f} "
        f"(coverage {one['coverage']:.2f}, relevance {one['relevance']:.2f}, sources {one['sources']:.2f}, "
        f"verified {one['verified']:.2f})"
        for one in made.iterations
    ]
    return [*lines, *made.notes, f"research {made.research_id}: {made.status}"]


def _provenance(fact: ReportFact) -> str:
    return f"{fact.source_label} · {fact.verification_status} · relevance {fact.confidence_score:.2f}"


def _ordered(run: ResearchState, about: Mapping[str, Any], cited: Sequence[str]) -> list[FactState]:
    """As the summary numbers them where there is one; then best first, the refuted ones last."""
    place = {fact_id: number for number, fact_id in enumerate(cited)}

    def rank(fact: FactState) -> tuple[bool, int, float, str]:
        score = float(about.get(fact.id, {}).get("score", 0.0))
        refuted = fact.verification_status.value in _REFUTED
        return refuted, place.get(fact.id, len(place)), -score, fact.source

    return sorted(run.extracted_facts, key=rank)


def _fact(number: int, fact: FactState, about: Mapping[str, Any], checked: VerificationState | None) -> ReportFact:
    return ReportFact(
        number=number,
        id=fact.id,
        content=fact.content,
        title=about.get("title", ""),
        source=fact.source,
        source_label=about.get("label", fact.source),
        confidence_score=round(fact.confidence_score, 3),
        verification_status=fact.verification_status.value,
        verified_by=checked.verified_by if checked else "",
        issues=list(checked.issues) if checked else [],
    )


def _notes(run: ResearchState) -> list[str]:
    notes: list[str] = []
    if "takenOverFrom" in run.metadata:
        notes.append(f"takes over the recorded work of {run.metadata['takenOverFrom']}, which failed")
    if "summaryError" in run.metadata:
        notes.append(f"no summary was written: {run.metadata['summaryError']}")
    if "failure" in run.metadata:
        notes.append(f"failed: {run.metadata['failure']['reason']}")
    return notes


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
