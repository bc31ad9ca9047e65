"""Strict serializability of list-append histories (C4).

The idea is Elle's (K. Kingsbury and P. Alvaro, "Elle: inferring isolation anomalies from experimental observations",
2020); the code is this project's own. A list shows the order of its writers, so versions give the write dependencies,
reads give what was read and what was overwritten after, the clock gives the rest, and a cycle among them is an anomaly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from lightning_state.actors.testing.checkers.cycles import Dependency, Edge, Graph
from lightning_state.actors.testing.checkers.list_histories import ListKey, Lists, Reading, appends_of, read_lists
from lightning_state.actors.testing.history import NEVER, Outcome
from lightning_state.actors.testing.transaction_history import Transaction


class AnomalyKind(StrEnum):
    """What is wrong, the gravest first within cycles."""

    G0 = "G0, dirty write"
    G1A = "G1a, aborted read"
    G1B = "G1b, intermediate read"
    G1C = "G1c, circular information flow"
    G_SINGLE = "G-single, read skew"
    LOST_UPDATE = "lost update"
    G2_ITEM = "G2-item, write skew"
    REAL_TIME = "real-time violation"
    INTERNAL = "own appends not seen"
    INVENTED = "element nobody appended"
    REPEATED = "element applied twice"
    REORDERED = "appends of one transaction out of their order"
    FORKED = "lists that do not extend each other"
    VERSION = "version against the order of the list"
    UNUSABLE = "history that cannot be judged"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing no strictly serializable service does."""

    kind: AnomalyKind
    description: str
    """Which transactions, keys and elements."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.description}"


def check_transactions(history: Iterable[Transaction]) -> list[str]:
    """Violations, as sentences that begin with the anomaly's name. See `find_anomalies`."""
    return [str(anomaly) for anomaly in find_anomalies(history)]


def find_anomalies(history: Iterable[Transaction]) -> list[Anomaly]:
    """What no order explains that agrees with real time.

    A transaction in doubt may have happened or not; one element of it in a committed read says that it did, and then
    all of it counts. Reads of aborted transactions promise nothing. To find lost appends, end the history with a read
    of every key. For each set of transactions that depend on each other in a circle, one cycle of its gravest class is
    named. Time is linear in the size of the history, lists included; only sets of that kind cost more.
    """
    lists = read_lists(list(history))
    return [anomaly for rule in _RULES for anomaly in rule(lists)]


# -- what one key shows ---


def _unusable(lists: Lists) -> Iterator[Anomaly]:
    for key, element in lists.twice:
        yield Anomaly(AnomalyKind.UNUSABLE, f"{element!r} was appended to {key!r} more than once: make elements unique")


def _own_appends(lists: Lists) -> Iterator[Anomaly]:
    for reading in _readings(lists):
        own = reading.own
        theirs = any(lists.writers.get((reading.read.key, element)) == reading.reader for element in reading.others)
        if theirs or (own and reading.read.elements[-len(own) :] != own):
            name = lists.name(reading.reader)
            yield Anomaly(AnomalyKind.INTERNAL, f"{name} had appended {own}, then read {reading.read}")


def _writers(lists: Lists) -> Iterator[Anomaly]:
    known: set[tuple[str, str]] = set()
    for reading in _readings(lists):
        for element in reading.read.elements:
            place = (reading.read.key, element)
            if place in known:
                continue
            known.add(place)
            writer = lists.writers.get(place)
            who = f"{lists.name(reading.reader)} read {element!r} of {reading.read.key!r}"
            if writer is None:
                yield Anomaly(AnomalyKind.INVENTED, who)
            elif lists.transactions[writer].outcome is Outcome.REFUSED:
                yield Anomaly(AnomalyKind.G1A, f"{who}, which {lists.name(writer)} had appended and aborted")


def _intermediate(lists: Lists) -> Iterator[Anomaly]:
    last = {
        (number, each.key): each.element for number in lists.happened for each in appends_of(lists.transactions[number])
    }
    for reading in _readings(lists):
        key = reading.read.key
        if not reading.others:
            continue
        writer = lists.writers.get((key, reading.others[-1]), reading.reader)
        if writer != reading.reader and last.get((writer, key), reading.others[-1]) != reading.others[-1]:
            name = lists.name(reading.reader)
            yield Anomaly(AnomalyKind.G1B, f"{name} read {key!r} in the middle of {lists.name(writer)}: {reading.read}")


def _repeated(lists: Lists) -> Iterator[Anomaly]:
    for name, key in lists.keys.items():
        for reading in key.readings:
            if len(set(reading.read.elements)) < len(reading.read.elements):
                yield Anomaly(AnomalyKind.REPEATED, f"{lists.name(reading.reader)} read {name!r}: {reading.read}")
                break


def _reordered(lists: Lists) -> Iterator[Anomaly]:
    """What a list shows of one transaction is how its appends began."""
    shown: dict[tuple[int, str], list[str]] = {}
    for name, key in lists.keys.items():
        for element in dict.fromkeys(key.longest):
            writer = lists.writers.get((name, element))
            if writer in lists.happened:
                shown.setdefault((writer, name), []).append(element)
    for (writer, name), elements in shown.items():
        appended = [each.element for each in appends_of(lists.transactions[writer]) if each.key == name]
        if elements != appended[: len(elements)]:
            who = f"{lists.name(writer)} appended {appended} to {name!r}"
            yield Anomaly(AnomalyKind.REORDERED, f"{who}, the list shows {elements} of them")


def _forked(lists: Lists) -> Iterator[Anomaly]:
    for name, key in lists.keys.items():
        for reading in key.readings:
            if reading.others != key.longest[: len(reading.others)]:
                who = f"{lists.name(reading.reader)} read {name!r} as {reading.others}"
                yield Anomaly(AnomalyKind.FORKED, f"{who}, another read saw {key.longest}")
                break


def _versions(lists: Lists) -> Iterator[Anomaly]:
    """Along a list versions rise; what a read at a later version does not show was lost."""
    for name, key in lists.keys.items():
        newest = 0
        for position, (element, after) in enumerate(pairwise(key.order), 1):
            newest = max(newest, key.versions.get(element, 0))
            same = lists.writers.get((name, element)) == lists.writers.get((name, after))
            if not same and after in key.versions and key.versions[after] <= newest:
                yield _out_of_order(name, key, position, f"the list had version {newest}")
        for reading in key.readings:
            version, position = reading.read.version, len(reading.others)
            if not version or reading.own:
                continue
            if position < len(key.order) and key.versions.get(key.order[position], version + 1) <= version:
                yield _out_of_order(name, key, position, f"{lists.name(reading.reader)} read {reading.read}")
            if reading.others and key.versions.get(reading.others[-1], 0) > version:
                yield _out_of_order(name, key, position - 1, f"{lists.name(reading.reader)} read {reading.read}")


def _out_of_order(name: str, key: ListKey, position: int, seen: str) -> Anomaly:
    element = key.order[position]
    kind = AnomalyKind.VERSION if position < len(key.longest) else AnomalyKind.LOST_UPDATE
    return Anomaly(kind, f"{element!r} of {name!r} was acknowledged as version {key.versions[element]}, but {seen}")


def _readings(lists: Lists) -> Iterator[Reading]:
    return (reading for key in lists.keys.values() for reading in key.readings)


# -- what several transactions show together ---


def _cycles(lists: Lists) -> Iterator[Anomaly]:
    graph = Graph(len(lists.transactions))
    for add in _DEPENDENCIES:
        add(lists, graph)
    for cycle in graph.cycles():
        steps = "".join(f"{lists.name(edge.source)} -{edge.kind} {edge.key}-> " for edge in cycle).replace(" ->", "->")
        yield _named(cycle, steps + lists.name(cycle[0].source))


def _named(cycle: Sequence[Edge], steps: str) -> Anomaly:
    kinds = [edge.kind for edge in cycle]
    data = _class_of([edge for edge in cycle if edge.kind is not Dependency.TIME])
    if Dependency.TIME in kinds:
        return Anomaly(AnomalyKind.REAL_TIME, f"{steps} ({data} without the clock's word)")
    return Anomaly(data, steps)


def _class_of(edges: Sequence[Edge]) -> AnomalyKind:
    kinds = [edge.kind for edge in edges]
    overwritten = kinds.count(Dependency.RW)
    if not overwritten:
        return AnomalyKind.G1C if Dependency.WR in kinds else AnomalyKind.G0
    if Dependency.WR not in kinds and len({edge.key for edge in edges}) == 1:
        return AnomalyKind.LOST_UPDATE
    return AnomalyKind.G_SINGLE if overwritten == 1 else AnomalyKind.G2_ITEM


def _write_dependencies(lists: Lists, graph: Graph) -> None:
    for name, key in lists.keys.items():
        for element, after in pairwise(key.order):
            _link(lists, graph, (name, element), lists.writers.get((name, after)), Dependency.WW)
        if key.longest:
            last = lists.writers.get((name, key.longest[-1]))
            _link_to_unplaced(lists, graph, name, [(last, last)], Dependency.WW)


def _read_dependencies(lists: Lists, graph: Graph) -> None:
    for reading in _readings(lists):
        if reading.others:
            _link(lists, graph, (reading.read.key, reading.others[-1]), reading.reader, Dependency.WR)


def _anti_dependencies(lists: Lists, graph: Graph) -> None:
    for name, key in lists.keys.items():
        last_readers: list[tuple[int | None, int | None]] = []
        for reading in key.readings:
            position = len(reading.others)
            if reading.others != key.longest[:position]:
                continue
            source = lists.writers.get((name, reading.others[-1])) if reading.others else None
            if position < len(key.order):
                target = lists.writers.get((name, key.order[position]))
                # A read in the middle of a transaction is neither before nor after it: that is G1b.
                if target is not None and target in lists.happened and target not in (reading.reader, source):
                    graph.link(reading.reader, target, Dependency.RW, name)
            if position == len(key.longest):
                last_readers.append((reading.reader, source))
        _link_to_unplaced(lists, graph, name, last_readers, Dependency.RW)


def _link(lists: Lists, graph: Graph, place: tuple[str, str], target: int | None, kind: Dependency) -> None:
    source = lists.writers.get(place)
    if source is not None and target is not None and source != target and {source, target} <= lists.happened:
        graph.link(source, target, kind, place[0])


def _link_to_unplaced(
    lists: Lists, graph: Graph, name: str, sources: Iterable[tuple[int | None, int | None]], kind: Dependency
) -> None:
    """Whoever wrote or read the end of the longest list comes before all who appended after it, in whatever order.

    A source comes with one transaction it is not to be linked to.
    """
    targets = {lists.writers[name, element] for element in lists.keys[name].unplaced}
    if not targets:
        return
    relay = graph.relay()
    for target in targets:
        graph.link(relay, target, Dependency.WW, name)
    for source, except_for in dict.fromkeys(sources):
        if source is None or source not in lists.happened:
            continue
        if targets.isdisjoint((source, except_for)):
            graph.link(source, relay, kind, name)
            continue
        for target in targets - {source, except_for}:  # through the relay there would be no exception
            graph.link(source, target, kind, name)


def _real_time(lists: Lists, graph: Graph) -> None:
    """By a chain of relays, one per return: every transaction hangs on the last return before it began."""
    ended = sorted(
        (number for number in lists.happened if lists.transactions[number].returned < NEVER),
        key=lambda number: lists.transactions[number].returned,
    )
    relays = [graph.relay() for _ in ended]
    for number, relay in zip(ended, relays, strict=True):
        graph.link(number, relay, Dependency.TIME)
    for relay, later in pairwise(relays):
        graph.link(relay, later, Dependency.TIME)
    position = -1
    for number in sorted(lists.happened, key=lambda number: lists.transactions[number].invoked):
        began = lists.transactions[number].invoked
        while position + 1 < len(ended) and lists.transactions[ended[position + 1]].returned < began:
            position += 1
        if position >= 0:
            graph.link(relays[position], number, Dependency.TIME)


_RULES: tuple[Callable[[Lists], Iterator[Anomaly]], ...] = (
    _unusable,
    _own_appends,
    _writers,
    _intermediate,
    _repeated,
    _reordered,
    _forked,
    _versions,
    _cycles,
)
_DEPENDENCIES: tuple[Callable[[Lists, Graph], None], ...] = (
    _write_dependencies,
    _read_dependencies,
    _anti_dependencies,
    _real_time,
)
