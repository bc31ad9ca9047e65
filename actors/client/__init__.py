"""What runs in a user's process: clients for threads and for asyncio, and the facade over them."""

from lightning_state.actors.client._async.built_in import (
    AsyncAgentCollection,
    AsyncResearchCollection,
    AsyncVerificationCollection,
)
from lightning_state.actors.client._async.client import AsyncStateClient
from lightning_state.actors.client._async.collection import AsyncCollection
from lightning_state.actors.client._async.facade import AsyncLightningStateService
from lightning_state.actors.client._async.lock import AsyncLock, AsyncLocks
from lightning_state.actors.client._async.transaction import AsyncTransaction
from lightning_state.actors.client._sync.built_in import (
    AgentCollection,
    ResearchCollection,
    VerificationCollection,
)
from lightning_state.actors.client._sync.client import StateClient
from lightning_state.actors.client._sync.collection import Collection
from lightning_state.actors.client._sync.facade import LightningStateService
from lightning_state.actors.client._sync.lock import Lock, Locks
from lightning_state.actors.client._sync.transaction import Transaction
from lightning_state.actors.client.fencing import FencingToken
from lightning_state.actors.client.pages import StatePage
from lightning_state.actors.client.transactions import Committed, DeleteOp, PatchOp, SetOp, TransactionOutcome
from lightning_state.actors.core.transactions.plan import Compare

__all__ = [
    "AgentCollection",
    "AsyncAgentCollection",
    "AsyncCollection",
    "AsyncLightningStateService",
    "AsyncLock",
    "AsyncLocks",
    "AsyncResearchCollection",
    "AsyncStateClient",
    "AsyncTransaction",
    "AsyncVerificationCollection",
    "Collection",
    "Committed",
    "Compare",
    "DeleteOp",
    "FencingToken",
    "LightningStateService",
    "Lock",
    "Locks",
    "PatchOp",
    "ResearchCollection",
    "SetOp",
    "StateClient",
    "StatePage",
    "Transaction",
    "TransactionOutcome",
    "VerificationCollection",
]
