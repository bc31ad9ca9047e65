"""The built-in rules. Those here run for every category and act on what it declares; a category names further ones.

A rule is a function from a VerdictContext to its findings, and a user's are registered the way the built-in
categories register theirs: `Category(rules=("package.module:function", ...))`.
"""

from __future__ import annotations

from lightning_state.actors.core.verl.context import Rule
from lightning_state.actors.core.verl.rules.counters import counters
from lightning_state.actors.core.verl.rules.identity import canonical_body, key_is_id
from lightning_state.actors.core.verl.rules.references import references
from lightning_state.actors.core.verl.rules.text import control_characters
from lightning_state.actors.core.verl.rules.transition import transition

EVERY_CATEGORY: tuple[tuple[str, Rule], ...] = (
    ("canonical_body", canonical_body),
    ("key_is_id", key_is_id),
    ("transition", transition),
    ("counters", counters),
    ("references", references),
    ("control_characters", control_characters),
)
"""Name and function, in the order they run; schema, ranges and limits are checked before any of them."""
