"""Many seeds in several processes: the runs of continuous integration, and the long ones before a release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from lightning_state.actors.testing.simulation import run

_CHUNK = 10


@dataclass(slots=True)
class Campaign:
    """What a number of runs did and found."""

    runs: int = 0
    figures: Counter[str] = field(default_factory=Counter[str])
    failures: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """Seed → violations; replay it with `python -m lightning_state.actors.testing.simulation --seed SEED`."""


def judge(seed: int, operations: int) -> tuple[int, list[str], Counter[str]]:
    """One run, without its history. An exception out of the core is a violation like any other."""
    try:
        report = run(seed, operations)
    except Exception as error:  # noqa: BLE001  # whatever a broken core raises is what the campaign looks for
        return seed, [f"raised {error!r}"], Counter()
    return seed, report.violations, report.figures


def run_campaign(seeds: Sequence[int], operations: int, *, processes: int) -> Campaign:
    """Run every seed. Processes are spawned, so a caller's main module must be importable without side effects."""
    campaign = Campaign()
    with get_context("spawn").Pool(processes) as pool:
        for seed, violations, figures in pool.imap_unordered(partial(judge, operations=operations), seeds, _CHUNK):
            campaign.runs += 1
            campaign.figures.update(figures)
            if violations:
                campaign.failures[seed] = violations
    return campaign
