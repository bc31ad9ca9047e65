"""Figures as a mapping that a notebook shows as tables."""

from __future__ import annotations

from typing import Any

from lightning_state.actors.tables import record_table


class Figures(dict[str, Any]):
    """An ordinary dict, also as text and as JSON."""

    def _repr_html_(self) -> str:
        return record_table(self)
