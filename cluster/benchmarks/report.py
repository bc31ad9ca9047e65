"""The result of a run, as the JSON file has it: figures, goals and floors, and where it was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import apsw
import msgspec

from lightning_state.actors.metrics.memory import read_memory
from lightning_state.cluster.benchmarks.expected import FLOORS, RATIOS
from lightning_state.cluster.benchmarks.goals import Judged, judge
from lightning_state.cluster.benchmarks.statistics import Figure

FORMAT = 1

_PACKAGES = ("lightning-state", "ray", "pydantic", "uvloop", "fastapi", "redis", "hiredis", "psycopg")
_CPUINFO = Path("/proc/cpuinfo")
_MOUNTS = Path("/proc/mounts")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_BUSY = 0.25
"""Load average for each processor from which on the figures are not those of a quiet machine."""


class Machine(msgspec.Struct, frozen=True, rename="camel"):
    """What the figures depend on."""

    cpus: int
    processor: str
    memory_bytes: int
    platform: str
    filesystem: str
    """Of the directory that was measured; on tmpfs a disk sync costs nothing."""
    load_average_before: float
    """Of the minute before."""


class Plan(msgspec.Struct, frozen=True):
    """How much was measured."""

    quick: bool
    rounds: int
    calls: int
    kills: int
    starts: int
    keys: int
    """States of the service that is compared with one of 1,000; 0: not measured."""


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """Everything of one run."""

    format: int
    plan: Plan
    machine: Machine
    versions: dict[str, str]
    absent: dict[str, str]
    """Sides that could not be measured, and why."""
    notes: list[str]
    """What makes these figures worth less."""
    took_s: float
    figures: dict[str, Figure]
    ratios: list[Judged]
    floors: dict[str, list[Judged]]

    def judged(self) -> Iterator[Judged]:
        """Every goal."""
        yield from self.ratios
        for floors in self.floors.values():
            yield from floors

    def to_json(self) -> str:
        """The file's text."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"


def make_report(
    plan: Plan,
    machine: Machine,
    figures: Mapping[str, Figure],
    *,
    versions: Mapping[str, str],
    absent: Mapping[str, str],
    took_s: float,
) -> Report:
    """Judge every goal by the figures."""
    return Report(
        format=FORMAT,
        plan=plan,
        machine=machine,
        versions={**_versions(), **versions},
        absent=dict(absent),
        notes=notes_of(machine),
        took_s=round(took_s, 1),
        figures=dict(figures),
        ratios=[judge(goal, figures, absent) for goal in RATIOS],
        floors={way: [judge(goal, figures, absent) for goal in goals] for way, goals in FLOORS.items()},
    )


def this_machine(directory: Path) -> Machine:
    """As it is now, before anything is measured."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        processor=_processor(),
        memory_bytes=read_memory().total_bytes,
        platform=f"{platform.system()} {platform.machine()}",
        filesystem=filesystem_of(directory),
        load_average_before=round(os.getloadavg()[0], 2),
    )


def notes_of(machine: Machine) -> list[str]:
    """What a reader of figures taken on this machine must know."""
    notes: list[str] = []
    if machine.filesystem in _IN_MEMORY:
        notes.append(
            f"the files are on {machine.filesystem}, where a disk sync costs nothing: --directory names another"
        )
    if machine.load_average_before > _BUSY * machine.cpus:
        notes.append(f"something else was running (load average {machine.load_average_before}): take it again in quiet")
    return notes


def filesystem_of(directory: Path, mounts: str | None = None) -> str:
    """The type of the file system a directory is on."""
    where = directory.resolve()
    found = (Path("/"), "unknown")
    for line in (mounts if mounts is not None else _MOUNTS.read_text()).splitlines():
        _, point, kind, *_ = line.split()
        path = Path(point.replace("\\040", " "))
        if where.is_relative_to(path) and len(path.parts) >= len(found[0].parts):
            found = (path, kind)
    return found[1]


def _processor() -> str:
    for line in _CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
