"""What every test shares: Ray's environment, set before anything imports Ray, and one small cluster for the run."""

from __future__ import annotations

import os

# Workers start from the environment of this process, not through uv in a copy of the working directory.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"
# Callers hear of an actor's death at once, not after two seconds.
os.environ["RAY_timeout_ms_task_wait_for_death_info"] = "0"  # noqa: SIM112  # Ray reads it as spelled

import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis fails an example that takes 0.2 s, and a test whose examples take long to make: a busy machine does both.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole run, in a directory short enough for its sockets."""
    import ray  # noqa: PLC0415  # unit tests must not pay for it

    from lightning_state.serve.environment import prepare_serve  # noqa: PLC0415  # after the lines at the top

    prepare_serve()

    directory = tempfile.mkdtemp(prefix="ls", dir="/tmp")
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        namespace="lightning-state-tests",
        _temp_dir=directory,
        logging_level=logging.ERROR,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def service_name() -> str:
    """A service nobody else uses."""
    return f"t-{uuid.uuid4().hex[:10]}"
