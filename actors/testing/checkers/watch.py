"""Watches against the journal (C7): per slot ordered, nothing twice, nothing missing, no revision split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightning_state.actors.testing.history import Call, Outcome
from lightning_state.actors.testing.watch_history import Bookmark, Delivery, Watch, WatchEvent


def check_watch(
    watches: Iterable[Watch], committed: Iterable[WatchEvent], acknowledged: Iterable[Call] = ()
) -> list[str]:
    """Violations.

    `committed` is what the journal holds, in commit order (`events_of`). Every event delivered is one of it, and per
    slot they come in its order, none twice, none missing between the watch's start and the last thing heard of the slot
    (a watch that `caught_up` misses none at all). The events of a revision come in one delivery. A bookmark is never
    ahead of an undelivered event. A resumed watch is judged together with the items its token covers, as one watch that
    goes on exactly there. A transaction's events all carry its id and its true size, and come together where the watch
    asked for that. As a second witness, acknowledged writes that began after a watch was opened and that
    it should have caught up with were delivered.

    Takes O(items + watches × committed + acknowledged).
    """
    named = {watch.name: watch for watch in watches}
    journal = list(committed)
    streams = [_stream(watch, named, journal) for watch in named.values()]
    context = _Context(journal, {event.place: event for event in journal}, list(acknowledged))
    found = [violation for rule in _RULES for stream in streams for violation in rule(stream, context)]
    return found + [violation for rule in _JOURNAL_RULES for violation in rule(journal)]


@dataclass(frozen=True, slots=True)
class _Context:
    committed: Sequence[WatchEvent]
    by_place: Mapping[tuple[int, int, str], WatchEvent]
    acknowledged: Sequence[Call]


@dataclass(frozen=True, slots=True)
class _Stream:
    """A watch with everything its resume token stands for in front."""

    watch: Watch
    starts: Mapping[int, int]
    """Slot → the revision after which it began; a slot left out was never heard of."""
    items: Sequence[Delivery | Bookmark]

    def __str__(self) -> str:
        return f"watch {self.watch.name!r}"

    @property
    def events(self) -> Iterator[WatchEvent]:
        return (event for item in self.items if isinstance(item, Delivery) for event in item.events)

    def due(self, event: WatchEvent) -> bool:
        """Whether a committed event is one to deliver, sooner or later."""
        start = self.starts.get(event.slot)
        return start is not None and event.revision > start and self.watch.watches(event.key)


def _stream(watch: Watch, named: Mapping[str, Watch], committed: Sequence[WatchEvent]) -> _Stream:
    """Raises ValueError for a watch that was resumed from one the history lacks, or from itself."""
    items: list[Delivery | Bookmark] = list(watch.items)
    first, seen = watch, {watch.name}
    while first.resumed_from:
        before = named.get(first.resumed_from)
        if before is None or before.name in seen:
            raise ValueError(f"watch {first.name!r} was resumed from {first.resumed_from!r}: record that watch too")
        seen.add(before.name)
        items[:0] = before.items[: first.resumed_after]
        first = before
    if first.starts is not None:
        starts = {event.slot: first.starts.get(event.slot, 0) for event in committed}
        return _Stream(watch, starts | dict(first.starts), items)
    starts: dict[int, int] = {}
    for item in items:
        heard = [item] if isinstance(item, Bookmark) else item.events
        for each in heard:
            starts.setdefault(each.slot, each.revision - isinstance(each, WatchEvent))
    return _Stream(watch, starts, items)


def _true(stream: _Stream, context: _Context) -> Iterator[str]:
    for event in stream.events:
        if context.by_place.get(event.place) != event:
            yield f"{stream} delivered {event}, the journal holds {context.by_place.get(event.place)}"


def _asked_for(stream: _Stream, context: _Context) -> Iterator[str]:
    del context
    for event in stream.events:
        if not stream.watch.watches(event.key):
            yield f"{stream} delivered what it does not watch: {event}"
        elif event.revision <= stream.starts.get(event.slot, 0):
            yield f"{stream} delivered what was before its start: {event}"


def _once(stream: _Stream, context: _Context) -> Iterator[str]:
    del context
    for place, times in Counter(event.place for event in stream.events).items():
        if times > 1:
            yield f"{stream} delivered {times} times: {place}"


def _ordered(stream: _Stream, context: _Context) -> Iterator[str]:
    del context
    newest: dict[int, int] = {}
    for event in stream.events:
        if event.revision < newest.get(event.slot, 0):
            yield f"{stream} went back from revision {newest[event.slot]}: {event}"
        newest[event.slot] = max(event.revision, newest.get(event.slot, 0))


def _complete(stream: _Stream, context: _Context) -> Iterator[str]:
    heard: dict[int, int] = {}
    for event in stream.events:
        heard[event.slot] = max(event.revision, heard.get(event.slot, 0))
    delivered = {event.place for event in stream.events}
    for event in context.committed:
        expected = stream.watch.caught_up or event.revision <= heard.get(event.slot, 0)
        if expected and stream.due(event) and event.place not in delivered:
            yield f"{stream} left out {event}"


def _together(stream: _Stream, context: _Context) -> Iterator[str]:
    del context
    for event in _apart(stream, lambda event: (event.slot, event.revision)):
        yield f"{stream} split a revision: {event}"


def _whole_transactions(stream: _Stream, context: _Context) -> Iterator[str]:
    del context
    if stream.watch.whole_transactions:
        for event in _apart(stream, lambda event: event.transaction_id or event.place):
            yield f"{stream} split a transaction: {event}"


def _apart(stream: _Stream, group: Callable[[WatchEvent], Hashable]) -> Iterator[WatchEvent]:
    """Events that come in another delivery than the first of their group, repetitions aside."""
    where: dict[Hashable, int] = {}
    known: set[tuple[int, int, str]] = set()
    for number, item in enumerate(stream.items):
        for event in item.events if isinstance(item, Delivery) else ():
            if event.place not in known and where.setdefault(group(event), number) != number:
                yield event
            known.add(event.place)


def _bookmarks(stream: _Stream, context: _Context) -> Iterator[str]:
    """Nothing at or below a bookmark is still to come, and bookmarks do not go back."""
    due: dict[int, list[WatchEvent]] = {}
    for event in context.committed:
        if stream.due(event):
            due.setdefault(event.slot, []).append(event)
    passed: dict[int, int] = {}
    newest: dict[int, int] = {}
    delivered: set[tuple[int, int, str]] = set()
    for item in stream.items:
        if isinstance(item, Delivery):
            delivered.update(event.place for event in item.events)
            continue
        if item.revision < newest.get(item.slot, 0):
            yield f"{stream} went back from bookmark {newest[item.slot]}: {item}"
        newest[item.slot] = max(item.revision, newest.get(item.slot, 0))
        events, position = due.get(item.slot, []), passed.get(item.slot, 0)
        while position < len(events) and events[position].revision <= item.revision:
            if events[position].place not in delivered:
                yield f"{stream} had a bookmark ahead of an undelivered event: {item} but {events[position]}"
            position += 1
        passed[item.slot] = position


def _acknowledged(stream: _Stream, context: _Context) -> Iterator[str]:
    watch = stream.watch
    if not watch.caught_up or watch.opened is None:
        return
    delivered = {(event.key, event.version) for event in stream.events}
    for call in context.acknowledged:
        due = call.writes and call.outcome is Outcome.OK and call.invoked > watch.opened and watch.watches(call.key)
        if due and (call.key, call.version) not in delivered:
            yield f"{stream} left out an acknowledged write: {call}"


def _transaction_sizes(committed: Sequence[WatchEvent]) -> Iterator[str]:
    sizes = Counter(event.transaction_id for event in committed if event.transaction_id)
    for event in committed:
        size = sizes.get(event.transaction_id, 0)
        if event.transaction_size != size:
            yield f"a transaction of {size} changes says {event.transaction_size}: {event}"


_RULES: tuple[Callable[[_Stream, _Context], Iterator[str]], ...] = (
    _true,
    _asked_for,
    _once,
    _ordered,
    _complete,
    _together,
    _whole_transactions,
    _bookmarks,
    _acknowledged,
)
_JOURNAL_RULES: tuple[Callable[[Sequence[WatchEvent]], Iterator[str]], ...] = (_transaction_sizes,)
