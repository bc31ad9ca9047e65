"""A user's own category: everything the built-in ones have, defined in a module of the user's."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from lightning_state.actors.category import Category
from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.messages import Issue
from lightning_state.actors.models import State


class TicketStatus(StrEnum):
    """Where a ticket stands."""

    OPEN = "Open"
    WAITING = "Waiting"
    CLOSED = "Closed"


class TicketState(State):
    """One support ticket."""

    ticket_id: str
    queue: str
    status: TicketStatus = TicketStatus.OPEN
    title: str = ""
    edits: int = Field(default=0, ge=0)


def no_shouting(context: VerdictContext) -> list[Issue]:
    """A rule: a title in capitals is an error."""
    title = str(getattr(context.new, "title", ""))
    return [Issue("shouting", "title", "do not shout")] if title.isupper() else []


async def known_queue(context: VerdictContext) -> list[Issue]:
    """A validator: only some queues exist."""
    queue = str(getattr(context.new, "queue", ""))
    return [] if queue in {"billing", "technical"} else [Issue("queue", "queue", f"there is no queue {queue!r}")]


TICKETS = Category(
    name="tickets",
    model=TicketState,
    key_field="ticket_id",
    status_field="status",
    transitions={
        "Open": frozenset({"Waiting", "Closed"}),
        "Waiting": frozenset({"Open"}),
        "Closed": frozenset(),
    },
    indexes=("queue", "status"),
    monotonic=("edits",),
    rules=("tests.own_category:no_shouting",),
    validators=("tests.own_category:known_queue",),
)


class OtherTicketState(State):
    """Another definition that claims the same category name."""

    ticket_id: str
    queue: str


OTHER_TICKETS = Category(name="tickets", model=OtherTicketState, key_field="ticket_id")
