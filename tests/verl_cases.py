"""What the VERL unit tests share: categories with rules and validators of their own, and requests for them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from lightning_state.actors.category import BUILT_IN, Category
from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.evaluate import Plan, load_plan
from lightning_state.actors.core.verl.messages import Issue, Severity, VerdictRequest, content_hash
from lightning_state.actors.core.verl.rule_set import RuleSet, rule_set_of
from lightning_state.actors.models import State
from lightning_state.actors.settings import Settings

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Order(State):
    order_id: str
    amount: int
    note: str = ""


def amount_is_positive(context: VerdictContext) -> Iterator[Issue]:
    order = context.new
    if isinstance(order, Order) and order.amount <= 0:
        yield Issue("amount", "amount", "an order has a positive amount")


def broken_rule(context: VerdictContext) -> list[Issue]:
    raise RuntimeError(f"secret {context.key}")


def approves(_: VerdictContext) -> None:
    return None


def doubts(_: VerdictContext) -> list[Issue]:
    return [Issue("doubt", "note", "not sure", Severity.WARNING, 0.3)]


async def sleeps_until_cancelled(_: VerdictContext) -> None:
    await asyncio.Event().wait()


async def takes_a_while(_: VerdictContext) -> None:
    await asyncio.sleep(0.2)


def blocks(_: VerdictContext) -> None:
    time.sleep(0.3)  # a blocking call is what this validator is for


def blocks_for_ever(_: VerdictContext) -> None:
    threading.Event().wait()


def ends_the_process(context: VerdictContext) -> None:
    if context.key == "poison":
        os._exit(1)


def raises(context: VerdictContext) -> None:
    raise RuntimeError(f"secret {context.key}")


def returns_nonsense(_: VerdictContext) -> Any:
    return ["not an issue"]


def order_category(name: str, *validators: str, rules: tuple[str, ...] = ("amount_is_positive",)) -> Category[Order]:
    return Category(
        name=name,
        model=Order,
        key_field="order_id",
        rules=tuple(f"{__name__}:{rule}" for rule in rules),
        validators=tuple(v if ":" in v else f"{__name__}:{v}" for v in validators),
    )


ORDERS = order_category("orders")
BROKEN = order_category("orders-broken", rules=("broken_rule",))
APPROVED = order_category("orders-approved", "approves")
DOUBTED = order_category("orders-doubted", "doubts")
SLEEPY = order_category("orders-sleepy", "sleeps_until_cancelled")
SLOW = order_category("orders-slow", "takes_a_while")
BLOCKED = order_category("orders-blocked", "blocks")
STUCK = order_category("orders-stuck", "blocks_for_ever")
POISON = order_category("orders-poison", "ends_the_process")
RAISING = order_category("orders-raising", "raises")
NONSENSE = order_category("orders-nonsense", "returns_nonsense")
JUDGED = order_category("orders-judged", "lightning_state.actors.verl_actor.judge:judge")


def rules_of(category: Category[Any], **settings: Any) -> RuleSet:
    path = category.import_path if category in BUILT_IN else f"{__name__}:{_name_of(category)}"
    return rule_set_of(category, path, Settings(**settings))


def plan_of(category: Category[Any], **settings: Any) -> Plan:
    return load_plan(rules_of(category, **settings))


def change(
    category: Category[Any],
    new: State | bytes,
    base: State | None = None,
    *,
    key: str | None = None,
    references: dict[str, bool] | None = None,
    rule_set: str = "",
) -> VerdictRequest:
    body = new if isinstance(new, bytes) else category.encode(new)
    name = key if key is not None else category.key(new) if isinstance(new, State) else "k"
    old = None if base is None else category.encode(base)
    version = int(base is not None)
    return VerdictRequest(category.name, name, version, old, body, content_hash(body), references or {}, rule_set)


def _name_of(category: Category[Any]) -> str:
    return next(name for name, value in globals().items() if value is category)
