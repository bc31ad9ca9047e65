"""Errors as replies."""

from __future__ import annotations

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.errors import LightningStateError


def refusal(error: LightningStateError, *, maybe: bool = False) -> Refused:
    """The reply that carries an error. `maybe`: the request may have been applied all the same."""
    return Refused(error.code, str(error), error.details, maybe)
