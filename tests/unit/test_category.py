"""Categories: definitions that could not work are refused, and found again by their import path."""

import sys
from dataclasses import replace
from typing import Any

import pytest

from lightning_state.actors.category import (
    AGENTS,
    BUILT_IN,
    RESEARCH,
    Category,
    category_of,
    load_category,
)
from lightning_state.actors.errors import CategoryMismatchError, InvalidStateError, UnknownCategoryError
from lightning_state.actors.models import AgentState, AgentStatus, ResearchStatus, State


class Order(State):
    order_id: str
    amount: int = 0


class Lonely(State):
    lonely_id: str


ORDERS = Category(name="orders", model=Order, key_field="order_id", monotonic=("amount",))


@pytest.mark.parametrize("category", BUILT_IN, ids=lambda category: category.name)
def test_the_built_in_categories_are_found_by_their_own_path(category: Category[State]) -> None:
    assert load_category(category.import_path, category.hash) is category
    assert category_of(category.model) is category


def test_every_status_has_its_row_in_the_table() -> None:
    assert {*(AGENTS.transitions or {})} == {*AgentStatus}
    assert {*(RESEARCH.transitions or {})} == {*ResearchStatus}
    assert [status for status in ResearchStatus if RESEARCH.is_terminal(status)] == ["Completed", "Failed"]
    assert [status for status in AgentStatus if AGENTS.is_terminal(status)] == ["Completed"]


def test_a_users_category_is_found_beside_its_model() -> None:
    assert category_of(Order) is ORDERS
    assert load_category(ORDERS.import_path, ORDERS.hash) is ORDERS


def test_a_model_without_a_category_says_what_to_do() -> None:
    with pytest.raises(UnknownCategoryError, match="top level"):
        category_of(Lonely)


def test_a_category_that_is_not_importable_says_so() -> None:
    local = Category(name="lonely", model=Lonely, key_field="lonely_id")
    with pytest.raises(UnknownCategoryError, match="top-level name"):
        _ = local.import_path


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Orders"},
        {"name": ""},
        {"name": "x" * 65},
        {"key_field": "id"},
        {"indexes": ("nope",)},
        {"monotonic": ("nope",)},
        {"transitions": {"A": frozenset({"B"})}},
        {"schema_version": 2},
    ],
)
def test_a_definition_that_could_not_work_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidStateError):
        replace(ORDERS, **change)


def test_any_difference_of_definition_changes_the_hash() -> None:
    hashes = {
        ORDERS.hash,
        replace(ORDERS, name="order").hash,
        replace(ORDERS, monotonic=()).hash,
        replace(ORDERS, indexes=("order_id",)).hash,
        replace(ORDERS, confidence_threshold=0.5).hash,
        replace(ORDERS, model=Lonely, key_field="lonely_id", monotonic=()).hash,
        replace(ORDERS, schema_version=2, upcasts={1: lambda old: old}).hash,
    }
    assert len(hashes) == 7


def test_another_definition_under_the_same_path_is_refused() -> None:
    with pytest.raises(CategoryMismatchError, match="differs"):
        load_category(ORDERS.import_path, replace(ORDERS, monotonic=()).hash)


@pytest.mark.parametrize("path", ["no.such.module:X", "lightning_state.actors.category:NOPE", f"{__name__}:Order"])
def test_a_path_that_leads_to_no_category_is_refused(path: str) -> None:
    assert __name__ in sys.modules
    with pytest.raises(UnknownCategoryError):
        load_category(path)


def test_older_bodies_are_upcast_step_by_step_and_newer_ones_refused() -> None:
    third = replace(
        ORDERS,
        schema_version=3,
        upcasts={
            1: lambda old: {"orderId": old["id"], "amount": old["sum"]},
            2: lambda old: {**old, "amount": old["amount"] * 100},
        },
    )
    assert third.decode(third.upcast(b'{"id":"o-1","sum":2}', 1)) == Order(order_id="o-1", amount=200)
    assert third.upcast(b"{}", 3) == b"{}"
    with pytest.raises(CategoryMismatchError, match="schema version 4"):
        third.upcast(b"{}", 4)
    with pytest.raises(InvalidStateError, match="upcast from version 1"):
        third.upcast(b"{}", 1)


def test_model_code_that_raises_is_a_typed_error() -> None:
    class Broken(State):
        broken_id: str

        def model_post_init(self, _: object, /) -> None:
            raise RuntimeError("boom")

    category = Category(name="broken", model=Broken, key_field="broken_id")
    with pytest.raises(InvalidStateError, match="boom"):
        category.decode(b'{"brokenId":"b"}')


def test_agents_are_not_the_only_states_with_a_key() -> None:
    assert AGENTS.key(AgentState(agent_id="a", agent_type="t")) == "a"
    assert ORDERS.key(Order(order_id="o")) == "o"
    assert repr(ORDERS) == "<Category orders Order schema=1>"
