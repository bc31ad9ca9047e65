"""Cycles of dependencies between transactions, and the names they have in the literature.

Sources: A. Adya, "Weak consistency", 1999 (G0, G1c, G-single, G2); K. Kingsbury and P. Alvaro, "Elle", 2020 (naming a
history's anomaly by the cheapest cycle of its dependencies); R. Tarjan, 1972 (strongly connected components).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

_WORK = 200_000
"""Nodes a search for one cycle looks at, about: in larger components the cycle named may not be the shortest."""


class Dependency(StrEnum):
    """Why one transaction must come before another."""

    WW = "ww"
    """The other overwrote what it wrote."""
    WR = "wr"
    """The other read what it wrote."""
    RW = "rw"
    """The other overwrote what it read."""
    TIME = "time"
    """It had ended before the other began."""


class Edge(NamedTuple):
    """One dependency, between the numbers of two nodes."""

    source: int
    target: int
    kind: Dependency
    key: str = ""
    """The key it is about; empty for real time."""


_WRITES = frozenset({Dependency.WW})
_FLOW = frozenset({Dependency.WW, Dependency.WR})
_DATA = frozenset({Dependency.WW, Dependency.WR, Dependency.RW})
_TIME = frozenset({Dependency.TIME})


class Graph:
    """Nodes 0 to `transactions` - 1 are transactions; more are added to share edges and stand for nothing."""

    def __init__(self, transactions: int) -> None:
        self._transactions = transactions
        self._edges: list[list[Edge]] = [[] for _ in range(transactions)]

    def __repr__(self) -> str:
        return f"<Graph transactions={self._transactions} edges={sum(map(len, self._edges))}>"

    def relay(self) -> int:
        """A new node that only passes edges on: n sources and m targets then need n + m edges."""
        self._edges.append([])
        return len(self._edges) - 1

    def link(self, source: int, target: int, kind: Dependency, key: str = "") -> None:
        """The target depends on the source."""
        self._edges[source].append(Edge(source, target, kind, key))

    def cycles(self) -> Iterator[list[Edge]]:
        """For each strongly connected component one cycle, of the gravest class there is. O(nodes + edges) without any.

        Graver is what needs fewer kinds of edges: writes alone, then reads of writes, then one read that was
        overwritten, then several; each first without and then with real time.
        """
        for component in self._components(range(len(self._edges)), _DATA | _TIME):
            yield self._without_relays(self._gravest(frozenset(component)))

    def _gravest(self, component: frozenset[int]) -> list[Edge]:
        for extra in (frozenset[Dependency](), _TIME):
            searches: tuple[Callable[[], list[Edge] | None], ...] = (
                lambda extra=extra: self._cycle(component, _WRITES | extra),
                lambda extra=extra: self._cycle(component, _FLOW | extra),
                lambda extra=extra: self._cycle_with_one(component, Dependency.RW, _FLOW | extra),
                lambda extra=extra: self._cycle(component, _DATA | extra),
            )
            for search in searches:
                if (cycle := search()) is not None:
                    return cycle
        raise AssertionError("a component of all kinds of edges has a cycle of them")

    def _cycle(self, within: Collection[int], kinds: Collection[Dependency]) -> list[Edge] | None:
        """A short cycle of edges of these kinds."""
        component = next(self._components(within, kinds), None)
        if component is None:
            return None
        members = frozenset(component)
        found = (self._path(start, start, members, kinds) for start in islice(component, _tries(members)))
        return min((cycle for cycle in found if cycle), key=len, default=None)

    def _cycle_with_one(
        self, within: Collection[int], once: Dependency, kinds: Collection[Dependency]
    ) -> list[Edge] | None:
        """The shortest cycle with exactly one edge of the kind `once`, and only these kinds beside."""
        edges = (edge for node in within for edge in self._edges[node] if edge.kind is once and edge.target in within)
        found: list[list[Edge]] = []
        for edge in islice(edges, _tries(within)):
            path = self._path(edge.target, edge.source, within, kinds)
            if path:
                found.append([edge, *path])
        return min(found, key=len, default=None)

    def _path(self, start: int, end: int, within: Collection[int], kinds: Collection[Dependency]) -> list[Edge] | None:
        """The shortest path of at least one edge, by breadth first."""
        came: dict[int, Edge] = {}
        waiting = deque([start])
        while waiting:
            node = waiting.popleft()
            for edge in self._edges[node]:
                if edge.kind not in kinds or edge.target not in within or edge.target in came:
                    continue
                came[edge.target] = edge
                if edge.target == end:
                    return _back(came, start, end)
                waiting.append(edge.target)
        return None

    def _components(self, nodes: Iterable[int], kinds: Collection[Dependency]) -> Iterator[list[int]]:
        """Strongly connected components of more than one node."""
        within = frozenset(nodes)
        search = _Tarjan(lambda node: (e.target for e in self._edges[node] if e.kind in kinds and e.target in within))
        for node in sorted(within):
            if node not in search.order:
                yield from (component for component in search.from_root(node) if len(component) > 1)

    def _without_relays(self, cycle: list[Edge]) -> list[Edge]:
        """The same cycle between transactions alone. An edge into a relay says what is passed on."""
        first = next(index for index, edge in enumerate(cycle) if edge.source < self._transactions)
        found: list[Edge] = []
        for edge in cycle[first:] + cycle[:first]:
            if edge.source < self._transactions:
                found.append(edge)
            else:
                found[-1] = found[-1]._replace(target=edge.target)
        return found


def _tries(component: Collection[int]) -> int:
    return max(10, _WORK // len(component))


def _back(came: dict[int, Edge], start: int, end: int) -> list[Edge]:
    path = [came[end]]
    while path[-1].source != start:
        path.append(came[path[-1].source])
    path.reverse()
    return path


class _Tarjan:
    """Strongly connected components in linear time, without recursion."""

    def __init__(self, targets: Callable[[int], Iterable[int]]) -> None:
        self._targets = targets
        self.order: dict[int, int] = {}
        """Node → its place in the order of discovery."""
        self._low: dict[int, int] = {}
        self._stack: list[int] = []
        self._on_stack: set[int] = set()

    def from_root(self, root: int) -> Iterator[list[int]]:
        """The components that are reached from here and were not before."""
        path = [self._enter(root)]
        while path:
            node, targets = path[-1]
            below = next((target for target in targets if self._is_new(node, target)), None)
            if below is not None:
                path.append(self._enter(below))
                continue
            path.pop()
            if path:
                above = path[-1][0]
                self._low[above] = min(self._low[above], self._low[node])
            if self._low[node] == self.order[node]:
                yield self._leave(node)

    def _enter(self, node: int) -> tuple[int, Iterator[int]]:
        self.order[node] = self._low[node] = len(self.order)
        self._stack.append(node)
        self._on_stack.add(node)
        return node, iter(self._targets(node))

    def _is_new(self, node: int, target: int) -> bool:
        if target not in self.order:
            return True
        if target in self._on_stack:
            self._low[node] = min(self._low[node], self.order[target])
        return False

    def _leave(self, node: int) -> list[int]:
        component: list[int] = []
        while not component or component[-1] != node:
            component.append(self._stack.pop())
        self._on_stack.difference_update(component)
        return component
