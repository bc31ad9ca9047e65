"""Changes of status follow the category's table. The shard enforces this too; here it makes `verify` complete."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue


def transition(context: VerdictContext) -> Iterator[Issue]:
    """New states start in a non-terminal status, terminal ones are frozen, others keep theirs or follow the table."""
    if context.transitions is None or (to_status := context.status(context.new)) is None:
        return
    from_status = context.base_status
    if from_status is None:
        if context.is_terminal(to_status):
            yield _issue(context, "terminal_start", f"a new state cannot start in the terminal status {to_status}")
    elif context.is_terminal(from_status):
        yield _issue(context, "terminal_frozen", f"{from_status} is terminal: the state accepts nothing but deletion")
    elif to_status != from_status and to_status not in context.transitions[from_status]:
        allowed = ", ".join(sorted(context.transitions[from_status]))
        what = f"{from_status} → {to_status} is not allowed; allowed: {allowed}"
        yield _issue(context, "invalid_transition", what)


def _issue(context: VerdictContext, code: str, message: str) -> Issue:
    return Issue(code, context.category.alias(context.category.status_field or ""), message)
