"""The body is what it says it is: one spelling, and the id it is stored under."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue


def canonical_body(context: VerdictContext) -> Iterator[Issue]:
    """The bytes must be those `Category.encode` writes.

    Otherwise two parsers could read two states from one body (duplicate keys, odd numbers, spare whitespace).
    """
    if context.category.encode(context.new) != context.new_body:
        yield Issue("not_canonical", "", "the body is not in canonical form: send what Category.encode writes")


def key_is_id(context: VerdictContext) -> Iterator[Issue]:
    """The id in the body must be the key."""
    if context.category.key(context.new) != context.key:
        path = context.category.alias(context.category.key_field)
        yield Issue("key_mismatch", path, f"{path} must equal the key the state is stored under")
