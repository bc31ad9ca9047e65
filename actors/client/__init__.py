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
from lightning_state.actors.client._sync.built_in import (
    AgentCollection,
    ResearchCollection,
    VerificationCollection,
)
from lightning_state.actors.client._sync.client import StateClient
from lightning_state.actors.client._sync.collection import Collection
from lightning_state.actors.client._sync.facade import LightningStateService
from lightning_state.actors.client._sync.lock import Lock, Locks
from lightning_state.actors.client.fencing import FencingToken
from lightning_state.actors.client.pages import StatePage

__all__ = [
    "AgentCollection",
    "AsyncAgentCollection",
    "AsyncCollection",
    "AsyncLightningStateService",
    "AsyncLock",
    "AsyncLocks",
    "AsyncResearchCollection",
    "AsyncStateClient",
    "AsyncVerificationCollection",
    "Collection",
    "FencingToken",
    "LightningStateService",
    "Lock",
    "Locks",
    "ResearchCollection",
    "StateClient",
    "StatePage",
    "VerificationCollection",
]
