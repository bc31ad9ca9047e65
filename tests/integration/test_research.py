from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.judge_server import JudgeServer

from lightning_state.actors.client import StateClient
from lightning_state.actors.errors import DataDirectoryError, InvalidStateError, ResearchFailedError
from lightning_state.actors.models import AgentStatus, FactVerificationStatus, ResearchState, ResearchStatus
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.workflows.corpus import Corpus
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.report import report, to_markdown
from lightning_state.actors.workflows.run import new_order, recorded_run, resumed_order, run
from lightning_state.actors.workflows.steps import STEPS, StepState, StepStatus
from lightning_state.cluster.service import Service, start

pytestmark = pytest.mark.timeout(240)

QUESTION = "How does a lantern keep its flame in the wind?"
PAGES = {
    "lantern.md": """# Lantern

A lantern keeps its flame in the wind by a glass chimney that shields the burner.
The chimney of a lantern draws air from below, so that the flame burns evenly in the wind.
When the wind is strong, the keeper of the lantern lowers the wick to keep the flame small.

## Fuel

A lantern burns paraffin oil, which is kept in the font below the burner.
""",
    "wind.txt": """Wind puts out an open flame because it carries the heat away from the wick.
A hurricane lantern keeps its flame alight in the strongest wind by recirculating warm air to the burner.
""",
    "glass.html": """<html><body><h1>Glass</h1>
<p>The glass globe of a lantern must be clean to let the flame be seen.</p>
<p>A cracked globe lets the wind reach the flame of the lantern and puts it out.</p></body></html>
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = tmp_path / "pages"
    pages.mkdir()
    for name, text in PAGES.items():
        (pages / name).write_text(text)
    return pages


@pytest.fixture
def corpus(folder: Path, tmp_path: Path) -> Corpus:
    return Corpus.open(folder, tmp_path / "cache")


@pytest.fixture
def service(ray_cluster: None, service_name: str, tmp_path: Path) -> Iterator[Service]:  # noqa: ARG001  # it must run
    with start(service=service_name, data_dir=tmp_path / "data", shards=1) as running:
        yield running


@pytest.fixture
def state(service: Service) -> Iterator[StateClient]:
    with service.client() as client:
        yield client


def order_for(folder: Path, corpus: Corpus, service: str) -> Order:
    return new_order(QUESTION, folder, corpus, service)


def steps_of(state: StateClient, research_id: str) -> dict[str, StepState]:
    return {step.name: step for step in state.category(STEPS).list(research_id=research_id, limit=1_000)}


def statuses_of(state: StateClient, research_id: str) -> list[AgentStatus]:
    return [agent.status for agent in state.agents.list(prefix=f"{research_id}/")]


def until(condition: Callable[[], Any], within_s: float = 90.0) -> Any:
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)
    return found


def test_a_run_goes_through_every_status_and_each_fact_is_verified_in_a_file(
    folder: Path, corpus: Corpus, service: Service, state: StateClient
) -> None:
    order = order_for(folder, corpus, service.name)
    seen: list[ResearchState] = []

    finished = run(order, state, judge=JudgeSettings(), watch=seen.append)

    history = [found.status for found in seen]
    assert history[-1] is ResearchStatus.COMPLETED
    assert set(history) <= set(ResearchStatus)
    assert finished.status is ResearchStatus.COMPLETED
    assert finished.completed_at is not None
    assert finished.iteration_count >= 1
    assert finished.current_quality_score > 0.6
    assert len(finished.extracted_facts) >= 4
    for fact in finished.extracted_facts:
        path, _, line = fact.source.removeprefix("file://").partition("#L")
        assert path.startswith(str(folder))
        first_words = " ".join(fact.content.split()[:3])
        assert first_words in " ".join(Path(path).read_text().splitlines()[int(line) - 1 :])
        assert fact.is_verified
        assert fact.verification_status is FactVerificationStatus.VERIFIED
    verifications = state.verifications.for_source(order.research_id)
    assert {item.content for item in verifications} == {fact.content for fact in finished.extracted_facts}
    assert all(item.is_verified for item in verifications)
    assert statuses_of(state, order.research_id) == [AgentStatus.COMPLETED] * 4
    steps = steps_of(state, order.research_id)
    assert all(step.status is StepStatus.FINISHED and step.executions == 1 for step in steps.values())
    text = to_markdown(report(finished, verifications))
    assert all(fact.content in text for fact in finished.extracted_facts)


def test_a_lost_index_fails_the_run_and_all_its_agents(
    folder: Path, corpus: Corpus, service: Service, state: StateClient
) -> None:
    order = order_for(folder, corpus, service.name)
    shutil.rmtree(corpus.describe().index)

    with pytest.raises(ResearchFailedError) as raised:
        run(order, state, judge=JudgeSettings(), watch=lambda _: None)

    failed = state.research.get(order.research_id, consistency="linearizable")
    assert failed.status is ResearchStatus.FAILED
    assert failed.completed_at is not None
    assert raised.value.details == {"research_id": order.research_id, "reason": "corpus"}
    assert set(statuses_of(state, order.research_id)) == {AgentStatus.FAILED}


def test_two_runs_at_once_do_not_mix(folder: Path, corpus: Corpus, service: Service) -> None:
    orders = [order_for(folder, corpus, service.name) for _ in range(2)]
    finished: dict[str, ResearchState] = {}

    def do(order: Order) -> None:
        with service.client() as client:
            finished[order.research_id] = run(order, client, judge=JudgeSettings(), watch=lambda _: None)

    threads = [threading.Thread(target=do, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)

    assert sorted(finished) == sorted(order.research_id for order in orders)
    first, second = (finished[order.research_id] for order in orders)
    assert [fact.content for fact in first.extracted_facts] == [fact.content for fact in second.extracted_facts]
    with service.client() as client:
        for order in orders:
            found = client.verifications.for_source(order.research_id)
            assert len(found) == len(first.extracted_facts)


def test_a_judge_writes_a_summary_that_cites_and_its_failure_is_recorded_not_hidden(
    folder: Path, corpus: Corpus, service: Service, state: StateClient
) -> None:
    order = order_for(folder, corpus, service.name)
    with JudgeServer() as judge:
        settings = JudgeSettings(base_url=judge.url, model="local")
        made = run(order, state, judge=settings, watch=lambda _: None)
        shown = report(made, state.verifications.for_source(order.research_id))
        assert shown.summary is not None
        assert shown.summary.startswith("It is so [")
        assert {fact.verified_by for fact in shown.facts} == {"judge:local"}

        judge.says("", status=500)
        order = order_for(folder, corpus, service.name)
        made = run(order, state, judge=settings, watch=lambda _: None)
    shown = report(made, state.verifications.for_source(order.research_id))
    assert shown.status == "Completed"
    assert shown.summary is None
    assert any("no summary was written" in note for note in shown.notes)
    assert {fact.verified_by for fact in shown.facts} == {"verl"}
    assert all("the judge gave no opinion" in " ".join(fact.issues) for fact in shown.facts)


class Command:
    """`lightning-state research` in a process of its own, with its own Ray, held by the judge it asks."""

    def __init__(self, judge: JudgeServer, folder: Path, tmp_path: Path, service: str) -> None:
        self.tmp_path = tmp_path
        self.environment = {
            **os.environ,
            "LIGHTNING_STATE_JUDGE__BASE_URL": judge.url,
            "XDG_CACHE_HOME": str(tmp_path / "cache-home"),
            "XDG_STATE_HOME": str(tmp_path / "state-home"),
        }
        self.options = ["--data-dir", str(tmp_path / "data"), "--service", service]
        self.process = self.start(QUESTION, "--corpus", str(folder))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        call = "import sys; from lightning_state.cluster.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", call, "research", *arguments, *self.options]
        return subprocess.Popen(
            command, cwd=self.tmp_path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def tree(self) -> list[int]:
        """The process and all below it."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:  # parents before their children, or Ray would replace these first
            found.extend(parents.get(pid, []))
        return found

    def kill_tree(self) -> None:
        pids = self.tree()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.communicate()
        until(lambda: not any(is_alive(pid) for pid in pids))


def started(service: str, data_dir: Path) -> Service | None:
    """The service, once the last process of its killed predecessor has let go of the files."""
    try:
        return start(service=service, data_dir=data_dir)
    except DataDirectoryError:
        return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("ray_cluster")
def test_after_kill_9_of_everything_a_run_goes_on_and_repeats_no_finished_step(
    folder: Path, tmp_path: Path, service_name: str
) -> None:
    with JudgeServer() as judge:
        judge.released.clear()
        command = Command(judge, folder, tmp_path, service_name)
        until(lambda: judge.asked.is_set() or command.process.poll() is not None)
        assert command.process.poll() is None, command.process.communicate()
        command.kill_tree()

    with until(lambda: started(service_name, tmp_path / "data")) as service, service.client() as state:
        (left,) = state.research.list().states
        assert left.status is ResearchStatus.VERIFYING
        before = steps_of(state, left.research_id)
        assert before["iteration-1/search-1"].status is StepStatus.FINISHED
        assert before["iteration-1/verify-1"].status is StepStatus.STARTED
        facts_before = left.extracted_facts

        corpus = Corpus.open(folder, tmp_path / "cache")
        order = resumed_order(recorded_run(state, left.research_id), corpus, service.name)
        assert order.research_id == left.research_id
        finished = run(order, state, judge=JudgeSettings(), watch=lambda _: None)

        assert finished.status is ResearchStatus.COMPLETED
        assert [fact.id for fact in finished.extracted_facts[: len(facts_before)]] == [fact.id for fact in facts_before]
        after = steps_of(state, left.research_id)
        for name, step in before.items():
            if step.status is StepStatus.FINISHED:
                assert after[name] == step, f"{name} was done again"
            else:
                assert after[name].executions == 2
        fresh = [step for name, step in after.items() if name not in before]
        assert fresh
        assert all(step.executions == 1 and step.status is StepStatus.FINISHED for step in fresh)
        ids = [item.verification_id for item in state.verifications.for_source(left.research_id)]
        assert len(ids) == len(set(ids)) == len(finished.extracted_facts)
        with pytest.raises(InvalidStateError):
            resumed_order(finished, corpus, service.name)


def test_ctrl_c_fails_the_run_as_cancelled_and_a_new_one_takes_its_work_over(
    folder: Path, tmp_path: Path, service_name: str
) -> None:
    with JudgeServer() as judge:
        judge.released.clear()
        command = Command(judge, folder, tmp_path, service_name)
        until(lambda: judge.asked.is_set() or command.process.poll() is not None)
        assert command.process.poll() is None, command.process.communicate()
        command.process.send_signal(signal.SIGINT)
        _, told = command.process.communicate(timeout=90)
        assert command.process.returncode == 130
        assert b"cancelled" in told
        cancelled = told.decode().rsplit("--resume ", 1)[1].split()[0]

        judge.released.set()
        again = command.start("--resume", cancelled, "--json")
        out, told = again.communicate(timeout=120)
        assert again.returncode == 0, told.decode()
    made = json.loads(out)
    assert made["status"] == "Completed"
    assert made["researchId"] != cancelled
    assert any(cancelled in note for note in made["notes"])
    assert made["facts"]
    assert all(fact["source"].startswith("file://") for fact in made["facts"])
