"""Errors: one tree, stable codes, and the same object after a journey through pickle or the wire."""

import pickle

import pytest

from lightning_state.actors.errors import (
    BY_CODE,
    LightningStateError,
    VersionConflictError,
    error_from_code,
)


def _all(cls: type[LightningStateError]) -> list[type[LightningStateError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in _all(child))]


def test_every_class_has_its_own_code_a_docstring_and_a_status() -> None:
    classes = [cls for cls in _all(LightningStateError) if cls.__module__.startswith("lightning_state.actors.errors")]
    assert len({cls.code for cls in classes}) == len(classes) == len(BY_CODE)
    for cls in classes:
        assert (cls.__doc__ or "").strip().split("\n")[0].endswith((".", ":")), cls
        assert 400 <= cls.http_status < 600, cls


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_errors_survive_pickling_with_message_and_details(code: str) -> None:
    error = error_from_code(code, "what happened", {"key": "a", "current_version": 3})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) is BY_CODE[code]
    assert (str(again), again.details, again.current_version) == ("what happened", error.details, 3)


def test_without_a_message_the_docstring_speaks() -> None:
    assert str(VersionConflictError()).startswith("The stored version is not the expected one")


def test_an_unknown_code_of_a_newer_service_is_still_an_error_of_ours() -> None:
    error = error_from_code("from_the_future", "m", None)
    assert type(error) is LightningStateError
    assert error.code_received == "from_the_future"


def test_a_detail_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no detail 'nope'"):
        _ = LightningStateError("m").nope
