"""Checkers are tables of rules: taking one out shows what it alone finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest


@dataclass(frozen=True)
class Flaw:
    """An illegal history."""

    found: Callable[[], Sequence[str]]
    """What its checker says."""
    says: str
    """A part of every violation that it says."""
    rule: Callable[..., Any]
    """The rule without which the checker is silent."""


def assert_named(flaw: Flaw) -> None:
    """The checker objects, and to nothing else."""
    violations = flaw.found()
    assert violations
    assert [violation for violation in violations if flaw.says not in violation] == []


def assert_silent_without_its_rule(
    flaw: Flaw, monkeypatch: pytest.MonkeyPatch, checker: ModuleType, *tables: str
) -> None:
    """Nobody but the rule notices."""
    for table in tables or ("_RULES",):
        monkeypatch.setattr(checker, table, tuple(rule for rule in getattr(checker, table) if rule is not flaw.rule))
    assert list(flaw.found()) == []
