"""The environment every process needs before it imports Ray. Imports nothing but os: it comes first of all."""

from __future__ import annotations

import os

NEEDED: dict[str, str] = {
    # Under `uv run` Ray would start every worker through uv in an unpacked copy of the working directory: seconds per
    # actor, and what they write to relative paths is lost.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Callers of a killed actor hear of it within 10 ms instead of two seconds.
    "RAY_timeout_ms_task_wait_for_death_info": "0",
    # Silences a warning about accelerators on machines that have none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare() -> None:
    """Set what is not set already; takes effect for a Ray that is imported or started afterwards."""
    for name, value in NEEDED.items():
        os.environ.setdefault(name, value)
