"""Starting, finding and ending validator actors by name."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.util import list_named_actors

from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.verl_actor.actor import ValidatorActor
from lightning_state.actors.wire.names import NAMESPACE, validator_name

_CLOSED_WITHIN_S = 0.5

_MAX_CONCURRENCY = 15_000
"""Calls that wait hold one each: a ping must never queue behind them."""


def actor_options(name: str) -> dict[str, Any]:
    """Options of the pool's actors: named, detached, restarted for ever, never re-run by Ray itself."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,
        "max_concurrency": _MAX_CONCURRENCY,
        "get_if_exists": True,
    }


def start_validator(service: str, number: int, judge: JudgeSettings) -> None:
    """Start validator `number` unless an actor of its name exists."""
    name = validator_name(service, number)
    actor = cast("Any", ray.remote(ValidatorActor))
    actor.options(**actor_options(name)).remote(name, judge)


def list_validators(service: str) -> dict[int, str]:
    """Number → actor name of every validator of a service that Ray knows."""
    prefix = validator_name(service, 0).removesuffix("0")
    found: dict[int, str] = {}
    for actor in cast("list[dict[str, str]]", list_named_actors(all_namespaces=True)):
        name, number = actor["name"], actor["name"].removeprefix(prefix)
        if actor["namespace"] == NAMESPACE and name.startswith(prefix) and number.isdecimal():
            found[int(number)] = name
    return found


def kill_actor(name: str, *, restart: bool) -> None:
    """End an actor's process; Ray starts it anew under its name when `restart`. One that is gone is no error."""
    try:
        handle = ray.get_actor(name, NAMESPACE)
    except ValueError:
        return
    if not restart and hasattr(handle, "close"):
        _close(handle)
    ray.kill(handle, no_restart=not restart)


def _close(handle: Any) -> None:
    """Let it remove its socket; one that does not answer leaves it to its successor."""
    ray.wait([handle.close.remote()], timeout=_CLOSED_WITHIN_S)
