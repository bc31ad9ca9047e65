"""The shard: (request, now) → effects. Versions, order, request ids and commits are decided here and nowhere else.

The shell calls one method at a time, performs the returned effects in order, and calls back with each result. The shard
holds hot and pending entries only; anything may be evicted at any moment and is loaded again when it is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from lightning_state.actors.core.batches import NOTHING, Batch, take_batch
from lightning_state.actors.core.change import decide
from lightning_state.actors.core.checks import check_change, check_request_id
from lightning_state.actors.core.depths import Depths
from lightning_state.actors.core.effects import (
    Commit,
    Effect,
    Invalidate,
    Load,
    Lookup,
    Notify,
    Recover,
    Respond,
    Validate,
)
from lightning_state.actors.core.histories import Histories
from lightning_state.actors.core.hot import HotEntries
from lightning_state.actors.core.leases import Leases
from lightning_state.actors.core.listing import check_list, scan_bytes
from lightning_state.actors.core.loading import Loading, Loads
from lightning_state.actors.core.messages import (
    Acquire,
    Frame,
    Get,
    History,
    List,
    Pending,
    Recall,
    Recalled,
    Refused,
    Release,
    Renew,
    Reply,
    Request,
    Resolve,
    Write,
)
from lightning_state.actors.core.operation import Operation, Waiter, digest_of
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.registered import Registered, Registry
from lightning_state.actors.core.replies import (
    RETRY_S,
    Slot,
    check_key_of,
    check_same,
    found,
    repeated,
    resolution,
    result,
    upcast,
)
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, Op, SlotHead
from lightning_state.actors.core.scans import Scans
from lightning_state.actors.core.sessions import Session, Sessions
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.errors import (
    LightningStateError,
    NotOwnerError,
    OverloadedError,
    RequestBarredError,
)
from lightning_state.actors.limits import Limits


class Shard:
    """One shard's decisions. Not thread-safe; the caller's clock is `now_us`, microseconds since 1970."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.hot = HotEntries(limits.hot_bytes)
        self.slots: dict[int, Slot] = {}
        self._categories = Registry()
        self._sessions = Sessions()
        self.now_us = 0
        self._histories = Histories(self.respond)
        self.leases = Leases(self, limits.key_queue)
        self.queues: dict[tuple[int, str], deque[Operation]] = {}
        self._writes: dict[tuple[int, str, str], Operation] = {}
        self._resolving: dict[tuple[int, str, str], Operation] = {}
        # The newest under each id; those of one id are all of one key, so it is also the last to be answered.
        self.pending = 0
        """Writes between arrival and reply."""
        self._loads = Loads()
        self._lookups: dict[int, Operation] = {}
        self._scans = Scans(self.respond, scan_bytes(limits))
        self._judging: dict[int, Operation] = {}
        self.ready: deque[Operation] = deque()
        self.next: deque[Operation] = deque()
        self._committing = NOTHING
        self._tickets = 0
        self.effects: list[Effect] = []

    def __repr__(self) -> str:
        return f"<Shard slots={len(self.slots)} hot={len(self.hot)} pending={self.pending}>"

    def depths(self) -> Depths:
        """Where they are. Takes time in proportion to the keys being written."""
        return Depths(
            pending=self.pending,
            queued=sum(len(queue) - 1 for queue in self.queues.values()),
            longest_queue=max(map(len, self.queues.values()), default=0),
            judging=len(self._judging),
            ready=len(self.ready),
            committing=len(self._committing.rows),
            loading=len(self._loads),
            scanning=len(self._scans) + len(self._histories),
            locks_held=self.leases.locks.held,
            locks_waiting=self.leases.locks.waiting,
        )

    # -- what the shell tells it ---

    def register(self, registered: Registered) -> None:
        """Serve a category from now on; a newer schema of a known one takes effect at once."""
        if not self._categories.add(registered):
            return
        for slot, key in self.hot.keys():  # noqa: SIM118  # not a mapping: keys() is what it has
            if category_of_slot(slot) == registered.id:
                self.hot.evict(slot, key)

    def refuse_category(self, category_id: int, reason: str) -> None:
        """Refuse every request of a category with this reason: its slots are owned, its definition is not at hand."""
        self._categories.refuse(category_id, reason)

    def adopt(self, heads: Iterable[SlotHead], held: Iterable[JournalRow] = (), *, now_us: int = 0) -> None:
        """Own these slots, under the epochs their heads name, from now on, with what earlier owners hold in them."""
        self.now_us = max(self.now_us, now_us)
        for head in heads:
            self.slots[head.slot] = Slot(head)
        for row in held:
            if row.op is Op.LOCK:
                self.leases.restore(row)

    def receive(self, call: int, frame: Frame, now_us: int) -> list[Effect]:
        """Take in a frame. Each of its requests is answered by one Respond, now or after later calls."""
        self.now_us = now_us
        self._sessions.forget_idle(now_us)
        session = self._sessions.hear(frame.session, frame.floor, now_us)
        for index, request in enumerate(frame.requests):
            try:
                self._admit(call, index, request, frame, session)
            except LightningStateError as error:
                self.respond(call, index, refusal(error))
        return self._flush(now_us)

    def loaded(self, ticket: int, entry: Entry | None, now_us: int) -> list[Effect]:
        """The result of a Load; None: the key was never stored."""
        return self.all_loaded([(ticket, entry)], now_us)

    def all_loaded(self, results: Iterable[tuple[int, Entry | None]], now_us: int) -> list[Effect]:
        """The results of several Loads, by their tickets."""
        self.now_us = now_us
        for ticket, entry in results:
            place = self._loads.landed(ticket)
            if place is None:
                continue
            slot, key = place
            try:
                self._arrived(slot, self._current(slot, entry or Entry(key, 0, 0, None, 0, 0)))
            except LightningStateError as error:
                self._load_refused(slot, key, refusal(error))
        return self._flush(now_us)

    def load_failed(self, ticket: int, refused: Refused, now_us: int) -> list[Effect]:
        """A Load, Lookup, Scan or ReadHistory could not be done: whoever waits for it is told, and nothing changes."""
        if self._scans.asked(ticket) is not None:
            self._scans.fail(ticket, refused)
        elif ticket in self._lookups:
            self._lookup_refused(self._lookups.pop(ticket), refused)
        elif (place := self._loads.landed(ticket)) is not None:
            self._load_refused(*place, refused)
        else:
            self._histories.fail(ticket, refused)
        return self._flush(now_us)

    def is_waited_for(self, ticket: int) -> bool:
        """Whether anybody still wants the result of this Load."""
        return ticket in self._loads

    def let_go(self, call: int) -> list[Effect]:
        """A frame has got as much as one answer carries: its reads that wait for a Load are to be asked again."""
        for reader in self._loads.let_go(call):
            self.respond(*reader, Pending())
        return self._take_effects()

    def looked_up(self, ticket: int, applied: Applied | None, now_us: int) -> list[Effect]:
        """The result of a Lookup."""
        self.now_us = now_us
        operation = self._lookups.pop(ticket, None)
        if operation is None:
            return []
        operation.applied = applied
        operation.looked_up = True
        self._prepare(operation)
        return self._flush(now_us)

    def scanned(self, ticket: int, entries: Sequence[Entry], now_us: int) -> list[Effect]:
        """The result of a Scan, in key order; a full one may have a successor.

        A page that may show a commit of which caches have not heard yet waits until they have.
        """
        request = self._scans.asked(ticket)
        if request is None:
            return []
        try:
            category = self._categories.find(request.category_id).category
            self._scans.read(ticket, entries, category, self._committing.rows)
        except LightningStateError as error:
            self._scans.fail(ticket, refusal(error))
        return self._flush(now_us)

    def history_read(self, ticket: int, rows: Sequence[JournalRow], now_us: int) -> list[Effect]:
        """The result of a ReadHistory, oldest first; a full one may have a successor."""
        if rows:
            category = self._categories.find(category_of_slot(rows[0].slot)).category
            rows = [upcast(category, row) for row in rows]
        self._histories.read(ticket, rows, self._committing.rows)
        return self._flush(now_us)

    def judged(self, ticket: int, refused: Refused | None, now_us: int) -> list[Effect]:
        """VERL's answer to a Validate: None admits the write."""
        return self.all_judged([(ticket, refused)], now_us)

    def all_judged(self, results: Iterable[tuple[int, Refused | None]], now_us: int) -> list[Effect]:
        """VERL's answers to several, by their tickets: those admitted share a commit."""
        for ticket, refused in results:
            operation = self._judging.pop(ticket, None)
            if operation is None:
                continue
            if refused is None:
                self.ready.append(operation)
            else:
                self.finish(operation, refused)
        return self._flush(now_us)

    def committed(self, ticket: int, now_us: int) -> list[Effect]:
        """The rows of a Commit are durable: caches and watchers hear of it, then whoever asked."""
        self.now_us = now_us
        batch = self._end_commit(ticket)
        for operation, row in zip(batch.operations, batch.rows, strict=True):
            self._apply(operation, row)
        for operation, row in zip(batch.operations, batch.rows, strict=True):
            self.finish(operation, result(operation, row) if operation.grant is None else self.leases.result(operation))
        return self._told(now_us)

    def commit_refused(self, ticket: int, refused: Refused, now_us: int) -> list[Effect]:
        """An error *before* COMMIT: nothing of the batch was written, and everybody in it is told so."""
        for operation in self._end_commit(ticket).operations:
            self.finish(operation, refused)
        return self._told(now_us)

    def woken(self, now_us: int) -> list[Effect]:
        """The time of a Wake has come."""
        self.now_us = now_us
        self.leases.woken()
        return self._flush(now_us)

    def commit_unknown(self, ticket: int) -> list[Effect]:
        """An error *of* COMMIT: nobody is told "failed"; memory is dropped, the slots are disowned (C3)."""
        self._end_commit(ticket)
        return [*self.disown("the outcome of a commit is unknown", maybe=True), Recover()]

    def disown(self, reason: str, *, maybe: bool) -> list[Effect]:
        """Own nothing any more: everybody waiting is sent to ask the next owner under the same request id."""
        refused = refusal(NotOwnerError(reason), maybe=maybe)
        for operation in chain(*self.queues.values(), self.leases.locks.waiters()):
            for waiter in operation.waiters:
                self.respond(waiter.call, waiter.index, refused)
        for call, index in self._loads.readers():
            self.respond(call, index, refused)
        self._scans.disown(refused)
        self._histories.disown(refused)
        for memory in (self.queues, self._writes, self._resolving, self._loads, self._lookups, self._judging):
            memory.clear()
        self.ready.clear()
        self.pending = 0
        self._committing = NOTHING
        self._sessions.clear()
        self.leases.clear()
        self.slots.clear()
        self.hot.clear()
        return self._take_effects()

    # -- arrival ---

    def _admit(self, call: int, index: int, request: Request, frame: Frame, session: Session) -> None:
        if isinstance(request, Get):
            self._read(call, index, request)
        elif isinstance(request, List):
            self._list(call, index, request)
        elif isinstance(request, History):
            self._owned(request.slot)
            self._categories.check_place(request.slot, request.key, self.limits)
            self.effects.append(self._histories.begin(self._ticket(), call, index, request))
        elif isinstance(request, Renew):
            self._owned(request.slot)
            self.respond(call, index, self.leases.renew(request.slot, request.key, request.token))
        elif isinstance(request, Recall):
            self._recall(Waiter(call, index, frame.session, 0), request, frame.principal)
        else:
            self._admit_write(Waiter(call, index, frame.session, request.seq), request, frame.principal, session)

    def _read(self, call: int, index: int, request: Get) -> None:
        slot = self._owned(request.slot)
        queue = self.queues.get((request.slot, request.key))
        # The base of the write under way is the last committed entry, and the only one to answer from while that write
        # is being committed: the store may show it already, and no reply may before the invalidation.
        entry = (queue[0].base if queue else None) or self.hot.get(request.slot, request.key)
        if entry is not None:
            self.respond(call, index, found(request.slot, slot, self._current(request.slot, entry)))
        else:
            self._categories.check_place(request.slot, request.key, self.limits)
            self._load(request.slot, request.key).reads.append((call, index))

    def _list(self, call: int, index: int, request: List) -> None:
        check_list(request, self._categories.find(request.category_id).category, self.slots)
        self.effects.append(self._scans.begin(self._ticket(), call, index, request))

    def _recall(self, waiter: Waiter, request: Recall, principal: str) -> None:
        self._owned(request.slot)
        check_request_id(request.request_id)
        self._enqueue(Operation(request, principal, digest_of(request), [waiter]))

    def _admit_write(
        self, waiter: Waiter, request: Write | Resolve | Acquire | Release, principal: str, session: Session
    ) -> None:
        slot = self._owned(request.slot)
        if request.epoch != slot.epoch:
            raise NotOwnerError(f"slot epoch is {slot.epoch}, the request names {request.epoch}")
        if waiter.seq < session.floor:
            raise RequestBarredError("this request was answered already and its answer acknowledged")
        identity = (request.slot, principal, request.request_id)
        if isinstance(request, Acquire) and session.has_applied(waiter.seq):
            self.respond(waiter.call, waiter.index, self.leases.again(request))
            return
        refused = session.refusal(waiter.seq, identity if isinstance(request, Write) else None)
        if refused is None and not session.has_applied(waiter.seq) and identity not in self._writes:
            refused = session.turns_away(waiter.seq)
        if refused is not None:
            self.respond(waiter.call, waiter.index, refused)
            return
        if isinstance(request, Write):
            if session.has_applied(waiter.seq):
                request = msgspec.structs.replace(request, fresh=False)
            if not request.fresh:
                session.repeated(waiter.seq, identity)
                self._sessions.supersede(waiter.session, waiter.seq, request.request_id)
        try:
            self._join_or_enqueue(waiter, request, principal)
        except LightningStateError as error:
            session.refuse(waiter.seq, refusal(error))
            raise

    def _join_or_enqueue(self, waiter: Waiter, request: Write | Resolve | Acquire | Release, principal: str) -> None:
        check_request_id(request.request_id)
        operation = Operation(request, principal, digest_of(request), [waiter])
        pending = self._writes.get(operation.identity)
        check_key_of(operation, pending or self._resolving.get(operation.identity))
        if not isinstance(request, Resolve):
            if pending is not None:
                check_same(pending.digest, operation)
                pending.waiters.append(waiter)
                self.leases.locks.asked_again(pending, self.now_us)
                return
            if isinstance(request, Write):
                check_change(request, self.limits)
        self._enqueue(operation)

    def _enqueue(self, operation: Operation) -> None:
        request = operation.request
        self._categories.check_place(request.slot, request.key, self.limits)
        queue = self.queues.get(operation.place)
        if self.pending >= self.limits.shard_queue or (queue and len(queue) >= self.limits.key_queue):
            raise OverloadedError(
                f"too many writes are waiting for {request.key!r} or its shard: try again later",
                retry_after_s=RETRY_S,
            )
        self.pending += 1
        if not isinstance(request, (Resolve, Recall)):
            self._writes[operation.identity] = operation
        elif isinstance(request, Resolve):
            self._resolving[operation.identity] = operation
        if queue is None:
            self.queues[operation.place] = deque([operation])
            self.next.append(operation)
        else:
            queue.append(operation)

    # -- one write at the head of its key's queue ---

    def _start(self, operation: Operation) -> None:
        request = operation.request
        if isinstance(request, (Acquire, Release)):
            self.leases.prepare(operation)
            return
        operation.looked_up = isinstance(request, Write) and request.fresh
        operation.base = self.hot.get(*operation.place)
        if not operation.looked_up:
            ticket = self._ticket()
            self._lookups[ticket] = operation
            self.effects.append(Lookup(ticket, request.slot, operation.principal, request.request_id))
        if operation.base is None:
            self._load(*operation.place).operation = operation
        self._prepare(operation)

    def _prepare(self, operation: Operation) -> None:
        if not operation.looked_up or operation.base is None:
            return
        try:
            if isinstance(operation.request, Resolve):
                self._prepare_resolve(operation)
            elif isinstance(operation.request, Recall):
                self._prepare_recall(operation, operation.request, operation.base)
            else:
                assert isinstance(operation.request, Write)  # noqa: S101  # leases are prepared elsewhere
                self._prepare_write(operation, operation.request, operation.base)
        except LightningStateError as error:
            self.finish(operation, refusal(error))

    def _prepare_resolve(self, operation: Operation) -> None:
        applied = operation.applied
        if applied is None:
            self.ready.append(operation)
        else:
            self.finish(operation, resolution(operation, applied))

    def _prepare_recall(self, operation: Operation, recall: Recall, base: Entry) -> None:
        slot = self.slots[recall.slot]
        slot.check_not_barred(operation)
        if operation.applied is None:
            self.finish(operation, found(recall.slot, slot, self._current(recall.slot, base)))
        else:
            applied = upcast(self._categories.find(category_of_slot(recall.slot)).category, operation.applied)
            self.finish(operation, Recalled(repeated(operation, recall, applied, slot)))

    def _prepare_write(self, operation: Operation, write: Write, base: Entry) -> None:
        slot = self.slots[write.slot]
        registered = self._categories.find(category_of_slot(write.slot))
        operation.base = upcast(registered.category, base)
        slot.check_not_barred(operation)
        if operation.applied is not None:
            applied = upcast(registered.category, operation.applied)
            self.finish(operation, repeated(operation, write, applied, slot))
            return
        self.leases.check(operation, write)
        operation.change = decide(write, operation.base, slot.floor, registered, self.limits)
        if operation.change.body is None:
            self.ready.append(operation)
            return
        ticket = self._ticket()
        self._judging[ticket] = operation
        self.effects.append(
            Validate(ticket, registered.category, write.key, operation.base, operation.change.body, write.timeout_ms)
        )

    def finish(self, operation: Operation, reply: Reply) -> None:
        """Answer everybody who waits for this write, and let the key's next one begin."""
        self.answer(operation, reply)
        self.leave_queue(operation)

    def answer(self, operation: Operation, reply: Reply) -> None:
        """Answer everybody who waits for an operation; it is over."""
        for waiter in operation.waiters:
            if not isinstance(operation.request, Recall):
                self._sessions.remember(waiter.session, waiter.seq, operation.identity, reply)
            self.respond(waiter.call, waiter.index, reply)
        if not isinstance(operation.request, (Resolve, Recall)):
            del self._writes[operation.identity]
        elif self._resolving.get(operation.identity) is operation:
            del self._resolving[operation.identity]
        self.pending -= 1

    def leave_queue(self, operation: Operation) -> None:
        """Let the next operation of the key begin."""
        queue = self.queues[operation.place]
        queue.popleft()
        if queue:
            self.next.append(queue[0])
        else:
            del self.queues[operation.place]

    # -- commit ---

    def _flush(self, now_us: int) -> list[Effect]:
        self.now_us = now_us
        while self.next or (self.ready and not self._committing.rows):
            while self.next:  # a loop, not a recursion: a long queue of refusals must not exhaust the stack
                self._start(self.next.popleft())
            if self.ready and not self._committing.rows:
                self._begin_commit(now_us)
        self.leases.set_alarm()
        return self._take_effects()

    def _begin_commit(self, now_us: int) -> None:
        batch = take_batch(self._ticket(), self.ready, self.slots, now_us, self.leases.still_admits)
        if batch.rows:
            self._committing = batch
            self.effects.append(Commit(batch.ticket, batch.rows))

    def _end_commit(self, ticket: int) -> Batch:
        if self._committing.ticket != ticket:
            return NOTHING
        batch, self._committing = self._committing, NOTHING
        return batch

    def _apply(self, operation: Operation, row: JournalRow) -> None:
        slot = self.slots[row.slot]
        slot.revision = row.revision
        if operation.grant is not None:
            self.leases.applied(operation, operation.grant)
            return
        if row.op is Op.BAR:
            slot.barred.add((operation.principal, row.request_id))
            return
        entry = Entry(row.key, row.version, row.revision, row.body, row.schema_version, row.time_us)
        self.effects.append(Invalidate(row.slot, row.key, row.epoch, row.revision, row.version, row.indexes))
        self.effects.append(Notify(row, operation.change.transition if operation.change else None))
        if self._categories.find(category_of_slot(row.slot)).category.schema_version == row.schema_version:
            self.hot.put(row.slot, entry)
        else:
            self.hot.evict(row.slot, row.key)  # a newer schema was registered meanwhile: what is hot is of the newest

    def _told(self, now_us: int) -> list[Effect]:
        self._histories.release()
        self._scans.release()
        return self._flush(now_us)

    # -- loading ---

    def _load(self, slot: int, key: str) -> Loading:
        loading = self._loads.get((slot, key))
        if loading is None:
            loading = self._loads.begin((slot, key), self._ticket())
            self.effects.append(Load(loading.ticket, slot, key))
        return loading

    def _arrived(self, slot: int, entry: Entry) -> None:
        """The last committed entry of a key was loaded: keep it, and answer who waits for it.

        No commit can have overtaken the load: a key's write waits for it, and while a write is based on an entry,
        reads are answered from that one and nothing is loaded.
        """
        self.hot.put(slot, entry)
        loading = self._loads.take((slot, entry.key))
        for call, index in loading.reads:
            self.respond(call, index, found(slot, self.slots[slot], entry))
        if loading.operation is not None:
            loading.operation.base = entry
            self._prepare(loading.operation)

    def _load_refused(self, slot: int, key: str, refused: Refused) -> None:
        loading = self._loads.take((slot, key))
        for call, index in loading.reads:
            self.respond(call, index, refused)
        if loading.operation is not None:
            self._lookups = {t: o for t, o in self._lookups.items() if o is not loading.operation}
            self.finish(loading.operation, refused)

    def _lookup_refused(self, operation: Operation, refused: Refused) -> None:
        loading = self._loads.get(operation.place)
        if loading is not None:
            loading.operation = None
        self.finish(operation, refused)

    def _current(self, slot: int, entry: Entry) -> Entry:
        return upcast(self._categories.find(category_of_slot(slot)).category, entry)

    # -- small parts ---

    def _owned(self, slot: int) -> Slot:
        owned = self.slots.get(slot)
        if owned is None:
            raise NotOwnerError(f"slot {slot} is not owned here")
        return owned

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def respond(self, call: int, index: int, reply: Reply) -> None:
        """Answer one request."""
        self.effects.append(Respond(call, index, reply))

    def _take_effects(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects
