"""Merging the shards' parts of a list into pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.category import AGENTS
from lightning_state.actors.client.pages import key_after, merge
from lightning_state.actors.core.messages import Page
from lightning_state.actors.core.rows import Entry
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import AgentState

KEYS = st.text("abc", min_size=1, max_size=3)


def entry(key: str) -> Entry:
    return Entry(key, 1, 1, AGENTS.encode(AgentState(agent_id=key, agent_type="x")), 1, 1)


@given(
    shards=st.lists(st.sets(KEYS, max_size=12), min_size=1, max_size=3),
    limit=st.integers(1, 5),
    bounds=st.lists(st.integers(1, 5), min_size=3, max_size=3),
)
def test_pages_give_every_key_once_in_order_however_short_the_parts(
    shards: list[set[str]], limit: int, bounds: list[int]
) -> None:
    held = [sorted({f"{key}{number}" for key in keys}) for number, keys in enumerate(shards)]
    found: list[str] = []
    cursor: str | None = None
    while True:
        after = key_after(cursor)
        parts: list[Page] = []
        for keys, bound in zip(held, bounds, strict=False):
            rest = [key for key in keys if key > after]
            shown = rest[: min(limit, bound)]  # a shard may end its part early
            parts.append(Page([entry(key) for key in shown], more=len(rest) > len(shown)))
        page = merge(AGENTS, parts, limit)
        assert len(page) <= limit
        found += [state.agent_id for state in page]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == sorted(key for keys in held for key in keys)


@pytest.mark.parametrize("cursor", ["", "x", "bm90IG91cnM=", "\N{SNOWMAN}"])
def test_a_cursor_that_list_never_gave_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidStateError):
        key_after(cursor)
