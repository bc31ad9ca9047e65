"""A shard's transactions: those it decides, those others decide, and who waits for what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightning_state.actors.core.messages import (
    Check,
    Finish,
    Get,
    Inquire,
    List,
    Prepare,
    Refused,
    Reply,
    Transact,
    Write,
)
from lightning_state.actors.core.operation import Operation, Waiter
from lightning_state.actors.core.rows import Applied, JournalRow
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.core.transactions.aborts import held
from lightning_state.actors.core.transactions.coordinator import Coordinated, Coordinator, Inquiry
from lightning_state.actors.core.transactions.host import Host
from lightning_state.actors.core.transactions.participant import HeldKey, HeldPart, Participant
from lightning_state.actors.core.transactions.parts import Alarms, Questions, Replies
from lightning_state.actors.errors import NotOwnerError

Place = tuple[int, str]
"""(slot, key)."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A read that waits for decisions."""

    call: int
    index: int
    request: Get | List | Check
    places: set[Place]


class Transactions:
    """What a shard does about transactions. `Host` is the shard."""

    def __init__(self, shard: Host) -> None:
        self._shard = shard
        self._questions = Questions(shard)
        self._alarms = Alarms(shard)
        self._coordinator = Coordinator(shard, self._questions, self._alarms)
        self._participant = Participant(shard, self._questions, self._alarms)
        self._waiting: dict[Place, list[_Waiting]] = {}

    def __repr__(self) -> str:
        return f"<Transactions deciding={len(self._coordinator)} prepared={len(self._participant)}>"

    def held(self) -> list[HeldKey]:
        """What is held for decisions that are made elsewhere."""
        return self._participant.held()

    # -- requests ---

    def begin(self, waiter: Waiter, request: Transact, principal: str) -> None:
        """See `Coordinator.begin`."""
        self._coordinator.begin(waiter, request, principal)

    def admit(self, call: int, index: int, request: Prepare | Finish | Inquire) -> None:
        """A request of another shard, or the question of a client."""
        if isinstance(request, Prepare):
            self._participant.prepare(call, index, request)
        elif isinstance(request, Finish):
            self._participant.finish(call, index, request)
        else:
            slot = self._shard.slots.get(request.slot)
            if slot is None or slot.epoch != request.epoch:
                raise NotOwnerError(f"slot {request.slot} is not owned here under the epoch {request.epoch}")
            self._coordinator.inquire(call, index, request)

    def waits(self, call: int, index: int, request: Get | List | Check, places: Iterable[Place]) -> bool:
        """Whether a read has to wait for decisions about these places; then it is done again after them.

        A Check that has no patience is answered.
        """
        found = {place for place in places if self.holds(place)}
        if found and isinstance(request, Check) and not request.is_patient:
            self._shard.respond(call, index, held(self._shard.category_of(request.slot), request.key))
            return True
        if found:
            waiting = _Waiting(call, index, request, found)
            for place in found:
                self._waiting.setdefault(place, []).append(waiting)
        return bool(found)

    def waits_for_list(self, call: int, index: int, request: List) -> bool:
        """The same for a list: it has to show what was decided before it was asked for."""
        if not len(self._coordinator) and not len(self._participant):
            return False
        places = (
            (slot, key)
            for slot, key in self._shard.queues
            if category_of_slot(slot) == request.category_id and key.startswith(request.prefix)
        )
        return self.waits(call, index, request, places)

    def holds(self, place: Place) -> bool:
        """Whether a decision about this key may have been made that is not carried out here yet."""
        queue = self._shard.queues.get(place)
        head = queue[0] if queue else None
        return head is not None and head.part is not None and head.part.holds and isinstance(head.request, Write)

    # -- what the shard tells ---

    def decided(self, operation: Operation) -> None:
        """An operation of a part is at the head of its queue, and its change is admitted."""
        operation.is_decided = True
        part = operation.part
        if isinstance(part, Coordinated):
            self._coordinator.decided(operation, part)
        elif isinstance(part, HeldPart):
            self._participant.decided(operation, part)

    def refused(self, operation: Operation, refused: Reply) -> None:
        """An operation of a part was refused, and has left its queue."""
        part = operation.part
        if part is None or not isinstance(refused, Refused):
            return
        part.operations.remove(operation)
        if isinstance(part, Coordinated):
            self._coordinator.refused(part, refused)
        elif isinstance(part, HeldPart):
            self._participant.refused(part, refused)

    def committed(self, operation: Operation, row: JournalRow) -> None:
        """The row of a part's operation is durable, and applied."""
        part = operation.part
        if isinstance(part, HeldPart):
            if part.operations and operation is part.operations[0]:
                self._participant.committed(part)
        elif isinstance(part, Coordinated | Inquiry) and not isinstance(operation.request, Write):
            self._coordinator.committed(part, row)

    def commit_refused(self, operation: Operation, refused: Refused) -> None:
        """The row of a part's operation was not written, for certain."""
        part = operation.part
        if isinstance(part, HeldPart):
            if part.operations and operation is part.operations[0]:
                self._participant.commit_refused(part, refused)
        elif isinstance(part, Coordinated | Inquiry) and not isinstance(operation.request, Write):
            self._coordinator.commit_refused(part, refused)

    def looked_up(self, ticket: int, result: Applied | Refused | None) -> bool:
        """The result of a Lookup; False when it was none of these."""
        return self._coordinator.looked_up(ticket, result) or self._participant.looked_up(ticket, result)

    def asked(self, ticket: int, replies: Replies) -> None:
        """The answers to an Ask."""
        self._questions.answered(ticket, replies)

    def answered_self(self, ticket: int, index: int, reply: Reply) -> None:
        """One answer of this shard to itself."""
        self._questions.answered_self(ticket, index, reply)

    def take_answers(self) -> bool:
        """Go on with what this shard answered itself; whether there was anything."""
        return self._questions.take()

    def released(self, place: Place) -> None:
        """A key has left the head of its queue: reads that waited for it go on."""
        for waiting in self._waiting.pop(place, ()):
            waiting.places.discard(place)
            if not waiting.places:
                self._shard.read_again(waiting.call, waiting.index, waiting.request)

    def woken(self) -> None:
        """It is time for what was not done yet."""
        self._alarms.ring()

    def set_alarm(self) -> None:
        """Ask to be woken for it."""
        self._alarms.set()

    def restore(self, row: JournalRow) -> None:
        """Hold what an earlier owner held."""
        self._participant.restore(row)

    def disown(self, refused: Refused) -> None:
        """Own nothing any more."""
        self._coordinator.disown(refused)
        self._participant.disown(refused)
        for waiting in {id(each): each for several in self._waiting.values() for each in several}.values():
            self._shard.respond(waiting.call, waiting.index, refused)
        self._waiting.clear()
        self._questions.clear()
        self._alarms.clear()
