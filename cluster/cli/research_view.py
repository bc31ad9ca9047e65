"""What a person sees of a run: a progress bar on stderr while it lasts, then the report on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lightning_state.actors.models import ResearchState, ResearchStatus
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.report import Report, account, grouped, provenance, to_markdown

_MOST_WIDTH = 110
_MOST_NAMED = 3
_PHASE_SHARE = {ResearchStatus.PENDING: 0.0, ResearchStatus.IN_PROGRESS: 0.1, ResearchStatus.VERIFYING: 0.6}
_PARTS_OF_AN_ITERATION = 100


class ResearchView:
    """Progress on stderr; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._iterations = 1

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def reading(self, done: int, total: int) -> None:
        """Files of the corpus read so far."""
        self._bar.update(
            self._task, description=f"reading documents, once ({done:,} of {total:,})", completed=done, total=total
        )

    def phase(self, description: str) -> None:
        """Something of unknown length."""
        self._bar.update(self._task, description=description, total=None)

    def ordered(self, order: Order) -> None:
        """The run begins."""
        self._iterations = order.max_iterations
        origin = f" takes over {order.taken_over_from}" if order.taken_over_from else ""
        self._console.print(f"research {order.research_id}{origin}", style="dim", highlight=False, soft_wrap=True)
        self._bar.update(self._task, description="starting the agents", completed=0, total=None)

    def say_interrupted(self, research_ids: Sequence[str]) -> None:
        """Runs that a crash left, and how to go on with them."""
        for research_id in research_ids[-_MOST_NAMED:]:
            self._console.print(
                f"research {research_id} was interrupted: --resume {research_id} goes on with it",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )

    def watch(self, run: ResearchState) -> None:
        """The run's state has changed."""
        if run.status in _PHASE_SHARE:
            done = min(run.iteration_count + _PHASE_SHARE[run.status], self._iterations)
            verb = "verifying" if run.status is ResearchStatus.VERIFYING else "searching"
            description = f"iteration {run.iteration_count + 1}: {verb}, {len(run.extracted_facts)} facts"
            if run.current_quality_score:
                description += f", quality {run.current_quality_score:.2f}"
        else:
            done, description = self._iterations, run.status.value.lower()
        self._bar.update(
            self._task,
            description=description,
            completed=done * _PARTS_OF_AN_ITERATION,
            total=self._iterations * _PARTS_OF_AN_ITERATION,
        )

    def say_cancelled(self, order: Order) -> None:
        """What a cancelled run leaves, and how to take it up."""
        self._bar.stop()
        sys.stderr.write(
            f"cancelled: {order.research_id} is recorded as Failed; what it had found is taken over by\n"
            f"  lightning-state research --resume {order.research_id}\n"
        )


def print_report(made: Report) -> None:
    """Laid out for a terminal; Markdown where stdout is a file or a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal:
        sys.stdout.write(to_markdown(made))
        return
    console.width = min(console.width, _MOST_WIDTH)
    console.print()
    console.print(Text(made.query, style="bold"))
    if made.summary:
        console.print()
        console.print(Text(made.summary))
        console.print(Text(f"written by {made.summary_by} from the facts below", style="dim"))
    if not made.facts:
        console.print("\nThe corpus holds nothing on this question.")
    for title, facts in grouped(made.facts):
        console.print()
        console.print(Text(title, style="bold cyan"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", width=3)
        table.add_column()
        for fact in facts:
            body = Text(f"{fact.content}\n")
            body.append(provenance(fact), style="red" if fact.is_refuted else "dim")
            for issue in fact.issues:
                body.append(f"\n{issue}", style="red")
            table.add_row(Text(str(fact.number), style="bold"), body)
        console.print(table)
    console.print()
    for line in account(made):
        console.print(Text(line, style="dim"))
