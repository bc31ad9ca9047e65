"""Which rows a list asks for, the same for every store that looks through rows itself."""

from __future__ import annotations

from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import JournalRow


def lowest_key(request: List) -> str:
    """Keys below this one are not asked for."""
    return max(request.prefix, request.after + "\0") if request.after else request.prefix


def is_indexed(row: JournalRow, request: List) -> bool:
    """Whether a key's newest row has the index value that is asked for, if one is."""
    return not request.index or row.indexes.get(request.index) == request.value
