"""Durable, versioned, validated state for agent applications on Ray.

`start` begins a service, `HttpStateClient` reaches one over HTTP; everything else is `lightning_state.actors`. Names
are loaded when they are first used, so models can be imported where there is no Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_state import actors
from lightning_state.actors.wire.ray_environment import prepare

prepare()

if TYPE_CHECKING:
    from lightning_state.actors import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]  # listed once, in actors.__all__
    from lightning_state.cluster.service import start
    from lightning_state.serve.client import AsyncHttpStateClient, HttpStateClient

__all__ = ["AsyncHttpStateClient", "HttpStateClient", "start"]
__all__ += actors.__all__

_HOMES = {
    "start": "lightning_state.cluster.service",
    "HttpStateClient": "lightning_state.serve.client",
    "AsyncHttpStateClient": "lightning_state.serve.client",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in actors.__all__:
        return getattr(actors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
