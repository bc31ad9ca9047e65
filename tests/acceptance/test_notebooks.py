"""The notebooks are true: each runs from top to bottom as committed, and shows what its committed outputs show."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from nbclient import NotebookClient
from tests.processes import descendants
from tests.service_processes import is_gone
from tests.waiting import until

from lightning_state.actors.processes import start_time_ticks

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ["autoscaling.ipynb", "explore.ipynb"]
MOST_BYTES = 200 * 1024


def read(name: str) -> Any:
    return cast("Any", nbformat).read(NOTEBOOKS / name, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: Any) -> list[list[list[str]]]:
    """The forms of every output below each cell; what is only printed depends on how busy the machine is."""
    return [[sorted(output["data"]) for output in cell.outputs if "data" in output] for cell in code_cells(notebook)]


def printed(notebook: Any) -> str:
    """What the cells and Ray have printed."""
    return "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)


def result(cell: Any) -> str:
    """The value of a cell's last line, as text."""
    return cell.outputs[-1]["data"]["text/plain"]


def html(cell: Any) -> str:
    """The value of a cell's last line, as HTML."""
    return cell.outputs[-1]["data"]["text/html"]


@contextmanager
def executed(name: str) -> Generator[Any]:
    """The notebook after a run of all its cells; afterwards every process that it started has ended."""
    notebook = read(name)
    started: dict[int, int | None] = {}

    def note_processes(**_: object) -> None:
        kernel: int = cast("Any", client.km).provisioner.pid
        started.update({pid: start_time_ticks(pid) for pid in {kernel, *descendants(kernel)}})

    place = {"metadata": {"path": str(NOTEBOOKS)}}
    client = NotebookClient(notebook, timeout=240, resources=place, on_cell_executed=note_processes)
    client.execute()
    assert len(started) > 1
    until("the kernel and its Ray have ended", lambda: all(is_gone(pid, ticks) for pid, ticks in started.items()))
    yield notebook


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel finds no settings of this user and leaves nothing in the user's home."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR", "XDG_STATE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.timeout(400)
def test_exploring_runs_and_shows_what_it_is_committed_with() -> None:
    with executed("explore.ipynb") as notebook:
        assert shown(notebook) == shown(read("explore.ipynb"))
        tables = [output["data"].get("text/html", "") for cell in code_cells(notebook) for output in cell.outputs]
        assert any("VersionConflictError: version_conflict" in table for table in tables)
        assert any("ValidationFailedError: validation_failed" in table for table in tables)


@pytest.mark.timeout(400)
def test_autoscaling_runs_and_both_kinds_of_processes_grow_under_the_load() -> None:
    with executed("autoscaling.ipynb") as notebook:
        assert shown(notebook) == shown(read("autoscaling.ipynb"))
        told = next(result(cell) for cell in code_cells(notebook) if "await watch" in cell.source)
        drafts, validators, replicas = re.findall(r"(\d[\d,]*) (?:drafts|validators|replicas)", told)
        assert int(drafts.replace(",", "")) > 0
        assert int(validators) > 1
        assert int(replicas) > 1
        [decisions] = [html(cell) for cell in code_cells(notebook) if cell.source.startswith("pool_view")]
        assert "scale_up" in decisions
        assert "scale_down" in decisions
        assert "(raylet)" not in printed(notebook)  # Ray shows the end of its own Serve as an error


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs_are_of_one_run_without_errors_or_warnings(name: str) -> None:
    cells = code_cells(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for cell in cells for output in cell.outputs} <= {"execute_result", "display_data"}


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_is_small_and_names_no_place_of_a_machine(name: str) -> None:
    text = (NOTEBOOKS / name).read_text()
    assert len(text) <= MOST_BYTES
    pictures = re.compile(r'"image/png": "[^"]*"')
    assert (
        re.findall(r"(?:/(?:home|root|tmp|work|Users|var|usr|opt)/|\d+\.\d+\.\d+\.\d+)[^\"]*", pictures.sub("", text))
        == []
    )
    assert set(json.loads(text)["metadata"]) == {"kernelspec", "language_info"}


def test_every_notebook_is_run_by_a_test() -> None:
    assert sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")) == NAMES
