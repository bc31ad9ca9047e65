"""What to read, and what came of reading it: messages to and from the processes that read files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from lightning_state.actors.workflows.corpus.docstrings import module_documents
from lightning_state.actors.workflows.corpus.document import ReadDocument, Source
from lightning_state.actors.workflows.corpus.prose import html_documents, metadata_documents, prose_documents

Kind = Literal["module", "metadata", "prose", "html"]
MAX_FILE_BYTES = 8 * 2**20
"""A larger file is data, not documentation, and is skipped."""


class ReadTask(msgspec.Struct, frozen=True):
    """One file to read."""

    kind: Kind
    source: Source  # line 1 of the file
    size_bytes: int  # for sharing the work out evenly


class ReadResult(msgspec.Struct, frozen=True):
    """What one file held, or why it was skipped."""

    documents: tuple[ReadDocument, ...]
    skipped: str = ""  # the reason; "" when the file was read


_READERS: dict[str, Callable[[bytes, Source], list[ReadDocument]]] = {
    "module": module_documents,
    "metadata": metadata_documents,
    "prose": prose_documents,
    "html": html_documents,
}


def read(task: ReadTask) -> ReadResult:
    """Read one file; never raises for what the file holds."""
    try:
        if task.size_bytes > MAX_FILE_BYTES:
            return ReadResult((), f"larger than {MAX_FILE_BYTES} bytes")
        data = Path(task.source.path).read_bytes()
        if b"\0" in data[:8192] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return ReadResult((), "binary")
        return ReadResult(tuple(_READERS[task.kind](data, task.source)))
    except OSError as error:
        return ReadResult((), f"unreadable: {error.strerror or error}")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return ReadResult((), f"not understood: {type(error).__name__}")


def read_all(tasks: Sequence[ReadTask]) -> list[ReadResult]:
    """One result a task, in order."""
    return [read(task) for task in tasks]
