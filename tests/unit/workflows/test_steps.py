from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.local_service import LocalService

from lightning_state.actors.workflows.steps import STEPS, Steps, StepState, StepStatus


class Counted:
    """A step's work that counts how often it was done, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.done = 0
        self.failures = failures

    async def __call__(self) -> Mapping[str, Any]:
        self.done += 1
        if self.done <= self.failures:
            raise ConnectionError("cut short")
        return {"number": self.done, "found": [{"text": "x"}]}


@pytest.fixture
def service() -> LocalService:
    return LocalService()


def steps(service: LocalService, run: str = "r-1", taken_over_from: str | None = None) -> Steps:
    return Steps(service.async_client(), run, f"{run}/master", taken_over_from=taken_over_from)


async def record(service: LocalService, step_id: str) -> StepState:
    return await service.async_client().category(STEPS).get(step_id, consistency="linearizable")


async def test_a_finished_step_is_not_done_again_by_any_process(service: LocalService) -> None:
    work = Counted()
    first = await steps(service).run("plan", work)
    second = await steps(service).run("plan", work)
    assert work.done == 1
    assert first == second == {"number": 1, "found": ({"text": "x"},)}
    found = await record(service, "r-1/plan")
    assert (found.status, found.executions, found.version) == (StepStatus.FINISHED, 1, 2)


async def test_a_step_that_was_cut_short_is_done_again_and_says_so(service: LocalService) -> None:
    work = Counted(failures=1)
    with pytest.raises(ConnectionError):
        await steps(service).run("plan", work)
    assert (await record(service, "r-1/plan")).status is StepStatus.STARTED
    assert (await steps(service).run("plan", work))["number"] == 2
    assert (await record(service, "r-1/plan")).executions == 2


async def test_of_two_executions_at_once_the_first_result_counts_for_both(service: LocalService) -> None:
    fast = Counted()

    async def slow() -> Mapping[str, Any]:
        await steps(service).run("plan", fast)
        return {"number": 99}

    result = await steps(service).run("plan", slow)
    assert result["number"] == 1
    assert (await record(service, "r-1/plan")).result["number"] == 1


async def test_a_run_takes_over_what_a_failed_one_recorded_and_names_it(service: LocalService) -> None:
    work = Counted()
    await steps(service, "r-1").run("search", work)
    result = await steps(service, "r-2", "r-1").run("search", work)
    assert work.done == 1
    assert result["number"] == 1
    found = await record(service, "r-2/search")
    assert (found.taken_over_from, found.executions, found.status) == ("r-1", 0, StepStatus.FINISHED)


async def test_a_step_that_writes_the_runs_own_states_is_never_taken_over(service: LocalService) -> None:
    work = Counted()
    await steps(service, "r-1").run("record", work, writes=True)
    await steps(service, "r-2", "r-1").run("record", work, writes=True)
    assert work.done == 2


async def test_an_unfinished_step_of_a_failed_run_is_done_by_the_one_that_takes_over(service: LocalService) -> None:
    work = Counted(failures=1)
    with pytest.raises(ConnectionError):
        await steps(service, "r-1").run("search", work)
    await steps(service, "r-2", "r-1").run("search", work)
    assert (await record(service, "r-2/search")).executions == 1
