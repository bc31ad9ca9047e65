"""The SQLite store by itself: whether a commit costs the same with a million keys as with a thousand.

Two stores, one small, one large, take turns (A B A B) with 64 rows a commit, 600-byte bodies, random keys; a round
ends when its rows are projected and checkpointed, so the projections are counted. Beside it the commit of one row
against a bare append and fsync of as many bytes. Only the ratios say something about another machine.

    python -m lightning_state.cluster.benchmarks.store --json docs/results/store.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.core.slots import slot_of, slots_of_category
from lightning_state.actors.store.sqlite import SqliteStore, create_shard_file

GOAL = 0.6
"""Rows/s with the many keys, of those with the few, that design and contract stand on."""

_CATEGORY = 1
_SLOTS = 64
_EPOCH = 1
_SMALL_KEYS = 1000
_ROWS_A_COMMIT = 64
_BODY_BYTES = 600
_FILL_ROWS = 2000
_PROJECT_ROWS = 16384
_STATUSES = ("READY", "RUNNING", "COMPLETED")
_STATUS_EVERY = 4
"""One write in so many changes the indexed value, the others change the rest of the body."""
_APPENDED_BYTES = 2 * 4120
"""What a commit of one row appends to a WAL: two pages with their frame headers."""


class Load:
    """One store and the writes it is given: random keys, rising versions, request ids that sort by time."""

    def __init__(self, directory: Path, keys: int, seed: int) -> None:
        directory.mkdir()
        create_shard_file(directory, "benchmark", 0)
        self.store = SqliteStore(directory, 0, "benchmark")
        self.store.open()
        self.store.acquire(slots_of_category(_CATEGORY, _SLOTS), _EPOCH)
        self.keys = keys
        self._versions = [0] * keys
        self._statuses = [0] * keys
        self._revisions = dict.fromkeys(slots_of_category(_CATEGORY, _SLOTS), 0)
        self._random = random.Random(seed)  # noqa: S311  # a load that can be repeated, not a secret
        self._requests = 0

    def row(self, number: int) -> JournalRow:
        """The next change of a key."""
        key = f"agent-{number:08d}"
        slot = slot_of(_CATEGORY, key, _SLOTS)
        self._versions[number] += 1
        self._revisions[slot] += 1
        self._requests += 1
        if self._random.randrange(_STATUS_EVERY) == 0:
            self._statuses[number] = (self._statuses[number] + 1) % len(_STATUSES)
        return JournalRow(
            slot=slot,
            revision=self._revisions[slot],
            epoch=_EPOCH,
            key=key,
            version=self._versions[number],
            op=Op.SET,
            body=self._random.randbytes(_BODY_BYTES),
            schema_version=1,
            indexes={"status": _STATUSES[self._statuses[number]]},
            principal="",
            request_id=f"{self._requests:016x}",
            digest=self._random.randbytes(16),
            time_us=1_700_000_000_000_000 + self._requests,
        )

    def fill(self) -> None:
        """Every key once, in random order, projected and checkpointed."""
        order = list(range(self.keys))
        self._random.shuffle(order)
        for start in range(0, self.keys, _FILL_ROWS):
            self.store.commit([self.row(number) for number in order[start : start + _FILL_ROWS]])
        self.settle()

    def batches(self, count: int, rows: int) -> Iterator[list[JournalRow]]:
        """Commits of random keys."""
        for _ in range(count):
            yield [self.row(self._random.randrange(self.keys)) for _ in range(rows)]

    def settle(self) -> None:
        """Bring the projections up to date and the WAL into the file."""
        while self.store.project(_PROJECT_ROWS):
            pass
        self.store.checkpoint()

    def round(self, commits: int, rows: int) -> tuple[float, list[float]]:
        """Rows per second of so many commits with their projections, and the latency of each commit in µs."""
        prepared = list(self.batches(commits, rows))
        latencies_us: list[float] = []
        began = time.perf_counter()
        for batch in prepared:
            before = time.perf_counter()
            self.store.commit(batch)
            latencies_us.append((time.perf_counter() - before) * 1e6)
        self.settle()
        return commits * rows / (time.perf_counter() - began), latencies_us


def bare_fsync_us(directory: Path, times: int) -> list[float]:
    """Microseconds of an append of as many bytes as a commit of one row writes, with its fsync."""
    found: list[float] = []
    data = os.urandom(_APPENDED_BYTES)
    with (directory / "bare").open("wb", buffering=0) as file:
        for _ in range(times):
            before = time.perf_counter()
            file.write(data)
            os.fsync(file.fileno())
            found.append((time.perf_counter() - before) * 1e6)
    return found


def _read_us(load: Load, times: int) -> float:
    keys = [f"agent-{random.randrange(load.keys):08d}" for _ in range(times)]  # noqa: S311  # which keys is no secret
    places = [(slot_of(_CATEGORY, key, _SLOTS), key) for key in keys]
    before = time.perf_counter()
    for place in places:
        load.store.load([place])
    return (time.perf_counter() - before) / times * 1e6


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)

    return {"p50": round(statistics.median(ordered), 1), "p95": at(0.95), "p99": at(0.99)}


def measure(directory: Path, *, keys: int, rounds: int, commits: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures of one run."""
    loads = {"small": Load(directory / "small", _SMALL_KEYS, 1), "large": Load(directory / "large", keys, 2)}
    filled_s: dict[str, float] = {}
    for name, load in loads.items():
        say(f"filling {load.keys} keys")
        began = time.perf_counter()
        load.fill()
        filled_s[name] = round(time.perf_counter() - began, 2)
    for load in loads.values():
        load.round(commits // 4, _ROWS_A_COMMIT)  # warm-up
    rates: dict[str, list[float]] = {name: [] for name in loads}
    latencies: dict[str, list[float]] = {name: [] for name in loads}
    alone: list[float] = []
    bare: list[float] = []
    for number in range(rounds):
        for name, load in loads.items():
            rate, latencies_us = load.round(commits, _ROWS_A_COMMIT)
            rates[name].append(round(rate, 1))
            latencies[name] += latencies_us
            say(f"round {number + 1}/{rounds} {load.keys} keys: {rate:,.0f} rows/s")
        bare += bare_fsync_us(directory, 200)
        alone += loads["large"].round(200, 1)[1]
    result = {
        "rows_a_commit": _ROWS_A_COMMIT,
        "body_bytes": _BODY_BYTES,
        "rows_per_s": {
            name: {"keys": loads[name].keys, "median": statistics.median(values), "rounds": values}
            for name, values in rates.items()
        },
        "ratio_large_to_small": round(statistics.median(rates["large"]) / statistics.median(rates["small"]), 3),
        "goal": GOAL,
        "commit_64_us": {name: _spread(values) for name, values in latencies.items()},
        "commit_1_us": _spread(alone),
        "bare_fsync_us": _spread(bare),
        "ratio_commit_1_to_bare_fsync": round(statistics.median(alone) / statistics.median(bare), 3),
        "load_us": {name: round(_read_us(load, 2000), 1) for name, load in loads.items()},
        "fill_s": filled_s,
        "size_bytes": {name: load.store.status().size_bytes for name, load in loads.items()},
    }
    result["open_s"] = {name: _reopen_s(load) for name, load in loads.items()}
    return result


def _reopen_s(load: Load) -> float:
    load.store.close()
    began = time.perf_counter()
    load.store.open()
    opened_s = round(time.perf_counter() - began, 4)
    load.store.close()
    return opened_s


def main(arguments: list[str] | None = None) -> int:
    """Run, print the ratios, write the JSON file; 0 when the goal is met, 1 when it falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys of the large store")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each store")
    parser.add_argument("--commits", type=int, default=500, help="commits of 64 rows in a round")
    parser.add_argument("--directory", type=Path, help="where to make the files: the disk that is measured")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lightning-state-", dir=options.directory) as directory:
        figures = measure(
            Path(directory),
            keys=options.keys,
            rounds=options.rounds,
            commits=options.commits,
            say=lambda text: print(text, file=sys.stderr),  # noqa: T201  # a program's progress
        )
    figures["machine"] = {
        "cpus": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "apsw": apsw.apsw_version(),
    }
    text = json.dumps(figures, indent=2) + "\n"
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text, encoding="utf-8")
    ratio = figures["ratio_large_to_small"]
    verdict = "met" if ratio >= GOAL else "FALLS SHORT"
    print(text)  # noqa: T201  # a program's output
    print(  # noqa: T201  # a program's output
        f"rows/s with {options.keys} keys / with {_SMALL_KEYS}: {ratio} (goal ≥ {GOAL}: {verdict});"
        f" commit of one row / bare fsync: {figures['ratio_commit_1_to_bare_fsync']}"
    )
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
