"""Freshness tokens over HTTP: every answer says what it reflects, and a read may ask to reflect that much."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_state.serve.errors import HttpError

FRESHNESS = "freshness-token"
"""Of answers: what this one reflects."""

AT_LEAST = "atLeast"
"""Of reads: a token that the answer must reflect."""

LONGEST = 8_192
"""Characters of a token in a request. A slot takes about 15 of them: room for all slots of eight categories."""


def at_least_of(query: Mapping[str, str]) -> str | None:
    """The token a read must reflect. Raises HttpError for one that is too long to be passed on."""
    token = query.get(AT_LEAST)
    if token is not None and len(token) > LONGEST:
        raise HttpError(f"{AT_LEAST} has {len(token)} characters; the longest token taken has {LONGEST}")
    return token
