"""One seed, one run: pure shards, client sessions, the directory's decisions, a simulated network and store, faults.

`python -m lightning_state.actors.testing.simulation --seed N --ops 400` replays a run and prints its history when a
checker objects.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.directory import Directory, Identity
from lightning_state.actors.core.rows import JournalRow
from lightning_state.actors.core.service_map import Claim, Granted, Register, ServiceMap
from lightning_state.actors.core.slots import slot_of
from lightning_state.actors.testing.checkers.acknowledged import check_acknowledged
from lightning_state.actors.testing.checkers.journal import check_journal
from lightning_state.actors.testing.checkers.linearizability import check_linearizability
from lightning_state.actors.testing.checkers.version_order import check_version_order
from lightning_state.actors.testing.client import Client
from lightning_state.actors.testing.faults import CALM, Faults
from lightning_state.actors.testing.history import Call, Outcome, seen_in, settle
from lightning_state.actors.testing.network import Network
from lightning_state.actors.testing.process import CATEGORY_ID, SLOTS, Process
from lightning_state.actors.testing.stage import Incarnation
from lightning_state.actors.testing.store import SimulatedStore, rows_of
from lightning_state.actors.testing.world import World

_CLIENTS = 4
_CALLERS = 2
_KEYS = ("a", "b", "c", "d", "e")
_STEPS_PER_OPERATION = 2_000
"""Far above what any run needs: beyond it, the run is stuck."""
_RESTART_US = 20_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did and what its checkers found."""

    seed: int
    violations: list[str]
    figures: Counter[str]
    history: list[Call]
    rows: list[JournalRow]

    def __repr__(self) -> str:
        return f"<Report seed={self.seed} violations={len(self.violations)} {dict(self.figures)}>"


class Simulation:
    """A whole service in one thread."""

    def __init__(self, seed: int, operations: int, *, shards: int = 2, faults: Faults | None = None) -> None:
        self.world = World(seed)
        self.shards = shards
        self.keys: Sequence[str] = _KEYS
        self.history: list[Call] = []
        self.violations: list[str] = []
        self.figures: Counter[str] = Counter()
        self.network = Network(self.world, faults or Faults(), self.figures)
        self.stores = [SimulatedStore() for _ in range(shards)]
        self._operations = self._remaining = operations
        self._directory = Directory(Directory.create(Identity("simulated", "s", shards, SLOTS)), {})
        self._directory.register(Register(AGENTS.name, AGENTS.import_path, AGENTS.hash, AGENTS.schema_version))
        self._processes: list[list[Process]] = [[] for _ in range(shards)]
        self._info = self.map().categories[AGENTS.name]
        for number in range(shards):
            self._launch(number)
        self._clients = [Client(self, f"c{number}") for number in range(_CLIENTS)]

    def __repr__(self) -> str:
        return f"<Simulation {self.world!r} remaining={self._remaining}>"

    def run(self) -> Report:
        """Run to the end, heal everything, read every key, judge."""
        for number, client in enumerate(self._clients):
            for caller in range(_CALLERS):
                client.begin(f"c{number}.{caller}")
        self._settle_down()
        self.network.heal(CALM)
        for key in self.keys:
            self._clients[0].read("end", key)
        self._settle_down()
        self._judge()
        return Report(self.world.seed, self.violations, self.figures, self.history, rows_of(self.stores))

    # -- what processes ask for ---

    def claim(self, number: int) -> Granted:
        """A new epoch from the directory."""
        granted, _ = self._directory.claim(Claim(number, 0, 0, "", ""))
        return granted

    def take_over(self, successor: Incarnation) -> None:
        """The store has a new owner: whoever was it before has lost its lease at this moment."""
        for process in self._processes[successor.number]:
            process.owner = False
        successor.owner = True

    def suspect(self, process: Incarnation) -> None:
        """The directory takes a running process for dead; it goes on, perhaps after a pause."""
        if process.owner and self._newest(process.number) is process:
            self.figures["zombies"] += 1
            if self.world.chance(self.network.faults.pause):
                process.pause(int(self.world.random.random() * self.network.faults.slow_us))
            self._launch(process.number)

    def restart_later(self, process: Incarnation) -> None:
        """A process has died; its successor starts soon, unless a newer one is there."""
        if self._newest(process.number) is None:
            self.world.after(int(self.world.random.random() * _RESTART_US), self._launch, process.number)

    # -- what clients ask for ---

    def map(self) -> ServiceMap:
        """The directory's current map."""
        return self._directory.map()

    def take_operation(self) -> bool:
        """Whether one more operation is to be done."""
        self._remaining -= 1
        return self._remaining >= 0

    def keys_of(self, shard: int) -> list[str]:
        """The keys whose owner is this shard."""
        return [key for key in self.keys if self._shard_of(key) == shard]

    def reach(self, shard: int, known: ServiceMap) -> Process | None:
        """Whom a client with this map is connected to: the process it knows, else the newest, if any lives."""
        epoch = known.shards[shard].epoch
        for process in self._processes[shard]:
            if process.alive and process.epoch == epoch:
                return process
        return self._newest(shard)

    # -- inside ---

    def _launch(self, number: int) -> None:
        process = Process(self, number)
        self._processes[number] = [*(p for p in self._processes[number] if p.alive), process]
        process.start()

    def _newest(self, number: int) -> Process | None:
        """The living process with the newest epoch; None when only zombies live."""
        epoch = self.map().shards[number].epoch
        return next((p for p in self._processes[number] if p.alive and p.epoch == epoch), None)

    def _shard_of(self, key: str) -> int:
        return self.map().locate(self._info, key)[1]

    def _settle_down(self) -> None:
        for _ in range(self._operations * _STEPS_PER_OPERATION):
            if not self.world.step():
                return
        self.violations.append("the run does not come to an end")

    def _judge(self) -> None:
        rows = rows_of(self.stores)
        settled = settle(self.history, rows)
        self.figures["calls"] = len(self.history)
        self.figures["acknowledged"] = sum(call.writes and call.outcome is Outcome.OK for call in self.history)
        self.violations += check_journal(rows)
        self.violations += check_acknowledged(self.history, rows)
        self.violations += check_version_order(settled)
        self.violations += check_linearizability(settled)
        self._check_end_state()

    def _check_end_state(self) -> None:
        """Two witnesses: what the last reads saw is what the stores hold."""
        for call in (call for call in self.history if call.client == "end"):
            entry = self.stores[self._shard_of(call.key)].load(slot_of(CATEGORY_ID, call.key, SLOTS), call.key)
            stored = seen_in(entry.body) if entry else None
            if call.outcome is not Outcome.OK or call.seen != stored:
                self.violations.append(f"the end state differs: {call} but stored is {entry}")


def run(seed: int, operations: int = 400, faults: Faults | None = None) -> Report:
    """One whole run."""
    return Simulation(seed, operations, faults=faults).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay one seed. Returns 1 when a checker objects, and prints the history and the journal then."""
    parser = argparse.ArgumentParser(description="Replay one simulated run.")
    parser.add_argument("--seed", type=int, required=True, help="the run's seed")
    parser.add_argument("--ops", type=int, default=400, help="operations (default: %(default)s)")
    options = parser.parse_args(arguments)
    report = run(options.seed, options.ops)
    lines = [f"{report!r}"]
    if report.violations:
        lines += ["", "history:", *(f"  {call}" for call in sorted(report.history, key=lambda call: call.invoked))]
        lines += ["", "journal:", *(f"  {row}" for row in report.rows)]
        lines += ["", "violations:", *(f"  {violation}" for violation in report.violations)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
