"""What a search found, as it is recorded and handed between the agents of a run, and the fact that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from lightning_state.actors.models import FactState
from lightning_state.actors.workflows.corpus import Passage, Source


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """One sentence of the corpus, its place, and what it is worth for the run's question."""

    sentence: str
    title: str
    """Of the document: what the sentence is about when it does not say so itself."""
    source: str
    """URI of the very line."""
    label: str
    """The source for people."""
    document: str
    """URI of the document's first line."""
    path: str
    """The file it was read from."""
    line: int
    document_line: int
    score: float
    relevance: float

    @property
    def fact_id(self) -> str:
        """Equal for equal sentence and source in every run."""
        digest = blake2b(f"{self.source}\n{self.sentence}".encode(), digest_size=8)
        return f"fact-{digest.hexdigest()}"

    def fact(self, extracted_at: datetime) -> FactState:
        """The fact, not verified yet; its confidence is the finding's relevance to the question."""
        return FactState(
            id=self.fact_id,
            content=self.sentence,
            source=self.source,
            confidence_score=min(1.0, max(0.0, self.relevance)),
            extracted_at=extracted_at,
        )

    def passage(self) -> Passage:
        """What the corpus works with; its source carries the file and line only."""
        place = Source("", "", "", self.path, self.line)
        return Passage(self.sentence, self.title, place, self.score, self.relevance, self.document, self.line)


def finding(passage: Passage) -> Finding:
    """What a passage is to a run."""
    return Finding(
        sentence=passage.sentence,
        title=passage.title,
        source=passage.source.uri,
        label=passage.source.label,
        document=passage.document_id,
        path=passage.source.path,
        line=passage.line,
        document_line=_line_of(passage.document_id),
        score=passage.score,
        relevance=passage.relevance,
    )


def recorded(findings: list[Finding]) -> list[dict[str, Any]]:
    """The JSON form, for a step's record."""
    return [msgspec.to_builtins(item) for item in findings]


def restored(values: Any) -> list[Finding]:
    """The findings of a step's record."""
    return [msgspec.convert(dict(value), Finding) for value in values if isinstance(value, Mapping)]


def _line_of(document_id: str) -> int:
    _, _, line = document_id.rpartition("#L")
    return int(line) if line.isdigit() else 1
