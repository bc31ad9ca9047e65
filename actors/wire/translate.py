"""Ray's errors in the service's own terms: the one place where they are translated."""

from __future__ import annotations

from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError, RayTaskError

from lightning_state.actors.core.session import Lost
from lightning_state.actors.errors import LightningStateError, ShardUnavailableError


def translate(error: BaseException, actor: str) -> LightningStateError:
    """What a failed call of an actor means. Nothing in it says whether the call was executed: it may have been."""
    if isinstance(error, LightningStateError):
        return error
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, LightningStateError):
            return cause
        return ShardUnavailableError(f"{actor} failed to answer: {type(cause).__name__}")
    if isinstance(error, (GetTimeoutError, TimeoutError)):
        return ShardUnavailableError(f"{actor} did not answer in time")
    if isinstance(error, ActorDiedError):
        return ShardUnavailableError(f"{actor} died")
    if isinstance(error, RayActorError):
        return ShardUnavailableError(f"{actor} is restarting or unreachable")
    if isinstance(error, RayError):
        return ShardUnavailableError(f"Ray could not reach {actor}: {type(error).__name__}")
    return ShardUnavailableError(f"the call of {actor} failed: {type(error).__name__}: {error}")


def lost(error: BaseException, actor: str, *, sent: bool) -> Lost:
    """What to tell the session of a request whose frame failed with this error."""
    translated = translate(error, actor)
    return Lost(sent, translated.code, str(translated))
