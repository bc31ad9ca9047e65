"""A research run from its caller's side: order it, start its agents, watch it, cancel it, go on with an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lightning_state.actors.client import StateClient
from lightning_state.actors.errors import InvalidStateError, ResearchFailedError, StateNotFoundError
from lightning_state.actors.models import ResearchState, ResearchStatus, utc_now
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.wire.names import NAMESPACE
from lightning_state.actors.workflows import order as orders
from lightning_state.actors.workflows.corpus import Corpus
from lightning_state.actors.workflows.failure import Failure, failure_of
from lightning_state.actors.workflows.master import Master
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.researcher import Researcher
from lightning_state.actors.workflows.supervisor import Supervisor

Watcher = Callable[[ResearchState], None]

POLL_S = 0.2
"""How often a watcher is shown the run's state."""
_CANCEL_WITHIN_S = 20.0
_RESTARTS = 3
TERMINAL = (ResearchStatus.COMPLETED, ResearchStatus.FAILED)


def question_of(query: str) -> str:
    """The question on one line. Raises InvalidStateError when it holds no word."""
    question = " ".join(query.split())
    if not any(character.isalnum() for character in question):
        raise InvalidStateError("the question is empty: ask something in words")
    return question


def new_order(
    query: str,
    corpus_path: Path | None,
    corpus: Corpus,
    service: str,
    *,
    max_iterations: int = orders.MAX_ITERATIONS,
    researchers: int = orders.RESEARCHERS,
) -> Order:
    """An order for a new run. Raises InvalidStateError for a question without words."""
    return Order(
        research_id=orders.new_research_id(),
        query=question_of(query),
        corpus_path=None if corpus_path is None else str(corpus_path.expanduser().absolute()),
        corpus_index=str(corpus.describe().index),
        service=service,
        runner=orders.new_runner(),
        max_iterations=max_iterations,
        researchers=researchers,
    )


def recorded_run(state: StateClient, research_id: str) -> ResearchState:
    """The run to go on with. Raises StateNotFoundError with what to do."""
    try:
        return state.research.get(research_id, consistency="linearizable")
    except StateNotFoundError:
        raise StateNotFoundError(
            f"there is no research {research_id!r} in this service: see `lightning-state list research`, "
            "or name the data directory it was run in"
        ) from None


def interrupted_runs(state: StateClient, service: str) -> list[str]:
    """The ids of runs that a crash left unfinished, oldest first: nobody works on them now."""
    live = set(other_runs(service))
    unfinished = [status for status in ResearchStatus if status not in TERMINAL]
    found = [run for status in unfinished for run in _all_of(state, status)]
    return sorted(run.research_id for run in found if "runner" in run.metadata and run.research_id not in live)


def _all_of(state: StateClient, status: ResearchStatus) -> Iterator[ResearchState]:
    cursor: str | None = None
    while True:
        page = state.research.list(status=status, limit=1_000, cursor=cursor)
        yield from page
        if (cursor := page.cursor) is None:
            return


def recorded_corpus(earlier: ResearchState) -> Path | None:
    """The folder or file an earlier run searched; None: what the installed distributions carry."""
    recorded = earlier.metadata.get("corpusPath")
    return Path(recorded) if isinstance(recorded, str) else None


def resumed_order(earlier: ResearchState, corpus: Corpus, service: str) -> Order:
    """An order that goes on with an interrupted run, or a new one that takes over the work of a Failed one.

    Raises InvalidStateError for a Completed one, and for a research state that is not of a run made here.
    """
    if earlier.status is ResearchStatus.COMPLETED:
        raise InvalidStateError(f"research {earlier.research_id} is Completed: there is nothing to go on with")
    known: dict[str, Any] = {
        "query": earlier.query,
        "corpus_index": str(corpus.describe().index),
        "service": service,
        "runner": orders.new_runner(),
    }
    if earlier.status is ResearchStatus.FAILED:
        known |= {"research_id": orders.new_research_id(), "taken_over_from": earlier.research_id}
    else:
        known |= {"research_id": earlier.research_id}
    return orders.restored(earlier.metadata, **known)


def run(order: Order, state: StateClient, *, judge: JudgeSettings, watch: Watcher) -> ResearchState:
    """Do what is ordered and return the Completed state; `watch` sees the run's state as it changes.

    Raises ResearchFailedError. Whatever interrupts this call (KeyboardInterrupt, SystemExit) cancels the run, which
    then is Failed with the reason "cancelled", and passes on. The agents end with this call.
    """
    agents = _start(order, judge)
    master = agents[0]
    try:
        result = master.run.remote()
        try:
            failure = _watch(order, state, result, watch)
        except (KeyboardInterrupt, SystemExit):
            _cancel(order, state, master, result)
            raise
    finally:
        for agent in agents:
            ray.kill(agent)
    if failure is not None:
        raise ResearchFailedError(
            f"research {order.research_id} failed: {failure.reason}", research_id=order.research_id, reason=failure.code
        )
    return state.research.get(order.research_id, consistency="linearizable")


def other_runs(service: str) -> list[str]:
    """The ids of the runs that are under way in a service, whoever ordered them."""
    prefix = orders.actors_prefix(service)
    actors = cast("list[dict[str, str]]", ray.util.list_named_actors(all_namespaces=True))
    names = [actor["name"] for actor in actors]
    return sorted({name.removeprefix(prefix).split("/")[0] for name in names if name.startswith(prefix)})


def _start(order: Order, judge: JudgeSettings) -> list[Any]:
    """Master, supervisor and researchers, on this node: it holds the corpus index. They end with this process."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {
        "num_cpus": 0,
        "scheduling_strategy": here,
        # Every call is made of steps, which may be asked for again: Ray may restart an agent and repeat its call.
        "max_restarts": _RESTARTS,
        "max_task_retries": _RESTARTS,
    }
    kinds: dict[str, tuple[type[Any], tuple[Any, ...]]] = {
        "master": (Master, (order, judge)),
        "supervisor": (Supervisor, (order,)),
        **{f"researcher-{number}": (Researcher, (order, number, judge)) for number in range(1, order.researchers + 1)},
    }
    return [
        ray.remote(kind).options(name=order.actor_name(role), namespace=NAMESPACE, **options).remote(*arguments)
        for role, (kind, arguments) in kinds.items()
    ]


def _watch(order: Order, state: StateClient, result: Any, watch: Watcher) -> Failure | None:
    shown = 0
    while True:
        done, _ = ray.wait([result], timeout=POLL_S)
        found = state.research.get_many([order.research_id], consistency="linearizable").get(order.research_id)
        if found is not None and found.version != shown:
            shown = found.version
            watch(found)
        if done:
            try:
                return ray.get(result)
            except RayError as error:
                return _mark_failed(order, state, failure_of(error))


def _cancel(order: Order, state: StateClient, master: Any, result: Any) -> None:
    try:
        ray.get(master.cancel.remote(), timeout=_CANCEL_WITHIN_S)
        ray.get(result, timeout=_CANCEL_WITHIN_S)
    except (RayError, GetTimeoutError):
        _mark_failed(order, state, Failure("cancelled", "cancelled"))


def _mark_failed(order: Order, state: StateClient, failure: Failure) -> Failure:
    """Written by the caller itself: the master is gone."""

    def failed(found: ResearchState) -> ResearchState:
        if found.status in TERMINAL:
            return found
        about = {"code": failure.code, "reason": failure.reason}
        metadata = {**found.metadata, "failure": about}
        return found.replace(status=ResearchStatus.FAILED, completed_at=utc_now(), metadata=metadata)

    found = state.research.get_many([order.research_id], consistency="linearizable")
    if found and found[order.research_id].status not in TERMINAL:
        state.research.update(order.research_id, failed)
    return failure
