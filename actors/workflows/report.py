"""The report of a run, made from its recorded state: data, JSON and Markdown. Every fact names its source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lightning_state.actors.models import FactState, FactVerificationStatus, ResearchState, VerificationState
from lightning_state.actors.workflows.metadata import metadata_of

NOT_CONFIRMED = "Not confirmed"
"""The heading of the facts that verification refuted."""

_REFUTED = (FactVerificationStatus.DISPUTED.value, FactVerificationStatus.FAILED.value)
_CITATION = re.compile(r"\[(\d+)\]")


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

    @property
    def is_refuted(self) -> bool:
        """Verification disputes it or could not find it in its source."""
        return self.verification_status in _REFUTED


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


def report(run: ResearchState, verifications: Sequence[VerificationState]) -> Report:
    """The report of a run in any status."""
    by_id = {item.verification_id: item for item in verifications}
    metadata = metadata_of(run)
    about: Mapping[str, Any] = metadata.get("facts", {})
    unnumbered = [
        _fact(fact, about.get(fact.id, {}), by_id.get(f"{run.research_id}/{fact.id}"))
        for fact in _best_first(run, about)
    ]
    shown = [fact for _, facts in grouped(unnumbered) for fact in facts]
    facts = [msgspec.structs.replace(fact, number=number) for number, fact in enumerate(shown, 1)]
    summary: Mapping[str, Any] = metadata.get("summary", {})
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
        iterations=[_plain(one) for one in metadata.get("iterations", ())],
        stopped=metadata.get("stopped", ""),
        summary=_renumbered(summary, facts) if summary else None,
        summary_by=summary.get("model"),
        notes=_notes(run),
    )


def to_json(made: Report) -> str:
    """The report as JSON in camelCase, two spaces deep."""
    return msgspec.json.format(msgspec.json.encode(made), indent=2).decode()


def grouped(facts: Sequence[ReportFact]) -> list[tuple[str, list[ReportFact]]]:
    """Facts by what they are said of, in the order of each group's best; what was refuted makes the last group."""
    groups: dict[str, list[ReportFact]] = {}
    for fact in facts:
        if not fact.is_refuted:
            groups.setdefault(_subject(fact), []).append(fact)
    refuted = [fact for fact in facts if fact.is_refuted]
    return [*groups.items(), *([(NOT_CONFIRMED, refuted)] if refuted else [])]


def to_markdown(made: Report) -> str:
    """The report to read or keep."""
    lines = [f"# {made.query}", ""]
    if made.summary:
        lines += [made.summary, "", f"*Written by {made.summary_by} from the facts below.*", ""]
    if not made.facts:
        lines += ["The corpus holds nothing on this question.", ""]
    for title, facts in grouped(made.facts):
        lines += [f"## {title}", ""]
        for fact in facts:
            issues = f" · {'; '.join(fact.issues)}" if fact.issues else ""
            lines += [f"{fact.number}. {fact.content}  ", f"   {provenance(fact)}{issues}"]
        lines += [""]
    lines += ["## How this was found", ""]
    lines += [f"- {line}" for line in account(made)]
    return "\n".join(lines) + "\n"


def account(made: Report) -> list[str]:
    """The run in a few lines: facts, quality by iteration, why it ended, its id."""
    verified = sum(fact.verification_status == FactVerificationStatus.VERIFIED.value for fact in made.facts)
    lines = [
        f"{_counted(len(made.facts), 'fact')} from {_counted(len(made.sources), 'document')}, {verified} verified",
        f"quality {made.quality_score:.2f} after {_counted(made.iteration_count, 'iteration')}"
        + (f": {made.stopped}" if made.stopped else ""),
    ]
    lines += [
        f"iteration {one['iteration']}: {_counted(one['newFacts'], 'new fact')}, quality {one['quality']:.2f} "
        f"(coverage {one['coverage']:.2f}, relevance {one['relevance']:.2f}, sources {one['sources']:.2f}, "
        f"verified {one['verified']:.2f})"
        for one in made.iterations
    ]
    return [*lines, *made.notes, f"research {made.research_id}: {made.status}"]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def provenance(fact: ReportFact) -> str:
    """Where a fact stands, and what it is worth."""
    return f"{fact.source_label} · {fact.verification_status} · relevance {fact.confidence_score:.2f}"


def _best_first(run: ResearchState, about: Mapping[str, Any]) -> list[FactState]:
    def rank(fact: FactState) -> tuple[float, str]:
        return -float(about.get(fact.id, {}).get("score", 0.0)), fact.source

    return sorted(run.extracted_facts, key=rank)


def _subject(fact: ReportFact) -> str:
    """What a fact is said of: `ray.actor.exit_actor`, `ray README: Concepts`, or a file and its headings."""
    place = fact.source_label.rsplit(", line ", 1)[0]
    distribution, _, module = place.partition(", ")
    if not module:
        return f"{place}: {fact.title}" if fact.title else place
    if module == "README":
        return f"{distribution.split()[0]} README: {fact.title}"
    return fact.title if fact.title.startswith(module) else f"{module}.{fact.title}"


def _renumbered(summary: Mapping[str, Any], facts: Sequence[ReportFact]) -> str:
    """The judge's text with its citations numbered as the report numbers the facts."""
    numbers = {fact.id: fact.number for fact in facts}
    cited: Sequence[str] = summary["cited"]
    return _CITATION.sub(lambda match: f"[{numbers[cited[int(match[1]) - 1]]}]", summary["text"])


def _fact(fact: FactState, about: Mapping[str, Any], checked: VerificationState | None) -> ReportFact:
    return ReportFact(
        number=0,
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
    metadata = metadata_of(run)
    if "takenOverFrom" in metadata:
        notes.append(f"takes over the recorded work of {metadata['takenOverFrom']}, which failed")
    if "summaryError" in metadata:
        notes.append(f"no summary was written: {metadata['summaryError']}")
    if "failure" in metadata:
        notes.append(f"failed: {metadata['failure']['reason']}")
    return notes


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
