"""Deterministic simulation of the pure core, and the checkers that judge histories, simulated or real.

Record what your clients did as the value objects here, hand them to the checkers of what you want to know, and let
`judge_run` say what the run is worth. Names are loaded when they are first used, and none of them needs Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_state.actors.core.rows import JournalRow, Op
    from lightning_state.actors.testing.checkers.acknowledged import check_acknowledged
    from lightning_state.actors.testing.checkers.bank import check_bank
    from lightning_state.actors.testing.checkers.journal import check_journal
    from lightning_state.actors.testing.checkers.linearizability import check_linearizability
    from lightning_state.actors.testing.checkers.lock_holders import check_lock_holders
    from lightning_state.actors.testing.checkers.locks import check_locks
    from lightning_state.actors.testing.checkers.staleness import Staleness, check_staleness, measure_staleness
    from lightning_state.actors.testing.checkers.transactions import (
        Anomaly,
        AnomalyKind,
        check_transactions,
        find_anomalies,
    )
    from lightning_state.actors.testing.checkers.version_order import check_version_order
    from lightning_state.actors.testing.checkers.watch import check_watch
    from lightning_state.actors.testing.history import NEVER, Call, Kind, Outcome, Seen, Token, seen_in, settle
    from lightning_state.actors.testing.lock_history import LockAct, LockEvent, LockHold
    from lightning_state.actors.testing.transaction_history import Append, BankSnapshot, ListRead, Transaction, Transfer
    from lightning_state.actors.testing.verdict import FaultProof, Floor, Standing, Verdict, judge_run
    from lightning_state.actors.testing.watch_history import Bookmark, Delivery, Watch, WatchEvent, events_of

__all__ = [
    "NEVER",
    "Anomaly",
    "AnomalyKind",
    "Append",
    "BankSnapshot",
    "Bookmark",
    "Call",
    "Delivery",
    "FaultProof",
    "Floor",
    "JournalRow",
    "Kind",
    "ListRead",
    "LockAct",
    "LockEvent",
    "LockHold",
    "Op",
    "Outcome",
    "Seen",
    "Staleness",
    "Standing",
    "Token",
    "Transaction",
    "Transfer",
    "Verdict",
    "Watch",
    "WatchEvent",
    "check_acknowledged",
    "check_bank",
    "check_journal",
    "check_linearizability",
    "check_lock_holders",
    "check_locks",
    "check_staleness",
    "check_transactions",
    "check_version_order",
    "check_watch",
    "events_of",
    "find_anomalies",
    "judge_run",
    "measure_staleness",
    "seen_in",
    "settle",
]

_HOMES = {
    "lightning_state.actors.core.rows": ("JournalRow", "Op"),
    "lightning_state.actors.testing.history": (
        "NEVER",
        "Call",
        "Kind",
        "Outcome",
        "Seen",
        "Token",
        "seen_in",
        "settle",
    ),
    "lightning_state.actors.testing.transaction_history": (
        "Append",
        "BankSnapshot",
        "ListRead",
        "Transaction",
        "Transfer",
    ),
    "lightning_state.actors.testing.watch_history": ("Bookmark", "Delivery", "Watch", "WatchEvent", "events_of"),
    "lightning_state.actors.testing.lock_history": ("LockAct", "LockEvent", "LockHold"),
    "lightning_state.actors.testing.verdict": ("FaultProof", "Floor", "Standing", "Verdict", "judge_run"),
    "lightning_state.actors.testing.checkers.acknowledged": ("check_acknowledged",),
    "lightning_state.actors.testing.checkers.bank": ("check_bank",),
    "lightning_state.actors.testing.checkers.journal": ("check_journal",),
    "lightning_state.actors.testing.checkers.linearizability": ("check_linearizability",),
    "lightning_state.actors.testing.checkers.lock_holders": ("check_lock_holders",),
    "lightning_state.actors.testing.checkers.locks": ("check_locks",),
    "lightning_state.actors.testing.checkers.staleness": ("Staleness", "check_staleness", "measure_staleness"),
    "lightning_state.actors.testing.checkers.transactions": (
        "Anomaly",
        "AnomalyKind",
        "check_transactions",
        "find_anomalies",
    ),
    "lightning_state.actors.testing.checkers.version_order": ("check_version_order",),
    "lightning_state.actors.testing.checkers.watch": ("check_watch",),
}
"""Module → the public names it holds."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = found = getattr(import_module(home), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
