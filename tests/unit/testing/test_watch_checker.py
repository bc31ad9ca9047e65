"""Watches: legal ones pass, each way to break C7 is named, and by one rule alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.testing.rules import Flaw, assert_named, assert_silent_without_its_rule

from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.testing.checkers import watch as checker
from lightning_state.actors.testing.checkers.watch import check_watch
from lightning_state.actors.testing.history import Call, Kind, Outcome, seen_in
from lightning_state.actors.testing.watch_history import Bookmark, Delivery, Watch, WatchEvent, events_of


def event(revision: int, key: str, version: int, *, slot: int = 0, transaction: str = "", size: int = 0) -> WatchEvent:
    return WatchEvent(
        slot=slot, revision=revision, key=key, version=version, transaction_id=transaction, transaction_size=size
    )


A1, B1, A2 = event(1, "a", 1), event(2, "b", 1), event(3, "a", 2)
TA, TB = event(4, "a", 3, transaction="t", size=3), event(4, "b", 2, transaction="t", size=3)
TZ = event(1, "z", 1, slot=1, transaction="t", size=3)
JOURNAL = [A1, B1, A2, TA, TB, TZ]
"""Slot 0 has revisions 1 to 4, the last one a transaction's, which also wrote in slot 1."""


def each(*events: WatchEvent) -> tuple[Delivery, ...]:
    return tuple(Delivery(events=(event,)) for event in events)


def batch(*events: WatchEvent) -> Delivery:
    return Delivery(events=events)


def mark(revision: int, slot: int = 0) -> Bookmark:
    return Bookmark(slot=slot, revision=revision)


def watch(*items: Delivery | Bookmark, **changes: Any) -> Watch:
    values: dict[str, Any] = {"name": "w", "items": items, **changes}
    return Watch(**values)


def resumed(after: int, *items: Delivery | Bookmark) -> Watch:
    return watch(*items, name="again", resumed_from="w", resumed_after=after)


ALL = (*each(A1, B1, A2), batch(TA, TB), batch(TZ))

LEGAL: dict[str, list[Watch]] = {
    "nothing": [watch()],
    "everything": [watch(*ALL, caught_up=True)],
    "slots in any order between them": [watch(batch(TZ), *ALL[:4], caught_up=True)],
    "not caught up": [watch(*each(A1))],
    "a prefix": [watch(*each(A1, A2), batch(TA), prefix="a", caught_up=True)],
    "some keys": [watch(*each(B1), batch(TB), keys=frozenset("b"), caught_up=True)],
    "from a revision": [watch(*each(A2), batch(TA, TB), batch(TZ), starts={0: 2}, caught_up=True)],
    "from now": [watch(*each(A2), mark(3), batch(TA, TB), starts=None)],
    "from now, first told by a bookmark": [watch(mark(2), *each(A2), starts=None, caught_up=False)],
    "bookmarks": [watch(mark(0), *each(A1, B1), mark(2), mark(2), *each(A2), mark(3), mark(0, slot=1))],
    "bookmarks over what is not watched": [watch(*each(B1), mark(3), prefix="b")],
    "resumed where it ended": [watch(*ALL[:2]), resumed(2, *ALL[2:])],
    "resumed from an older token": [watch(*ALL), resumed(2, *ALL[2:])],
    "resumed from a bookmark": [watch(*ALL[:2], mark(2), *ALL[2:]), resumed(3, *ALL[2:])],
    "resumed twice": [
        watch(*ALL[:2]),
        resumed(1, *ALL[1:3]),
        watch(*ALL[3:], name="third", resumed_from="again", resumed_after=2, caught_up=True),
    ],
    "whole transactions": [watch(*ALL[:3], batch(TZ, TA, TB), whole_transactions=True, caught_up=True)],
}

BY_JOURNAL = checker._transaction_sizes


def flaw(says: str, rule: object, *watches: Watch, journal: Iterable[WatchEvent] = JOURNAL, **more: Any) -> Flaw:
    return Flaw(lambda: check_watch(watches, journal, **more), says, rule)  # pyright: ignore[reportArgumentType]


WRITE = Call(
    client="c", kind=Kind.SET, key="a", invoked=5, returned=6, outcome=Outcome.OK, version=9, request_id="r", mark="m"
)

ILLEGAL = {
    "invented": flaw("the journal holds None", checker._true, watch(batch(A1, event(1, "c", 7)))),
    "another version": flaw("the journal holds", checker._true, watch(*each(replace(A1, version=2)))),
    "another content": flaw("the journal holds", checker._true, watch(*each(replace(A1, mark="x")))),
    "said to be deleted": flaw("the journal holds", checker._true, watch(*each(replace(A1, deleted=True)))),
    "without its transaction's id": flaw(
        "the journal holds",
        checker._true,
        watch(*ALL[:3], batch(replace(TA, transaction_id="", transaction_size=0), TB)),
    ),
    "what it does not watch": flaw("does not watch", checker._asked_for, watch(*each(A1, B1), prefix="a")),
    "before its start": flaw("before its start", checker._asked_for, watch(*each(B1, A2), starts={0: 2})),
    "twice": flaw("delivered 2 times", checker._once, watch(*each(A1, B1), *each(B1))),
    "twice by resuming": flaw("delivered 2 times", checker._once, watch(*ALL[:2]), resumed(2, *ALL[1:])),
    "out of order": flaw("went back from revision 2", checker._ordered, watch(*each(B1, A1, A2))),
    "a gap": flaw("left out", checker._complete, watch(*each(A1, A2))),
    "a gap at the start": flaw("left out", checker._complete, watch(*each(B1))),
    "a gap at the end": flaw("left out", checker._complete, watch(*ALL[:4], caught_up=True)),
    "a gap by resuming": flaw("left out", checker._complete, watch(*ALL[:1]), resumed(1, *ALL[2:])),
    "half of a revision": flaw("left out", checker._complete, watch(*ALL[:3], batch(TA))),
    "a revision split": flaw("split a revision", checker._together, watch(*ALL[:3], *each(TA, TB))),
    "a transaction split": flaw(
        "split a transaction", checker._whole_transactions, watch(*ALL, whole_transactions=True)
    ),
    "a bookmark too early": flaw("ahead of an undelivered", checker._bookmarks, watch(*ALL[:1], mark(2), *ALL[1:])),
    "a bookmark at the end": flaw("ahead of an undelivered", checker._bookmarks, watch(*ALL[:1], mark(2))),
    "a bookmark that goes back": flaw("back from bookmark", checker._bookmarks, watch(*ALL[:2], mark(2), mark(1))),
    "an acknowledged write": flaw(
        "left out an acknowledged write",
        checker._acknowledged,
        watch(*ALL, opened=4, caught_up=True),
        acknowledged=[WRITE],
    ),
    "a wrong size": flaw(
        "a transaction of 2 changes says 3",
        BY_JOURNAL,
        watch(*ALL[:3], batch(TA, TB), caught_up=True),
        journal=JOURNAL[:5],
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_watches_pass(name: str) -> None:
    assert check_watch(LEGAL[name], JOURNAL) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_each_flaw_is_named(name: str) -> None:
    assert_named(ILLEGAL[name])


@pytest.mark.parametrize("name", ILLEGAL)
def test_without_its_rule_a_flaw_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_silent_without_its_rule(ILLEGAL[name], monkeypatch, checker, "_RULES", "_JOURNAL_RULES")


def test_writes_that_the_watch_need_not_have_heard_of_are_not_missed() -> None:
    others = [
        replace(WRITE, invoked=3),
        replace(WRITE, outcome=Outcome.UNKNOWN),
        replace(WRITE, kind=Kind.READ),
        replace(WRITE, key="b"),
    ]
    quiet = watch(*each(A1, A2), batch(TA), prefix="a", opened=4, caught_up=True)
    assert check_watch([quiet], JOURNAL, others) == []
    assert check_watch([replace(quiet, caught_up=False)], JOURNAL, [WRITE]) == []


@pytest.mark.parametrize("before", ["nobody", "again"])
def test_a_resumed_watch_needs_the_one_before(before: str) -> None:
    with pytest.raises(ValueError, match="record that watch too"):
        check_watch([watch(name="again", resumed_from=before)], JOURNAL)


def test_a_journal_says_what_there_is_to_deliver() -> None:
    rows = [
        JournalRow(0, 1, 1, "a", 1, Op.SET, b'{"agentType":"m"}', 1, {}, "p", "r1", b"", 5),
        JournalRow(0, 1, 1, "x", 0, Op.BAR, None, 1, {}, "p", "r2", b"", 5),
        JournalRow(0, 2, 1, "a", 2, Op.DELETE, None, 1, {}, "p", "r3", b"", 5),
    ]
    assert events_of(rows, {(0, 2): ("t", 1)}, lambda row: (seen_in(row.body) or ("gone",))[0]) == [
        replace(A1, mark="m"),
        replace(event(2, "a", 2, transaction="t", size=1), deleted=True, mark="gone"),
    ]
    assert events_of(rows[:1]) == [A1]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60))
def test_watches_that_read_the_journal_pass(seed: int, count: int) -> None:
    """A journal of transactions and single writes, and a watch that is cut and resumed from some token it had."""
    random = Random(seed)
    journal, revisions = _journal(random, count)
    prefix = random.choice(["", "a"])
    name, starts, base = "w0", {slot: random.randint(0, last) for slot, last in revisions.items()}, 0
    begun = dict(starts)
    watches: list[Watch] = []
    done = False
    while not done:
        items, positions = _deliver(random, journal, dict(starts), prefix)
        done = random.random() < 0.4
        kept = len(items) if done else random.randint(0, len(items))
        resumes: dict[str, Any] = {"resumed_from": watches[-1].name, "resumed_after": base} if watches else {}
        watches.append(
            Watch(name=name, items=tuple(items[:kept]), prefix=prefix, starts=begun, caught_up=done, **resumes)
        )
        base = random.randint(0, kept)
        starts, name = positions[base], f"w{len(watches)}"
    assert check_watch(watches, journal) == []


def _journal(random: Random, count: int) -> tuple[list[WatchEvent], dict[int, int]]:
    revisions = dict.fromkeys(range(3), 0)
    versions: dict[str, int] = {}
    journal: list[WatchEvent] = []
    for number in range(count):
        keys = random.sample(["a0", "b0", "a1", "b1", "a2", "b2"], random.choice([1, 1, 1, 2, 4]))
        for slot in {int(key[1]) for key in keys}:
            revisions[slot] += 1
        for key in sorted(keys, key=lambda key: key[1]):
            versions[key] = versions.get(key, 0) + 1
            named: dict[str, Any] = {"transaction": f"t{number}", "size": len(keys)} if len(keys) > 1 else {}
            journal.append(event(revisions[int(key[1])], key, versions[key], slot=int(key[1]), **named))
    return journal, revisions


def _deliver(
    random: Random, journal: list[WatchEvent], starts: dict[int, int], prefix: str
) -> tuple[list[Delivery | Bookmark], list[dict[int, int]]]:
    """What a watch that begins there delivers to the end, and where a token taken after each item stands."""
    items: list[Delivery | Bookmark] = []
    at, positions = starts, [dict(starts)]
    ends = {slot: max((e.revision for e in journal if e.slot == slot), default=0) for slot in starts}
    while open_slots := [slot for slot in at if at[slot] < ends[slot]]:
        slot = random.choice(open_slots)
        upto = random.randint(at[slot] + 1, ends[slot])
        events = [e for e in journal if e.slot == slot and at[slot] < e.revision <= upto and e.key.startswith(prefix)]
        at[slot] = upto
        if events:
            items.append(Delivery(events=tuple(events)))
            positions.append(dict(at))
        if random.random() < 0.5:
            items.append(Bookmark(slot=slot, revision=upto))
            positions.append(dict(at))
    return items, positions
