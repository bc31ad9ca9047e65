"""Changes of status follow the category's table. The shard enforces this too; here it makes `verify` complete."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue


def transition(context: VerdictContext) -> Iterator[Issue]:
    """New states start in a non-terminal status, terminal ones are frozen, others keep theirs or follow the table."""
    if context.transitions is None or (to_status := context.status(context.new)) is None:
        return
    path = context.category.alias(context.category.status_field or "")
    if context.base is None:
        if context.is_terminal(to_status):
            yield Issue("terminal_start", path, f"a new state cannot start in the terminal status {to_status}")
        return
    from_status = context.status(context.base) or ""
    if context.is_terminal(from_status):
        yield Issue("terminal_frozen", path, f"{from_status} is terminal: the state accepts nothing but deletion")
    elif to_status not in (from_status, *context.transitions[from_status]):
        allowed = ", ".join(sorted(context.transitions[from_status]))
        yield Issue("invalid_transition", path, f"{from_status} → {to_status} is not allowed; allowed: {allowed}")
