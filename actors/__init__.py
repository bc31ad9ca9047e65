"""The state system: models, client, pure core, wire, stores and Ray actors.

The public names are loaded when they are first used, so models can be imported where there is no Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_state.actors.category import (
        Category,
    )
    from lightning_state.actors.client import (
        AgentCollection,
        AsyncAgentCollection,
        AsyncCollection,
        AsyncLightningStateService,
        AsyncLock,
        AsyncLocks,
        AsyncResearchCollection,
        AsyncStateClient,
        AsyncTransaction,
        AsyncVerificationCollection,
        Collection,
        Committed,
        Compare,
        DeleteOp,
        FencingToken,
        LightningStateService,
        Lock,
        Locks,
        PatchOp,
        ResearchCollection,
        SetOp,
        StateClient,
        StatePage,
        Transaction,
        TransactionOutcome,
        VerificationCollection,
    )
    from lightning_state.actors.core.messages import (
        ANY,
    )
    from lightning_state.actors.core.verl.context import VerdictContext
    from lightning_state.actors.core.verl.messages import FactClaim, Issue, ReasoningStep, Statement, Verdict
    from lightning_state.actors.errors import (
        AgentLostError,
        CategoryMismatchError,
        ClientClosedError,
        CompactedError,
        CorpusError,
        DataDirectoryError,
        DeadlineExceededError,
        FencedError,
        IdempotencyMismatchError,
        InvalidKeyError,
        InvalidStateError,
        InvalidTransitionError,
        JudgeError,
        LightningStateError,
        LockedError,
        LockLostError,
        LockTimeoutError,
        NotOwnerError,
        OutcomeUnknownError,
        OverloadedError,
        PatchConflictError,
        PermissionDeniedError,
        ProtocolError,
        RequestBarredError,
        ResearchFailedError,
        ResearchTakenOverError,
        ServiceNotFoundError,
        ShardUnavailableError,
        StaleFencingTokenError,
        StateNotFoundError,
        StateTooDeepError,
        StateTooLargeError,
        StoreCorruptError,
        StoreError,
        StoreUnavailableError,
        TransactionAbortedError,
        TransactionInDoubtError,
        TransactionTooLargeError,
        UnauthenticatedError,
        UnknownCategoryError,
        ValidationFailedError,
        ValidationUnavailableError,
        VersionConflictError,
    )
    from lightning_state.actors.models import (
        AgentState,
        AgentStatus,
        FactState,
        FactVerificationStatus,
        FloatMap,
        FrozenDict,
        JsonObject,
        ResearchState,
        ResearchStatus,
        State,
        StatePart,
        Timestamp,
        UnitFloat,
        VerificationState,
    )
    from lightning_state.actors.settings import (
        Settings,
        SettingsError,
    )

__all__ = [
    "ANY",
    "AgentCollection",
    "AgentLostError",
    "AgentState",
    "AgentStatus",
    "AsyncAgentCollection",
    "AsyncCollection",
    "AsyncLightningStateService",
    "AsyncLock",
    "AsyncLocks",
    "AsyncResearchCollection",
    "AsyncStateClient",
    "AsyncTransaction",
    "AsyncVerificationCollection",
    "Category",
    "CategoryMismatchError",
    "ClientClosedError",
    "Collection",
    "Committed",
    "CompactedError",
    "Compare",
    "CorpusError",
    "DataDirectoryError",
    "DeadlineExceededError",
    "DeleteOp",
    "FactClaim",
    "FactState",
    "FactVerificationStatus",
    "FencedError",
    "FencingToken",
    "FloatMap",
    "FrozenDict",
    "IdempotencyMismatchError",
    "InvalidKeyError",
    "InvalidStateError",
    "InvalidTransitionError",
    "Issue",
    "JsonObject",
    "JudgeError",
    "LightningStateError",
    "LightningStateService",
    "Lock",
    "LockLostError",
    "LockTimeoutError",
    "LockedError",
    "Locks",
    "NotOwnerError",
    "OutcomeUnknownError",
    "OverloadedError",
    "PatchConflictError",
    "PatchOp",
    "PermissionDeniedError",
    "ProtocolError",
    "ReasoningStep",
    "RequestBarredError",
    "ResearchCollection",
    "ResearchFailedError",
    "ResearchState",
    "ResearchStatus",
    "ResearchTakenOverError",
    "ServiceNotFoundError",
    "SetOp",
    "Settings",
    "SettingsError",
    "ShardUnavailableError",
    "StaleFencingTokenError",
    "State",
    "StateClient",
    "StateNotFoundError",
    "StatePage",
    "StatePart",
    "StateTooDeepError",
    "StateTooLargeError",
    "Statement",
    "StoreCorruptError",
    "StoreError",
    "StoreUnavailableError",
    "Timestamp",
    "Transaction",
    "TransactionAbortedError",
    "TransactionInDoubtError",
    "TransactionOutcome",
    "TransactionTooLargeError",
    "UnauthenticatedError",
    "UnitFloat",
    "UnknownCategoryError",
    "ValidationFailedError",
    "ValidationUnavailableError",
    "Verdict",
    "VerdictContext",
    "VerificationCollection",
    "VerificationState",
    "VersionConflictError",
]

_HOMES = (
    "models",
    "errors",
    "category",
    "settings",
    "core.messages",
    "core.verl.messages",
    "core.verl.context",
    "client",
)
"""Modules that hold the public names, those without Ray first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                globals()[name] = found = getattr(module, name)
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
