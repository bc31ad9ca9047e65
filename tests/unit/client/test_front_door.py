"""The public names, where they come from, and what they cost to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time

import pytest

import lightning_state
from lightning_state import actors
from lightning_state.actors import errors
from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.errors import LightningStateError, ServiceNotFoundError


def test_every_public_name_can_be_had_from_both_doors() -> None:
    for name in actors.__all__:
        assert getattr(lightning_state, name) is getattr(actors, name)
    assert callable(lightning_state.start)
    assert set(actors.__all__) <= set(dir(actors))
    assert set(lightning_state.__all__) <= set(dir(lightning_state))


def test_every_error_is_public() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, LightningStateError) and value.__module__ == errors.__name__
    }
    assert defined <= set(actors.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    for module in (actors, lightning_state):
        with pytest.raises(AttributeError):
            _ = module.NoSuchName


def test_models_and_errors_are_loaded_without_ray() -> None:
    code = (
        "import sys; from lightning_state import AgentState, Category, ANY, VersionConflictError; "
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_two_clients_have_the_same_methods_and_parameters() -> None:
    for asynchronous, blocking in (
        (AsyncStateClient, StateClient),
        (actors.AsyncCollection, actors.Collection),
        (actors.AsyncLightningStateService, actors.LightningStateService),
    ):
        names = {name for name, _ in inspect.getmembers(blocking, callable) if not name.startswith("_")}
        assert names == {name for name, _ in inspect.getmembers(asynchronous, callable) if not name.startswith("_")}
        for name in names:
            ours, theirs = (list(inspect.signature(getattr(c, name)).parameters) for c in (asynchronous, blocking))
            assert ours == theirs


def test_an_address_where_nothing_answers_is_told_at_once() -> None:
    began_s = time.monotonic()
    with pytest.raises(ServiceNotFoundError, match=r"127\.0\.0\.1:1"):
        StateClient.connect(address="127.0.0.1:1")
    assert time.monotonic() - began_s < 5
