"""What every route needs of the service behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.core.freshness import Moment
from lightning_state.actors.limits import Limits
from lightning_state.serve.categories import Categories
from lightning_state.serve.freshness import FRESHNESS
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

    def freshness(self, moments: Iterable[Moment | None]) -> dict[str, str]:
        """The header of an answer that reflects these moments."""
        return {FRESHNESS: self.client.token_of(moment for moment in moments if moment is not None)}
