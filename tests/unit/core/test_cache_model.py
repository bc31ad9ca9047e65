"""C8, exhaustively: every interleaving of readers, writers, delayed pushes and one loss of the channel, and mutants."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from lightning_state.actors.core.cache import Cache
from lightning_state.actors.core.cache_entries import KeyPlace, Stamp, Ticket

PLACE = ("agents", "k")
SLOT = 1


class Box:
    """Where an answer arrives. `line`: the connection it was asked over; None: the actor handle."""

    def __init__(self, line: int | None) -> None:
        self.line = line
        self.version = 0
        self.is_lost = False


class World:
    """One key at its owner, one connection with what is on its way to the client, and the client's cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.version = 1
        self.line: int | None = 1  # as the client believes
        self.is_cut = False
        self.tracked = False
        self.wire: deque[tuple[str, Any]] = deque()
        self.known = 1  # the newest version any finished operation of this client returned
        self.pushed = 0
        cache.opened(0, 1, 0.0)

    def ask(self, line: int | None, *, write: bool) -> Box:
        """A request arrives at the owner and is decided; the answer is on its way."""
        box = Box(line)
        if write:
            self.commit()
        if line is None:
            box.version = self.version
        elif line != self.line or self.is_cut:
            box.is_lost = True
        else:
            self.tracked = True
            self.wire.append(("reply", (box, self.version)))
        return box

    def commit(self) -> None:
        self.version += 1
        if self.tracked:
            self.tracked = False
            self.wire.append(("push", self.version))

    def deliver(self) -> None:
        kind, content = self.wire.popleft()
        if kind == "push":
            self.pushed = content
            self.cache.changed(0, SLOT, "k", Stamp(1, content, content))
        elif kind == "flush":
            self.cache.flushed(0)
        else:
            box, box.version = content[0], content[1]

    def returned(self, known: int, version: int) -> None:
        assert version >= known, f"read {version} after {known} was known"
        self.known = max(self.known, version)


class Actor:
    """One thread of the client, or an event: `steps` yields where others may come between; a condition blocks it."""

    def __init__(self, steps: Callable[[World, Actor], Iterator[Callable[[], bool] | None]], world: World) -> None:
        self.ticket: Ticket | None = None
        self.box: Box | None = None
        self.known = 0
        self.at = 0
        self._steps = steps(world, self)
        self._blocked: Callable[[], bool] | None = None
        self.is_done = False

    @property
    def may_run(self) -> bool:
        return not self.is_done and (self._blocked is None or self._blocked())

    def step(self) -> None:
        self.at += 1
        try:
            self._blocked = next(self._steps)
        except StopIteration:
            self.is_done = True

    def key(self) -> tuple[Any, ...]:
        ticket, box = self.ticket, self.box
        told = ticket and (ticket.is_over, ticket.is_spoiled, ticket.pushed, ticket.channel and ticket.channel.is_live)
        return self.at, self.is_done, self.known, told, box and (box.line, box.version, box.is_lost)


def exchange(world: World, actor: Actor, *, write: bool) -> Iterator[Callable[[], bool] | None]:
    """Ask over the channel, or by the handle when there is none or it is lost meanwhile."""
    line = world.line
    yield None
    box = actor.box = world.ask(line, write=write)
    yield lambda: bool(box.version) or (box.is_lost and world.line != line)
    if not box.version:
        box = actor.box = world.ask(None, write=write and world.version == 1)  # once: the same request id
        yield None


def read(world: World, actor: Actor) -> Iterator[Callable[[], bool] | None]:
    cache = world.cache
    known = actor.known = max(world.known, world.pushed)
    entry = cache.find(PLACE, 0.0)
    if entry is not None:
        world.returned(known, entry.value)
        return
    joined = cache.joinable(PLACE)
    if joined is not None:
        yield lambda: joined.is_over
        if joined.flight and not joined.is_spoiled:
            world.returned(known, joined.flight)
            return
    ticket = actor.ticket = cache.begin_read(PLACE, SLOT, 0)
    yield from exchange(world, actor, write=False)
    assert actor.box is not None
    version = ticket.flight = actor.box.version
    cache.end_read(ticket, Stamp(1, version, version), version, 10, 0.0)
    world.returned(known, version)


def read_twice(world: World, actor: Actor) -> Iterator[Callable[[], bool] | None]:
    yield from read(world, actor)
    yield None
    yield from read(world, actor)


def write(world: World, actor: Actor) -> Iterator[Callable[[], bool] | None]:
    ticket = actor.ticket = world.cache.begin_write(PLACE, SLOT, 0)
    yield from exchange(world, actor, write=True)
    assert actor.box is not None
    version = actor.box.version
    if ticket.channel is not None and actor.box.line is not None:
        world.cache.end_write(ticket, Stamp(1, version, version), version, 10, 0.0)
    else:
        world.cache.doubt_write(ticket)  # the first sending was not what was answered
    world.returned(1, version)


def foreign(world: World, _: Actor) -> Iterator[None]:
    world.commit()
    return
    yield


def foreign_twice(world: World, _: Actor) -> Iterator[None]:
    world.commit()
    yield None
    world.commit()


def overflow(world: World, _: Actor) -> Iterator[None]:
    world.tracked = False
    if not world.is_cut:
        world.wire.append(("flush", None))
    return
    yield


def cut(world: World, _: Actor) -> Iterator[None]:
    world.is_cut, world.tracked = True, False
    for kind, content in world.wire:
        if kind == "reply":
            content[0].is_lost = True
    world.wire.clear()
    yield None
    world.line = None
    world.cache.lost(0)
    yield None
    world.line, world.is_cut = 2, False
    world.cache.opened(0, 1, 0.0)


SCENES: dict[str, Sequence[Any]] = {
    "readers and a foreign writer": (read_twice, read, foreign_twice),
    "readers and an own writer": (read_twice, read, write),
    "own and foreign writer": (read, write, foreign),
    "loss with a foreign writer": (read_twice, read, foreign, cut),
    "loss with an own writer": (read_twice, write, cut),
    "too many keys": (read_twice, read, foreign, overflow),
}


def explore(cache: Callable[[], Cache], scene: Sequence[Any]) -> int:
    """Run every interleaving; how many states there are. Raises AssertionError where a promise is broken."""
    seen: set[Any] = set()
    todo: list[list[int]] = [[]]
    while todo:
        prefix = todo.pop()
        world = World(cache())
        actors = [Actor(steps, world) for steps in scene]
        for choice in prefix:
            if choice < 0:
                world.deliver()
            else:
                actors[choice].step()
        state = snapshot(world, actors)
        if state in seen:
            continue
        seen.add(state)
        choices = [n for n, actor in enumerate(actors) if actor.may_run] + ([-1] if world.wire else [])
        if not choices:
            finish(world, actors)
        todo += [[*prefix, choice] for choice in choices]
    return len(seen)


def snapshot(world: World, actors: Sequence[Actor]) -> Any:
    entry = world.cache._entries.peek(PLACE)
    wire = tuple((k, c if k != "reply" else (owner(actors, c[0]), c[1])) for k, c in world.wire)
    return (
        tuple(actor.key() for actor in actors),
        (entry.stamp, entry.channel.is_live) if entry else None,
        (wire, world.version, world.line, world.is_cut, world.tracked, world.known, world.pushed),
    )


def owner(actors: Sequence[Actor], box: Box) -> int:
    return next((n for n, actor in enumerate(actors) if actor.box is box), -1)


def finish(world: World, actors: Sequence[Actor]) -> None:
    assert all(actor.is_done for actor in actors)
    entry = world.cache.find(PLACE, 0.0)
    if entry is not None:
        assert entry.value == world.version, "stale for ever"
        assert world.tracked, "nobody would tell of its change"
    assert not world.cache._tickets


def new() -> Cache:
    return Cache(1_000, 300.0)


@pytest.mark.parametrize("scene", SCENES)
def test_no_interleaving_breaks_a_promise(scene: str) -> None:
    assert explore(new, SCENES[scene]) > 100


class StoresRacedFills(Cache):
    def changed(self, shard: int, slot: int, key: str, stamp: Stamp) -> None:
        del shard, slot, stamp
        self._forget(("agents", key))


class ForgetsOwnWrites(Cache):
    def doubt_write(self, ticket: Ticket) -> None:
        self.give_up(ticket)


class JoinsAcrossOwnWrites(Cache):
    def begin_write(self, place: KeyPlace, slot: int, shard: int) -> Ticket:
        return self._begin(Ticket(place, slot, self._channels.get(shard), is_write=True))

    def _own_change(self, ticket: Ticket) -> None:
        pass


class KeepsWhatALostChannelServed(Cache):
    def lost(self, shard: int) -> None:
        self._channels.pop(shard, None)


class StoresWithoutChannel(Cache):
    def _store(self, ticket: Ticket, *rest: Any, **names: Any) -> bool:
        ticket.channel = next(iter(self._channels.values()), ticket.channel)
        return super()._store(ticket, *rest, **names)


class StoresOwnWritesThatWereOvertaken(Cache):
    def end_write(self, ticket: Ticket, stamp: Stamp, value: Any, size_bytes: int, now_s: float) -> bool:
        ticket.pushed = Stamp(0, 0, 0)
        return super().end_write(ticket, stamp, value, size_bytes, now_s)


class JoinsOutdatedReads(Cache):
    def joinable(self, place: KeyPlace) -> Ticket | None:
        return next((ticket for ticket in self._tickets.get(place, ()) if not ticket.is_write), None)

    def end_read(self, ticket: Ticket, stamp: Stamp, value: Any, size_bytes: int, now_s: float) -> bool:
        stored = super().end_read(ticket, stamp, value, size_bytes, now_s)
        ticket.is_spoiled = False
        return stored


class KeepsReadsUnderWayThroughAFlush(Cache):
    def flushed(self, shard: int) -> None:
        del shard
        self._entries.clear()


@pytest.mark.parametrize(
    "mutant",
    [
        StoresRacedFills,
        ForgetsOwnWrites,
        JoinsAcrossOwnWrites,
        KeepsWhatALostChannelServed,
        StoresWithoutChannel,
        StoresOwnWritesThatWereOvertaken,
        JoinsOutdatedReads,
        KeepsReadsUnderWayThroughAFlush,
    ],
)
def test_every_mutant_is_caught(mutant: type[Cache]) -> None:
    assert any(breaks(lambda: mutant(1_000, 300.0), scene) for scene in SCENES.values())


def breaks(cache: Callable[[], Cache], scene: Sequence[Any]) -> bool:
    try:
        explore(cache, scene)
    except AssertionError:
        return True
    return False
