"""The VERL pool on Ray: validator actors and the supervisor that starts, watches, scales and replaces them."""

from lightning_state.actors.verl_actor.pool import start_pool, stop_pool

__all__ = ["start_pool", "stop_pool"]
