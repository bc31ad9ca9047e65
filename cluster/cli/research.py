"""`research`: answer a question from documents, every fact with its source."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from lightning_state.actors.client import StateClient
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import ResearchState, ResearchStatus
from lightning_state.actors.settings import Settings
from lightning_state.actors.wire.ray_access import read_access
from lightning_state.actors.workflows.corpus import Corpus
from lightning_state.actors.workflows.order import MAX_ITERATIONS, RESEARCHERS, Order
from lightning_state.actors.workflows.report import Report, report, to_json
from lightning_state.actors.workflows.run import (
    interrupted_runs,
    new_order,
    other_runs,
    question_of,
    recorded_corpus,
    recorded_run,
    resumed_order,
    run,
)
from lightning_state.cluster.cli.end_signals import EndSignals
from lightning_state.cluster.cli.research_view import ResearchView, print_report
from lightning_state.cluster.service import Service, start

_INTERRUPTED = 130
_POLL_S = 0.5
_ORPHANS_END_WITHIN_S = 60.0


def research(
    query: str | None = None,
    *,
    corpus: Path | None = None,
    json: bool = False,
    resume: str | None = None,
    max_iterations: Annotated[int, Parameter(validator=Number(gte=1, lte=20))] = MAX_ITERATIONS,
    researchers: Annotated[int, Parameter(validator=Number(gte=1, lte=16))] = RESEARCHERS,
    data_dir: Path | None = None,
    service: str | None = None,
    address: str | None = None,
) -> int:
    """Answer a question from documents, with the source of every fact.

    Uses the running service, or one of its own for as long as it takes. Ctrl-C cancels.

    Parameters
    ----------
    query
        The question.
    corpus
        A folder or file of text, Markdown, reStructuredText or HTML. Default: the documentation that the installed
        Python distributions carry.
    json
        Print the report as JSON.
    resume
        The id of a run to go on with: an interrupted one goes on where it was, a failed one is done anew with what it
        had recorded, a completed one is only shown.
    max_iterations
        The most iterations of search and verification.
    researchers
        Agents that search and verify side by side.
    data_dir
        Where a service of its own keeps its files. Default: .lightning-state here.
    service
        The service's name.
    address
        The Ray the service runs on; default: where this user started it.
    """
    if (query is None) == (resume is None):
        raise InvalidStateError("give a question, or --resume with the id of a run")
    if resume is not None and corpus is not None:
        raise InvalidStateError("a resumed run reads the corpus it began with: leave --corpus out")
    question = "" if query is None else question_of(query)
    settings = Settings.read(service=service, data_dir=data_dir, address=address)
    signals = EndSignals()
    signals.install()
    with ResearchView() as view:
        # Before anything is started: a corpus that cannot be read needs no service.
        opened = None if resume is not None else _open(corpus, view)
        with _service(settings, explicit_data_dir=data_dir is not None, signals=signals, view=view) as state:
            earlier = None if resume is None else recorded_run(state, resume)
            view.say_interrupted([] if resume else interrupted_runs(state, settings.service))
            if earlier is not None and earlier.status is ResearchStatus.COMPLETED:
                made = report(earlier, state.verifications.for_source(earlier.research_id))
            else:
                limits = {"max_iterations": max_iterations, "researchers": researchers}
                order = (
                    new_order(question, corpus, opened, settings.service, **limits)
                    if opened is not None
                    else _go_on(earlier, settings, view)
                )
                view.ordered(order)
                try:
                    made = _run(order, state, settings, view)
                except KeyboardInterrupt:
                    view.say_cancelled(order)
                    return _INTERRUPTED
    if json:
        sys.stdout.write(to_json(made) + "\n")
    else:
        print_report(made)
    return 0


def _open(path: Path | None, view: ResearchView) -> Corpus:
    return Corpus.open(path, progress=view.reading)


def _go_on(earlier: ResearchState | None, settings: Settings, view: ResearchView) -> Order:
    if earlier is None:
        raise InvalidStateError("give a question, or --resume with the id of a run")
    return resumed_order(earlier, _open(recorded_corpus(earlier), view), settings.service)


def _run(order: Order, state: StateClient, settings: Settings, view: ResearchView) -> Report:
    finished = run(order, state, judge=settings.judge, watch=view.watch)
    return report(finished, state.verifications.for_source(order.research_id))


@contextmanager
def _service(
    settings: Settings, *, explicit_data_dir: bool, signals: EndSignals, view: ResearchView
) -> Generator[StateClient]:
    """A client of the service that runs, or of one that ends with this block."""
    access = read_access(settings.service)
    is_other = explicit_data_dir and access is not None and access.data_dir != str(settings.data_dir.absolute())
    if settings.address is not None or (access is not None and not is_other):
        with signals.deferred():
            view.phase("joining the service")
            client = StateClient.connect(settings.service, settings.address)
        with client:
            yield client
        return
    with signals.deferred():
        view.phase("starting a service")
        service = start(service=settings.service, data_dir=settings.data_dir)
    try:
        with service.client() as client:
            yield client
            _wait_for_others(service, view)
    finally:
        view.phase("stopping the service")
        with signals.deferred():
            service.stop()


def _wait_for_others(service: Service, view: ResearchView) -> None:
    """Another command may have joined this service meanwhile: it needs it until it is done."""
    while others := other_runs(service.name):
        view.phase(f"waiting for {', '.join(others)}, which uses this service")
        time.sleep(_POLL_S)
