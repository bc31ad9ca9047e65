"""Rules of research states, registered by `Category.rules` as a user's would be."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue, Severity
from lightning_state.actors.models import ResearchState

DUPLICATE_WEIGHT = 0.05
"""How much each repeated fact lowers the confidence: four are tolerated at the default threshold of 0.8."""


def run_times(context: VerdictContext) -> Iterator[Issue]:
    """CompletedAt is present exactly when the status is terminal, and not before startedAt."""
    run = context.new
    if not isinstance(run, ResearchState):
        return
    if context.is_terminal(run.status) != (run.completed_at is not None):
        what = "needs" if run.completed_at is None else "must not have"
        yield Issue("completion_time", "completedAt", f"a run in status {run.status.value} {what} a completion time")
    if run.completed_at is not None and run.completed_at < run.started_at:
        yield Issue("time_order", "completedAt", "completedAt is before startedAt")


def distinct_facts(context: VerdictContext) -> Iterator[Issue]:
    """A warning for each fact that repeats an id, or the same words from the same source."""
    run = context.new
    if not isinstance(run, ResearchState) or len(run.extracted_facts) < 2:  # noqa: PLR2004  # one fact repeats nothing
        return
    ids: set[str] = set()
    statements: set[tuple[str, str]] = set()
    for index, fact in enumerate(run.extracted_facts):
        statement = " ".join(fact.content.casefold().split()), fact.source
        if fact.id in ids:
            yield _duplicate(f"extractedFacts.{index}.id", "another fact of this run has the same id")
        elif statement in statements:
            yield _duplicate(f"extractedFacts.{index}.content", "the run holds this fact from this source already")
        ids.add(fact.id)
        statements.add(statement)


def _duplicate(path: str, message: str) -> Issue:
    return Issue("duplicate_fact", path, message, Severity.WARNING, DUPLICATE_WEIGHT)
