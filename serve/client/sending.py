"""One request of the HTTP client, and what its failures mean. Pure: the loops that send are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from lightning_state.actors.core.freshness import FOREIGN
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import (
    DeadlineExceededError,
    LightningStateError,
    OutcomeUnknownError,
    ShardUnavailableError,
)
from lightning_state.serve.client.answers import error_of, is_from_service

DEFAULT_TIMEOUT_S = 30.0
MOST_TRIES = 6
_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0

_AGAIN = frozenset(
    {"overloaded", "shard_unavailable", "not_owner", "fenced", "store_unavailable", "validation_unavailable"}
)
"""Codes after which the same request may succeed."""

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(slots=True)
class Sending:
    """A request until it is answered. Writes carry an id of their own, so that sending them again is safe."""

    method: str
    path: str
    deadline_s: float
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    request_id: str | None = None
    """Of a write; None: it changes nothing."""
    about: tuple[str, str] = ("", "")
    """(category, key), for errors."""
    at_least: str | None = None
    """A token that the answer must reflect."""
    is_given: bool = False
    """The token is the caller's own, not what this client has seen."""
    tries: int = 0
    doubtful: bool = False
    """A sending of this write may have been applied without our having been told."""

    def lost(self, error: httpx.HTTPError) -> LightningStateError:
        """What it means that no answer came."""
        self.doubtful |= self.request_id is not None and not isinstance(error, _UNSENT)
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceededError(f"{self.path} was not answered in time")
        return ShardUnavailableError(f"no answer from the server: {error or type(error).__name__}")

    def refused(self, answer: httpx.Response, category: Any) -> LightningStateError:
        """What it means that this is the answer."""
        error = error_of(answer, category)
        if error.code == OutcomeUnknownError.code or (not is_from_service(answer) and self.request_id is not None):
            self.doubtful |= answer.status_code >= 500  # noqa: PLR2004  # a gateway that failed on the way
        elif error.code not in _AGAIN:
            self.doubtful = False  # settled: the service looked the request id up before it refused
        return error

    def is_outdated(self, error: LightningStateError) -> bool:
        """Whether this client's own token is of a service that is gone; then it goes without from here on."""
        if self.at_least is None or self.is_given or error.details.get("reason") != FOREIGN:
            return False
        self.at_least = None
        return True

    def delay_s(self, error: LightningStateError, now_s: float, roll: float) -> float | None:
        """How long to wait before the next sending; None: there is none. `roll` is random in [0, 1)."""
        if error.code not in _AGAIN and not (self.doubtful and error.code == OutcomeUnknownError.code):
            return None
        longest_s = min(_FIRST_DELAY_S * 2 ** (self.tries - 1), _LONGEST_DELAY_S)
        delay_s = max(longest_s * (0.5 + 0.5 * roll), float(error.details.get("retry_after_s", 0.0)))
        return delay_s if self.tries < MOST_TRIES and now_s + delay_s < self.deadline_s else None

    def given_up(self, error: LightningStateError) -> LightningStateError:
        """The error of a request that is not sent again: unknown is a result, and never hidden."""
        if not self.doubtful:
            return error
        category, key = self.about
        return OutcomeUnknownError(
            f"the write of {category}/{key} may or may not have happened ({error}): "
            "repeat it under the same request_id, or ask with resolve()",
            request_id=self.request_id,
            category=category,
            key=key,
        )

    def late(self) -> LightningStateError:
        """The error when there is no time left to send it."""
        return self.given_up(DeadlineExceededError(f"the deadline passed before {self.path} was answered"))


def state_path(category: str, key: str, below: str = "") -> str:
    """The path of a state, or of what is below it."""
    return f"/v1/{category}/{quote(key, safe='')}{below}"


def condition(expected_version: int) -> tuple[dict[str, str], dict[str, str]]:
    """(headers, parameters) that say which version a change expects."""
    if expected_version == ANY:
        return {}, {"expectedVersion": "any"}
    if expected_version == 0:
        return {"If-None-Match": "*"}, {}
    return {"If-Match": f'"{expected_version}"'}, {}
