"""Start, stop, scale and measure the service."""

from lightning_state.cluster.service import Service, start

__all__ = ["Service", "start"]
