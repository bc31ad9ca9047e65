"""Ray's errors become the service's own, and none of them claims to know what happened."""

from __future__ import annotations

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from lightning_state.actors.core.session import Lost
from lightning_state.actors.errors import OverloadedError, ProtocolError, ShardUnavailableError
from lightning_state.actors.wire.translate import lost, translate


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ActorDiedError(), "died"),
        (ActorUnavailableError("gone", b"\0" * 16), "restarting or unreachable"),
        (GetTimeoutError(), "did not answer in time"),
        (TimeoutError(), "did not answer in time"),
        (WorkerCrashedError(), "WorkerCrashedError"),
        (RayError("odd"), "RayError"),
        (RayTaskError("frame", "a long\ntraceback", KeyError("secret")), "KeyError"),
        (ConnectionError("no route"), "no route"),
    ],
)
def test_a_foreign_error_becomes_shard_unavailable(error: BaseException, words: str) -> None:
    translated = translate(error, "shard 1")
    assert type(translated) is ShardUnavailableError
    assert words in str(translated)
    assert "shard 1" in str(translated)
    assert "traceback" not in str(translated)


def test_the_services_own_errors_stay_what_they_are() -> None:
    own = OverloadedError("full")
    assert translate(own, "shard 1") is own
    cause = ProtocolError("not a frame")
    assert translate(RayTaskError("frame", "", cause), "shard 1") is cause


@pytest.mark.parametrize("sent", [True, False])
def test_what_is_lost_says_whether_it_was_sent(*, sent: bool) -> None:
    assert lost(TimeoutError(), "shard 1", sent=sent) == Lost(
        sent, "shard_unavailable", "shard 1 did not answer in time"
    )
