"""C4, exhaustively: every interleaving of transactions, reads and writes on two shards, a crash at any step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import msgspec
import pytest

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.effects import Ask, Commit, Effect, Load, Lookup, Respond, Scan, Validate, Wake
from lightning_state.actors.core.messages import (
    ANY,
    PROTOCOL,
    Absent,
    Check,
    Decided,
    Finish,
    Frame,
    Get,
    Inquire,
    Prepare,
    Refused,
    Reply,
    Request,
    Resolution,
    Transact,
    Value,
    Write,
)
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.request_ids import transaction_id
from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.core.service_map import CategoryInfo, ServiceMap, ShardInfo
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.core.slots import slot_of
from lightning_state.actors.core.transactions.aborts import aborted
from lightning_state.actors.core.transactions.coordinator import Coordinated, Coordinator
from lightning_state.actors.core.transactions.participant import HeldPart, Participant
from lightning_state.actors.core.transactions.parts import commit, let_go
from lightning_state.actors.core.transactions.plan import Change, Compare, plan_of
from lightning_state.actors.core.transactions.rows import decision_of
from lightning_state.actors.core.transactions.transactions import Transactions
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import agent
from lightning_state.actors.testing.store import SimulatedStore

replace = msgspec.structs.replace

REGISTERED = Registered(0, AGENTS, 2)
KEYS = {
    name: next(f"{name}{n}" for n in range(99) if slot_of(0, f"{name}{n}", 2) == slot)
    for name, slot in (("a", 0), ("b", 1), ("c", 0))
}
"""a and c are the first shard's, b is the second's."""
MAP = ServiceMap(
    "s",
    "s",
    1,
    PROTOCOL,
    {"agents": CategoryInfo(0, "agents", "", "", 1, [0, 1])},
    [ShardInfo(n, 1, 0, 0, "", "") for n in (0, 1)],
    {},
)


FIRST = [
    JournalRow(
        slot_of(0, key, 2), n, 1, key, 1, Op.SET, agent(key), AGENTS.schema_version, {}, "", f"first-{key}", b"", 1
    )
    for n, key in enumerate(KEYS.values(), 1)
]
"""Each key has been written once."""


@dataclass
class Message:
    """A request on its way to a shard. `told` takes the reply, once; None: it will not come."""

    shard: int
    requests: list[Request]
    told: Callable[[list[Reply] | None], None]
    name: str
    retries: bool = False
    is_over: bool = False

    def tell(self, replies: list[Reply] | None) -> bool:
        """Hand the replies on; False when it has to be sent again."""
        if self.is_over:
            return True
        if self.retries and any(isinstance(r, Refused) and r.code == "not_owner" for r in replies or ()):
            return False
        self.is_over = True
        self.told(replies)
        return True


@dataclass
class Done:
    """One operation of the history: what it read and wrote, by version; `ended` None: it never returned."""

    reads: dict[str, int]
    writes: Sequence[str]
    began: int
    ended: int | None = None
    transaction: str = ""


class Process:
    """One incarnation of a shard, and what it waits for."""

    def __init__(self, world: World, number: int, epoch: int) -> None:
        self.world, self.number, self.epoch = world, number, epoch
        self.shard = Shard(Limits())
        self.shard.register(REGISTERED)
        self.calls: dict[int, tuple[Message, list[Reply | None]]] = {}
        self.commits: list[tuple[Commit, bool]] = []
        self.wake_us: int | None = None

    def begin(self) -> None:
        store = self.world.stores[self.number]
        heads = store.acquire([self.number], self.epoch, compact=False)
        self.shard.adopt(heads, store.held([self.number]), now_us=self.world.now_us)
        self.take(self.shard.woken(self.world.now_us))

    def receive(self, message: Message) -> None:
        call = len(self.calls) + 1
        self.calls[call] = (message, [None] * len(message.requests))
        frame = Frame(PROTOCOL, message.name.partition(".")[0], 0, "", message.requests)
        self.take(self.shard.receive(call, frame, self.world.now_us))

    def take(self, effects: list[Effect]) -> None:
        shard, store, now_us = self.shard, self.world.stores[self.number], self.world.now_us
        for effect in effects:
            match effect:
                case Respond():
                    message, replies = self.calls[effect.call]
                    replies[effect.index] = effect.reply
                    # Nobody waits for the answer to a Finish, nor for one that was given up: nothing to interleave.
                    if None not in replies and not message.is_over and not isinstance(message.requests[0], Finish):
                        self.world.answers.append((self, message, [each for each in replies if each is not None]))
                case Load():
                    self.take(shard.loaded(effect.ticket, store.load(effect.slot, effect.key), now_us))
                case Lookup():
                    found = store.applied(effect.slot, effect.principal, effect.request_id)
                    self.take(shard.looked_up(effect.ticket, found, now_us))
                case Validate():
                    self.take(shard.judged(effect.ticket, None, now_us))
                case Commit():
                    self.commits.append((effect, False))
                case Ask():
                    self.ask(effect)
                case Wake():
                    self.wake_us = min(effect.at_us, self.wake_us or effect.at_us)
                case Scan():
                    raise AssertionError
                case _:
                    pass

    def ask(self, effect: Ask) -> None:
        def told(replies: list[Reply] | None) -> None:
            if self.world.shards[self.number] is self:
                self.take(self.shard.asked(effect.ticket, replies, self.world.now_us))

        name = f"{self.number}:{type(effect.requests[0]).__name__}"
        self.world.send(Message(effect.slot, effect.requests, told, name, retries=True))

    def key(self) -> Any:
        shard = self.shard
        parts = [
            (o.place[1], type(o.request).__name__, o.is_decided, o.change and o.change.version, part_key(o.part))
            for queue in shard.queues.values()
            for o in queue
        ]
        coordinator, participant = shard.transactions._coordinator, shard.transactions._participant
        return (
            self.epoch,
            parts,
            [part_key(part) for part in coordinator._pending.values()],
            [part_key(part) for part in participant._parts.values()],
            sorted(participant._over),
            [(each.transaction, len(each.inquirers)) for each in coordinator._inquiries.values()],
            [type(o.request).__name__ for o in shard.ready],
            [([(r.op, r.key, r.transaction) for r in c.rows], done) for c, done in self.commits],
            self.wake_us,
        )


def part_key(part: Any) -> Any:
    if isinstance(part, Coordinated):
        return part.transaction, part.stage, part.holds, part.is_over, part.missing, tuple(part.asked), part.verdict
    if isinstance(part, HeldPart):
        return part.transaction, part.stage, part.holds, part.is_over, part.decision, part.is_asking, len(part.callers)
    return None


class World:
    """Two shards, what is on its way, and the clients' scripts."""

    def __init__(self, scene: Scene) -> None:
        self.now_us = 1_000_000
        self.stores = [SimulatedStore(), SimulatedStore()]
        self.messages: list[Message] = []
        self.answers: list[tuple[Process | None, Message, list[Reply]]] = []
        self.history: list[Done] = []
        self.moment = 0
        self.crashes = scene.crashes
        self.losses = scene.losses
        self.told_aborted: set[str] = set()
        self.shards = [Process(self, number, 1) for number in (0, 1)]
        for store, slot in zip(self.stores, (0, 1), strict=True):
            store.acquire([slot], 1, compact=False)
            store.append([row for row in FIRST if row.slot == slot])
        for shard in self.shards:
            shard.begin()
        self.clients = [Client(self, f"c{n}", script) for n, script in enumerate(scene.scripts)]

    def send(self, message: Message) -> None:
        """On its way, under the newest epoch known: another one will refuse it."""
        named = (Prepare, Inquire, Transact, Write)
        epoch = self.shards[message.shard].epoch
        message.requests = [replace(r, epoch=epoch) if isinstance(r, named) else r for r in message.requests]
        self.messages.append(message)

    # -- what may happen next ---

    def choices(self) -> list[tuple[str, int]]:
        found = [("deliver", n) for n in range(len(self.messages))]
        found += [("answer", n) for n in range(len(self.answers))]
        for number, process in enumerate(self.shards):
            if process.commits:
                found.append(("commit", number))
            if self.crashes:
                found.append(("crash", number))
        if self.losses:
            found += [("lose", n) for n, m in enumerate(self.messages) if m.retries and not m.is_over]
        if not any(kind in ("deliver", "answer", "commit") for kind, _ in found):
            found = [("wake", 0)] if self.wakes() and not self.is_settled() else []
        return found

    def wakes(self) -> list[int]:
        return [process.wake_us for process in self.shards if process.wake_us is not None]

    def is_settled(self) -> bool:
        return all(client.is_done for client in self.clients) and not any(
            len(p.shard.transactions._participant) or len(p.shard.transactions._coordinator) for p in self.shards
        )

    def do(self, choice: tuple[str, int]) -> None:
        kind, number = choice
        if kind == "deliver":
            message = self.messages.pop(number)
            self.shards[message.shard].receive(message)
        elif kind == "answer":
            process, message, replies = self.answers.pop(number)
            if not message.tell(replies or None):
                self.send(message)
        elif kind == "commit":
            process = self.shards[number]
            commit, is_written = process.commits.pop(0)
            if not is_written and self.crashes:
                self.stores[number].append(commit.rows)
                process.commits.insert(0, (commit, True))
                return
            if not is_written:
                self.stores[number].append(commit.rows)
            process.take(process.shard.committed(commit.ticket, self.now_us))
        elif kind == "crash":
            self.crash(number)
        elif kind == "lose":  # its sender gives up; it may arrive all the same
            self.losses -= 1
            self.messages[number].tell(None)
        else:
            self.now_us = max(self.now_us, min(self.wakes()))
            for process in self.shards:
                if process.wake_us is not None and process.wake_us <= self.now_us:
                    process.wake_us = None
                    process.take(process.shard.woken(self.now_us))

    def crash(self, number: int) -> None:
        self.crashes -= 1
        dead = self.shards[number]
        self.answers = [each for each in self.answers if each[0] is not dead]
        self.shards[number] = Process(self, number, dead.epoch + 1)
        self.shards[number].begin()
        for message, _ in dead.calls.values():
            if message.is_over or isinstance(message.requests[0], Finish):
                continue
            if message.retries:  # a shard asks the successor
                self.send(message)
            else:
                self.answers.append((None, message, []))

    def decided(self, transaction: str) -> bool | None:
        """What is written of it, by whichever shard decides it."""
        for store in self.stores:
            for row in store.rows:
                if row.request_id == transaction:
                    decision = decision_of(row.body) if row.op is Op.DECIDE else None
                    return bool(row.version) or (decision is not None and decision.is_committed)
        return None

    def now(self) -> int:
        self.moment += 1
        return self.moment

    def key(self) -> Any:
        rows = [[(r.op, r.key, r.version, r.transaction) for r in store.rows] for store in self.stores]
        return repr(
            (
                rows,
                [process.key() for process in self.shards],
                sorted((m.name, m.shard, m.is_over, repr(m.requests)) for m in self.messages),
                sorted((m.name, m.is_over, repr(replies)) for _, m, replies in self.answers),
                [(d.reads, d.writes, d.ended is None) for d in self.history],
                # Which operation returned before which one began is all that real time means to the checker.
                [[d.ended is not None and d.ended < e.began for d in self.history] for e in self.history],
                [client.at for client in self.clients],
                self.told_aborted,
                (self.crashes, self.losses, self.now_us),
            )
        )


Script = Callable[["Client"], Generator[None, None, None]]


class Client:
    """Runs a script; `yield` waits for an answer."""

    def __init__(self, world: World, name: str, script: Script) -> None:
        self.world, self.name = world, name
        self.reply: Reply | None = None
        self.is_done = False
        self.at = 0
        self._steps = script(self)
        self.go_on()

    def go_on(self) -> None:
        self.at += 1
        try:
            next(self._steps)
        except StopIteration:
            self.is_done = True

    def send(self, shard: int, request: Request) -> None:
        def told(replies: list[Reply] | None) -> None:
            self.reply = replies[0] if replies else None
            if isinstance(self.reply, Refused) and self.reply.code == "not_owner":
                self.reply = None
            self.go_on()

        self.world.send(Message(shard, [request], told, f"{self.name}.{self.at}"))

    def get(self, *names: str) -> Generator[None, None, dict[str, int] | None]:
        """Versions of keys, one get after the other; None when one was not answered. Each is one of the history."""
        found: dict[str, int] = {}
        for name in names:
            done = Done({}, (), self.world.now())
            slot = slot_of(0, KEYS[name], 2)
            self.send(slot, Get(slot, KEYS[name]))
            yield
            if not isinstance(self.reply, Value | Absent):
                return None
            found[name] = done.reads[name] = self.reply.version
            done.ended = self.world.now()
            self.world.history.append(done)
        return found

    def transact(self, reads: dict[str, int], writes: Sequence[str], began: int) -> Generator[None, None, None]:
        """Commit; without an answer once more under the same id, then ask. In doubt at the end, it may be either."""
        changes = [Change("agents", KEYS[name], Op.SET, agent(KEYS[name], kind=self.name)) for name in writes]
        checks = [Compare("agents", KEYS[name], "==", version) for name, version in reads.items() if name not in writes]
        changes = [replace(c, expected=reads.get(n, ANY)) for n, c in zip(writes, changes, strict=True)]
        plan = plan_of(MAP, checks, changes)
        slot = plan.decided_in[1]
        name = transaction_id(self.name, slot)
        done = Done(reads, writes, began, transaction=name)
        requests = [
            Transact(slot, 0, plan.shares, name, 1, fresh=True),
            Transact(slot, 0, plan.shares, name, 1, fresh=False),
            Inquire(slot, 0, "", name),
            Inquire(slot, 0, "", name),
        ]
        for request in requests:
            self.send(slot, request)
            yield
            if isinstance(self.reply, Decided | Refused | Resolution):
                break
        told = self.reply
        outcome = self.world.decided(name)
        if isinstance(told, Decided) or (isinstance(told, Resolution) and told.applied):
            done.ended = self.world.now()
            assert outcome is True, "told committed, but it is not"
        elif isinstance(told, Refused | Resolution):
            assert outcome is not True, "told aborted, but committed"
            self.world.told_aborted.add(name)
            return
        self.world.history.append(done)


# -- scripts ---


def blind(*writes: str) -> Script:
    def script(client: Client) -> Generator[None, None, None]:
        yield from client.transact({}, writes, client.world.now())

    return script


def skew(read: str, *writes: str) -> Script:
    def script(client: Client) -> Generator[None, None, None]:
        began = client.world.now()
        reads = yield from client.get(read)
        if reads is not None:
            yield from client.transact(reads, writes, began)

    return script


def put(name: str) -> Script:
    """A write of its own."""

    def script(client: Client) -> Generator[None, None, None]:
        done = Done({}, (name,), client.world.now(), transaction=client.name)
        slot = slot_of(0, KEYS[name], 2)
        write = Write(slot, 0, KEYS[name], Op.SET, agent(KEYS[name]), ANY, client.name, 1, fresh=True)
        requests = [write, *[replace(write, fresh=False)] * 2]
        for request in requests:
            client.send(slot, request)
            yield
            if client.reply is not None:
                assert isinstance(client.reply, Value)
                done.ended = client.world.now()
                break
        client.world.history.append(done)

    return script


def readers(*names: str) -> Script:
    def script(client: Client) -> Generator[None, None, None]:
        yield from client.get(*names)

    return script


def snapshot(*names: str) -> Script:
    """A read-only transaction: read all, check all again."""

    def script(client: Client) -> Generator[None, None, None]:
        began = client.world.now()
        first = yield from client.get(*names)
        second = yield from client.get(*names)
        if first is not None and first == second:
            client.world.history.append(Done(first, (), began, client.world.now()))

    return script


@dataclass
class Scene:
    scripts: list[Script]
    crashes: int = 0
    losses: int = 0


SCENES = {
    "write skew": Scene([skew("a", "b"), skew("b", "a")]),
    "write skew, one of them on one shard": Scene([skew("c", "a"), skew("a", "b", "c")]),
    "write skew, both on one shard": Scene([skew("c", "a"), skew("a", "c")]),
    "another writer": Scene([blind("a", "b"), put("b"), readers("a", "b")]),
    "two that write the same": Scene([blind("a", "b"), blind("b", "a")]),
    "readers": Scene([blind("a", "b"), readers("a", "b"), readers("b", "a")]),
    "a snapshot": Scene([blind("a", "b"), snapshot("a", "b")]),
    "a crash": Scene([blind("a", "b")], crashes=1),
    "a loss": Scene([blind("a", "b")], losses=1, crashes=1),
    "three keys": Scene([blind("a", "b", "c")]),
    "two crashes": Scene([blind("a", "b", "c")], crashes=2),
    "a crash under readers": Scene([blind("a", "b"), readers("a", "b")], crashes=1),
    "a crash under write skew": Scene([skew("a", "b"), skew("b", "a")], crashes=1),
    "a crash under another writer": Scene([blind("a", "b"), put("b")], crashes=1),
    "a crash under a writer that goes first": Scene([blind("a", "b"), put("a")], crashes=1),
}


# -- exploring ---


def explore(scene: Scene, most: int = 1_000_000) -> int:
    """Run every interleaving; how many states there are. Raises AssertionError where a promise is broken."""
    seen: set[int] = set()
    todo: list[list[tuple[str, int]]] = [[]]
    while todo:
        prefix = todo.pop()
        world = World(scene)
        for choice in prefix:
            world.do(choice)
        while True:
            state = hash(world.key())
            if state in seen:
                break
            seen.add(state)
            assert len(seen) < most
            choices = world.choices()
            if not choices:
                finish(world)
                break
            todo += [[*prefix, choice] for choice in choices[1:]]
            prefix = [*prefix, choices[0]]
            world.do(choices[0])
    return len(seen)


def finish(world: World) -> None:
    assert all(client.is_done for client in world.clients), "somebody waits for ever"
    for store, process in zip(world.stores, world.shards, strict=True):
        assert not store.held([0, 1]), "a key is held for ever"
        assert not process.shard.queues, "a key is not free"
    for number in range(len(world.clients)):
        check_atomic(world, f"c{number}")
    committed = [done for done in world.history if not done.transaction or world.decided(done.transaction)]
    assert any(is_order(world, order) for order in permutations(committed)), "no order explains this"


def check_atomic(world: World, client: str) -> None:
    rows = [row for store in world.stores for row in store.rows if row.transaction.startswith(f"{client}.")]
    changes = [(row.slot, row.key) for row in rows if row.version]
    decided = world.decided(rows[0].transaction) if rows else None
    assert len(changes) == len(set(changes)), "applied twice"
    assert len(changes) == (rows[0].transaction_size if decided else 0), "half a transaction"
    assert not (decided and rows[0].transaction in world.told_aborted)


def is_order(world: World, order: Sequence[Done]) -> bool:
    versions = dict.fromkeys(KEYS, 1)
    for number, done in enumerate(order):
        if any(later.ended is not None and later.ended < done.began for later in order[number + 1 :]):
            return False
        if any(versions[name] != version for name, version in done.reads.items()):
            return False
        for name in done.writes:
            versions[name] += 1
    last = {row.key: row.version for store in world.stores for row in store.rows if row.version}
    return all(last[KEYS[name]] == version for name, version in versions.items())


@pytest.mark.parametrize("scene", SCENES)
def test_c4_no_interleaving_breaks_a_promise(scene: str) -> None:
    assert explore(SCENES[scene]) > 10


# -- mutants ---


@contextmanager
def mutated(owner: type, name: str, mutant: Callable[..., Any]) -> Generator[None, None, None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, mutant)
        yield


def decides_without_checking_reads(self: Coordinator, transaction: Coordinated) -> None:
    transaction.holds = True
    self._decide(transaction)


def decides_before_all_are_prepared(self: Coordinator, transaction: Coordinated) -> None:
    prepare_next(self, transaction)
    while transaction.to_prepare:
        prepare_next(self, transaction)
    transaction.versions.setdefault(transaction.asked[-1], [2])
    self._decide(transaction)


prepare_next = Coordinator._prepare_next


def aborts_without_a_row(self: Coordinator, transaction: Coordinated, cause: Refused) -> None:
    let_go(self._host, transaction)
    self._end(transaction, aborted(transaction.transaction, cause))


def makes_half_of_its_writes(self: Coordinator, transaction: Coordinated) -> None:
    decision = Operation(transaction.request, transaction.principal, transaction.digest, [], part=transaction)
    is_committed = transaction.verdict is not None and transaction.verdict.is_committed
    transaction.decision_body = transaction.verdict.encode() if transaction.verdict else b""
    commit(self._host, [decision, *(transaction.writes[:1] if is_committed else [])])


def answers_before_the_row(self: Coordinator, transaction: Coordinated) -> None:
    decide(self, transaction)
    for waiter in transaction.waiters:
        versions = transaction.verdict.versions if transaction.verdict else []
        self._host.respond(waiter.call, waiter.index, Decided(versions, 0))
    transaction.waiters.clear()


decide = Coordinator._decide


def reads_what_is_held(self: Shard, call: int, index: int, request: Get | Check) -> None:
    if isinstance(request, Check):
        self._answer(call, index, request)
    else:
        read(self, call, index, request)


read = Shard.read


def lets_go_when_nobody_tells(self: Participant, part: HeldPart) -> None:
    if part.stage.name == "PREPARED":
        self._learn(part, is_committed=False)


def prepares_without_looking(self: Participant, ticket: int, _: Any) -> bool:
    return looked_up(self, ticket, None)


looked_up = Participant.looked_up


MUTANTS = {
    "reads are not checked again": (Coordinator, "_check_reads", decides_without_checking_reads, "write skew"),
    "keys held by others pass the check": (Shard, "read", reads_what_is_held, "write skew"),
    "decides before all are prepared": (Coordinator, "_prepare_next", decides_before_all_are_prepared, "a crash"),
    "abort is told before its row": (Coordinator, "_abort", aborts_without_a_row, "a loss"),
    "commit is told before its row": (Coordinator, "_decide", answers_before_the_row, "a crash"),
    "holds are lost in recovery": (Participant, "restore", lambda *_: None, "a crash"),
    "half is written": (Coordinator, "_write_decision", makes_half_of_its_writes, "three keys"),
    "reads do not wait for a decision": (Transactions, "waits", lambda *_: False, "readers"),
    "a participant gives up after its yes": (Participant, "_ask", lets_go_when_nobody_tells, "a crash"),
    "nothing remembers what is over": (Participant, "looked_up", prepares_without_looking, "two crashes"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_caught(mutant: str) -> None:
    owner, name, function, scene = MUTANTS[mutant]
    with mutated(owner, name, function), pytest.raises((AssertionError, KeyError)):
        explore(SCENES[scene])
