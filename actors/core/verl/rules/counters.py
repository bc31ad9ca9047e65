"""Counters a category declares monotonic never go back."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue


def counters(context: VerdictContext) -> Iterator[Issue]:
    """Each attribute in `Category.monotonic` is at least what it was; a value that was set stays set."""
    if not context.category.monotonic or context.base is None:
        return
    for attribute in context.category.monotonic:
        before, after = getattr(context.base, attribute), getattr(context.new, attribute)
        if before is not None and (after is None or after < before):
            path = context.category.alias(attribute)
            yield Issue("counter_decreased", path, f"{path} went from {before} to {after}; it may only rise")
