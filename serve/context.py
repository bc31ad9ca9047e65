"""What every route needs of the service behind it."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.limits import Limits
from lightning_state.serve.categories import Categories
from lightning_state.serve.metrics import RequestMetrics


@dataclass(frozen=True, slots=True)
class Context:
    """One replica's view of the service. Belongs to one event loop."""

    client: AsyncStateClient
    categories: Categories
    limits: Limits
    metrics: RequestMetrics
    replica: str
    """Tells this replica's figures from another's."""
