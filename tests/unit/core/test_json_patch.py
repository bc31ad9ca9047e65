"""JSON Patch: the cases of the RFC's appendix in our own values, what is no patch, and what a patch may not grow to."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonpatch import make_patch

from lightning_state.actors.core.json_patch import OPERATIONS, json_patch
from lightning_state.actors.errors import InvalidStateError, PatchConflictError, StateTooDeepError, StateTooLargeError
from lightning_state.actors.limits import Limits

LIMITS = Limits()


def op(name: str, path: str, **more: Any) -> dict[str, Any]:
    """`source` stands for `from`, which Python keeps for itself."""
    if "source" in more:
        more["from"] = more.pop("source")
    return {"op": name, "path": path, **more}


def patched(document: Any, *operations: Any, limits: Limits = LIMITS) -> Any:
    """What comes out; what went in must not have changed, whatever happens."""
    patch = list(operations)
    before = deepcopy((document, patch))
    try:
        return json_patch(document, patch, limits)
    finally:
        assert (document, patch) == before


APPLIES: dict[str, tuple[Any, list[dict[str, Any]], Any]] = {
    # RFC 6902, appendix A
    "A.1 adding an object member": ({"a": 1}, [op("add", "/b", value=2)], {"a": 1, "b": 2}),
    "A.2 adding an array element": ({"l": [1, 3]}, [op("add", "/l/1", value=2)], {"l": [1, 2, 3]}),
    "A.3 removing an object member": ({"a": 1, "b": 2}, [op("remove", "/b")], {"a": 1}),
    "A.4 removing an array element": ({"l": [1, 2, 3]}, [op("remove", "/l/1")], {"l": [1, 3]}),
    "A.5 replacing a value": ({"a": 1, "b": 2}, [op("replace", "/b", value=3)], {"a": 1, "b": 3}),
    "A.6 moving a value": (
        {"a": {"x": 1, "y": 2}, "b": {}},
        [op("move", "/b/z", source="/a/x")],
        {"a": {"y": 2}, "b": {"z": 1}},
    ),
    "A.7 moving an array element": ({"l": [1, 2, 3, 4]}, [op("move", "/l/3", source="/l/1")], {"l": [1, 3, 4, 2]}),
    "A.8 testing a value, success": (
        {"a": "x", "l": ["p", 2, "q"]},
        [op("test", "/a", value="x"), op("test", "/l/1", value=2)],
        {"a": "x", "l": ["p", 2, "q"]},
    ),
    "A.10 adding a nested member": ({"a": 1}, [op("add", "/b", value={"c": {}})], {"a": 1, "b": {"c": {}}}),
    "A.11 ignoring unrecognized members": ({"a": 1}, [op("add", "/b", value=2, note="?")], {"a": 1, "b": 2}),
    "A.14 ~ escape ordering": ({"/": 9, "~1": 10}, [op("test", "/~01", value=10)], {"/": 9, "~1": 10}),
    "A.16 adding an array value": ({"l": [1]}, [op("add", "/l/-", value=[2, 3])], {"l": [1, [2, 3]]}),
    # and what its sections 3 to 5 say besides
    "nothing": ({"a": 1}, [], {"a": 1}),
    "add replaces a member that is there": ({"a": 1}, [op("add", "/a", value=None)], {"a": None}),
    "add at the end by number": ([1], [op("add", "/1", value=2)], [1, 2]),
    "the whole document": ({"a": 1}, [op("replace", "", value=[1]), op("add", "/0", value=0)], [0, 1]),
    "copying": ({"a": [1]}, [op("copy", "/b", source="/a"), op("add", "/b/0", value=0)], {"a": [1], "b": [0, 1]}),
    "copying into itself": ({"a": {"b": 1}}, [op("copy", "/a/c", source="/a")], {"a": {"b": 1, "c": {"b": 1}}}),
    "moving to where it is": ({"a": 1}, [op("move", "/a", source="/a")], {"a": 1}),
    "a name that begins like another": ({"a": 1}, [op("move", "/ab", source="/a")], {"ab": 1}),
    "escaped and empty names": ({"a/b": 1, "": 2}, [op("remove", "/a~1b"), op("replace", "/", value=3)], {"": 3}),
    "numbers are names in objects": ({"0": 1, "01": 2}, [op("remove", "/01")], {"0": 1}),
    "equal numbers": ({"a": 1}, [op("test", "/a", value=1.0)], {"a": 1}),
    "equal objects, in any order": (
        {"a": {"x": 1, "y": [None]}},
        [op("test", "/a", value={"y": [None], "x": 1})],
        {"a": {"x": 1, "y": [None]}},
    ),
    "each operation sees the ones before": (
        {},
        [op("add", "/a", value={}), op("add", "/a/b", value=1), op("test", "/a", value={"b": 1}), op("remove", "/a")],
        {},
    ),
}

CONFLICTS: dict[str, tuple[Any, dict[str, Any]]] = {
    # RFC 6902, appendix A
    "A.9 testing a value, error": ({"a": "x"}, op("test", "/a", value="y")),
    "A.12 adding to a target that is not there": ({"a": 1}, op("add", "/b/c", value=2)),
    "A.15 comparing strings and numbers": ({"~1": 10}, op("test", "/~01", value="10")),
    # and besides
    "test of what is not there": ({}, op("test", "/a", value=None)),
    "true is not 1": ({"a": 1}, op("test", "/a", value=True)),
    "false is not 0, deep inside": ({"a": [{"b": 0}]}, op("test", "/a", value=[{"b": False}])),
    "null is not false": ({"a": None}, op("test", "/a", value=False)),
    "remove what is not there": ({}, op("remove", "/a")),
    "replace what is not there": ({}, op("replace", "/a", value=1)),
    "move what is not there": ({}, op("move", "/b", source="/a")),
    "copy what is not there": ({}, op("copy", "/b", source="/a")),
    "add beyond the end": ([1], op("add", "/2", value=3)),
    "replace at the end": ([1], op("replace", "/1", value=3)),
    "remove after the last": ([1], op("remove", "/-")),
    "copy from after the last": ([1], op("copy", "/0", source="/-")),
    "replace after the last": ([1], op("replace", "/-", value=1)),
    "an index with a leading zero": ([1, 2], op("remove", "/01")),
    "a negative index": ([1, 2], op("remove", "/-1")),
    "an index in other digits": ([1, 2], op("remove", "/١")),
    "an index of 5,000 digits": ([1], op("add", "/" + "9" * 5_000, value=1)),
    "a name in an array": ([1], op("add", "/a", value=1)),
    "into a string": ({"a": "xyz"}, op("add", "/a/0", value="w")),
    "the whole document removed": ({"a": 1}, op("remove", "")),
}

NO_PATCH: dict[str, Any] = {
    "an object": {"op": "remove", "path": "/a"},
    "text": '[{"op": "remove", "path": "/a"}]',
    "nothing": None,
    "operations that are text": ["remove"],
    "operations that are null": [None],
    "too many": [op("test", "", value={"a": 1})] * (OPERATIONS + 1),
    "A.13 an operation without op": [{"path": "/a"}],
    "an unknown op": [op("spam", "/a")],
    "an op that is no text": [{"op": ["add"], "path": "/a", "value": 1}],
    "no path": [{"op": "remove"}],
    "no value to add": [op("add", "/a")],
    "no value to replace": [op("replace", "/a")],
    "no value to test": [op("test", "/a")],
    "no from to move": [op("move", "/a")],
    "no from to copy": [op("copy", "/a")],
    "a path without a slash": [op("remove", "a")],
    "a path with a bad escape": [op("remove", "/a~2")],
    "a path with an open escape": [op("remove", "/a~")],
    "a path that is a number": [op("remove", 0)],  # pyright: ignore[reportArgumentType]  # what this is about
    "a from that is null": [op("copy", "/a", source=None)],
    "a move into itself": [op("move", "/a/b", source="/a")],
    "the document moved into itself": [op("move", "/a", source="")],
}


@pytest.mark.parametrize("name", APPLIES)
def test_patch_applies(name: str) -> None:
    document, operations, expected = APPLIES[name]
    assert msgspec.json.encode(patched(document, *operations)) == msgspec.json.encode(expected)


@pytest.mark.parametrize("name", CONFLICTS)
def test_what_does_not_fit_the_state_is_a_conflict(name: str) -> None:
    document, operation = CONFLICTS[name]
    with pytest.raises(PatchConflictError) as refused:
        patched(document, op("test", "", value=document), operation)
    assert (refused.value.operation, refused.value.op, refused.value.path) == (1, operation["op"], operation["path"])
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", NO_PATCH)
def test_what_is_no_patch_is_invalid_whatever_the_state(name: str) -> None:
    for document in ({"a": {"b": 1}}, [], None):
        with pytest.raises(InvalidStateError) as refused:
            json_patch(document, NO_PATCH[name], LIMITS)
        assert refused.value.reason == "json_patch"


def test_a_malformed_operation_is_found_before_any_is_applied() -> None:
    with pytest.raises(InvalidStateError) as refused:
        patched({"a": 1}, op("test", "/a", value=2), op("spam", "/a"))
    assert refused.value.operation == 1


def test_a_conflict_names_no_values() -> None:
    with pytest.raises(PatchConflictError) as refused:
        patched({"a": "secret"}, op("test", "/a", value="guess"))
    assert "secret" not in str(refused.value)
    assert "guess" not in str(refused.value)


def test_copies_cannot_grow_a_state_beyond_its_limit() -> None:
    doubling = [op("copy", f"/{n}", source="") for n in range(40)]
    with pytest.raises(StateTooLargeError) as refused:
        patched({"a": "x" * 1_000}, *doubling)
    assert refused.value.limit_bytes == LIMITS.state_bytes


def test_a_long_text_or_name_counts_when_it_is_copied() -> None:
    limits = Limits(state_bytes=1_000)
    for document in ({"a": "x" * 600}, {"a": {"x" * 600: 1}}, {"a": list(range(600))}):
        assert "b" in patched(document, op("copy", "/b", source="/a"), limits=limits)
        with pytest.raises(StateTooLargeError):
            patched(document, *[op("copy", f"/{n}", source="/a") for n in range(2)], limits=limits)


@pytest.mark.parametrize("inner", [{}, [], {"a": 1}, [1]])
def test_the_result_is_as_deep_as_a_state_may_be_and_no_deeper(inner: Any) -> None:
    limits = Limits(depth=3)
    assert patched({"a": {}}, op("add", "/a/b", value=inner), limits=limits) == {"a": {"b": inner}}
    with pytest.raises(StateTooDeepError):
        patched({"a": {"b": {}}}, op("add", "/a/b/c", value=inner), limits=limits)


def test_depth_that_would_end_the_stack_is_a_typed_error() -> None:
    """Each copy of the document into its own innermost part doubles its depth."""
    path, operations = "/a", []
    for _ in range(12):
        operations.append(op("copy", path, source=""))
        path += path
    with pytest.raises(StateTooDeepError):
        patched({"a": 1}, *operations)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("a/~0-", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("a/~0-", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(before=JSON, after=JSON)
def test_the_difference_of_two_documents_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    assert patched(before, *make_patch(before, after)) == after
