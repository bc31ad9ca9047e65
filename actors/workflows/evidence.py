"""Verification of facts: each against the text of its source, read again from the file, and all against each other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lightning_state.actors.client._async.verl import AsyncVerl
from lightning_state.actors.core.verl.messages import FactClaim, Statement
from lightning_state.actors.models import FactVerificationStatus
from lightning_state.actors.workflows.corpus.markup import plain
from lightning_state.actors.workflows.finding import Finding

LINES_AFTER = 12
"""Lines of the source read from the fact's first line on: a sentence is seldom longer."""
MOST_LINES_BEFORE = 40
"""An argument's name stands above the later sentences on it."""

_BEGINS_PIECE = re.compile(
    r"\s*(?:[-*+•]\s|\d{1,2}[.)]\s|\*{0,2}`{0,2}[A-Za-z_][\w.]*`{0,2}\s*(?:\([^)]*\))?\s*:(?:\s|$))|\s*:\w"
)
_NAME = re.compile(r"[\w.]+")


class Assessment(msgspec.Struct, frozen=True, rename="camel"):
    """What verification says of one fact."""

    fact_id: str
    status: str
    """A FactVerificationStatus: Verified, Disputed or Failed."""
    confidence: float
    """0 to 1: the share of the fact that its source carries, or the judge's own confidence."""
    issues: list[str]
    verified_by: str

    @property
    def is_verified(self) -> bool:
        """Whether the source supports the fact."""
        return self.status == FactVerificationStatus.VERIFIED.value


def source_text(item: Finding) -> str | None:
    """The source around the fact as the file has it now: a line for each paragraph or list item, markup removed.

    None when the file cannot be read.
    """
    try:
        lines = Path(item.path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    first = max(item.document_line, item.line - MOST_LINES_BEFORE, 1)
    pieces: list[list[str]] = [[]]
    for line in lines[first - 1 : item.line + LINES_AFTER]:
        if not line.strip() or _BEGINS_PIECE.match(line):
            pieces.append([])
        pieces[-1].append(line.strip())
    return "\n".join(filter(None, (plain(" ".join(piece)) for piece in pieces)))


def claim_of(item: Finding) -> FactClaim:
    """What the source must support.

    A sentence on an argument reads "name: sentence"; in the source the name may stand some lines above. Where it does
    stand there, only the sentence remains to be found.
    """
    text = source_text(item)
    name, _, rest = item.sentence.partition(": ")
    is_named = text is not None and rest and _NAME.fullmatch(name) and name in f"{text} {item.title}"
    return FactClaim(item.fact_id, rest if is_named else item.sentence, text)


async def check_support(verl: AsyncVerl, items: Sequence[Finding]) -> list[Assessment]:
    """Whether each fact's source supports it. A source that cannot be read supports nothing."""
    claims = await asyncio.to_thread(lambda: [claim_of(item) for item in items])
    report = await verl.verify_facts(claims)
    found: list[Assessment] = []
    for claim, finding in zip(claims, report.findings, strict=True):
        status, reason = finding.status, finding.reason
        if claim.source_text is None:
            status, reason = FactVerificationStatus.FAILED.value, "the source can no longer be read"
        issues = [] if status == FactVerificationStatus.VERIFIED.value else [reason]
        found.append(Assessment(finding.id, status, finding.confidence, issues, "verl"))
    return found


async def contradictions(verl: AsyncVerl, contents: Mapping[str, str]) -> dict[str, list[str]]:
    """Fact id → how other facts contradict it; only facts that are contradicted."""
    report = await verl.check_consistency([Statement(name, text) for name, text in contents.items()])
    found: dict[str, list[str]] = {}
    for item in report.contradictions:
        if item.first != item.second:
            found.setdefault(item.first, []).append(f"{item.second} contradicts it: {item.reason}")
            found.setdefault(item.second, []).append(f"{item.first} contradicts it: {item.reason}")
    return found


def noted(assessment: Assessment, issue: str) -> Assessment:
    """The same assessment with one more issue."""
    return msgspec.structs.replace(assessment, issues=[*assessment.issues, issue])


def disputed(assessment: Assessment, issues: Sequence[str]) -> Assessment:
    """What remains of an assessment when another fact contradicts it."""
    status = FactVerificationStatus.DISPUTED.value
    return msgspec.structs.replace(assessment, status=status, issues=[*assessment.issues, *issues])


def recorded(assessments: Sequence[Assessment]) -> list[dict[str, Any]]:
    """The JSON form, for a step's record."""
    return [msgspec.to_builtins(item) for item in assessments]


def restored(values: Any) -> list[Assessment]:
    """The assessments of a step's record."""
    return [msgspec.convert({**value, "issues": list(value["issues"])}, Assessment) for value in values]
