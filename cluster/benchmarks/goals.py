"""What is expected of the figures, and what became of it.

Four levels: `floor` is what the requirements promise (R14), `first` what the first release should reach, `goal` what
the project is after, `stretch` what would be better still. Only ratios and differences taken in one run say something
about another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from lightning_state.cluster.benchmarks.statistics import Figure, Statistic, significant

Relation = Literal["times faster", "times as many", "difference", "absolute", "times the cost"]
Level = Literal["floor", "first", "goal", "stretch"]
Verdict = Literal["met", "short", "not measured"]

NOT_IN_THIS_RUN = "not part of this run"


class Of(msgspec.Struct, frozen=True):
    """One statistic of a figure, by the figure's name."""

    figure: str
    statistic: Statistic = "p50"

    @property
    def side(self) -> str:
        """Whose figure it is."""
        return self.figure.partition("/")[0]


class Goal(msgspec.Struct, frozen=True):
    """An expectation of the service's own figure, mostly beside that of a peer."""

    claim: str
    relation: Relation
    ours: Of
    peer: Of | None
    unit: str
    """x for a ratio, else that of the result."""
    levels: dict[Level, float]
    at_most: bool = False
    scale: float = 1.0
    """What the figures' unit is multiplied by to get the goal's."""


class Judged(msgspec.Struct, frozen=True):
    """A goal and what was measured."""

    goal: Goal
    measured: float | None
    spread: tuple[float, float] | None
    """Of the rounds: each compares what was measured in turns."""
    verdicts: dict[Level, Verdict]
    reason: str = ""
    """Why nothing was measured."""

    @property
    def is_short(self) -> bool:
        """Whether what was measured is less than is expected at least; a stretch is not."""
        return any(verdict == "short" for level, verdict in self.verdicts.items() if level != "stretch")


def judge(goal: Goal, figures: Mapping[str, Figure], absent: Mapping[str, str]) -> Judged:
    """What the figures say of a goal; `absent` has the reason of each side that is not there."""
    measured = _measured(goal, figures)
    if measured is None:
        return Judged(goal, None, None, dict.fromkeys(goal.levels, "not measured"), _reason(goal, figures, absent))
    verdicts: dict[Level, Verdict] = {
        level: "met" if (measured <= bound if goal.at_most else measured >= bound) else "short"
        for level, bound in goal.levels.items()
    }
    return Judged(goal, measured, _spread(goal, figures), verdicts)


def related(goal: Goal, ours: float, peer: float | None) -> float:
    """The number a goal is about, from the two figures it compares."""
    if peer is None:
        return significant(ours * goal.scale)
    how: dict[Relation, Callable[[], float]] = {
        "times faster": lambda: peer / ours,
        "times as many": lambda: ours / peer,
        "times the cost": lambda: ours / peer,
        "difference": lambda: (ours - peer) * goal.scale,
    }
    return significant(how[goal.relation]())


def _measured(goal: Goal, figures: Mapping[str, Figure]) -> float | None:
    ours = figures.get(goal.ours.figure)
    peer = figures.get(goal.peer.figure) if goal.peer else None
    if ours is None or (goal.peer and peer is None):
        return None
    own = ours.of(goal.ours.statistic)
    other = peer.of(goal.peer.statistic) if peer is not None and goal.peer else None
    if own is None or (goal.peer and other is None):
        return None
    return related(goal, own, other)


def _reason(goal: Goal, figures: Mapping[str, Figure], absent: Mapping[str, str]) -> str:
    for of in (goal.ours, goal.peer):
        if of is not None and of.figure not in figures:
            return absent.get(of.figure, absent.get(of.side, NOT_IN_THIS_RUN))
    return NOT_IN_THIS_RUN


def _spread(goal: Goal, figures: Mapping[str, Figure]) -> tuple[float, float]:
    ours = figures[goal.ours.figure].rounds(goal.ours.statistic)
    if goal.peer is None:
        each = [related(goal, own, None) for own in ours]
    else:
        peer = figures[goal.peer.figure].rounds(goal.peer.statistic)
        each = [related(goal, own, other) for own, other in zip(ours, peer, strict=True)]
    return min(each), max(each)
