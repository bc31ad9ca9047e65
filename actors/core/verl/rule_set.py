"""A rule set: all that decides a verdict besides the state itself. Its id is a hash, so verdicts can be bound to it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.limits import Limits

if TYPE_CHECKING:
    from lightning_state.actors.settings import Settings  # reads files when built; here only its values are used

RULES_VERSION = 1
"""Raised when a built-in rule changes what it finds: verdicts of older rules are then no longer used."""


class RuleSet(msgspec.Struct, frozen=True, array_like=True):
    """Which category, by which table, limits and threshold. It travels with each batch: validators need no restart."""

    import_path: str
    category_hash: str
    rules_version: int
    threshold: float
    """Lowest confidence a write needs."""
    transitions: dict[str, list[str]] | None
    """Replaces the category's own table; None: the category's."""
    check_references: bool
    validator_timeout_s: float
    state_bytes: int
    key_bytes: int
    depth: int

    @property
    def id(self) -> str:
        """Hex digest of everything above."""
        return blake2b(msgspec.json.encode(self), digest_size=16).hexdigest()

    @property
    def limits(self) -> Limits:
        """The limits on key and body."""
        return Limits(state_bytes=self.state_bytes, key_bytes=self.key_bytes, depth=self.depth)


def rule_set_of(category: Category[Any], import_path: str, settings: Settings) -> RuleSet:
    """The rules of a category under a service's settings, which win over the category's own threshold and table."""
    verl = settings.verl
    own = verl.confidence_threshold if category.confidence_threshold is None else category.confidence_threshold
    return RuleSet(
        import_path=import_path,
        category_hash=category.hash,
        rules_version=RULES_VERSION,
        threshold=verl.confidence_thresholds.get(category.name, own),
        transitions=settings.transitions.get(category.name),
        check_references=verl.check_references,
        validator_timeout_s=verl.validator_timeout_s,
        state_bytes=settings.limits.state_bytes,
        key_bytes=settings.limits.key_bytes,
        depth=settings.limits.depth,
    )


def table_of(category: Category[Any], rule_set: RuleSet) -> Mapping[str, frozenset[str]] | None:
    """The transition table in force."""
    if rule_set.transitions is None:
        return category.transitions
    return {status: frozenset(following) for status, following in rule_set.transitions.items()}
