"""Joining a Ray whose control store is slow: a busy machine gets a second chance, a wrong address does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import ray

from lightning_state.actors.client.connecting import join_ray
from lightning_state.actors.errors import ServiceNotFoundError

SLOW = "Failed to get node info. Error: RpcError('Timed out while waiting for GCS to become available.')"


def pretend(monkeypatch: pytest.MonkeyPatch, init: Callable[..., None]) -> None:
    """This process is in no Ray, and joins one by `init`; a Ray it is really in is left alone."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", init)


@pytest.mark.parametrize(("reason", "tries"), [(SLOW, 2), ("no such cluster", 1)])
def test_only_an_answer_that_came_too_late_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, reason: str, tries: int
) -> None:
    asked: list[str] = []

    def init(address: str, **_: object) -> None:
        asked.append(address)
        raise RuntimeError(reason)

    pretend(monkeypatch, init)
    with pytest.raises(ServiceNotFoundError, match="cannot join Ray"):
        join_ray("auto", service="joined-by-nobody")
    assert asked == ["auto"] * tries


def test_the_second_try_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [RuntimeError(SLOW), None]

    def init(**_: object) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    pretend(monkeypatch, init)
    join_ray("auto", service="joined-by-nobody")
    assert not answers
