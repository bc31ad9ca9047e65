"""What tests on a real Ray share: one service a module, and nothing left in the user's home."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from pathlib import Path

import pytest

from lightning_state import StateClient, start
from lightning_state.cluster.service import Service


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state-home")))
        yield


@pytest.fixture(scope="module")
def service(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:  # noqa: ARG001  # Ray runs
    """One service for the whole module: each test has keys of its own."""
    data_dir: Path = tmp_path_factory.mktemp("service") / "data"
    with start(data_dir=data_dir, service=f"m-{uuid.uuid4().hex[:10]}", shards=2) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Generator[StateClient]:
    with service.client() as connected:
        yield connected


@pytest.fixture
def key() -> str:
    """A key no other test uses."""
    return f"k-{uuid.uuid4().hex[:12]}"
