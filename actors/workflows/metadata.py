"""The metadata of a research state as this package writes it: one cast, so that its readers need none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from lightning_state.actors.models import ResearchState


def metadata_of(run: ResearchState) -> Mapping[str, Any]:
    """The run's metadata: `runner`, `facts`, `iterations`, `stopped`, `summary`, `failure`, … where written."""
    return cast("Mapping[str, Any]", run.metadata)
