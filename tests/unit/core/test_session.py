"""The pure client session: numbers and floor, ids, and what becomes of every answer."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lightning_state.actors.core.messages import (
    ANY,
    PROTOCOL,
    Absent,
    Get,
    List,
    Page,
    Pending,
    Recall,
    Refused,
    Resolution,
    Resolve,
    Value,
    Write,
)
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.service_map import CategoryInfo, ServiceMap, ShardInfo
from lightning_state.actors.core.session import BUSY, MOVED, SETTLING, Again, Done, Failed, Lost, Operation, Session
from lightning_state.actors.errors import (
    ClientClosedError,
    DeadlineExceededError,
    InvalidStateError,
    NotOwnerError,
    OutcomeUnknownError,
    OverloadedError,
    ServiceNotFoundError,
    ShardUnavailableError,
    UnknownCategoryError,
    VersionConflictError,
    error_from_code,
)

DEADLINE_S = 100.0
VALUE = Value(0, 1, 1, 1, 1, b"{}")


def service_map(
    version: int = 1, epoch: int = 7, service_id: str = "s", owners: tuple[int, ...] = (0, 1)
) -> ServiceMap:
    category = CategoryInfo(3, "agents", "m:A", "h", 1, list(owners))
    shards = [ShardInfo(number, epoch + number, 1, 1, "n", "") for number in (0, 1)]
    return ServiceMap("default", service_id, version, PROTOCOL, {"agents": category}, shards, {})


@pytest.fixture
def session() -> Session:
    return Session("s1", service_map())


def write(session: Session, request_id: str | None = None, key: str = "k") -> Operation:
    return session.write(
        "agents", key, Op.SET, b"{}", ANY, deadline_s=DEADLINE_S, now_ms=1_700_000_000_000, request_id=request_id
    )


def sent(session: Session, operation: Operation, now_s: float = 0.0) -> Write:
    _, request = session.send(operation, now_s)
    assert isinstance(request, Write)
    return request


def test_a_write_names_slot_epoch_number_and_what_is_left_of_its_deadline(session: Session) -> None:
    operation = write(session)
    shard, request = session.send(operation, 98.5)
    assert isinstance(request, Write)
    assert request.epoch == 7 + shard
    assert (request.seq, request.fresh, request.timeout_ms) == (1, True, 1_500)
    assert sent(session, operation, 101.0).timeout_ms == 1


def test_only_the_first_sending_of_a_generated_id_is_fresh(session: Session) -> None:
    operation = write(session)
    assert [sent(session, operation).fresh for _ in range(3)] == [True, False, False]
    assert not sent(session, write(session, "mine")).fresh


def test_generated_ids_sort_by_time_then_number() -> None:
    early, late = Session("zz", service_map()), Session("aa", service_map())
    ids = [sent(early, write(early)).request_id for _ in range(20)]
    later = late.write("agents", "k", Op.SET, b"", ANY, deadline_s=1.0, now_ms=1_700_000_000_001)
    assert [*ids, sent(late, later).request_id] == sorted([*ids, sent(late, later).request_id])
    assert len(set(ids)) == 20


def test_the_floor_is_the_lowest_open_number(session: Session) -> None:
    first, second = write(session), write(session)
    assert session.frame([]).floor == 1
    session.end(second)
    assert session.frame([]).floor == 1
    session.end(first)
    session.end(first)
    frame = session.frame([Get(1, "k")])
    assert (frame.floor, frame.session, frame.protocol, frame.requests) == (3, "s1", PROTOCOL, [Get(1, "k")])


def test_reads_have_no_number(session: Session) -> None:
    operation = session.read("agents", "k", DEADLINE_S)
    session.end(operation)
    assert operation.seq == 0
    assert session.frame([]).floor == 1


def test_a_list_goes_to_its_own_shard(session: Session) -> None:
    request = List(3, "", "", 10)
    operation = session.listing("agents", 1, request, DEADLINE_S)
    assert session.send(operation, 0.0) == (1, request)
    assert session.answered(operation, Page([], more=False), 0.0, 0.0) == Done(Page([], more=False))


def test_resolve_has_a_number_and_an_epoch(session: Session) -> None:
    operation = session.resolve("agents", "k", "mine", DEADLINE_S)
    shard, request = session.send(operation, 0.0)
    assert isinstance(request, Resolve)
    assert (request.seq, request.epoch, request.request_id) == (1, 7 + shard, "mine")
    assert session.answered(operation, Resolution(True, 3), 0.0, 0.0) == Done(Resolution(True, 3))


def test_a_recall_has_no_number(session: Session) -> None:
    operation = session.recall("agents", "k", Op.SET, b"i", "mine", DEADLINE_S)
    shard, request = session.send(operation, 0.0)
    assert request == Recall(session.route(operation)[0], "k", Op.SET, b"i", "mine")
    assert (operation.seq, shard) == (0, session.route(operation)[1])
    with pytest.raises(InvalidStateError):
        session.recall("agents", "k", Op.SET, b"i", "", DEADLINE_S)


def test_an_unknown_category_is_refused_before_anything_is_numbered(session: Session) -> None:
    with pytest.raises(UnknownCategoryError):
        session.read("nonsense", "k", DEADLINE_S)
    assert session.frame([]).floor == 1


def test_a_newer_map_moves_the_next_sending_and_an_older_one_is_ignored(session: Session) -> None:
    operation = write(session)
    session.learn(service_map(version=3, epoch=20, owners=(1, 1)))
    session.learn(service_map(version=2, epoch=9))
    shard, request = session.send(operation, 0.0)
    assert isinstance(request, Write)
    assert (shard, request.epoch) == (1, 21)
    session.learn(service_map(version=1, epoch=1, service_id="another"))
    assert session.map.service_id == "another"


def test_a_shard_the_map_does_not_list_has_no_epoch() -> None:
    session = Session("s", service_map(owners=(5,)))
    assert sent(session, write(session)).epoch == 0


@pytest.mark.parametrize("reply", [VALUE, Absent(0, 1, 1, 0)])
def test_a_reply_ends_an_operation(session: Session, reply: Value | Absent) -> None:
    operation = session.read("agents", "k", DEADLINE_S)
    session.send(operation, 0.0)
    assert session.answered(operation, reply, 0.0, 0.0) == Done(reply)


@pytest.mark.parametrize("code", sorted(MOVED))
def test_a_moved_slot_is_asked_for_again_with_a_new_map(session: Session, code: str) -> None:
    operation = write(session)
    first = sent(session, operation)
    decision = session.answered(operation, Refused(code, "m", {}), 0.0, 0.5)
    assert isinstance(decision, Again)
    assert decision.refresh
    again = sent(session, operation)
    assert (again.request_id, again.seq) == (first.request_id, first.seq)
    assert not operation.doubtful


@pytest.mark.parametrize("code", sorted(BUSY))
def test_a_busy_shard_is_asked_again_later_under_the_same_id_and_a_new_number(session: Session, code: str) -> None:
    operation = write(session)
    first = sent(session, operation)
    decision = session.answered(operation, Refused(code, "m", {"retry_after_s": 2.0}), 0.0, 0.0)
    assert decision == Again(2.0, refresh=False)
    again = sent(session, operation)
    assert again.request_id == first.request_id
    assert again.seq > first.seq
    assert not again.fresh
    assert session.frame([]).floor == again.seq


def test_a_busy_shard_is_left_alone_after_a_few_tries(session: Session) -> None:
    operation = session.read("agents", "k", DEADLINE_S)
    decisions = [session.answered(operation, Refused("overloaded", "m", {}), 0.0, 0.0) for _ in range(6)]
    assert all(isinstance(decision, Again) for decision in decisions[:5])
    last = decisions[5]
    assert isinstance(last, Failed)
    assert isinstance(last.error, OverloadedError)


def test_a_busy_shard_that_asks_for_more_time_than_there_is_ends_the_operation(session: Session) -> None:
    operation = write(session)
    decision = session.answered(operation, Refused("overloaded", "m", {"retry_after_s": 200.0}), 0.0, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, OverloadedError)


def test_a_definite_refusal_is_the_typed_error_even_after_a_lost_sending(session: Session) -> None:
    operation = write(session)
    sent(session, operation)
    assert isinstance(session.answered(operation, Lost(True, "shard_unavailable", "gone"), 0.0, 0.0), Again)
    decision = session.answered(operation, Refused("version_conflict", "m", {"current_version": 4}), 0.0, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, VersionConflictError)
    assert decision.error.current_version == 4


def test_a_refusal_that_says_nothing_of_a_lost_sending_leaves_it_unknown(session: Session) -> None:
    operation = write(session)
    sent(session, operation)
    session.answered(operation, Lost(True, "shard_unavailable", "gone"), 0.0, 0.0)
    decision = session.answered(operation, Refused("store_corrupt", "m", {}), 0.0, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, OutcomeUnknownError)


def test_the_same_refusal_is_definite_when_no_sending_was_lost(session: Session) -> None:
    operation = write(session)
    sent(session, operation)
    decision = session.answered(operation, Refused("store_corrupt", "m", {}), 0.0, 0.0)
    assert isinstance(decision, Failed)
    assert decision.error.code == "store_corrupt"


@pytest.mark.parametrize(
    "answer",
    [Lost(True, "shard_unavailable", "gone"), Refused("not_owner", "recovering", {}, maybe=True), Pending()],
)
def test_a_write_whose_fate_was_not_told_is_unknown_at_the_deadline(
    session: Session, answer: Lost | Refused | Pending
) -> None:
    operation = write(session, "mine")
    sent(session, operation)
    decision = session.answered(operation, answer, DEADLINE_S, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, OutcomeUnknownError)
    assert decision.error.details == {"request_id": "mine", "category": "agents", "key": "k"}


@pytest.mark.parametrize(
    "answer", [Lost(False, "shard_unavailable", "gone"), Refused("not_owner", "moved", {}), Lost(False, "x", "")]
)
def test_a_write_that_was_provably_not_applied_only_exceeds_its_deadline(
    session: Session, answer: Lost | Refused
) -> None:
    operation = write(session)
    sent(session, operation)
    decision = session.answered(operation, answer, DEADLINE_S, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, DeadlineExceededError)


def test_reads_and_resolves_are_never_unknown(session: Session) -> None:
    for operation in (session.read("agents", "k", DEADLINE_S), session.resolve("agents", "k", "mine", DEADLINE_S)):
        session.send(operation, 0.0)
        for answer in (Pending(), Lost(True, "shard_unavailable", "gone")):
            decision = session.answered(operation, answer, DEADLINE_S, 0.0)
            assert isinstance(decision, Failed)
            assert isinstance(decision.error, DeadlineExceededError)


def test_a_doubt_outlives_later_refusals_to_serve(session: Session) -> None:
    operation = write(session)
    sent(session, operation)
    session.answered(operation, Lost(True, "shard_unavailable", "gone"), 0.0, 0.0)
    session.answered(operation, Refused("overloaded", "full", {}), 0.0, 0.0)
    decision = session.answered(operation, Refused("not_owner", "moved", {}), DEADLINE_S, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, OutcomeUnknownError)


def test_pending_is_asked_again_at_once_and_counts_for_nothing(session: Session) -> None:
    operation = write(session)
    sent(session, operation)
    for _ in range(1_000):
        assert session.answered(operation, Pending(), 0.0, 0.0) == Again(0.0, refresh=False)


def test_tries_are_bounded(session: Session) -> None:
    operation = session.read("agents", "k", DEADLINE_S)
    for _ in range(session.retries.most - 1):
        session.send(operation, 0.0)
        assert isinstance(session.answered(operation, Lost(True, "shard_unavailable", "x"), 0.0, 0.0), Again)
    session.send(operation, 0.0)
    decision = session.answered(operation, Lost(True, "shard_unavailable", "x"), 0.0, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, ShardUnavailableError)


def test_a_service_that_is_gone_ends_what_is_not_in_doubt(session: Session) -> None:
    gone = Lost(False, ServiceNotFoundError.code, "no service")
    certain, doubtful = write(session), write(session)
    decision = session.answered(certain, gone, 0.0, 0.0)
    assert isinstance(decision, Failed)
    assert isinstance(decision.error, ServiceNotFoundError)
    sent(session, doubtful)
    session.answered(doubtful, Lost(True, NotOwnerError.code, "x"), 0.0, 0.0)
    assert isinstance(session.answered(doubtful, gone, 0.0, 0.0), Again)


def test_closing_the_client_ends_everything_and_leaves_a_sent_write_unknown(session: Session) -> None:
    closed = Lost(False, ClientClosedError.code, "closed")
    certain, doubtful = write(session), write(session)
    sent(session, doubtful)
    session.answered(doubtful, Pending(), 0.0, 0.0)
    for operation, error in ((certain, ClientClosedError), (doubtful, OutcomeUnknownError)):
        decision = session.answered(operation, closed, 0.0, 0.0)
        assert isinstance(decision, Failed)
        assert isinstance(decision.error, error)


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True))
def test_delays_grow_to_a_bound_and_are_never_shorter_than_half_of_it(tries: int, roll: float) -> None:
    session = Session("s", service_map())
    operation = session.read("agents", "k", 1e9)
    for _ in range(tries + 1):
        session.send(operation, 0.0)
    decision = session.answered(operation, Lost(True, "shard_unavailable", "x"), 0.0, roll)
    assert isinstance(decision, Again)
    longest_s = min(session.retries.first_s * 2**tries, session.retries.longest_s)
    assert longest_s / 2 <= decision.delay_s < longest_s or decision.delay_s == pytest.approx(longest_s)


def test_every_code_the_session_names_is_a_real_one() -> None:
    for code in MOVED | BUSY | SETTLING:
        assert error_from_code(code, "m").code == code


def test_two_threads_never_get_one_number_nor_a_floor_above_an_open_one() -> None:
    session = Session("s", service_map(), guard=threading.Lock())
    wrong: list[int] = []
    numbers: list[int] = []

    def work() -> None:
        for _ in range(300):
            operation = write(session)
            numbers.append(operation.seq)
            if session.frame([]).floor > operation.seq:
                wrong.append(operation.seq)
            session.end(operation)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(set(numbers)) == 1_200


def test_repr_shows_where_a_session_stands(session: Session) -> None:
    write(session)
    assert repr(session) == "<Session s1 next=2 open=1 map=1>"


ANSWERS = st.sampled_from(
    [
        VALUE,
        Pending(),
        Lost(True, "shard_unavailable", "x"),
        Lost(False, "shard_unavailable", "x"),
        Refused("not_owner", "m", {}),
        Refused("fenced", "m", {}, maybe=True),
        Refused("overloaded", "m", {}),
        Refused("version_conflict", "m", {}),
        Refused("store_corrupt", "m", {}),
    ]
)


class SessionRules(RuleBasedStateMachine):
    """Whatever answers come, in any order: the floor never passes an open write, and certainty is never claimed."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session("s", service_map())
        self.open: list[Operation] = []
        self.untold: set[int] = set()
        self.now_s = 0.0

    @rule()
    def begin(self) -> None:
        self.open.append(write(self.session))

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 1_000), answer=ANSWERS, roll=st.floats(0, 1, exclude_max=True), late=st.booleans())
    def answer(self, pick: int, answer: Value | Pending | Lost | Refused, roll: float, *, late: bool) -> None:
        operation = self.open[pick % len(self.open)]
        self.session.send(operation, self.now_s)
        lost = isinstance(answer, Pending) or (isinstance(answer, Lost) and answer.sent)
        if lost or (isinstance(answer, Refused) and answer.maybe):
            self.untold.add(id(operation))
        decision = self.session.answered(operation, answer, DEADLINE_S if late else self.now_s, roll)
        if isinstance(decision, Again):
            return
        if isinstance(decision, Failed):
            settled = isinstance(answer, Refused) and answer.code in SETTLING
            unknown = isinstance(decision.error, OutcomeUnknownError)
            assert unknown == (id(operation) in self.untold and not settled)
        self.session.end(operation)
        self.open.remove(operation)
        self.untold.discard(id(operation))

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 1_000))
    def give_up(self, pick: int) -> None:
        operation = self.open.pop(pick % len(self.open))
        self.untold.discard(id(operation))
        self.session.end(operation)

    @invariant()
    def the_floor_is_the_lowest_open_number(self) -> None:
        numbers = [operation.seq for operation in self.open]
        floor = self.session.frame([]).floor
        assert floor == min(numbers) if numbers else floor >= 1
        assert len(set(numbers)) == len(numbers)


TestSessionRules = SessionRules.TestCase
