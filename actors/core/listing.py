"""What can be listed."""

from __future__ import annotations

from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.core.checks import check_limit
from lightning_state.actors.core.messages import List
from lightning_state.actors.errors import ProtocolError, UnknownCategoryError


def check_list(request: List, category: Category[Any]) -> None:
    """Raises ProtocolError for a list of no state, UnknownCategoryError for an index the category does not have."""
    if request.limit < 1:
        raise ProtocolError(f"a list of at most {request.limit} states: the limit is at least 1")
    if request.index and request.index not in category.indexes:
        raise UnknownCategoryError(
            f"{category.name} has no index {request.index!r}; it has {', '.join(category.indexes) or 'none'}"
        )
    check_limit(request.limit)
