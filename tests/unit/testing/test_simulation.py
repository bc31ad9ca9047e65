"""L0: the pure core under simulated faults keeps C1, C2, C3, C5 and C9; and known mistakes do not pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest

from lightning_state.actors.core import change, replies, scans
from lightning_state.actors.core.effects import Effect
from lightning_state.actors.core.hot import HotEntries
from lightning_state.actors.core.messages import Get, Refused, Reply, Write
from lightning_state.actors.core.rows import Entry, SlotHead
from lightning_state.actors.core.session import Failed, Operation, Session
from lightning_state.actors.core.sessions import Identity, Sessions
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.errors import LightningStateError, StateNotFoundError
from lightning_state.actors.testing.campaign import judge, run_campaign
from lightning_state.actors.testing.driver import UNAVAILABLE
from lightning_state.actors.testing.faults import CALM
from lightning_state.actors.testing.simulation import main, run
from lightning_state.actors.testing.store import SimulatedStore

SEEDS = 1_000
OPERATIONS = 400


@pytest.mark.timeout(300)
def test_a_thousand_seeds_of_400_operations_keep_the_contract() -> None:
    campaign = run_campaign(range(SEEDS), OPERATIONS, processes=2)
    assert campaign.failures == {}
    assert campaign.runs == SEEDS
    figures = campaign.figures
    # A weak run is void: each fault must have taken effect, and writes must have succeeded all the same.
    assert figures["calls"] >= SEEDS * OPERATIONS
    assert figures["acknowledged"] >= SEEDS * 60
    for fault in ("lost", "duplicated", "cut", "cancelled", "commits refused", "crashes", "zombies", "fenced"):
        assert figures[fault] >= SEEDS // 4, fault
    for fault in ("commits unknown", "recoveries", "repeated by caller", "resolves"):
        assert figures[fault] >= SEEDS // 2, fault


def test_one_seed_is_one_run() -> None:
    first, second = run(7, 200), run(7, 200)
    assert (first.history, first.rows, first.figures) == (second.history, second.rows, second.figures)
    assert run(8, 200).history != first.history


def test_without_faults_every_call_is_answered() -> None:
    report = run(1, 300, CALM)
    assert report.violations == []
    assert {call.outcome.value for call in report.history} <= {"ok", "refused"}
    assert set(report.figures) <= {"calls", "acknowledged", "commits"}


def test_a_seed_is_replayed_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--ops", "50"]) == 0
    printed = capsys.readouterr().out
    module = "lightning_state.actors.testing.simulation"
    again = subprocess.run(
        [sys.executable, "-m", module, "--seed", "3", "--ops", "50"], check=True, capture_output=True, text=True
    )
    assert again.stdout == printed
    assert "violations=0" in printed


def test_a_failing_replay_prints_history_journal_and_violations(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two_owners_without_epoch_check(monkeypatch)
    monkeypatch.setattr(SimulatedStore, "append", lambda *_: None)
    assert main(["--seed", "3", "--ops", "50"]) == 1
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("history:", "journal:", "violations:", "acknowledged but not stored"))


# -- L7: known mistakes as patches of the core; each must be caught within so many seeds ---


def acknowledged_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    begin = Shard._begin_commit

    def eager(self: Shard, now_us: int) -> None:
        begin(self, now_us)
        for operation, row in zip(self._committing.operations, self._committing.rows, strict=True):
            for waiter in operation.waiters:
                self.respond(waiter.call, waiter.index, replies.result(operation, row))
            operation.waiters.clear()

    patch.setattr(Shard, "_begin_commit", eager)


def expected_version_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def careless(write: Write, live: Entry | None, _: object) -> None:
        if live is None and write.op != "set":
            raise StateNotFoundError

    patch.setattr(change, "_check_version", careless)


def delete_forgets_its_tombstone(patch: pytest.MonkeyPatch) -> None:
    put, load = HotEntries.put, SimulatedStore.load

    def forgetful_put(self: HotEntries, slot: int, entry: Entry) -> None:
        put(self, slot, entry)
        if entry.body is None and entry.version:
            self.evict(slot, entry.key)

    def forgetful_load(self: SimulatedStore, slot: int, key: str) -> Entry | None:
        entry = load(self, slot, key)
        return entry if entry is not None and entry.body is not None else None

    patch.setattr(HotEntries, "put", forgetful_put)
    patch.setattr(SimulatedStore, "load", forgetful_load)


def retry_applies_twice(patch: pytest.MonkeyPatch) -> None:
    looked_up = Shard.looked_up
    patch.setattr(Shard, "looked_up", lambda self, ticket, _applied, now_us: looked_up(self, ticket, None, now_us))


def load_overwrites_a_newer_commit(patch: pytest.MonkeyPatch) -> None:
    def naive(self: Shard, call: int, index: int, request: Get) -> None:
        slot = self._owned(request.slot)
        entry = self.hot.get(request.slot, request.key)
        if entry is not None:
            self.respond(call, index, replies.found(request.slot, slot, entry))
        else:
            self._load(request.slot, request.key).reads.append((call, index))

    patch.setattr(Shard, "_read", naive)


def two_owners_without_epoch_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedStore, "check_epochs", lambda _self, _rows: None)


def unknown_commit_is_treated_as_failed(patch: pytest.MonkeyPatch) -> None:
    def optimistic(self: Shard, ticket: int) -> list[Effect]:
        return self.commit_refused(ticket, UNAVAILABLE, 0)

    patch.setattr(Shard, "commit_unknown", optimistic)


def version_restarts_after_recovery(patch: pytest.MonkeyPatch) -> None:
    loaded = Shard.loaded

    def forgetful(self: Shard, ticket: int, entry: Entry | None, now_us: int) -> list[Effect]:
        first = None if entry is None else msgspec.structs.replace(entry, version=1)
        return loaded(self, ticket, first, now_us)

    patch.setattr(Shard, "loaded", forgetful)


def _adopting(patch: pytest.MonkeyPatch, **changes: int) -> None:
    adopt = Shard.adopt

    def forgetful(self: Shard, heads: list[SlotHead]) -> None:
        adopt(self, [msgspec.structs.replace(head, **changes) for head in heads])

    patch.setattr(Shard, "adopt", forgetful)


def revision_restarts_after_recovery(patch: pytest.MonkeyPatch) -> None:
    _adopting(patch, revision=0)


def version_is_reused_after_tombstones_are_dropped(patch: pytest.MonkeyPatch) -> None:
    _adopting(patch, floor=0)


def lost_reply_is_treated_as_failed(patch: pytest.MonkeyPatch) -> None:
    def certain(_self: Session, _operation: Operation, error: LightningStateError) -> Failed:
        return Failed(error)

    patch.setattr(Session, "_given_up", certain)


def refusals_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    remember = Sessions.remember

    def forgetful(self: Sessions, name: str, seq: int, identity: Identity, reply: Reply) -> None:
        if not isinstance(reply, Refused):
            remember(self, name, seq, identity, reply)

    patch.setattr(Sessions, "remember", forgetful)


def list_shows_a_commit_before_its_invalidation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scans, "is_changing", lambda _category_id, _rows: False)


MISTAKES: dict[Callable[[pytest.MonkeyPatch], None], int] = {
    acknowledged_before_the_commit: 1,
    expected_version_is_ignored: 1,
    delete_forgets_its_tombstone: 1,
    retry_applies_twice: 20,
    load_overwrites_a_newer_commit: 5,
    two_owners_without_epoch_check: 20,
    unknown_commit_is_treated_as_failed: 20,
    version_restarts_after_recovery: 1,
    revision_restarts_after_recovery: 20,
    version_is_reused_after_tombstones_are_dropped: 20,
    lost_reply_is_treated_as_failed: 20,
    refusals_are_forgotten: 100,
    list_shows_a_commit_before_its_invalidation: 5,
}
"""Mistake → seeds within which it must be caught."""


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_known_mistake_is_caught(
    mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(monkeypatch)
    assert any(judge(seed, OPERATIONS)[1] for seed in range(MISTAKES[mistake]))
