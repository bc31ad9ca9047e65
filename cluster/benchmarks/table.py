"""What a person sees of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_state.cluster.benchmarks.expected import WAYS
from lightning_state.cluster.benchmarks.goals import Goal, Judged, Level, Verdict
from lightning_state.cluster.benchmarks.report import Report
from lightning_state.cluster.benchmarks.statistics import Figure

_STYLES: dict[Verdict, str] = {"met": "green", "short": "bold red", "not measured": "dim"}
_RATIO_LEVELS: tuple[Level, ...] = ("first", "goal", "stretch")
_RATE = ": per second"
_THOUSAND = 1_000
_TITLE: dict[str, Any] = {"title_justify": "left", "box": SIMPLE_HEAD}


def tables(report: Report) -> RenderableType:
    """Figures, ratios and floors, and where they were measured."""
    machine, versions = report.machine, report.versions
    parts: list[RenderableType] = [
        Text(
            f"lightning-state {versions['lightning-state']} · {machine.cpus} × {machine.processor} · "
            f"{machine.platform} · {machine.filesystem} · load before {machine.load_average_before}"
        ),
        Text(" · ".join(f"{name} {version}" for name, version in versions.items() if name != "lightning-state")),
        figures_table(report.figures),
        ratios_table(report.ratios),
        floors_table(report),
        *_not_measured(report),
        *(Text(note, style="yellow") for note in report.notes),
        Text(summary(report)),
    ]
    return Group(*parts)


def figures_table(figures: dict[str, Figure]) -> Table:
    """Every figure, sides beside each other: quantiles of durations, medians of the rest, spread of the rounds."""
    table = Table(title="Figures", **_TITLE)
    for heading in ("", "", "p50", "p95", "p99", "p50 of the rounds", "per second"):
        table.add_column(heading, no_wrap=True)
    above = ""
    for name in sorted(figures, key=lambda name: (name.partition("/")[2], name)):
        side, _, operation = name.partition("/")
        if operation.endswith(_RATE):
            continue
        figure = figures[name]
        rate = figures.get(f"{name}{_RATE}")
        table.add_row(
            operation if operation != above else "",
            side,
            *("" if value is None else shown(value, figure.unit) for value in (figure.p50, figure.p95, figure.p99)),
            _range(min(figure.rounds_p50), max(figure.rounds_p50), figure.unit),
            f"{rate.p50:,.0f}" if rate else "",
        )
        above = operation
    return table


def ratios_table(ratios: Iterable[Judged]) -> Table:
    """Goals beside what was measured."""
    table = Table("", "measured", "of the rounds", *_RATIO_LEVELS, title="Goals", **_TITLE)
    for judged in ratios:
        if judged.measured is not None:
            cells = [_cell(judged, level) for level in _RATIO_LEVELS]
            table.add_row(judged.goal.claim, shown(judged.measured, judged.goal.unit), _spread(judged), *cells)
    return table


def _not_measured(report: Report) -> list[Text]:
    """Everything that has no figure, and why."""
    missing = [(judged.goal, "", judged.reason) for judged in report.ratios if judged.measured is None]
    missing += [
        (judged.goal, f" ({way})", judged.reason)
        for way, floors in report.floors.items()
        for judged in floors
        if judged.measured is None
    ]
    return [Text(f"not measured: {goal.claim}{way}: {reason}", style="dim") for goal, way, reason in missing]


def floors_table(report: Report) -> Table:
    """R14's floors over each way to the service."""
    table = Table("floor (R14)", "must be", *WAYS, title="Floors", **_TITLE)
    by_claim = {
        judged.goal.claim: [
            next(each for each in report.floors[way] if each.goal.claim == judged.goal.claim) for way in WAYS
        ]
        for judged in report.floors[WAYS[0]]
    }
    for claim, over in by_claim.items():
        table.add_row(claim, _bound(over[0].goal, "floor"), *(_floor(judged) for judged in over))
    for judged in report.floors["service"]:
        table.add_row(judged.goal.claim, _bound(judged.goal, "floor"), _floor(judged), "", "")
    return table


def summary(report: Report) -> str:
    """One line: how many were met, which fall short."""
    judged = list(report.judged())
    short = [each.goal.claim for each in report.ratios if each.is_short]
    short += [f"{each.goal.claim} ({way})" for way, floors in report.floors.items() for each in floors if each.is_short]
    met = sum(1 for each in judged if each.measured is not None and each.verdicts and not each.is_short)
    missing = sum(1 for each in judged if each.measured is None)
    line = f"{met} met, {len(short)} short, {missing} not measured, in {report.took_s:.0f} s"
    return f"{line}. Short: {'; '.join(short)}" if short else line


def shown(value: float, unit: str) -> str:
    """A value as a person reads it, with its unit."""
    match unit:
        case "us":
            return _duration(value)
        case "ms":
            return _duration(value * _THOUSAND)
        case "1/s":
            return f"{value:,.0f}/s"
        case "share":
            return f"{value:.0%}"
        case "B":
            return f"{value / 1e6:,.0f} MB" if value >= 1e6 else f"{value:,.0f} B"  # noqa: PLR2004  # the unit
        case "x":
            return f"{value:,.2f} ×"
        case "":
            return f"{value:,.0f}"
        case _:
            return f"{value:,.2f} {unit}"


def _duration(us: float) -> str:
    if us < 10:  # noqa: PLR2004  # one digit more where it is few
        return f"{us:.2f} µs"
    if us < _THOUSAND:
        return f"{us:.0f} µs"
    ms = us / _THOUSAND
    return f"{ms:.2f} ms" if ms < _THOUSAND else f"{ms / _THOUSAND:.2f} s"


def _cell(judged: Judged, level: Level) -> Text:
    verdict = judged.verdicts.get(level)
    return Text(f"{_bound(judged.goal, level)} {verdict}", style=_STYLES[verdict]) if verdict else Text("")


def _floor(judged: Judged) -> Text:
    if judged.measured is None:
        return Text("not measured", style="dim")
    verdict = judged.verdicts["floor"]
    return Text(f"{shown(judged.measured, judged.goal.unit)} {verdict}", style=_STYLES[verdict])


def _bound(goal: Goal, level: Level) -> str:
    return f"{'≤' if goal.at_most else '≥'} {shown(goal.levels[level], goal.unit)}"


def _spread(judged: Judged) -> str:
    if judged.spread is None:
        return ""
    return _range(*judged.spread, judged.goal.unit)


def _range(low: float, high: float, unit: str) -> str:
    return f"{shown(low, unit)} – {shown(high, unit)}"
