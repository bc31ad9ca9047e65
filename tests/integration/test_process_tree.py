"""Every process of a machine killed at once, Ray included: the files alone carry the service on (C2, C3, C5)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.journal_witness import check_order, journal_rows
from tests.service_processes import descendants, end_all
from tests.traffic import Traffic, marker_of, note
from tests.waiting import until

from lightning_state import AgentState, DataDirectoryError, start

CHILD = """
import os, sys, threading
from lightning_state import ANY, AgentState, start

data_dir, log, name = sys.argv[1:]
service = start(data_dir=data_dir, service=name, shards=2)
told = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def write(writer):
    with service.client() as client:
        number = 0
        while True:
            number += 1
            marker = f"{writer}-{number}"
            key = f"hot-{number % 5}" if number % 3 == 0 else marker
            state = AgentState(agent_id=key, agent_type="w", properties={"marker": marker})
            stored = client.agents.set(state, expected_version=ANY)
            os.write(told, f"{key} {stored.version} {marker}\\n".encode())

threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
"""


def acknowledged(log: Path) -> list[tuple[str, int, str]]:
    """What the child was told; its last line may be cut off."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(key, int(version), marker) for key, version, marker in words]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("ray_cluster")
def test_kill_9_of_every_process_loses_no_acknowledged_write(tmp_path: Path, service_name: str) -> None:
    data_dir, log = tmp_path / "data", tmp_path / "told"
    with (
        tempfile.TemporaryDirectory(prefix="lsp", dir="/tmp", ignore_cleanup_errors=True) as ray_directory,
        (tmp_path / "errors").open("w+") as errors,
    ):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(data_dir), str(log), service_name],
            env={**os.environ, "RAY_TMPDIR": ray_directory, "XDG_STATE_HOME": str(tmp_path)},
            cwd=tmp_path,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            until("the child writes", lambda: len(acknowledged(log)) >= 150 or child.poll() is not None, within_s=90)
            assert child.poll() is None, (tmp_path / "errors").read_text()
        finally:
            processes = descendants(child.pid)
            end_all(processes)
            child.wait(10)
    assert len(processes) >= 6, "driver, Ray and the service's actors"
    told, killed_s = acknowledged(log), time.monotonic()
    with start(data_dir=data_dir, service=service_name) as service, service.client() as client:
        found: dict[str, AgentState] = client.agents.get_many({key for key, _, _ in told})
        note(f"kill -9 of {len(processes)} processes: served {time.monotonic() - killed_s:.2f} s after start()")
        for key, version, _ in told:
            assert found[key].version >= version
        went_on = client.agents.update("hot-0", lambda s: s.replace(agent_type="again"))
        assert went_on.version == found["hot-0"].version + 1
    rows = journal_rows(data_dir)
    check_order(rows)
    stored = {(row.key, row.version): marker_of(row) for row in rows}
    assert [each for each in told if stored.get((each[0], each[1])) != each[2]] == []
    markers = [marker for place, marker in stored.items() if place != ("hot-0", went_on.version)]
    assert len(set(markers)) == len(markers), "a write was applied twice"
    note(f"kill -9 of {len(processes)} processes: {len(told)} acknowledged, {len(rows)} journal rows")


@pytest.mark.usefixtures("ray_cluster")
def test_a_stop_under_load_tells_no_writer_a_falsehood(tmp_path: Path, service_name: str) -> None:
    data_dir = tmp_path / "data"
    service = start(data_dir=data_dir, service=service_name, shards=2)
    with Traffic(service_name, patience_s=3) as traffic:
        traffic.await_more(60)
        service.stop()
        until("the writers notice", lambda: traffic.refused or traffic.unknown)
    with start(data_dir=data_dir, service=service_name):
        with pytest.raises(DataDirectoryError, match="runs already"):
            start(data_dir=data_dir, service=service_name)
        traffic.settle()
        traffic.check_served()
    rows = traffic.check_stored(data_dir)
    note(f"stop under load: {len(traffic.acknowledged)} acknowledged, refused {traffic.codes()}, {len(rows)} rows")
