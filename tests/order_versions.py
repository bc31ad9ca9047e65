"""Versions of one module of a user's, as text: each is written to a directory and imported by a process of its own."""

FIRST = """
from lightning_state import Category, State

class Order(State):
    order_id: str
    amount: int = 0

ORDERS = Category(name="orders", model=Order, key_field="order_id", indexes=("order_id",))
"""

SECOND = """
from lightning_state import Category, State

class Order(State):
    order_id: str
    amount_cents: int = 0
    currency: str = "EUR"

def _cents(old):
    return {"orderId": old["orderId"], "amountCents": 100 * old["amount"], "currency": "EUR"}

ORDERS = Category(
    name="orders", model=Order, key_field="order_id", indexes=("currency",), schema_version=2, upcasts={1: _cents}
)
"""

BROKEN = SECOND.replace("schema_version=2, upcasts={1: _cents}", "")
"""The second model without a new schema version: another definition under the same name."""
