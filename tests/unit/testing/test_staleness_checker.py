"""Staleness: the age of cached reads is measured, and reads that break C8 are named, each by one rule alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.testing.rules import Flaw, assert_named, assert_silent_without_its_rule

from lightning_state.actors.testing.checkers import staleness as checker
from lightning_state.actors.testing.checkers.staleness import check_staleness, measure_staleness
from lightning_state.actors.testing.history import NEVER, Call, Kind, Outcome


def call(client: str, kind: Kind, invoked: int, returned: int, version: int) -> Call:
    return Call(
        client=client,
        kind=kind,
        key="k",
        invoked=invoked,
        returned=returned,
        outcome=Outcome.OK,
        version=version,
        seen=("m", "s") if version and kind is not Kind.DELETE else None,
        cached=kind is Kind.READ,
    )


def read(client: str, invoked: int, version: int) -> Call:
    return call(client, Kind.READ, invoked, invoked + 1, version)


def write(client: str, invoked: int, returned: int, version: int) -> Call:
    return call(client, Kind.SET, invoked, returned, version)


def unknown(write: Call) -> Call:
    return replace(write, outcome=Outcome.UNKNOWN, returned=NEVER, version=0, seen=None)


def delete(invoked: int, returned: int, version: int) -> Call:
    return call("w", Kind.DELETE, invoked, returned, version)


WRITES = [write("w", 0, 10, 1), write("w", 20, 30, 2), write("w", 40, 50, 3)]
"""Versions 1 to 3, overwritten at 30 and at 50. In these tests a tick is a second."""

LEGAL: dict[str, list[Call]] = {
    "nothing": [],
    "fresh": [*WRITES, read("a", 31, 2), read("a", 51, 3)],
    "stale within the bound": [*WRITES, read("a", 33, 1), read("a", 53, 2)],
    "absent before the first write": [read("a", 1, 0), *WRITES],
    "absent after a delete": [*WRITES, delete(60, 70, 4), read("a", 71, 0), read("w", 72, 0)],
    "absent after a delete that may have happened": [*WRITES, unknown(delete(60, 70, 4)), read("a", 99, 0)],
    "the tombstone itself": [*WRITES, delete(60, 70, 4), read("a", 71, 4)],
    "another client may see less": [*WRITES, read("a", 51, 3), read("b", 52, 2)],
    "an unknown write overwrites nothing for sure": [*WRITES, unknown(write("a", 51, 52, 4)), read("a", 99, 3)],
    "own reads that overlap": [*WRITES, call("a", Kind.READ, 51, 60, 3), call("a", Kind.READ, 52, 53, 2)],
    "what is not cached has no age": [*WRITES, replace(read("a", 99, 1), cached=False)],
}


def flaw(history: list[Call], says: str, rule: object) -> Flaw:
    return Flaw(lambda: check_staleness(history, unit_s=1.0), says, rule)  # pyright: ignore[reportArgumentType]


ILLEGAL = {
    "older than the bound": flaw([*WRITES, read("a", 34, 1)], "older than 3 ticks by 1", checker._too_old),
    "absent too long": flaw([*WRITES, read("a", 99, 0)], "older than", checker._too_old),
    "a tombstone too long": flaw(
        [*WRITES, delete(60, 70, 4), write("w", 80, 90, 5), read("a", 99, 4)], "older than", checker._too_old
    ),
    "back to an older version": flaw([*WRITES, read("a", 50, 3), read("a", 52, 2)], "went back", checker._goes_back),
    "back to nothing": flaw(
        [write("w", 0, 10, 1), read("a", 11, 1), read("a", 13, 0)], "went back", checker._goes_back
    ),
    "own write not seen": flaw([*WRITES, read("w", 52, 2)], "own write", checker._own_write_not_seen),
    "own delete not seen": flaw(
        [*WRITES, delete(60, 70, 4), read("w", 71, 3)], "own write", checker._own_write_not_seen
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_histories_pass(name: str) -> None:
    assert check_staleness(LEGAL[name], unit_s=1.0) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_each_flaw_is_named(name: str) -> None:
    assert_named(ILLEGAL[name])


@pytest.mark.parametrize("name", ILLEGAL)
def test_without_its_rule_a_flaw_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_silent_without_its_rule(ILLEGAL[name], monkeypatch, checker)


def test_age_counts_from_the_first_newer_acknowledgement_to_the_beginning_of_the_read() -> None:
    old = read("a", 57, 1)
    found = measure_staleness([*WRITES, read("b", 51, 3), old, read("c", 32, 1)], unit_s=0.5)
    assert (found.reads, found.stale, found.largest_age_s, found.worst) == (3, 2, 13.5, old)


def test_versions_acknowledged_out_of_order_count_from_the_earliest() -> None:
    found = measure_staleness([write("w", 0, 90, 2), write("v", 1, 10, 3), read("a", 20, 1)], unit_s=1.0)
    assert found.largest_age_s == 10.0


def test_a_history_without_cached_reads_has_no_age() -> None:
    found = measure_staleness(WRITES)
    assert (found.reads, found.stale, found.largest_age_s, found.worst) == (0, 0, 0.0, None)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 80))
def test_caches_that_are_told_in_time_pass(seed: int, count: int) -> None:
    """Three clients, each with a cache that hears of a write up to three ticks after it."""
    random = Random(seed)
    now, version = 0, 0
    heard = dict.fromkeys("abc", 0)
    pending: list[tuple[int, str, int]] = []
    history: list[Call] = []
    for _ in range(count):
        now += random.randint(1, 4)
        for item in [item for item in pending if item[0] <= now]:
            heard[item[1]] = max(heard[item[1]], item[2])
            pending.remove(item)
        client = random.choice("abc")
        if random.random() < 0.5:
            history.append(call(client, Kind.READ, now, now, heard[client]))
            continue
        version += 1
        history.append(write(client, now, now, version))
        heard[client] = version
        pending += [(now + random.randint(0, 3), other, version) for other in "abc" if other != client]
    assert check_staleness(history, unit_s=1.0) == []
