"""A user's own category whose states can be changed in place by a careless reader."""

from __future__ import annotations

from pydantic import Field

from lightning_state.actors.category import Category
from lightning_state.actors.models import State


class Basket(State):
    """A list, not a tuple: nothing stops a reader from changing it."""

    basket_id: str
    items: list[str] = Field(default_factory=list[str])


BASKETS = Category(name="baskets", model=Basket, key_field="basket_id")
