"""What the pool of validators says of itself."""

from __future__ import annotations

import ray
from ray.exceptions import RayError

from lightning_state.actors.core.verl.messages import Members, PoolView
from lightning_state.actors.errors import LightningStateError
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.names import pool_name
from lightning_state.actors.wire.verl_codec import decode_from_pool, encode

_ANSWERS_WITHIN_S = 3.0


def pool_view(service: str) -> PoolView | None:
    """The validators and the latest decisions on their number; None while the pool does not answer."""
    calls = ActorCalls()
    try:
        sent = calls.submit(pool_name(service), encode(Members()))
        answer = decode_from_pool(ray.get(sent, timeout=_ANSWERS_WITHIN_S))
    except (LightningStateError, RayError):
        return None
    return answer if isinstance(answer, PoolView) else None
