"""`bench`: what the service costs beside what one would use instead, on this machine."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.report import Plan, Report
from lightning_state.cluster.benchmarks.run import run_benchmark
from lightning_state.cluster.benchmarks.table import tables
from lightning_state.cluster.cli.end_signals import EndSignals

_FAILED = 1
_QUICK = Plan(quick=True, rounds=3, calls=400, kills=10, starts=0, keys=0)
_WHOLE = Plan(quick=False, rounds=7, calls=2_000, kills=30, starts=3, keys=1_000_000)
_STARTS_WHEN_ASKED = 2

_WIDTH = 120
"""Narrower, the tables cannot be read."""

_Count = Annotated[int | None, Parameter(validator=Number(gte=1))]
_CountOrNone = Annotated[int | None, Parameter(validator=Number(gte=0))]


def bench(
    *,
    quick: bool = False,
    json: Path | None = None,
    up: bool = False,
    check: bool = False,
    rounds: _Count = None,
    calls: _Count = None,
    kills: _CountOrNone = None,
    keys: _CountOrNone = None,
    directory: Path | None = None,
) -> int:
    """Measure the service beside what one would use instead: in turns, in one run, on this machine.

    Starts a service of its own and its peers, and ends them. A peer whose packages are not installed is left out, and
    the result says so. Exit status 0 means that everything was measured, whatever came out; see --check.

    Parameters
    ----------
    quick
        Two minutes instead of many: fewer rounds, no million keys, no starts.
    json
        Where to write every figure.
    up
        Measure how long `lightning-state up` takes, even when --quick.
    check
        Exit with 1 when a floor or a goal that was measured falls short.
    rounds
        Turns of each side.
    calls
        Sequential calls of each operation in a turn; what is faster or in batches is done more or less often.
    kills
        How often the shard is killed.
    keys
        States of a service that is compared with one of 1,000.
    directory
        Where the files are: the disk that is measured. Default: here.
    """
    plan = _plan(quick=quick, up=up, rounds=rounds, calls=calls, kills=kills, keys=keys)
    where = _directory(directory or Path.cwd())
    if json is not None:
        _check_writable(json)
    signals = EndSignals()
    signals.install()
    with redirect_stdout(sys.stderr):  # Ray prints there that a process was killed
        report = run_benchmark(plan, where, _say, deferred=signals.deferred)
    if json is not None:
        json.write_text(report.to_json(), encoding="utf-8")
    Console(width=max(Console().width, _WIDTH)).print(tables(report))
    return _FAILED if check and _falls_short(report) else 0


def _plan(*, quick: bool, up: bool, rounds: int | None, calls: int | None, kills: int | None, keys: int | None) -> Plan:
    default = _QUICK if quick else _WHOLE
    return Plan(
        quick=quick,
        rounds=rounds or default.rounds,
        calls=calls or default.calls,
        kills=default.kills if kills is None else kills,
        starts=default.starts or (_STARTS_WHEN_ASKED if up else 0),
        keys=default.keys if keys is None else keys,
    )


def _directory(path: Path) -> Path:
    if not path.is_dir():
        raise BenchmarkError(f"{path} is not a directory: --directory names one on the disk to measure")
    return path.absolute()


def _check_writable(path: Path) -> None:
    """Before minutes are spent."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be written ({error.strerror}): --json names a file") from error


def _falls_short(report: Report) -> bool:
    return any(judged.is_short for judged in report.judged())


def _say(text: str) -> None:
    sys.stderr.write(f"{text} …\n")
