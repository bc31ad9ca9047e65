"""Depth is found without parsing, and is the depth a parser would find."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.core.checks import depth_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a[]{}"\\\n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a[]{}"\\'), inner, max_size=4),
    max_leaves=30,
)


def parsed_depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((parsed_depth(item) for item in inner), default=0)


@given(VALUES)
def test_it_is_the_depth_of_the_parsed_value(value: Any) -> None:
    assert depth_of(json.dumps({"a": value}).encode()) == parsed_depth({"a": value})


@pytest.mark.parametrize("body", [b"[" * 5_000, b'{"a":' * 5_000, b'["' + b"[" * 4_999])
def test_hostile_depth_is_seen_in_what_no_parser_would_take(body: bytes) -> None:
    assert depth_of(body) == 5_000
