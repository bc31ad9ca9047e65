"""Why a run failed, in words fit for its record: no traceback, no control characters, bounded."""

from __future__ import annotations

import re

import msgspec
from ray.exceptions import RayActorError, RayError, RayTaskError

from lightning_state.actors.errors import LightningStateError

MOST_CHARACTERS = 500

_DEEPEST = 4

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Failure(msgspec.Struct, frozen=True):
    """The reason of a Failed run."""

    code: str
    """An error's stable code, `cancelled`, `agent_lost` or `internal`."""
    reason: str


def failure_of(error: BaseException) -> Failure:
    """What to record of an error. A message that was not written for users is not shown to them."""
    for _ in range(_DEEPEST):  # an agent's error, passed on by the agent that called it
        if not isinstance(error, RayTaskError) or not isinstance(error.cause, BaseException):
            break
        error = error.cause
    if isinstance(error, LightningStateError):
        return Failure(error.code, sanitised(str(error)))
    if isinstance(error, RayActorError):
        return Failure("agent_lost", "an agent's process ended and could not be started again")
    if isinstance(error, RayError):
        return Failure("agent_lost", f"Ray could not run an agent ({type(error).__name__})")
    return Failure("internal", f"internal error ({type(error).__name__}); the log of the run says more")


def sanitised(message: str) -> str:
    """One line without control characters, at most MOST_CHARACTERS long."""
    text = _CONTROL.sub(" ", message).strip()
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
