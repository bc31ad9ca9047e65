"""C5: the same request again changes nothing, an overtaken one never runs, a bar holds for ever."""

from __future__ import annotations

import msgspec
import pytest

from lightning_state.actors.core.effects import Commit, Lookup
from lightning_state.actors.core.messages import ANY, Refused, Reply, Resolution, Value, Write
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.request_ids import generated_id, origin_of
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.sessions import IDLE_US, Session, Sessions
from lightning_state.actors.errors import ValidationFailedError
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import ShardDriver, agent

INVALID = refusal(ValidationFailedError("not true"))


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def code(reply: object) -> str:
    assert isinstance(reply, Refused), reply
    return reply.code


def again(write: Write, *, seq: int | None = None, fresh: bool = False, body: bytes | None = None) -> Write:
    return Write(
        write.slot,
        write.epoch,
        write.key,
        write.op,
        write.body if body is None else body,
        write.expected,
        write.request_id,
        write.seq if seq is None else seq,
        fresh,
    )


def ask_as(driver: ShardDriver, session: str, write: Write) -> Reply | None:
    call = driver.send(write, session=session)
    driver.settle()
    return driver.reply(call)


def test_duplicate_of_a_pending_request_joins_it(driver: ShardDriver) -> None:
    write = driver.write("a")
    calls = [driver.send(write), driver.send(write), driver.send(again(write, seq=9))]
    driver.settle()
    replies = [driver.reply(call) for call in calls]
    assert isinstance(replies[0], Value)
    assert replies == [replies[0]] * 3
    assert len(driver.store.rows) == 1


def test_same_id_with_another_body_is_a_mismatch_while_pending_and_after(driver: ShardDriver) -> None:
    write = driver.write("a")
    driver.send(write)
    other = again(write, seq=8, body=agent("a", kind="other"))
    assert code(driver.reply(driver.send(other))) == "idempotency_mismatch"
    driver.settle()
    assert code(driver.ask(again(other, seq=9))) == "idempotency_mismatch"


def test_same_id_of_another_principal_is_another_request(driver: ShardDriver) -> None:
    driver.ask(driver.write("a", request_id="x"))
    reply = driver.ask(driver.write("a", request_id="x"), principal="q")
    assert isinstance(reply, Value)
    assert reply.version == 2


def test_repeated_request_finds_its_stored_result(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    patch = driver.write("a", Op.PATCH, b'{"agentType":"x"}', request_id="x")
    first = driver.ask(patch)
    driver.ask(driver.write("a"))
    driver.evict()
    assert isinstance(first, Value)
    assert driver.ask(again(patch, seq=50)) == msgspec.structs.replace(first, head=3)
    assert len(driver.store.rows) == 3


def test_repeated_set_does_not_send_the_body_back(driver: ShardDriver) -> None:
    write = driver.write("a", request_id="x")
    driver.ask(write)
    reply = driver.ask(again(write, seq=50))
    assert isinstance(reply, Value)
    assert reply.body is None


def test_answer_is_remembered_until_the_floor_passes_it(driver: ShardDriver) -> None:
    write = driver.write("a", seq=5)
    first = driver.ask(write)
    assert driver.reply(driver.send(write)) == first
    assert driver.waiting == []
    assert code(driver.reply(driver.send(write, floor=6))) == "request_barred"
    # A frame that was overtaken on the way carries a lower floor: it opens nothing again.
    assert code(driver.reply(driver.send(write, floor=5))) == "request_barred"
    assert len(driver.store.rows) == 1


def test_late_first_attempt_after_an_answered_refusal_does_not_run(driver: ShardDriver) -> None:
    write = driver.write("a")
    driver.send(again(write))
    driver.load()
    driver.look_up()
    driver.judge(INVALID)
    assert code(driver.reply(driver.send(write))) == INVALID.code
    assert driver.waiting == []


@pytest.mark.parametrize("refused", [True, False])
def test_first_attempt_overtaken_by_a_repetition_under_a_higher_number_gets_its_answer(
    driver: ShardDriver, *, refused: bool
) -> None:
    # The caller gave up number 5, repeated the request as number 7, and number 4 is still open: the floor stays at 4.
    write = driver.write("a", seq=5)
    later = driver.send(again(write, seq=7), floor=4)
    driver.load()
    driver.look_up()
    driver.judge(INVALID if refused else None)
    driver.settle()
    assert driver.reply(driver.send(write, floor=4)) == driver.reply(later)
    assert driver.waiting == []
    assert len(driver.store.rows) == (0 if refused else 1)


def test_a_repetition_that_is_overtaken_joins_the_later_one(driver: ShardDriver) -> None:
    write = driver.write("a", seq=5)
    calls = [driver.send(again(write, seq=7)), driver.send(again(write, seq=6)), driver.send(write)]
    driver.settle()
    assert len({id(driver.reply(call)) for call in calls}) == 1
    assert len(driver.store.rows) == 1


def test_refusal_at_the_door_is_the_final_answer_of_its_number() -> None:
    driver = ShardDriver(limits=Limits(key_queue=1))
    driver.send(driver.write("a"))
    write = driver.write("a", expected=1)
    assert code(driver.reply(driver.send(write))) == "overloaded"
    driver.settle()
    assert code(driver.reply(driver.send(write))) == "overloaded"
    retried = driver.ask(again(write, seq=write.seq + 1))
    assert isinstance(retried, Value)
    assert code(driver.reply(driver.send(write))) == "overloaded"
    assert len(driver.store.rows) == 2


def test_fresh_request_is_not_looked_up_and_a_repeated_one_is(driver: ShardDriver) -> None:
    driver.send(driver.write("a"))
    assert not [effect for effect in driver.waiting if isinstance(effect, Lookup)]
    driver.send(driver.write("b", request_id="x"))
    assert [effect.request_id for effect in driver.waiting if isinstance(effect, Lookup)] == ["x"]


def test_frame_of_another_epoch_is_refused_and_may_be_sent_again(driver: ShardDriver) -> None:
    write = driver.write("a")
    driver.take(driver.shard.disown("moved", maybe=False))
    assert code(driver.reply(driver.send(write))) == "not_owner"
    driver.recover()
    assert code(driver.reply(driver.send(write))) == "not_owner"
    current = driver.ask(driver.write("a", seq=write.seq, request_id=write.request_id))
    assert isinstance(current, Value)


def test_resolve_tells_what_was_applied(driver: ShardDriver) -> None:
    driver.ask(driver.write("a", request_id="x"))
    assert driver.ask(driver.resolve("a", "x")) == Resolution(applied=True, version=1)


def test_resolve_waits_for_the_pending_request(driver: ShardDriver) -> None:
    driver.send(driver.write("a", request_id="x"))
    assert driver.ask(driver.resolve("a", "x")) == Resolution(applied=True, version=1)


def test_resolve_under_another_key_does_not_overtake_the_pending_request(driver: ShardDriver) -> None:
    driver.send(driver.write("a", request_id="x"))
    assert code(driver.ask(driver.resolve("b", "x"))) == "idempotency_mismatch"
    assert [row.op for row in driver.store.rows] == [Op.SET]


def test_resolve_bars_what_was_not_applied_for_ever(driver: ShardDriver) -> None:
    late = driver.write("a")
    assert driver.ask(driver.resolve("a", late.request_id)) == Resolution(applied=False, version=0)
    assert driver.ask(driver.resolve("a", late.request_id)) == Resolution(applied=False, version=0)
    assert [(row.op, row.revision, row.version) for row in driver.store.rows] == [(Op.BAR, 0, 0)]
    assert code(driver.ask(late)) == "request_barred"
    driver.take(driver.shard.disown("moved", maybe=False))
    driver.recover()
    assert code(driver.ask(driver.write("a", request_id=late.request_id))) == "request_barred"


def test_a_bar_and_a_change_share_a_commit_without_sharing_a_revision(driver: ShardDriver) -> None:
    for key in "ab":
        driver.ask(driver.write(key))
    driver.send(driver.write("a"), driver.resolve("c", "x"), driver.write("b"))
    driver.judge()
    driver.look_up()
    driver.load()
    driver.judge()
    driver.commit()
    assert [(row.op, row.revision) for row in driver.commit().rows] == [(Op.BAR, 3), (Op.SET, 4)]


def test_resolve_that_cannot_be_committed_bars_nothing(driver: ShardDriver) -> None:
    call = driver.send(driver.resolve("a", "x"))
    driver.look_up()
    driver.load()
    assert isinstance(driver.waiting[0], Commit)
    driver.refuse_commit()
    assert code(driver.reply(call)) == "store_unavailable"
    assert isinstance(driver.ask(driver.write("a", request_id="x")), Value)


def test_a_stored_bar_refuses_a_repeated_write_of_a_later_epoch(driver: ShardDriver) -> None:
    driver.ask(driver.resolve("a", "x"))
    driver.take(driver.shard.disown("moved", maybe=False))
    driver.recover()
    assert code(driver.ask(driver.write("a", request_id="x"))) == "request_barred"


def test_sessions_are_forgotten_after_an_idle_hour() -> None:
    sessions = Sessions()
    sessions.hear("old", 0, 0)
    sessions.hear("young", 0, IDLE_US - 1)
    sessions.forget_idle(IDLE_US)
    assert len(sessions) == 1
    sessions.remember("old", 1, INVALID)
    assert sessions.hear("old", 0, IDLE_US).answers == {}
    sessions.forget_idle(3 * IDLE_US)
    assert len(sessions) == 0


def test_session_forgets_what_lies_below_its_floor() -> None:
    sessions = Sessions()
    session = sessions.hear("s", 0, 0)
    session.repeated(3, (0, "p", "x"))
    session.repeated(2, (0, "p", "x"))
    sessions.remember("s", 3, INVALID)
    assert session.answer(1, (0, "p", "x")) == INVALID
    sessions.hear("s", 4, 0)
    sessions.remember("s", 3, INVALID)
    assert session == Session(floor=4)


def test_first_attempt_that_another_session_repeated_never_runs_after_it(driver: ShardDriver) -> None:
    late = msgspec.structs.replace(driver.write("a"), request_id=generated_id(1, "one", 7), seq=7)
    repeated = msgspec.structs.replace(late, seq=1, fresh=False)
    assert isinstance(ask_as(driver, "two", repeated), Value)
    assert code(ask_as(driver, "one", late)) == "request_barred"
    assert len(driver.store.rows) == 1


def test_first_attempt_never_runs_after_another_sessions_repetition_was_refused(driver: ShardDriver) -> None:
    late = msgspec.structs.replace(driver.write("a", expected=3), request_id=generated_id(1, "one", 7), seq=7)
    repeated = msgspec.structs.replace(late, seq=1, fresh=False)
    assert code(ask_as(driver, "two", repeated)) == "version_conflict"
    for _ in range(3):
        driver.ask(driver.write("a", expected=ANY))
    assert code(ask_as(driver, "one", late)) == "request_barred"


def test_another_sessions_repetition_of_a_pending_request_joins_it_and_both_hear(driver: ShardDriver) -> None:
    first = msgspec.structs.replace(driver.write("a"), request_id=generated_id(1, "one", 7), seq=7)
    calls = [driver.send(first, session="one")]
    calls.append(driver.send(msgspec.structs.replace(first, seq=1, fresh=False), session="two"))
    driver.settle()
    assert [type(driver.reply(call)) for call in calls] == [Value, Value]
    assert len(driver.store.rows) == 1


@pytest.mark.parametrize("chosen", ["mine", "a-b-c", "0123456789ab-x-zz", "0123456789ab-x-", ""])
def test_an_id_of_the_callers_own_choice_has_no_origin(chosen: str) -> None:
    assert origin_of(chosen) is None


def test_a_generated_id_names_its_session_and_number_and_sorts_by_time() -> None:
    assert origin_of(generated_id(1_700_000_000_000, "a-b", 300)) == ("a-b", 300)
    assert generated_id(999, "z", 9) < generated_id(1_000, "a", 1)
