"""Every checker passes legal histories and names the flaw of each illegal one."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from lightning_state.actors.core.effects import Invalidate, Notify, Respond
from lightning_state.actors.core.messages import Absent, Page, Value
from lightning_state.actors.core.rows import Entry, JournalRow, Op, SlotHead
from lightning_state.actors.testing.checkers.acknowledged import check_acknowledged
from lightning_state.actors.testing.checkers.journal import check_journal
from lightning_state.actors.testing.checkers.linearizability import State, check_linearizability, step
from lightning_state.actors.testing.checkers.output_gate import OutputGate
from lightning_state.actors.testing.checkers.version_order import check_version_order
from lightning_state.actors.testing.history import NEVER, Call, Kind, Outcome, Seen, seen_in, settle


def read(invoked: int, returned: int, version: int, seen: Seen | None) -> Call:
    return Call(
        client="r",
        kind=Kind.READ,
        key="k",
        invoked=invoked,
        returned=returned,
        outcome=Outcome.OK,
        version=version,
        seen=seen,
    )


def put(invoked: int, returned: int, version: int, mark: str, expected: int = -1) -> Call:
    return Call(
        client="w",
        kind=Kind.SET,
        key="k",
        invoked=invoked,
        returned=returned,
        request_id=mark,
        expected=expected,
        mark=mark,
        status="s",
        outcome=Outcome.OK,
        version=version,
        seen=(mark, "s"),
    )


def delete(invoked: int, returned: int, version: int) -> Call:
    return Call(
        client="w",
        kind=Kind.DELETE,
        key="k",
        invoked=invoked,
        returned=returned,
        request_id=f"d{version}",
        outcome=Outcome.OK,
        version=version,
    )


def unknown(call: Call) -> Call:
    return replace(call, outcome=Outcome.UNKNOWN, returned=NEVER, version=0, seen=None)


def conflict(invoked: int, returned: int, expected: int, observed: int) -> Call:
    refused = put(invoked, returned, 0, f"c{invoked}", expected)
    return replace(refused, outcome=Outcome.REFUSED, seen=None, code="version_conflict", observed=observed)


LEGAL: dict[str, list[Call]] = {
    "nothing": [],
    "one after the other": [
        put(1, 2, 1, "a", 0),
        read(3, 4, 1, ("a", "s")),
        put(5, 6, 2, "b", 1),
        read(7, 8, 2, ("b", "s")),
    ],
    "a concurrent read may see either": [
        put(1, 2, 1, "a"),
        put(3, 8, 2, "b"),
        read(4, 5, 1, ("a", "s")),
        read(6, 7, 2, ("b", "s")),
    ],
    "absent, deleted, created again": [
        read(1, 2, 0, None),
        put(3, 4, 1, "a", 0),
        delete(5, 6, 2),
        read(7, 8, 2, None),
        read(9, 10, 0, None),
        put(11, 12, 5, "b", 0),
    ],
    "an unknown write may have happened": [put(1, 2, 1, "a"), unknown(put(3, 4, 2, "b")), read(5, 6, 2, ("b", "s"))],
    "an unknown write may happen late": [
        put(1, 2, 1, "a"),
        unknown(put(3, 4, 2, "b")),
        read(5, 6, 1, ("a", "s")),
        read(7, 8, 2, ("b", "s")),
    ],
    "an unknown write may never happen": [put(1, 2, 1, "a"), unknown(put(3, 4, 2, "b")), read(5, 6, 1, ("a", "s"))],
    "an unknown delete may have happened": [put(1, 2, 1, "a"), unknown(delete(3, 4, 2)), read(5, 6, 2, None)],
    "a conflict is a read": [put(1, 2, 1, "a"), conflict(3, 4, 0, 1), conflict(1, 9, 7, 0)],
    "what says nothing is left out": [
        replace(conflict(1, 2, 0, 0), observed=None, code="overloaded"),
        replace(read(1, 2, 0, None), outcome=Outcome.UNKNOWN, returned=NEVER),
        replace(read(1, 2, 5, None), kind=Kind.RESOLVE),
    ],
    "parts change apart": [
        put(1, 2, 1, "a"),
        replace(put(3, 4, 2, "b"), kind=Kind.PATCH, status=""),
        replace(put(5, 6, 3, "x"), kind=Kind.STATUS, mark="", status="t", seen=("b", "t")),
    ],
}

ILLEGAL_ORDER: dict[str, tuple[list[Call], str]] = {
    "version written twice": ([put(1, 2, 1, "a"), put(3, 4, 1, "b")], "written twice"),
    "stale read": ([put(1, 2, 1, "a"), put(3, 4, 2, "b"), read(5, 6, 1, ("a", "s"))], "back in time"),
    "read after a read goes back": (
        [put(1, 2, 1, "a"), put(3, 20, 2, "b"), read(4, 5, 2, ("b", "s")), read(6, 7, 1, ("a", "s"))],
        "back in time",
    ),
    "later write has an earlier version": ([put(1, 2, 5, "a"), put(3, 4, 4, "b")], "back in time"),
    "another value under the version": ([put(1, 2, 1, "a"), read(3, 4, 1, ("z", "s"))], "something else"),
    "value nobody wrote": ([put(1, 2, 1, "a"), read(3, 4, 2, ("z", "s"))], "nobody wrote"),
    "value of a later write": ([read(1, 2, 1, ("a", "s")), put(3, 4, 1, "a")], "future"),
    "value of a later unknown write": ([read(1, 2, 1, ("a", "s")), unknown(put(3, 4, 1, "a"))], "nobody wrote"),
    "absence nobody caused": ([put(1, 2, 1, "a"), unknown(put(3, 4, 2, "b")), read(5, 6, 2, None)], "nobody wrote"),
}

ILLEGAL_ONLY_FOR_THE_SEARCH: dict[str, list[Call]] = {
    "lost update": [put(1, 2, 1, "a", 0), put(3, 9, 2, "b", 1), put(4, 8, 3, "c", 1)],
    "absent without a tombstone, but never deleted": [put(1, 2, 1, "a"), read(3, 4, 0, None)],
    "conflict with what is expected": [put(1, 2, 1, "a"), conflict(3, 4, 1, 0)],
    "version skipped": [put(1, 2, 1, "a"), put(3, 4, 3, "b")],
    "patch of nothing": [replace(put(1, 2, 1, "b"), kind=Kind.PATCH)],
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_histories_pass(name: str) -> None:
    assert check_version_order(LEGAL[name]) == []
    assert check_linearizability(LEGAL[name]) == []


@pytest.mark.parametrize("name", ILLEGAL_ORDER)
def test_version_order_names_the_flaw(name: str) -> None:
    history, flaw = ILLEGAL_ORDER[name]
    assert any(flaw in violation for violation in check_version_order(history))
    assert check_linearizability(history)


@pytest.mark.parametrize("name", ILLEGAL_ONLY_FOR_THE_SEARCH)
def test_search_finds_what_version_order_does_not_look_for(name: str) -> None:
    (violation,) = check_linearizability(ILLEGAL_ONLY_FOR_THE_SEARCH[name])
    assert "no order explains" in violation


def test_search_that_exceeds_its_budget_has_failed() -> None:
    history = [unknown(put(n, n, 0, f"m{n}")) for n in range(12)] + [read(20, 21, 3, ("none", "s"))]
    (violation,) = check_linearizability(history, budget=50)
    assert "undecided" in violation


@pytest.mark.parametrize("seed", range(20))
def test_histories_made_by_a_register_pass_and_a_changed_reply_does_not(seed: int) -> None:
    random = Random(seed)
    history = _register_history(random, calls=120)
    assert check_linearizability(history) == []
    assert check_version_order(history) == []
    position = random.choice([n for n, call in enumerate(history) if call.kind is Kind.READ and call.seen])
    history[position] = replace(history[position], version=history[position].version + 1)
    assert check_linearizability(history) or check_version_order(history)


def _register_history(random: Random, calls: int) -> list[Call]:
    """Calls that overlap by up to eight, each taking effect at a moment between its invocation and its return."""
    moments = sorted((random.random() * calls, n) for n in range(calls))
    state: State = (0, None)
    history: list[Call] = []
    for moment, number in moments:
        invoked, returned = int((moment - random.random() * 4) * 1e6), int((moment + random.random() * 4) * 1e6)
        call = read(invoked, returned, state[0], state[1])
        if random.random() < 0.5:
            call = put(invoked, returned, state[0] + 1, f"m{number}")
            if random.random() < 0.1:
                call = unknown(call)
        state = step(call, state) or state
        history.append(call)
    random.shuffle(history)
    return history


# -- the journal ---


def row(revision: int, version: int, key: str = "k", **changes: object) -> JournalRow:
    values: dict[str, object] = {
        "slot": 0,
        "revision": revision,
        "epoch": 1,
        "key": key,
        "version": version,
        "op": Op.SET,
        "body": b'{"agentType":"a","status":"s"}',
        "schema_version": 1,
        "indexes": {},
        "principal": "p",
        "request_id": f"{key}{version}",
        "digest": b"",
        "time_us": 5,
    }
    return JournalRow(**{**values, **changes})  # pyright: ignore[reportArgumentType]  # the fields of the struct by name


def test_legal_journal_passes() -> None:
    rows = [
        row(1, 1),
        row(2, 2, op=Op.DELETE, body=None),
        row(2, 0, op=Op.BAR, body=None),
        row(3, 7, epoch=2),
        row(1, 1, slot=1),
        row(4, 3, "other", epoch=2),
    ]
    assert check_journal(rows) == []


@pytest.mark.parametrize(
    ("rows", "flaw"),
    [
        ([row(1, 1), row(3, 2)], "revision 2 expected"),
        ([row(1, 1), row(1, 2)], "revision 2 expected"),
        ([row(1, 1), row(2, 0, op=Op.BAR)], "revision 1 expected"),
        ([row(1, 1), row(2, 3)], "does not follow"),
        ([row(1, 2), row(2, 2)], "does not follow"),
        ([row(1, 2, body=None), row(2, 1)], "does not follow"),
        ([row(1, 1), row(2, 2, time_us=4)], "does not follow"),
        ([row(1, 1, epoch=2), row(2, 2, epoch=1)], "epoch"),
    ],
)
def test_illegal_journal_is_named(rows: list[JournalRow], flaw: str) -> None:
    assert any(flaw in violation for violation in check_journal(rows))


# -- what was told against what is stored ---


def test_told_and_stored_agree() -> None:
    rows = [row(1, 1, request_id="a"), row(2, 2, request_id="b"), row(2, 0, op=Op.BAR, request_id="x")]
    resolved = replace(read(1, 2, 2, None), kind=Kind.RESOLVE, request_id="b")
    barred = replace(read(1, 2, 0, None), kind=Kind.RESOLVE, request_id="x")
    history = [
        put(1, 2, 1, "a"),
        unknown(put(3, 4, 2, "b")),
        unknown(put(3, 4, 2, "c")),
        resolved,
        barred,
        conflict(5, 6, 1, 2),
    ]
    assert check_acknowledged(history, rows) == []


@pytest.mark.parametrize(
    ("history", "rows", "flaw"),
    [
        ([put(1, 2, 1, "a")], [], "not stored"),
        ([put(1, 2, 1, "a")], [row(1, 2, request_id="a")], "not stored"),
        ([put(1, 2, 1, "a")], [row(1, 1, request_id="a"), row(2, 2, request_id="a")], "applied twice"),
        ([replace(conflict(1, 2, 0, 1), request_id="a")], [row(1, 1, request_id="a")], "refused but stored"),
        (
            [unknown(put(1, 2, 1, "a")), replace(read(3, 4, 0, None), kind=Kind.RESOLVE, request_id="a")],
            [row(1, 1, request_id="a")],
            "refused but stored",
        ),
        ([replace(read(3, 4, 1, None), kind=Kind.RESOLVE, request_id="a")], [], "not stored"),
        ([], [row(1, 1, request_id="a")], "nobody asked"),
    ],
)
def test_told_and_stored_differ(history: list[Call], rows: list[JournalRow], flaw: str) -> None:
    assert any(flaw in violation for violation in check_acknowledged(history, rows))


def test_settling_finds_unknown_writes_in_the_journal() -> None:
    known, happened, did_not = put(1, 2, 1, "a"), unknown(put(3, 4, 2, "b")), unknown(put(5, 6, 3, "c"))
    settled = settle([known, happened, did_not], [row(2, 2, request_id="b", body=b'{"agentType":"b","status":"s"}')])
    assert settled == [known, replace(happened, outcome=Outcome.OK, version=2, seen=("b", "s"))]
    assert seen_in(None) is None


# -- the output gate ---


class Gate:
    """A gate of one slot at revision 5, and what it found."""

    def __init__(self) -> None:
        self.durable = True
        self.violations: list[str] = []
        self.gate = OutputGate("shard", lambda *_: self.durable, self.violations)
        self.gate.begin([SlotHead(0, 1, 5, 0)])

    def push(self, revision: int) -> None:
        self.gate.invalidate(Invalidate(0, "k", 1, revision, revision))
        self.gate.notify(Notify(row(revision, revision)))


def test_gate_lets_commits_out_in_order() -> None:
    gate = Gate()
    gate.push(6)
    gate.push(7)
    for reply in (Value(0, 1, 7, 7, 1, b""), Absent(0, 1, 7, 0), Page([Entry("k", 7, 7, b"", 1, 1)], more=False)):
        gate.gate.respond(Respond(1, 0, reply))
    assert gate.violations == []


@pytest.mark.parametrize(
    "reply", [Value(0, 1, 6, 6, 1, b""), Absent(0, 1, 6, 0), Page([Entry("k", 6, 6, b"", 1, 1)], more=False)]
)
def test_gate_stops_a_reply_before_its_invalidation(reply: Value | Absent | Page) -> None:
    gate = Gate()
    gate.gate.respond(Respond(1, 0, reply))
    assert "overtake" in gate.violations[0]


@pytest.mark.parametrize("revision", [5, 7])
def test_gate_stops_gaps_and_repetitions(revision: int) -> None:
    gate = Gate()
    gate.push(revision)
    assert any("invalidation out of order" in violation for violation in gate.violations)
    assert any("event out of order" in violation for violation in gate.violations)


def test_gate_stops_an_event_before_its_invalidation_or_its_commit() -> None:
    gate = Gate()
    gate.durable = False
    gate.gate.notify(Notify(row(6, 6)))
    assert ["out of order" in gate.violations[0], "before its commit" in gate.violations[1]] == [True, True]
