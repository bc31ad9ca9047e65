"""Ids that must exist in another category."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue
from lightning_state.actors.models import State


def references_of(category: Category[Any], state: State) -> list[tuple[str, str, str]]:
    """(attribute, category, id) of every reference a state makes: what the shard reads before it asks for a verdict."""
    found: list[tuple[str, str, str]] = []
    for attribute, target in category.references.items():
        value: str | tuple[str, ...] | None = getattr(state, attribute)
        ids = (value,) if isinstance(value, str) else value or ()
        found.extend((attribute, target, item) for item in ids if item)
    return found


def references(context: VerdictContext) -> Iterator[Issue]:
    """When the service's `check_references` is on, each reference was found by the shard; one not looked up fails."""
    if not context.check_references:
        return
    for attribute, target, item in references_of(context.category, context.new):
        if context.references.get(f"{target}/{item}") is not True:
            path = context.category.alias(attribute)
            yield Issue("reference_missing", path, f"{path} names a state that is not in {target}")
