"""Starting and stopping a service's validator pool."""

from __future__ import annotations

import time
from typing import Any, cast

import ray

from lightning_state.actors.errors import ValidationUnavailableError
from lightning_state.actors.settings import Settings
from lightning_state.actors.verl_actor.supervisor import PoolSupervisor
from lightning_state.actors.verl_actor.validators import actor_options, kill_actor, list_validators
from lightning_state.actors.wire.names import pool_name

_STOPPED_WITHIN_S = 10.0


def start_pool(service: str, settings: Settings) -> None:
    """Start the pool's supervisor, which starts the validators; the same again is no change. Returns at once."""
    actor = cast("Any", ray.remote(PoolSupervisor))
    actor.options(**actor_options(pool_name(service))).remote(service, settings.verl, settings.judge)


def stop_pool(service: str) -> None:
    """End the supervisor and every validator for good. Raises ValidationUnavailableError when one is still there."""
    deadline_s = time.monotonic() + _STOPPED_WITHIN_S
    kill_actor(pool_name(service), restart=False)
    while names := list_validators(service).values():
        for name in names:
            kill_actor(name, restart=False)
        if time.monotonic() > deadline_s:
            raise ValidationUnavailableError(f"{len(names)} validators did not stop within {_STOPPED_WITHIN_S:g} s")
        time.sleep(0.02)
