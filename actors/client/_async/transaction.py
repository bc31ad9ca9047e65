"""One transaction, as its caller sees it: reads that are recorded, writes that wait for the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from lightning_state.actors.category import AGENTS, RESEARCH, VERIFICATIONS, Category, category_of
from lightning_state.actors.client._async.transactor import AsyncTransactor
from lightning_state.actors.client.transactions import TransactionOutcome
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.core.merge import merge_patch
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.transactions.plan import Change, Compare
from lightning_state.actors.errors import (
    InvalidStateError,
    LightningStateError,
    StateNotFoundError,
    TransactionInDoubtError,
    TransactionTooLargeError,
)
from lightning_state.actors.models import AgentState, ResearchState, State, VerificationState

S = TypeVar("S", bound=State)


class AsyncTransaction:
    """All writes of a block or none, if everything it read is unchanged when they are made (C4).

    Reads ask the keys' owners; writes are sent at the end of the block, and seen by the transaction itself before. A
    block that raises writes nothing. The end raises TransactionAbortedError when something has changed or was refused
    (run it again, or use `transact`), and TransactionInDoubtError when the outcome could not be learnt.
    """

    def __init__(self, transactor: AsyncTransactor, request_id: str | None, timeout_s: float | None) -> None:
        self.id = ""
        """Set when the writes are sent, for `resolve_transaction`; a transaction that only reads has none."""
        self.outcome: TransactionOutcome | None = None
        """None until the end."""
        self.versions: Mapping[tuple[str, str], int] = {}
        """(category, key) → version of what was written, once committed."""
        self.agents: AsyncTransactionStates[AgentState] = AsyncTransactionStates(self, AGENTS)
        self.research: AsyncTransactionStates[ResearchState] = AsyncTransactionStates(self, RESEARCH)
        self.verifications: AsyncTransactionStates[VerificationState] = AsyncTransactionStates(self, VERIFICATIONS)
        self.transactor = transactor
        self.deadline_s = transactor.calls.deadline(timeout_s)
        self.reads: dict[tuple[str, str], State | None] = {}
        """What was read, by (category, key)."""
        self.writes: dict[tuple[str, str], tuple[Change, State | None]] = {}
        """What is to be written, and the state that makes of the key."""
        self._request_id = request_id

    def __repr__(self) -> str:
        state = self.outcome or "open"
        return f"<{type(self).__name__} {self.id} {state} reads={len(self.reads)} writes={len(self.writes)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.outcome is not None:
            return
        if exc_type is not None:
            self.outcome = TransactionOutcome.ABORTED
            return
        await self.commit()

    def category(self, of: type[S] | Category[S]) -> AsyncTransactionStates[S]:
        """The states of a category of your own, by its model or the Category itself."""
        return AsyncTransactionStates(self, of if isinstance(of, Category) else category_of(of))

    async def commit(self) -> None:
        """Write everything now; the end of the block does it otherwise."""
        self.check_open()
        transactor = self.transactor
        reads = [
            Compare(category, key, "==", state.version if state is not None else 0)
            for (category, key), state in self.reads.items()
            if (category, key) not in self.writes
        ]
        if not self.writes:
            self.outcome = TransactionOutcome.ABORTED
            if len(reads) > 1:  # a single read is as good as a snapshot of itself
                await transactor.check(reads, self.deadline_s)
            self.outcome = TransactionOutcome.COMMITTED
            return
        self.outcome = TransactionOutcome.IN_DOUBT
        try:
            committed = await transactor.commit(
                reads,
                [change for change, _ in self.writes.values()],
                request_id=self._request_id,
                deadline_s=self.deadline_s,
                named=self._name,
            )
        except TransactionInDoubtError:
            raise
        except LightningStateError:
            self.outcome = TransactionOutcome.ABORTED
            raise
        self.outcome = TransactionOutcome.COMMITTED
        self.versions = committed.versions

    def check_open(self) -> None:
        """Raise InvalidStateError when the transaction is over."""
        if self.outcome is not None:
            raise InvalidStateError(f"the transaction is over ({self.outcome}): begin another one", reason="over")

    def check_room(self, place: tuple[str, str]) -> None:
        """Raise TransactionTooLargeError when one key more were too many."""
        keys = len({*self.reads, *self.writes, place})
        most = self.transactor.calls.limits.transaction_keys
        if keys > most:
            raise TransactionTooLargeError(
                f"the transaction reads and writes {keys} keys; the limit is {most}", keys=keys, limit=most
            )

    def _name(self, transaction: str) -> None:
        self.id = transaction


class AsyncTransactionStates(Generic[S]):
    """The states of one category inside a transaction."""

    def __init__(self, transaction: AsyncTransaction, category: Category[S]) -> None:
        self.category = category
        self._transaction = transaction

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.category.name} of {self._transaction!r}>"

    async def get(self, key: str) -> S:
        """The state under a key: as this transaction writes it, as it has read it, or asked of its owner.

        Raises StateNotFoundError; that there is none is recorded too, and must be so still at the end.
        """
        state = await self._current(key)
        if state is None:
            raise StateNotFoundError(
                f"{self.category.name} {key!r} does not exist", category=self.category.name, key=key
            )
        return state

    async def exists(self, key: str) -> bool:
        """Whether a state is stored under a key, or is to be."""
        return await self._current(key) is not None

    async def set(self, state: S, *, expected_version: int | None = None) -> S:
        """Store a state at the end; returns it as it will be read. Its key must have the version `state` was read at.

        `expected_version` overrides that; what this transaction has read must be unchanged in any case. Raises
        InvalidStateError when the key is written already: a transaction writes a key once.
        """
        if not isinstance(state, self.category.model):
            raise InvalidStateError(
                f"{self.category.name} holds {self.category.model.__name__}, not {type(state).__name__}"
            )
        limits = self._transaction.transactor.calls.limits
        body = check_body(self.category.encode(state), limits)
        checked = self.category.decode(body)
        key = check_key(self.category.key(checked), limits)
        expected = state.version if expected_version is None else expected_version
        return self._write(key, Op.SET, body, expected, checked)

    async def patch(self, key: str, patch: Mapping[str, Any]) -> S:
        """Apply a JSON merge patch (RFC 7386, field names as in JSON) to what this transaction reads, at the end.

        Raises StateNotFoundError.
        """
        current = await self.get(key)
        try:
            merged = merge_patch(json.loads(self.category.encode(current)), json.loads(json.dumps(patch)))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidStateError(f"the patch cannot be written as JSON: {error}") from error
        body = json.dumps(merged, ensure_ascii=False).encode()
        return await self.set(self.category.decode(body), expected_version=current.version)

    async def delete(self, key: str, *, expected_version: int | None = None) -> None:
        """Delete a state at the end; by default the one this transaction reads. Raises StateNotFoundError."""
        if expected_version is None:
            expected_version = (await self.get(key)).version
        check_key(key, self._transaction.transactor.calls.limits)
        self._write(key, Op.DELETE, b"", expected_version, None)

    def _write(self, key: str, op: Op, body: bytes, expected: int, state: S | None) -> Any:
        transaction, place = self._transaction, (self.category.name, key)
        transaction.check_open()
        if place in transaction.writes:
            raise InvalidStateError(f"{place[0]} {key!r} is written twice: once is enough", reason="written_twice")
        transaction.check_room(place)
        if expected < 0 and place in transaction.reads:
            read = transaction.reads[place]
            expected = read.version if read is not None else 0
        transaction.writes[place] = Change(self.category.name, key, op, body, expected), state
        return state

    async def _current(self, key: str) -> S | None:
        transaction, place = self._transaction, (self.category.name, key)
        transaction.check_open()
        if place in transaction.writes:
            return self._own(transaction.writes[place][1])
        if place not in transaction.reads:
            check_key(key, transaction.transactor.calls.limits)
            transaction.check_room(place)
            state = await transaction.transactor.read(self.category, key, transaction.deadline_s)
            transaction.reads[place] = state
        return self._own(transaction.reads[place])

    def _own(self, state: State | None) -> S | None:
        if state is not None and not isinstance(state, self.category.model):
            raise InvalidStateError(f"{self.category.name} is used with two models in one transaction")
        return state
